"""A training with an average of the weights: what is validated and kept, and that it resumes exactly."""

from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Events

from monai_sam2unet.networks.weights import read_weights
from tests.bundle.finished import last
from tests.weight_files import equal, network, sam2


def averaged(folder):
    """The average in a state, as plain tensors."""
    return last(folder)["average"]["network"]


@pytest.fixture(scope="module")
def run(train, tmp_path_factory):
    """Folder of a finished run, its last epoch being its best one."""
    folder = tmp_path_factory.mktemp("averaged")
    train(folder, ema_decay=0.5, val_interval=2)  # one validation, after the second of two epochs
    return folder


def test_the_average_is_the_model(run):
    model = read_weights(run / "models" / "model.pt").tensors
    assert equal(model, averaged(run))
    assert not equal(model, last(run)["network"])
    assert int(last(run)["average"]["steps"]) == 6  # two epochs of three batches
    settings = json.loads((run / "models" / "model.json").read_text())
    assert (settings["ema_decay"], settings["epoch"]) == (0.5, 2)


def test_the_average_is_validated(run, workflow, small_set, tmp_path):
    """The evaluation of model.pt gives the figure that the training noted."""
    folder = str(run / "models")
    made = workflow(
        "evaluation", dataset_dir=str(small_set), ckpt_dir=folder, output_dir=str(tmp_path), device="cpu",
        num_workers=0,
    )  # fmt: skip
    made.run()
    summary = json.loads((tmp_path / "summary.json").read_text())
    noted = json.loads((run / "models" / "model.json").read_text())["validation_dice"]
    assert summary["with_reference"]["dice"]["mean"] == pytest.approx(noted, abs=1e-5)


def test_it_changes_nothing_of_what_learns(run, train, tmp_path):
    train(tmp_path, val_interval=2)
    assert equal(last(tmp_path)["network"], last(run)["network"])
    assert "average" not in last(tmp_path)


@pytest.mark.parametrize("save", ["all", "trained"])
def test_a_resumed_run_equals_an_undisturbed_one(train, prepare, tmp_path, save):
    torch.manual_seed(3)
    torch.save({"model": sam2(network().state_dict())}, tmp_path / "base.pt")
    start = {"pretrained": str(tmp_path / "base.pt"), "pretrained_dir": str(tmp_path)}
    options = {**start, "tuning": "adapters", "ema_decay": 0.9, "save": save}
    train(tmp_path / "whole", **options)
    first = prepare(tmp_path / "parts", **options)
    trainer = first.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=1), lambda engine: engine.terminate())
    first.run()
    train(tmp_path / "parts", resume="true", **options)
    for part in (averaged, lambda folder: last(folder)["network"]):
        assert equal(part(tmp_path / "parts"), part(tmp_path / "whole"))
    files = [tmp_path / name / "models" / "model.pt" for name in ("parts", "whole")]
    assert equal(*(read_weights(file, tmp_path).tensors for file in files))
