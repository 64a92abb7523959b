"""What each process draws in an epoch."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.transforms import Compose, RandFlipd
from torch.utils.data import DataLoader, DistributedSampler

from monai_sam2unet.handlers import EpochSeed
from monai_sam2unet.transforms import MultiScaleLoader


@pytest.fixture
def drawn(monkeypatch):
    """`drawn(rank, first, last)`: by epoch, the order of the pictures and numbers drawn in these epochs."""

    def run(rank, first, last):
        monkeypatch.setattr("ignite.distributed.get_rank", lambda: rank)
        flip = Compose([RandFlipd("image", allow_missing_keys=True)])
        data = Dataset([{"index": i} for i in range(8)], flip)
        sampler = DistributedSampler(data, num_replicas=2, rank=rank, seed=5)
        loader = MultiScaleLoader(DataLoader(data, batch_size=1, sampler=sampler), scales=(1,))
        seen = {}

        def step(engine, batch):
            own = [float(torch.rand(1)), data.transform.R.random()]
            seen.setdefault(engine.state.epoch, []).append((int(batch["index"]), *own))

        engine = Engine(step)
        engine.data_loader = loader  # as MONAI's trainers have it
        EpochSeed(5).attach(engine)
        engine.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "epoch", first - 1))
        engine.run(loader, max_epochs=last)
        return seen

    return run


def test_processes_share_the_pictures_and_draw_otherwise(drawn):
    one, other = drawn(0, 1, 2), drawn(1, 1, 2)
    for epoch in (1, 2):
        assert sorted(i for i, *_ in one[epoch] + other[epoch]) == list(range(8))
        numbers = [n for _, *two in one[epoch] + other[epoch] for n in two]
        assert len(set(numbers)) == len(numbers)
    assert [i for i, *_ in one[1]] != [i for i, *_ in one[2]]


@pytest.mark.parametrize("rank", [0, 1])
def test_an_epoch_is_the_same_after_a_restart(drawn, rank):
    whole, rest = drawn(rank, 1, 3), drawn(rank, 3, 3)
    assert rest == {3: whole[3]}
