"""DICOM files are segmented as the same pictures in PNG are; what is not yet segmented is named."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from monai_sam2unet import predict
from monai_sam2unet.data import PicturesToSegment, check_pairs, draw_case, find_pictures, load_datalists
from monai_sam2unet.errors import InputError
from monai_sam2unet.networks.weights import SHIPPED_NAME
from monai_sam2unet.transforms import LoadPicture
from tests.bundle.finished import input_error
from tests.io.phantoms import write


@pytest.fixture(scope="module")
def scene():
    """A synthetic polyp of 60 rows and 96 columns."""
    picture, _ = draw_case(3, size=(96, 60))
    return np.asarray(picture)


@pytest.fixture
def folder(tmp_path, scene):
    """The scene as PNG, as DICOM with and without a suffix, and what is no picture of one frame."""
    Image.fromarray(scene).save(tmp_path / "a.png")
    write(tmp_path / "b.dcm", scene, "RGB")
    write(tmp_path / "CT.1.2.345", scene, "RGB")
    write(tmp_path / "cine.dcm", np.stack([scene, scene]), "RGB", frames=2)
    (tmp_path / "README").write_text("no picture, and no suffix")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "volume.nii.gz")
    return tmp_path


def test_folders_list_dicom_with_and_without_a_suffix(folder):
    names = [path.name for path in find_pictures(folder)]
    assert names == ["CT.1.2.345", "a.png", "b.dcm", "cine.dcm"]
    assert [path.name for path in find_pictures(folder / "*")] == names


def test_loading(folder, scene):
    for name in ("a.png", "b.dcm", "CT.1.2.345"):
        loaded = LoadPicture()(folder / name)
        assert np.array_equal(loaded.numpy(), scene.transpose(2, 0, 1))
        assert loaded.meta["filename_or_obj"] == str(folder / name)


@pytest.mark.parametrize(
    ("name", "words"),
    [("cine.dcm", "DICOM file of 2 frames, expected a picture"), ("volume.nii.gz", "NIfTI volume, expected")],
)
def test_what_is_for_later_is_named(folder, name, words):
    with pytest.raises(InputError, match=rf"{name}: is a {words}"):
        predict(folder / name, device="cpu")


def test_inference(workflow, bundle_root, folder, tmp_path, caplog):
    out = tmp_path / "out"
    with caplog.at_level(logging.INFO), pytest.raises(RuntimeError) as caught:
        workflow(
            "inference", bundle_root=str(bundle_root), input=str(folder), output_dir=str(out), input_size=64,
            checkpoint=str(bundle_root / "models" / SHIPPED_NAME), num_workers=0, device="cpu", overlays=True,
        ).run()  # fmt: skip
    assert "cine.dcm: is a DICOM file of 2 frames" in input_error(caught.value)
    masks = {path.name: np.asarray(Image.open(path)) for path in (out / "masks").iterdir()}
    assert set(masks) == {"CT.1.2.345.png", "a.png", "b.png"}
    assert masks["a.png"].shape == (60, 96) and 0 < (masks["a.png"] > 0).mean() < 1
    assert all(np.array_equal(mask, masks["a.png"]) for mask in masks.values())
    assert len(list((out / "overlays").iterdir())) == 3


def test_segmentations_in_a_folder_are_passed_over(folder, caplog):
    shutil.copy(get_testdata_file("liver_1frame.dcm"), folder / "liver.dcm")
    with caplog.at_level(logging.INFO):
        found = PicturesToSegment(folder)
    assert found.passed_over == [str(folder / "liver.dcm")]
    assert list(found.failed) == [str(folder / "cine.dcm")]
    assert "passed over" in caplog.text and "liver.dcm: is a DICOM Segmentation" in caplog.text
    assert list(PicturesToSegment(folder / "liver.dcm").failed) == [str(folder / "liver.dcm")]


def test_predict(folder, bundle_root):
    model = bundle_root / "models" / SHIPPED_NAME
    shown = [predict(folder / name, model=model, device="cpu") for name in ("a.png", "b.dcm")]
    assert np.array_equal(*shown)


def test_pictures_of_a_training_may_be_dicom(tmp_path):
    for number in range(4):
        picture, mask = draw_case(number, size=(96, 60))
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "masks").mkdir(exist_ok=True)
        write(tmp_path / "images" / f"{number}.dcm", np.asarray(picture), "RGB")
        Image.fromarray(np.asarray(mask)).save(tmp_path / "masks" / f"{number}.png")
    lists = load_datalists(tmp_path)
    items = [*lists.train, *lists.validation]
    assert {Path(item["image"]).suffix for item in items} == {".dcm"} and len(items) == 4
    assert check_pairs(items).pairs == 4


def test_the_mask_of_a_grey_slice_has_its_size(tmp_path, bundle_root):
    rows = np.arange(40 * 56, dtype=np.int16).reshape(40, 56)
    write(tmp_path / "slice", rows, "MONOCHROME1", Modality="CT", RescaleIntercept=-1024, RescaleSlope=1)
    shutil.copy(tmp_path / "slice", tmp_path / "1.2.840")
    probability = predict(tmp_path / "1.2.840", model=bundle_root / "models" / SHIPPED_NAME, device="cpu")
    assert probability.shape == (40, 56)
