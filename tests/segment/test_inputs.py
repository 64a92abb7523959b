"""What counts as an input, and that no two of them get the same name."""

from __future__ import annotations

import shutil

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from monai_sam2unet.errors import InputError
from monai_sam2unet.io import Kind
from monai_sam2unet.segment import find_units
from tests.io.phantoms import colours, slices, write


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours()).save(path)
    return path


def names(*inputs):
    return [unit.name for unit in find_units(inputs).units]


@pytest.fixture
def folder(tmp_path):
    """One of every kind."""
    made = tmp_path / "in"
    picture(made / "a.png")
    slices(made / "ct", [1, 0, 0, 0, 1, 0], [0, 2, 4], SeriesInstanceUID="1.2.3")
    slices(made / "nameless", [1, 0, 0, 0, 1, 0], [0, 2], SeriesInstanceUID=None)
    write(made / "cine.dcm", np.stack([colours()] * 2), "RGB", frames=2)
    write(made / "1.2.840.1", colours(), "RGB")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), made / "b.nii.gz")
    shutil.copy(get_testdata_file("liver_1frame.dcm"), made / "seg.dcm")
    (made / "broken.png").write_bytes(b"no picture")
    (made / "notes.csv").write_text("a,b")
    (made / ".hidden.png").write_bytes(b"")
    return made


def test_folder_of_every_kind(folder):
    found = find_units([folder])
    assert [unit.name for unit in found.units] == [
        "1.2.840.1", "a", "b", "broken", "cine", "ct", "nameless",
    ]  # fmt: skip
    by_name = {unit.name: unit for unit in found.units}
    assert by_name["ct"].series.uid == "1.2.3"
    assert len(by_name["ct"].open()) == 3
    assert len(by_name["nameless"].open()) == 2
    assert len(by_name["cine"].open()) == 2
    assert by_name["b"].open(plane="sagittal").kind is Kind.NIFTI
    assert list(found.passed_over) == [str(folder / "seg.dcm")]
    with pytest.raises(InputError, match=r"broken\.png"):
        by_name["broken"].open()


def test_a_folder_that_is_a_series_gives_its_name(folder):
    assert names(folder / "ct") == ["ct"]
    assert names(folder / "ct" / "001.dcm") == ["001"]  # this very file, not its series
    assert names(*sorted((folder / "ct").iterdir())) == ["ct"]  # as a shell writes out ct/*.dcm
    assert names(folder / "c*" / "*.dcm") == ["ct"]


def test_one_bad_series_does_not_stop_the_others(folder):
    shutil.copy(folder / "ct" / "001.dcm", folder / "ct" / "copy.dcm")
    found = find_units([folder])
    assert "ct" not in [unit.name for unit in found.units]
    (reason,) = found.failed.values()
    assert "slices lie twice at one place" in reason


def test_a_segmentation_that_is_named_itself_fails(folder):
    assert "a DICOM Segmentation" in find_units([folder / "seg.dcm"]).failed[str(folder / "seg.dcm")]


def test_several_series_of_a_folder_are_told_apart(tmp_path):
    for uid in ("1.2.3", "1.2.4"):
        for file in slices(tmp_path / uid, [1, 0, 0, 0, 1, 0], [0, 2], SeriesInstanceUID=uid):
            (tmp_path / "all").mkdir(exist_ok=True)
            file.rename(tmp_path / "all" / f"{uid}-{file.name}")
    assert names(tmp_path / "all") == ["all/1.2.3", "all/1.2.4"]


def test_no_name_is_there_twice_nor_the_folder_of_another(tmp_path):
    first, second = tmp_path / "x" / "in", tmp_path / "y" / "in"
    for path in (
        first / "a.png",
        first / "a.bmp",
        first / "b.png",
        first / "b" / "0001.png",
        second / "c.png",
    ):
        picture(path)
    picture(first / "c.png")
    picture(first / "d.overlay.png")
    assert names(first) == ["a.bmp", "a.png", "b.png", "b/0001", "c", "d.overlay.png"]
    both = names(first, second)
    assert len(set(both)) == len(both) == 7
    assert [name for name in both if "c.png" in name] == [
        f"{folder.resolve().as_posix().lstrip('/')}/c.png" for folder in (first, second)
    ]
    assert names(first, first / "b.png") == names(first)  # what is given twice is there once


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="nothing is not there; give a file, a folder or a pattern"):
        find_units([tmp_path / "nothing"])
    with pytest.raises(InputError, match="no file matches the pattern"):
        find_units([tmp_path / "*.dcm"])
