"""Slices are sorted by where they lie, and what is wrong with a series is named."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import SimpleITK

from monai_sam2unet.errors import InputError
from monai_sam2unet.io import DicomSource, find_series, read
from tests.io.phantoms import slices, write

AXIAL, CORONAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]
# 30 degrees about the left-right axis, as of a tilted gantry.
TILTED = [1, 0, 0, 0, 0.8660254037844387, 0.5]
FEET_FIRST = [-1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("directions", [AXIAL, CORONAL, SAGITTAL, TILTED, FEET_FIRST])
def test_order_and_affine(tmp_path, directions):
    files = slices(tmp_path, directions, [-2.5, 0, 2.5, 5, 7.5])
    (series,) = find_series(tmp_path)
    assert series.files == tuple(files), "by place, against names and instance numbers"
    assert series.gaps == () and series.modality == "CT"
    # SimpleITK's reader of series, given the files in the order of places; its directions are LPS+.
    image = SimpleITK.ReadImage([str(file) for file in files])
    expected = np.eye(4)
    expected[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    expected[:3, 3] = image.GetOrigin()
    assert np.allclose(series.affine, np.diag([-1, -1, 1, 1]) @ expected, atol=1e-5)
    source = read(tmp_path)
    assert isinstance(source, DicomSource)
    # Without a window black and white are those of the series: 0 to 4000, slice k has 1000 k everywhere.
    assert [int(frame.pixels[0, 0, 0]) for frame in source] == [0, 64, 128, 191, 255]
    assert [frame.place.path for frame in source] == files
    assert all(frame.place.number == 1 for frame in source)


def test_several_series(tmp_path):
    slices(tmp_path / "a", AXIAL, [0, 1], SeriesDescription="thin")
    slices(tmp_path / "b", AXIAL, [0, 1, 2], SeriesInstanceUID="1.2.4")
    (tmp_path / "notes.txt").write_text("no DICOM")
    assert [(s.uid, len(s.files)) for s in find_series(tmp_path)] == [("1.2.3", 2), ("1.2.4", 3)]
    with pytest.raises(
        InputError, match=r"several series.*1\.2\.3 \(CT 'thin', 2 files\).*1\.2\.4.*series=UID"
    ):
        read(tmp_path)
    assert len(read(tmp_path, series="1.2.4")) == 3
    with pytest.raises(InputError, match=r"no series 9; expected one of .*1\.2\.3"):
        read(tmp_path, series="9")


def test_a_gap_is_named_and_read(tmp_path, caplog):
    files = slices(tmp_path, AXIAL, [0, 2, 4, 8, 10])
    with caplog.at_level(logging.WARNING):
        (series,) = find_series(tmp_path)
    assert series.gaps == ((files[2], files[3], 4.0),)
    assert f"lacks slices at 1 ({files[2].name} to {files[3].name}: 4 mm)" in caplog.text


def test_duplicates_are_named(tmp_path):
    files = slices(tmp_path, AXIAL, [0, 2, 2, 4])
    with pytest.raises(InputError, match=rf"1\.2\.3: slices lie twice.*{files[2].name}"):
        read(tmp_path)


def test_sizes_and_directions_that_differ_are_named(tmp_path):
    slices(tmp_path, AXIAL, [0, 2, 4])
    odd = {"SeriesInstanceUID": "1.2.3", "ImageOrientationPatient": AXIAL, "ImagePositionPatient": [0, 0, 6]}
    write(tmp_path / "odd.dcm", np.zeros((5, 6), np.uint16), Modality="CT", **odd)
    with pytest.raises(InputError, match=r"most are 4x6, but 1 \(odd\.dcm 5x6\)"):
        find_series(tmp_path)
    odd["ImageOrientationPatient"] = CORONAL
    write(tmp_path / "odd.dcm", np.zeros((4, 6), np.uint16), Modality="CT", **odd)
    with pytest.raises(InputError, match="another orientation than"):
        find_series(tmp_path)
    del odd["ImagePositionPatient"]
    write(tmp_path / "odd.dcm", np.zeros((4, 6), np.uint16), Modality="CT", **odd)
    with pytest.raises(InputError, match=r"1 \(odd\.dcm\) of 4 files have no position"):
        find_series(tmp_path)


def test_without_positions_by_instance_number(tmp_path):
    for name, number in (("a", 3), ("b", 1), ("c", 2)):
        pixels = np.full((4, 6), number * 50, np.uint8)
        write(tmp_path / name, pixels, InstanceNumber=number, SeriesInstanceUID="1.2")
    source = read(tmp_path)
    assert [frame.place.path.name for frame in source] == ["b", "c", "a"]
    assert find_series(tmp_path)[0].affine is None


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="holds no DICOM pictures"):
        read(tmp_path)
    with pytest.raises(InputError, match=r"gone: cannot be read \(No such file"):
        read(tmp_path / "gone")


def test_segmentations_are_passed_over(tmp_path, caplog):
    slices(tmp_path, AXIAL, [0, 1])
    write(tmp_path / "seg.dcm", np.zeros((4, 6), np.uint8), SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    with caplog.at_level(logging.WARNING):
        assert len(read(tmp_path)) == 2
    assert "seg.dcm: is a DICOM Segmentation" in caplog.text
