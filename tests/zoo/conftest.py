"""An entry of the model zoo with an untrained small network, and copies of it to break."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.zoo import stage


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """Weights in half precision, as those that the repository ships, with their settings beside them."""
    path = tmp_path_factory.mktemp("model") / "small.pt"
    torch.manual_seed(0)
    tensors = SAM2UNet("nano", decoder_channels=32).state_dict()
    torch.save({n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}, path)
    path.with_suffix(".json").write_text(json.dumps({"variant": "nano", "input_size": 64, "threshold": 0.5}))
    return path


@pytest.fixture(scope="session")
def entry(bundle_root, model, tmp_path_factory) -> Path:
    """The repository's entry; to be read only."""
    return stage(bundle_root, model, tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def broken(entry, tmp_path) -> Path:
    """A copy of the entry."""
    return Path(shutil.copytree(entry, tmp_path / entry.name))


@pytest.fixture
def edit(broken) -> Callable[[str, str, Any], None]:
    """`edit(file, "key#key", value)` sets a value of a JSON file of the copy; `...` deletes it."""

    def change(file: str, key: str, value: Any) -> None:
        path = broken / file
        content = table = json.loads(path.read_text())
        *parents, last = key.split("#")
        for parent in parents:
            table = table[parent]
        if value is ...:
            del table[last]
        else:
            table[last] = value
        path.write_text(json.dumps(content))

    return change
