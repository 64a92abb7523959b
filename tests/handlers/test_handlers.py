"""Handlers on small engines: the bar's total, the history, checkpoints that are cut short, early stopping."""

from __future__ import annotations

import functools
import io
import json
import logging
import os
import shutil
from collections import namedtuple

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn
from tqdm import tqdm

from monai_sam2unet.errors import InputError
from monai_sam2unet.handlers import EarlyStop, TrainingCheckpoints, TrainingProgress
from monai_sam2unet.handlers.checkpoints import LAST_NAME, MODEL_NAME, SETTINGS_NAME

FIGURES = (0.5, 0.6, 0.55, 0.58, 0.59, 0.7)
"""Of the validations of `Run`; with a patience of 3 training ends after the fifth, the second being best."""


def trainer():
    engine = Engine(lambda engine, batch: {"loss": torch.tensor(float(batch))})
    engine.scaler = None
    return engine


def parts():
    network = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    return network, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)


class Killed(BaseException):
    """Stands for the end of the process."""


class Run:
    """A training of two iterations an epoch, put together as the config does.

    Every weight is the epoch's number. Files go to `folder` and, the history, to `output`. The settings are
    a seed and `settings`.
    """

    def __init__(
        self,
        folder,
        output=None,
        resume=False,
        patience=0,
        metric="validation_dice",
        validated=True,
        **settings,
    ):
        self.folder, self.output, self.metric = folder, output or folder, metric
        self.trainer, self.evaluator = trainer(), Engine(lambda engine, batch: None)
        self.network, self.optimizer, scheduler = parts()
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, self.learn)
        if validated:
            self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self.validate)
        evaluator = self.evaluator if validated else None
        TrainingProgress(self.output, self.optimizer, evaluator, metric).attach(self.trainer)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: scheduler.step())
        TrainingCheckpoints(
            folder, self.network, self.optimizer, scheduler, {"seed": 0, **settings},
            evaluator=evaluator, metric=metric, resume=resume,
        ).attach(self.trainer)  # fmt: skip
        if patience:
            EarlyStop(patience, self.evaluator).attach(self.trainer)

    def learn(self, engine):
        for parameter in self.network.parameters():
            parameter.data.fill_(engine.state.epoch)
        self.optimizer.step()  # without gradients: moves nothing

    def validate(self, engine):
        state = self.evaluator.state
        state.epoch, state.key_metric_name = engine.state.epoch, self.metric
        state.metrics = {self.metric: FIGURES[engine.state.epoch - 1]}
        self.evaluator.fire_event(Events.COMPLETED)

    def interrupt(self, error, event):
        """Raise an error at an event of the trainer, after all other handlers."""

        def end(engine):
            raise error

        self.trainer.add_event_handler(event, end)
        return self

    def __call__(self, epochs=6):
        self.trainer.run([1, 2], max_epochs=epochs)
        return self.trainer.state.epoch


def last(folder):
    return torch.load(folder / LAST_NAME, weights_only=True)


def weight(folder):
    """The epoch that a model is of, by its weights; one that training has not touched is of none."""
    weights = torch.load(folder / MODEL_NAME, weights_only=True)["weight"]
    return int(weights[0, 0]) if (weights == weights[0, 0]).all() else None


def epochs(path):
    return [int(line.split(",")[0]) for line in (path / "history.csv").read_text().splitlines()[1:]]


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
    with pytest.raises(InputError, match=r"_last\.pt: cannot be written .*PytorchStreamWriter.* MiB free"):
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


def test_at_no_moment_is_a_model_without_its_settings_or_belied_by_them(tmp_path, monkeypatch):
    plain, seen = os.replace, []

    def look():
        if (tmp_path / MODEL_NAME).exists():
            seen.append((weight(tmp_path), json.loads((tmp_path / SETTINGS_NAME).read_text())))

    def replace(source, target):
        look()
        plain(source, target)
        look()

    monkeypatch.setattr(os, "replace", replace)
    Run(tmp_path)()
    assert all(settings["seed"] == 0 for _, settings in seen)
    stated = [(epoch, settings["epoch"], settings["validation_dice"]) for epoch, settings in seen]
    assert {case for case in stated if case[1] is not None} == {(1, 1, 0.5), (2, 2, 0.6), (6, 6, 0.7)}
    assert {case[0] for case in stated if case[1] is None} == {1, 2, 6}  # while it is replaced: no figure


@pytest.mark.parametrize("name", [SETTINGS_NAME, MODEL_NAME])
def test_a_model_that_a_killed_run_did_not_write_is_written_by_the_next(tmp_path, monkeypatch, name):
    """Epoch 2 is the best so far; the process ends before the rename of the file, when its state is saved."""
    plain = os.replace

    def replace(source, target):
        if target.name == name and (tmp_path / LAST_NAME).exists() and last(tmp_path)["epoch"] == 2:
            raise Killed
        plain(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(Killed):
        Run(tmp_path)()
    monkeypatch.undo()
    assert weight(tmp_path) == 1
    assert Run(tmp_path, resume=True)(epochs=2) == 2
    assert weight(tmp_path) == 2
    assert json.loads((tmp_path / SETTINGS_NAME).read_text()) == {
        "seed": 0, "epoch": 2, "validation_dice": 0.6
    }  # fmt: skip


@pytest.mark.parametrize("renames", [0, 1, 2, 3])
def test_moving_an_earlier_model_away_may_be_killed(tmp_path, monkeypatch, renames):
    """A model has its settings wherever it is, and once moving has begun there is no state to resume from."""
    Run(tmp_path)(epochs=2)
    earlier = {name: (tmp_path / name).read_bytes() for name in (LAST_NAME, MODEL_NAME, SETTINGS_NAME)}
    plain, left = os.replace, [renames]

    def replace(source, target):
        if left[0]:
            plain(source, target)
        left[0] -= 1
        if left[0] <= 0:
            raise Killed

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(Killed):
        Run(tmp_path)(epochs=2)
    monkeypatch.undo()
    assert (tmp_path / LAST_NAME).exists() == (renames < 2)  # after a copy of the settings it is the first
    assert (tmp_path / MODEL_NAME).exists() == (renames < 3)
    for model in tmp_path.rglob(MODEL_NAME):
        assert model.with_name(SETTINGS_NAME).read_bytes() == earlier[SETTINGS_NAME]
    Run(tmp_path)(epochs=1)
    (kept,) = (tmp_path / "replaced").iterdir()
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == earlier


def test_ctrl_c_keeps_the_end_of_the_last_epoch(tmp_path, caplog):
    run = Run(tmp_path).interrupt(KeyboardInterrupt(), Events.ITERATION_COMPLETED(once=5))
    with caplog.at_level(logging.WARNING, logger="monai_sam2unet"), pytest.raises(KeyboardInterrupt):
        run()
    assert (
        "Interrupted in epoch 3" in caplog.text
        and "--resume true goes on from the end of epoch 2" in caplog.text
    )
    assert last(tmp_path)["epoch"] == 2 and int(last(tmp_path)["network"]["weight"][0, 0]) == 2


def test_ctrl_c_in_the_first_epoch_keeps_the_weights_reached(tmp_path, caplog):
    run = Run(tmp_path).interrupt(KeyboardInterrupt(), Events.ITERATION_COMPLETED(once=1))
    with caplog.at_level(logging.WARNING, logger="monai_sam2unet"), pytest.raises(KeyboardInterrupt):
        run()
    assert "Interrupted in epoch 1" in caplog.text and "goes on from the weights reached" in caplog.text
    assert last(tmp_path)["epoch"] == 0 and int(last(tmp_path)["network"]["weight"][0, 0]) == 1
    assert json.loads((tmp_path / SETTINGS_NAME).read_text())["epoch"] is None
    assert Run(tmp_path, resume=True)(epochs=2) == 2


def test_ctrl_c_while_a_state_is_written_writes_it(tmp_path, monkeypatch):
    plain, left = torch.save, [3]  # the states of two epochs, and in between the model of the first

    def save(state, file):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        plain(state, file)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(KeyboardInterrupt):
        Run(tmp_path)()
    assert last(tmp_path)["epoch"] == 2 and weight(tmp_path) == 2


def test_ctrl_c_while_a_state_is_read_leaves_it(tmp_path, monkeypatch):
    Run(tmp_path)(epochs=2)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def read(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_sam2unet.handlers.checkpoints.read_checkpoint", read)
    with pytest.raises(KeyboardInterrupt):
        Run(tmp_path, resume=True)()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("killed", [1, 2, 3, 4, 5])
def test_early_stopping_counts_on_in_a_resumed_run(tmp_path, killed):
    """Killed when the state of an epoch is saved, it ends all the same after the fifth; see `FIGURES`."""
    assert Run(tmp_path / "undisturbed", patience=3)() == 5
    run = Run(tmp_path, patience=3).interrupt(Killed(), Events.EPOCH_COMPLETED(once=killed))
    with pytest.raises(Killed):
        run()
    assert Run(tmp_path, resume=True, patience=3)() == 5
    assert epochs(tmp_path) == [1, 2, 3, 4, 5] and last(tmp_path)["epoch"] == 5


def test_a_training_that_early_stopping_ended_goes_on_with_more_patience(tmp_path):
    assert Run(tmp_path, patience=3)() == 5
    assert Run(tmp_path, resume=True, patience=4)() == 6


def test_a_state_of_the_first_version_resumes(tmp_path):
    """It had no count of early stopping, and the history in its file alone."""
    assert Run(tmp_path)(epochs=3) == 3
    state = last(tmp_path)
    del state["engine"]
    torch.save(state, tmp_path / LAST_NAME)
    assert Run(tmp_path, resume=True, patience=3)() == 6  # 0.58, 0.59, 0.7: better each time
    assert epochs(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_the_history_of_a_resumed_run_is_its_own(tmp_path):
    """Into a folder with the history of another run: all epochs are there once, with this run's figures."""
    Run(tmp_path / "a")(epochs=2)
    (tmp_path / "b").mkdir()
    rows = [f"{epoch},9.9,0.1,0.9,0.1" for epoch in range(1, 8)]
    header = "epoch,seconds,loss,validation_dice,learning_rate"
    (tmp_path / "b" / "history.csv").write_text("\n".join([header, *rows, ""]))
    Run(tmp_path / "a", output=tmp_path / "b", resume=True)(epochs=3)
    written = [line.split(",") for line in (tmp_path / "b" / "history.csv").read_text().splitlines()[1:]]
    # the losses are the batches' numbers 1 and 2, the figures those of `FIGURES`
    assert [(row[0], row[2], row[3]) for row in written] == [
        ("1", "1.5", "0.5"), ("2", "1.5", "0.6"), ("3", "1.5", "0.55")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "words"),
    [("validation_dice", "validation Dice"), ("validation_f_measure", "validation f_measure")],
)
def test_files_and_log_name_the_figure_that_the_model_is_chosen_by(tmp_path, caplog, metric, words):
    with caplog.at_level(logging.INFO, logger="monai_sam2unet"):
        Run(tmp_path, metric=metric)(epochs=2)
    text = (tmp_path / "history.csv").read_text().splitlines()
    assert text[0] == f"epoch,seconds,loss,{metric},learning_rate"
    assert [line.split(",")[3] for line in text[1:]] == ["0.5", "0.6"]  # `FIGURES`
    assert json.loads((tmp_path / SETTINGS_NAME).read_text()) == {"seed": 0, "epoch": 2, metric: 0.6}
    assert f"  {words} 0.5000  " in caplog.text
    assert caplog.messages[-1].endswith(f"(epoch 2, {words} 0.6000)")


def test_without_a_validation_the_figure_is_empty(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="monai_sam2unet"):
        Run(tmp_path, metric="validation_Smeasure", validated=False)(epochs=2)
    text = (tmp_path / "history.csv").read_text().splitlines()
    assert text[0] == "epoch,seconds,loss,validation_Smeasure,learning_rate"
    assert [line.split(",")[3] for line in text[1:]] == ["", ""]
    settings = json.loads((tmp_path / SETTINGS_NAME).read_text())
    assert (settings["epoch"], settings["validation_Smeasure"]) == (2, None)
    assert "Smeasure" not in caplog.text


def test_an_undefined_figure_is_named_and_chooses_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("tests.handlers.test_handlers.FIGURES", (float("nan"), 0.2))
    run = Run(tmp_path, metric="validation_mIoU")
    run(epochs=1)
    assert "The validation mIoU is undefined: no validation mask has any foreground" in caplog.text
    assert not (tmp_path / MODEL_NAME).exists()
    assert Run(tmp_path, metric="validation_mIoU", resume=True)(epochs=2) == 2
    assert weight(tmp_path) == 2


@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_is_resumed_by_the_figure_that_it_was_chosen_by(tmp_path, recorded):
    """Earlier versions did not record it: their models were chosen by Dice of protocol `fixed`."""
    as_before = {"protocol": "fixed", "key_metric": "dice"}
    Run(tmp_path, **(as_before if recorded else {}))(epochs=1)
    with pytest.raises(InputError) as caught:
        Run(tmp_path, resume=True, protocol="paper", key_metric="Smeasure", metric="validation_Smeasure")()
    assert "protocol: fixed there, paper now; key_metric: dice there, Smeasure now" in str(caught.value)
    assert Run(tmp_path, resume=True, **as_before)(epochs=2) == 2


def test_what_a_killed_run_left_is_removed(tmp_path):
    models, output = tmp_path / "models", tmp_path / "output"
    token = "0123456789abcdef" * 2
    ours = [models / f".{name}.{token}.tmp" for name in (MODEL_NAME, SETTINGS_NAME, LAST_NAME)]
    ours += [output / f".{name}.{token}.tmp" for name in ("datalist.json", "history.csv")]
    others = [
        models / ".mine.tmp",
        output / f".metrics.csv.{token}.tmp",
    ]  # the latter an evaluation's, at work
    for path in ours + others:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    Run(models, output=output)(epochs=1)
    assert sorted(tmp_path.rglob(".*")) == sorted(others)
