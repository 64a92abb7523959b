"""Handlers on small engines: the bar's total, checkpoints on a failing disk, the figure's cases."""

from __future__ import annotations

import functools
import io
import shutil
from collections import namedtuple

import pytest
import torch
from ignite.engine import Engine
from torch import nn
from tqdm import tqdm

from monai_sam2unet.errors import InputError
from monai_sam2unet.handlers import TrainingCheckpoints, TrainingProgress
from monai_sam2unet.handlers.checkpoints import LAST_NAME, MODEL_NAME


def trainer():
    engine = Engine(lambda engine, batch: {"loss": torch.tensor(float(batch))})
    engine.scaler = None
    return engine


def parts():
    network = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    return network, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)


def test_the_bar_runs_over_all_epochs(tmp_path, monkeypatch):
    """Its remaining time is that to the end of the training, not of the epoch."""
    shown = io.StringIO()
    bar = functools.partial(tqdm, file=shown, mininterval=0, ncols=100)
    monkeypatch.setattr(
        "monai_sam2unet.handlers.progress.tqdm", lambda **arguments: bar(**{**arguments, "disable": False})
    )
    engine = trainer()
    TrainingProgress(tmp_path, parts()[1]).attach(engine)
    engine.run([1, 2, 6], max_epochs=4)
    lines = shown.getvalue().split("\r")
    assert "1/12" in lines[2] and "epoch 1, loss 1.000" in lines[2]
    assert "12/12" in lines[-1] and "epoch 4, loss 6.000" in lines[-1]
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert len(rows) == 5 and rows[1].split(",")[2] == "3.0"  # mean of 1, 2 and 6


def test_a_disk_that_fills_leaves_the_old_model(tmp_path, monkeypatch):
    network, optimizer, scheduler = parts()
    engine = trainer()
    TrainingCheckpoints(tmp_path, network, optimizer, scheduler, {}).attach(engine)
    engine.run([1], max_epochs=1)
    before = {name: (tmp_path / name).read_bytes() for name in (MODEL_NAME, LAST_NAME)}

    def fail(state, file):
        file.write(b"half of it")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0")  # torch's, on a full disk

    monkeypatch.setattr(torch, "save", fail)
    engine.state.max_epochs = None
    handler = TrainingCheckpoints(tmp_path, network, optimizer, scheduler, {})
    engine.state.epoch = 2
    with pytest.raises(InputError, match=r"model\.pt: cannot be written .*PytorchStreamWriter.* MiB free"):
        handler.epoch_completed(engine)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert not list(tmp_path.glob(".*"))


def test_too_little_space_is_said_before_training(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    engine = trainer()
    TrainingCheckpoints(tmp_path, *parts(), {}).attach(engine)
    with pytest.raises(InputError, match="the checkpoints need"):
        engine.run([1], max_epochs=1)
    assert engine.state.iteration == 0
