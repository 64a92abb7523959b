"""A small data set and a way to run the bundle's configs within this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

from monai_sam2unet.data import write_demo

ROOT = Path(__file__).resolve().parents[2]
FAST = {  # seconds instead of minutes: 64x64 pixels, a few steps
    "variant": "nano",
    "pretrained": "none",
    "input_size": 64,
    "batch_size": 4,
    "max_epochs": 2,
    "scales": [1.0],
    "num_workers": 0,
    "device": "cpu",
    "bundle_root": str(ROOT),
}


@pytest.fixture(scope="session")
def small_set(tmp_path_factory) -> Path:
    """Twelve synthetic pictures to train on and four to validate on, of several sizes."""
    return write_demo(tmp_path_factory.mktemp("small") / "polyps", train=12, validation=4)


@pytest.fixture(scope="session")
def workflow() -> Callable[..., ConfigWorkflow]:
    """`workflow("training", dataset_dir=..., ...)` gives the initialised workflow of that run id."""

    def make(run_id: str, configs: tuple[str, ...] | None = None, **overrides: Any) -> ConfigWorkflow:
        names = configs or {"evaluation": ("train", "evaluate"), "inference": ("inference",)}.get(
            run_id, ("train",)
        )
        kind = "infer" if run_id == "inference" else "train"
        made = ConfigWorkflow(
            config_file=[str(ROOT / "configs" / f"{name}.json") for name in names],
            workflow_type=kind,
            run_id=run_id,
            logging_file=False,
            **overrides,
        )
        made.initialize()
        return made

    return make


@pytest.fixture(scope="session")
def prepare(workflow, small_set) -> Callable[..., ConfigWorkflow]:
    """`prepare(folder, **overrides)` gives the workflow of two quick epochs into a folder, not yet run."""

    def make(folder: Path, **overrides: Any) -> ConfigWorkflow:
        folders = {"output_dir": str(folder), "ckpt_dir": str(folder / "models")}
        return workflow("training", **{**FAST, "dataset_dir": str(small_set), **folders, **overrides})

    return make


@pytest.fixture(scope="session")
def train(prepare) -> Callable[..., ConfigWorkflow]:
    """`train(folder, **overrides)` runs what `prepare` gives."""

    def run(folder: Path, **overrides: Any) -> ConfigWorkflow:
        made = prepare(folder, **overrides)
        made.run()
        return made

    return run


@pytest.fixture(scope="session")
def trained(train, tmp_path_factory) -> Path:
    """Folder of a finished quick training: `models/model.pt` and what stands beside it."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder)
    return folder
