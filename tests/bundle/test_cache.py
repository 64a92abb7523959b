"""The setting `cache`: the same training to the bit, and what is kept of the bundle's own steps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks.weights import read_weights
from monai_sam2unet.settings import check_settings
from tests.bundle.finished import history
from tests.weight_files import equal


def outcome(folder):
    return read_weights(folder / "models" / "model.pt").tensors, [row["loss"] for row in history(folder)]


@pytest.mark.parametrize("workers", [0, 2])
def test_weights_are_the_same_whatever_is_kept(train, tmp_path, workers):
    outcomes = []
    for kind in ("none", "memory", "disk"):
        folder = tmp_path / kind
        train(folder, cache=kind, cache_dir=str(tmp_path / "kept"), num_workers=workers)
        outcomes.append(outcome(folder))
    (weights, losses), *others = outcomes
    assert all(equal(other, weights) and those == losses for other, those in others)
    assert len(list((tmp_path / "kept").iterdir())) == 12  # the training pictures


def test_by_default_all_resized_pictures_are_in_memory(prepare, tmp_path):
    dataset = prepare(tmp_path).parser.get_parsed_content("train#dataset")
    assert dataset.loaded.cache_num == len(dataset) == 12
    shapes = {(item["image"].shape, item["label"].shape) for item in dataset.loaded}
    assert shapes == {((3, 64, 64), (1, 64, 64))}
    assert {item[key].dtype for item in dataset.loaded for key in ("image", "label")} == {np.dtype(np.uint8)}


def test_of_tiles_the_whole_picture_is_kept(prepare, tmp_path, small_set):
    dataset = prepare(tmp_path, tile=32, cache="memory").parser.get_parsed_content("train#dataset")
    listed = json.loads((small_set / "dataset.json").read_text())["training"]
    assert len(dataset[0]) == 4 and dataset[0][0]["image"].shape == (3, 32, 32)
    sizes = {item["image"].shape for item in dataset.loaded}
    assert len(listed) == 12 and sizes == {(3, h, w) for w, h in (  # the sizes of data/demo.py
        (192, 160), (160, 176), (208, 144), (176, 176), (224, 168), (150, 190)
    )}  # fmt: skip
    assert not hasattr(
        prepare(tmp_path, tile=32).parser.get_parsed_content("train#dataset").loaded, "cache_num"
    )


@pytest.mark.parametrize("kind", ["auto", "memory", "disk"])
def test_slices_of_volumes_are_kept_by_themselves(kind):
    with pytest.raises(InputError) as caught:
        check_settings("cpu", plane="axial", cache=kind)
    assert str(caught.value) == (f"cache must be none with volumes, got {kind!r}: cache_dir keeps slices")
    check_settings("cpu", plane="axial", cache="none")
