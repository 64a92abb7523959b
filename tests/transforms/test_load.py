"""Loading gives (C, H, W) uint8 tensors with metadata, and names what it cannot load."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, set_track_meta
from monai.transforms import Compose, LoadImaged
from PIL import Image

from monai_sam2unet.errors import InputError
from monai_sam2unet.labels import LabelReader
from monai_sam2unet.pictures import to_rgb
from monai_sam2unet.transforms import LeaveOutIgnoredd, LoadPicture, LoadPictured, ResizeLikePillowd


@pytest.fixture
def files(tmp_path):
    """An asymmetric picture of 5 rows and 8 columns, and its mask of {0, 1}."""
    array = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    mask = np.zeros((5, 8), np.uint8)
    mask[1, 6] = 1
    Image.fromarray(array).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    return tmp_path, array, mask


def test_tensors_and_metadata(files):
    folder, array, mask = files
    item = LoadPictured()({"image": folder / "a.png", "label": str(folder / "m.png"), "other": 1})
    image, label = item["image"], item["label"]
    assert isinstance(image, MetaTensor) and isinstance(label, MetaTensor)
    assert image.dtype == label.dtype == torch.uint8
    assert np.array_equal(image.numpy(), array.transpose(2, 0, 1))
    assert np.array_equal(label.numpy(), mask[None] * 255)
    assert image.meta["filename_or_obj"] == str(folder / "a.png")
    assert image.meta["spatial_shape"].tolist() == [5, 8]
    assert torch.equal(image.affine, torch.eye(4, dtype=torch.float64))
    assert item["other"] == 1
    image.zero_(), label.zero_()  # the tensors own their memory: transforms may write to them


def test_same_pixels_as_monai(files):
    folder, _, _ = files
    args = {"reader": "PILReader", "converter": to_rgb, "reverse_indexing": False, "dtype": np.uint8}
    theirs = LoadImaged("image", ensure_channel_first=True, **args)({"image": str(folder / "a.png")})["image"]
    assert torch.equal(theirs.as_tensor(), LoadPicture()(folder / "a.png").as_tensor())


def test_union_of_masks(files):
    folder, _, mask = files
    Image.fromarray(np.eye(5, 8, dtype=np.uint8)).save(folder / "m2.png")
    union = LoadPicture(mask=True)([folder / "m.png", folder / "m2.png"])
    assert np.array_equal(union[0].numpy() > 0, (mask + np.eye(5, 8)) > 0)
    Image.new("L", (5, 8)).save(folder / "turned.png")
    with pytest.raises(InputError, match=r"turned\.png.*\(8, 5\).*\(5, 8\)"):
        LoadPicture(mask=True)([folder / "m.png", folder / "turned.png"])


def test_label_maps_are_masks_of_their_classes(files):
    folder, _, mask = files
    label_map = 2 * mask
    label_map[4, 0] = 1
    Image.fromarray(label_map).save(folder / "l.png")
    labels = LabelReader(["a", "b"], ignore_index=9)
    item = LoadPictured(labels=labels)({"image": folder / "a.png", "label": folder / "l.png"})
    assert item["label"].dtype == torch.uint8 and item["label"].shape == (3, 5, 8)
    assert np.array_equal(item["label"].numpy() > 0, [label_map == 1, label_map == 2, label_map == 9])
    assert item["label"].meta["filename_or_obj"] == str(folder / "l.png")
    item = ResizeLikePillowd("label", (10, 16), "bicubic")(item)  # as a training resizes masks
    assert item["label"].shape == (3, 10, 16) and item["label"][1].max() > item["label"][0, :8].max()


def test_ignored_pixels_are_left_out_of_both():
    prediction, label = torch.ones(2, 3, 4), torch.zeros(3, 3, 4)
    label[0, 1:], label[2, :, 3] = 1, 1
    item = LeaveOutIgnoredd("pred", "label")({"pred": MetaTensor(prediction), "label": MetaTensor(label)})
    assert item["ignored"].dtype == torch.bool and item["ignored"].sum() == 3
    assert item["pred"].shape == item["label"].shape == (2, 3, 4)
    assert not item["pred"][..., 3].any() and not item["label"][..., 3].any()
    assert item["pred"][..., :3].all() and torch.equal(item["label"][0, :, :3], label[0, :, :3])


def test_one_path_for_pictures(files):
    folder, _, _ = files
    for paths in ([], [folder / "a.png", folder / "a.png"]):
        with pytest.raises(InputError, match="one"):
            LoadPicture()(paths)


def test_missing_keys(files):
    folder, _, _ = files
    item = {"image": folder / "a.png"}
    with pytest.raises(KeyError, match="label"):
        LoadPictured()(item)
    assert set(LoadPictured(allow_missing_keys=True)(item)) == {"image"}
    assert set(LoadPictured(mask_keys=())(item)) == {"image"}


def test_errors_name_the_file_through_compose(files):
    folder, _, _ = files
    (folder / "bad.png").write_text("hello")
    with pytest.raises(InputError, match=r"bad\.png"):
        LoadPictured(mask_keys=())({"image": folder / "bad.png"})
    with pytest.raises(RuntimeError) as caught:  # MONAI's Compose wraps whatever is raised
        Compose([LoadPictured(mask_keys=())])({"image": folder / "bad.png"})
    causes, error = [], caught.value
    while error is not None:
        causes.append(error)
        error = error.__cause__
    assert any(isinstance(cause, InputError) and "bad.png" in str(cause) for cause in causes)


def test_errors_name_the_file_through_workers(files):
    folder, _, _ = files
    (folder / "bad.png").write_text("hello")
    dataset = Dataset([{"image": str(folder / "bad.png")}], Compose([LoadPictured(mask_keys=())]))
    with pytest.raises(RuntimeError, match=r"InputError: .*bad\.png"):
        next(iter(DataLoader(dataset, num_workers=1)))


def test_without_metadata(files):
    folder, _, _ = files
    set_track_meta(False)
    try:
        assert type(LoadPicture()(folder / "a.png")) is torch.Tensor
        assert type(LoadPicture(track_meta=True)(folder / "a.png")) is MetaTensor
    finally:
        set_track_meta(True)


def test_metadata_as_it_is_asked_for(files):
    folder, _, _ = files
    for track, kind in ((None, MetaTensor), (True, MetaTensor), (False, torch.Tensor)):
        item = LoadPictured(("image",), ("label",), track_meta=track)(
            {"image": folder / "a.png", "label": folder / "a.png"}
        )
        assert type(item["image"]) is type(item["label"]) is kind
