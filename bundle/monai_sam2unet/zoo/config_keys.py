"""The ids that the zoo wants in every training and inference config, so that other programs find them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai_sam2unet.zoo.findings import Finding, read_table

__all__ = ["check_config_keys"]

IDS = {
    "configs/inference.json": (
        "bundle_root", "device", "dataset_dir", "output_dir", "network_def", "inferer", "evaluator",
        "preprocessing", "postprocessing", "run",
    ),
    "configs/train.json": (
        "bundle_root", "device", "dataset_dir", "output_dir", "network_def", "val_interval", "run",
        "train#trainer", "train#trainer#max_epochs", "train#dataset", "train#dataset#data", "train#handlers",
        "train#preprocessing", "train#postprocessing", "train#inferer", "train#key_metric",
        "validate#evaluator", "validate#handlers", "validate#dataset", "validate#dataset#data",
        "validate#preprocessing", "validate#postprocessing", "validate#inferer", "validate#key_metric",
    ),
}  # fmt: skip


def check_config_keys(folder: Path) -> Iterator[Finding]:
    """Ids that are missing, handlers that are no list, and an interval of validation that is not the id's."""
    for name, ids in IDS.items():
        config = read_table(folder / name)
        if config is None:
            continue
        for key in ids:
            if _look_up(config, key) is None:
                yield Finding(name, f"no {key}", "this id, by which other programs find it", "add it")
    train = read_table(folder / "configs/train.json") or {}
    handlers = _look_up(train, "train#handlers")
    if handlers is not None and not isinstance(handlers, list):
        wanted = "a list of objects, which MONAI Label adds to"
        yield Finding("configs/train.json", "train#handlers is no list", wanted, "write a plain list")
    for handler in handlers if isinstance(handlers, list) else ():
        if isinstance(handler, dict) and handler.get("_target_") == "ValidationHandler":
            interval = handler.get("interval")
            if interval != "@val_interval":
                yield Finding(
                    "configs/train.json",
                    f"interval of the ValidationHandler is {interval!r}",
                    "@val_interval",
                    "refer to that id",
                )


def _look_up(config: Any, key: str) -> Any:
    """The value of an id such as ``train#dataset#data``; None if it is not there."""
    for part in key.split("#"):
        if not isinstance(config, dict) or part not in config:
            return None
        config = config[part]
    return config
