"""Volumes are cut once: which slices are taken, and when files are made anew."""

from __future__ import annotations

import os

import numpy as np
import pytest
from monai.transforms import Compose, Orientationd

from monai_sam2unet.data import cut_slices, load_volumes
from monai_sam2unet.transforms import PLANE_CODES, LoadVolumed
from tests.volume_sets import phantom, write_volumes


@pytest.fixture
def items(tmp_path):
    return load_volumes(write_volumes(tmp_path / "set", 3), val_fraction=0).train


class Counting:
    """What cuts, and how often it was called."""

    def __init__(self, plane="axial"):
        self.cut = Compose([LoadVolumed(), Orientationd(["image", "label"], PLANE_CODES[plane], labels=None)])
        self.calls = 0

    def __call__(self, item):
        self.calls += 1
        return self.cut(item)


def filled(number):
    """Axial slices of a phantom that hold a structure; the phantom is LPS, so they are in order."""
    return np.flatnonzero(phantom(number)[1].any(axis=(0, 1))).tolist()


def test_slices_lie_as_a_viewer_shows_them(items, tmp_path):
    found = cut_slices(items, Counting(), tmp_path / "cache", {}, empty_share=0)
    values, label = phantom(1)
    own = [item for item in found if item["case"].startswith("imagesTr/case_001/")]
    assert [item["index"] for item in own] == filled(1)
    assert own[0]["case"] == f"imagesTr/case_001/{filled(1)[0] + 1:03d}"
    assert own[0]["group"] == "imagesTr/case_001"
    # LPS: the first axis runs to the left as columns do, the second to the back as rows do
    assert np.array_equal(np.load(own[0]["image"]), values.transpose(2, 1, 0))
    assert np.array_equal(np.load(own[0]["label"]), label.transpose(2, 1, 0))


def test_the_share_of_empty_slices(items, tmp_path):
    taken = [cut_slices(items, Counting(), tmp_path / "c", {}, share, seed=1) for share in (0, 0.2, 0.9)]
    full = sum(len(filled(number)) for number in (1, 2, 3))
    # of 8 slices a volume; 0.2 of all is a quarter of those with a structure
    assert [len(found) for found in taken] == [full, full + round(full / 4), 24]
    again = cut_slices(items, Counting(), tmp_path / "c", {}, 0.2, seed=1)
    assert again == taken[1]
    assert cut_slices(items, Counting(), tmp_path / "c", {}, 0.2, seed=2) != taken[1]


def test_files_are_used_again_until_something_changes(items, tmp_path):
    cutting = Counting()
    for expected in (3, 3):  # the second time nothing is cut
        cut_slices(items, cutting, tmp_path / "c", {"plane": "axial"})
        assert cutting.calls == expected
    cut_slices(items, cutting, tmp_path / "c", {"plane": "coronal"})
    assert cutting.calls == 6
    os.utime(items[0]["image"], ns=(1, 1))
    cut_slices(items, cutting, tmp_path / "c", {"plane": "axial"})
    assert cutting.calls == 7


def test_a_cut_that_was_killed_is_done_again(items, tmp_path):
    cut_slices(items[:1], Counting(), tmp_path / "c", {})
    for flags in (tmp_path / "c").glob("*.filled.npy"):
        flags.unlink()
    cutting = Counting()
    cut_slices(items[:1], cutting, tmp_path / "c", {})
    assert cutting.calls == 1
