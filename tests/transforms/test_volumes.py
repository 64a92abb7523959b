"""Volumes and slices as tensors: planes as a viewer shows them, neighbours as channels, masks of classes."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Orientationd

from monai_sam2unet.errors import InputError
from monai_sam2unet.io import Volume, read
from monai_sam2unet.labels import LabelReader
from monai_sam2unet.transforms import (
    PLANE_CODES,
    ClassMasksd,
    LoadSlicesd,
    LoadVolumed,
    neighbours,
    window_ends,
)
from tests.io.test_volumes import ORIENTATIONS, image_of


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_planes_are_those_that_io_shows(tmp_path, plane, codes):
    """MONAI's Orientationd and `io.read`, whose slices tests/io/test_volumes.py derives by hand."""
    nibabel.save(image_of(codes), tmp_path / "a.nii")
    item = LoadVolumed(label_key=None)({"image": tmp_path / "a.nii"})
    assert tuple(item["image"].shape[1:]) == nibabel.load(tmp_path / "a.nii").shape
    turned = Orientationd("image", PLANE_CODES[plane], labels=None)(item)["image"]
    for frame in read(tmp_path / "a.nii", plane=plane):
        ours = np.asarray(turned[0, :, :, frame.number - 1])
        assert np.array_equal(np.rint(ours * 255 / 59), frame.pixels[..., 0])  # the phantom has 0 to 59


def test_neighbours_repeat_the_last_slice():
    assert neighbours(4, 1, 10) == [4]
    assert neighbours(4, 7, 10) == [1, 2, 3, 4, 5, 6, 7]
    assert neighbours(0, 3, 10) == [0, 0, 1] and neighbours(9, 5, 10) == [7, 8, 9, 9, 9]
    assert neighbours(0, 3, 1) == [0, 0, 0]


def test_ends_of_windows():
    # docs/medical.md: liver has centre 30 and width 150
    assert window_ends("liver") == (-45, 105) and window_ends((50, 400)) == (-150, 250)


def test_label_maps_follow_the_volume(tmp_path):
    """Stored in another order of axes; the tensors have the volume's."""
    nibabel.save(image_of("RAS"), tmp_path / "a.nii")
    nibabel.save(image_of("SPL"), tmp_path / "b.nii")
    item = LoadVolumed()({"image": tmp_path / "a.nii", "label": tmp_path / "b.nii"})
    assert item["image"].dtype == torch.float32 and item["label"].dtype == torch.uint8
    assert torch.equal(item["image"].as_tensor(), item["label"].as_tensor().float())
    assert item["label"].meta["filename_or_obj"] == str(tmp_path / "b.nii")


def test_what_is_no_number_is_the_smallest(tmp_path):
    values = np.array([[[1.0, np.nan, np.inf, -2]]])
    item = LoadVolumed(label_key=None)({"image": Volume(values, np.eye(4), tmp_path)})
    assert item["image"].flatten().tolist() == [1, -2, -2, -2]


@pytest.mark.parametrize("value", [0.5, -1, 256, np.nan])
def test_label_maps_must_be_whole_numbers(tmp_path, value):
    nibabel.save(image_of("RAS"), tmp_path / "a.nii")
    label = nibabel.Nifti1Image(np.full((5, 4, 3), value, np.float32), image_of("RAS").affine)
    nibabel.save(label, tmp_path / "b.nii")
    with pytest.raises(InputError, match=r"b\.nii: a label map has whole numbers from 0 to 255"):
        LoadVolumed()({"image": tmp_path / "a.nii", "label": tmp_path / "b.nii"})


def test_masks_of_classes():
    label = torch.tensor([[[0, 1], [4, 255]]])
    ours = ClassMasksd("label", LabelReader(["a", "b"], values=[1, 4], ignore_index=255))({"label": label})
    assert ours["label"].tolist() == [[[0, 1], [0, 0]], [[0, 0], [1, 0]], [[0, 0], [0, 1]]]
    one = ClassMasksd("label", LabelReader())({"label": label})["label"]
    assert one.tolist() == [[[0, 1], [1, 1]]]
    with pytest.raises(InputError, match="holds the values"):
        ClassMasksd("label", LabelReader(["a", "b"]))({"label": label})


@pytest.mark.parametrize(
    ("slices", "index", "expected"), [(1, 2, [2]), (3, 0, [0, 0, 1]), (5, 3, [1, 2, 3, 3, 3])]
)
def test_slices_with_neighbours(tmp_path, slices, index, expected):
    """Volume of four slices, each filled with its number; the label map has class 1 or 2 in each."""
    np.save(tmp_path / "i.npy", np.stack([np.full((2, 3), n, np.float16) for n in range(4)]))
    np.save(tmp_path / "l.npy", np.stack([np.full((2, 3), 1 + n % 2, np.uint8) for n in range(4)]))
    item = {"image": str(tmp_path / "i.npy"), "label": str(tmp_path / "l.npy"), "index": index, "case": "a"}
    found = LoadSlicesd(slices=slices, labels=LabelReader(["a", "b"]))(item)
    assert found["image"].shape == (slices, 2, 3) and found["image"].dtype == torch.float32
    assert found["image"][:, 0, 0].tolist() == expected
    assert found["label"][:, 0, 0].tolist() == [float(index % 2 == 0), float(index % 2 == 1)]
