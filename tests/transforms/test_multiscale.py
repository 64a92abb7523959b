"""Every batch once per scale, with what the engines of Ignite and MONAI read of a loader."""

from __future__ import annotations

import pickle

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedTrainer
from torch.nn.functional import interpolate
from torch.utils.data import DistributedSampler

from monai_sam2unet.errors import InputError
from monai_sam2unet.transforms import MultiScaleLoader


def loader(n=5, size=(64, 96), batch_size=2, **kwargs):
    generator = torch.Generator().manual_seed(0)
    items = [
        {
            "image": MetaTensor(torch.randn(3, *size, generator=generator)),
            "label": torch.rand(1, *size, generator=generator),
            "index": i,
        }
        for i in range(n)
    ]
    return DataLoader(Dataset(items), batch_size=batch_size, **kwargs)


def test_order_sizes_and_length():
    inner = loader()
    wrapped = MultiScaleLoader(inner, scales=(0.75, 1, 1.25))
    batches = list(wrapped)
    assert len(batches) == len(wrapped) == 3 * len(inner) == 9
    # 48 and 80 are 1.5 and 2.5 times 32: both round to the even 2, as in the published code.
    sides = [tuple(b["image"].shape[2:]) for b in batches[:3]]
    assert sides == [(64, 64), (64, 96), (64, 128)]
    assert [tuple(b["label"].shape[2:]) for b in batches[:3]] == sides
    assert [b["index"].tolist() for b in batches[:4]] == [[0, 1], [0, 1], [0, 1], [2, 3]]


def test_the_papers_sizes():
    wrapped = MultiScaleLoader(loader(1, (352, 352)))
    assert [b["image"].shape[-1] for b in wrapped] == [352, 448]


def test_values():
    inner = loader()
    first = next(iter(inner))
    same, larger = list(MultiScaleLoader(inner, divisor=1))[:2]
    assert torch.equal(same["image"], first["image"]) and torch.equal(same["label"], first["label"])
    expected = interpolate(first["label"], size=(80, 120), mode="bilinear", align_corners=True)
    assert torch.allclose(larger["label"], expected)
    assert isinstance(larger["image"], MetaTensor)


def test_soft_labels_stay_in_range():
    ones = [{"image": torch.ones(2, 3, 64, 64), "label": torch.ones(2, 1, 64, 64)}]
    for batch in MultiScaleLoader(ones, scales=(1.25, 0.5, 3.3)):
        assert batch["label"].min() == batch["label"].max() == 1


def test_scale_one_passes_untouched_and_sides_never_vanish():
    batch = {"image": torch.rand(1, 3, 20, 20)}
    one, small = list(MultiScaleLoader([batch], scales=(1, 0.1), keys="image"))
    assert one is batch
    assert small["image"].shape == (1, 3, 32, 32)
    assert batch["image"].shape == (1, 3, 20, 20), "the batch itself must not change"


@pytest.mark.parametrize(
    "settings",
    [
        {"scales": ()},
        {"scales": (1, 0)},
        {"scales": (-1,)},
        {"scales": (float("nan"),)},
        {"keys": ()},
        {"divisor": 0},
    ],
)
def test_bad_settings(settings):
    with pytest.raises(InputError, match="must"):
        MultiScaleLoader([], **settings)


@pytest.mark.parametrize(
    "batch",
    [{"image": torch.rand(1, 3, 8, 8)}, torch.rand(1, 3, 8, 8), {"image": torch.zeros(1, 3, 8, 8).byte()}],
)
def test_bad_batches(batch):
    keys = "image" if isinstance(batch, dict) and batch["image"].dtype == torch.uint8 else ("image", "label")
    with pytest.raises(InputError):
        list(MultiScaleLoader([batch], scales=(2,), keys=keys))


def test_attributes_of_the_wrapped_loader():
    inner = loader(num_workers=0)
    wrapped = MultiScaleLoader(inner)
    assert wrapped.dataset is inner.dataset and wrapped.batch_size == 2 and wrapped.sampler is inner.sampler
    assert not hasattr(wrapped, "no_such_thing")
    assert len(pickle.loads(pickle.dumps(wrapped))) == len(wrapped)


def test_distributed_sampler_hears_of_epochs():
    data = loader(8).dataset
    sampler = DistributedSampler(data, num_replicas=2, rank=0, shuffle=True)
    wrapped = MultiScaleLoader(DataLoader(data, batch_size=4, sampler=sampler), scales=(1,))
    orders = [tuple(i for b in wrapped for i in b["index"].tolist()) for _ in range(4)]
    assert len(set(orders)) > 1 and sampler.epoch == 3
    wrapped.set_epoch(1)  # as in a run that goes on
    assert tuple(i for b in wrapped for i in b["index"].tolist()) == orders[1] and sampler.epoch == 1


def test_under_monais_trainer():
    net = torch.nn.Conv2d(3, 1, 1)
    seen = []

    class Spy(torch.nn.MSELoss):
        def forward(self, pred, label):
            seen.append(tuple(label.shape[2:]))
            return super().forward(pred, label)

    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=MultiScaleLoader(loader(4)),
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), 0.1),
        loss_function=Spy(),
    )
    trainer.run()
    assert trainer.state.iteration == 8 and trainer.state.epoch_length == 4
    assert seen == [(64, 96), (64, 128)] * 4
