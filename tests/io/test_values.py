"""Volumes as numbers: every orientation, label maps whose axes are turned, series, and what is refused."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK

from monai_sam2unet.errors import InputError
from monai_sam2unet.io import Volume, read_values
from tests.io.phantoms import slices, write
from tests.io.test_volumes import AFFINE, ORIENTATIONS, image_of, values


def save(path, array, affine=AFFINE):
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_label_map_is_laid_out_as_its_volume(tmp_path, codes):
    """The volume RAS+, its label map in each of the 48 orders that a program may write: values meet again."""
    volume = read_values(save(tmp_path / "a.nii.gz", values()))
    nibabel.save(image_of(codes), tmp_path / "b.nii")
    label = read_values(tmp_path / "b.nii").laid_out_as(volume)
    assert np.array_equal(label.values, volume.values) and np.array_equal(volume.values, values())
    assert np.array_equal(label.affine, AFFINE)


def test_spacing_is_that_of_the_stored_axes(tmp_path):
    nibabel.save(image_of("SPL"), tmp_path / "a.nii")
    # of AFFINE: 2 mm from left to right, 1.5 to the back, 4 to the head
    assert read_values(tmp_path / "a.nii").spacing == pytest.approx((4, 1.5, 2))


def test_nrrd_is_what_nifti_is(tmp_path):
    """ITK has the last axis first in arrays, and LPS+ as its space."""
    image = SimpleITK.GetImageFromArray(values().transpose(2, 1, 0))
    image.SetSpacing((2, 1.5, 4))
    image.SetOrigin((3, -7, 11))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    found = read_values(tmp_path / "a.nrrd")
    assert np.array_equal(found.values, values()) and np.allclose(found.affine, AFFINE)


def test_a_series_has_hounsfield_units_and_a_place(tmp_path):
    slices(tmp_path / "ct", [1, 0, 0, 0, 1, 0], [0.0, 3.0, 6.0], RescaleSlope=2, RescaleIntercept=-1000)
    found = read_values(tmp_path / "ct")
    assert found.values.shape == (6, 4, 3)  # columns, rows, slices
    # the phantom's slices hold 0, 1000, 2000 as stored
    assert found.values[0, 0].tolist() == [-1000, 1000, 3000]
    # Pixel Spacing: 0.5 between rows, 0.25 between columns; x and y change sign from LPS+ to RAS+
    assert np.allclose(found.affine, np.diag([-0.25, -0.5, 3, 1]))


def test_a_label_map_of_a_series(tmp_path):
    """As a NIfTI file by SimpleITK, which reads the series itself."""
    files = slices(tmp_path / "ct", [1, 0, 0, 0, 1, 0], [0.0, 3.0, 6.0])
    image = SimpleITK.ReadImage([str(file) for file in files])
    SimpleITK.WriteImage(image, str(tmp_path / "label.nii.gz"))
    series = read_values(tmp_path / "ct")
    label = read_values(tmp_path / "label.nii.gz").laid_out_as(series)
    assert np.array_equal(label.values, series.values)


def test_label_maps_elsewhere_or_of_another_size_are_refused(tmp_path):
    volume = read_values(save(tmp_path / "a.nii", values()))
    small = read_values(save(tmp_path / "small.nii", values()[1:]))
    with pytest.raises(InputError, match=r"small\.nii: has 4x4x3 voxels, expected 5x4x3 as .*a\.nii"):
        small.laid_out_as(volume)
    moved = AFFINE.copy()
    moved[0, 3] += 0.5
    with pytest.raises(InputError, match=r"moved\.nii: lies up to 0\.5 mm off .*a\.nii"):
        read_values(save(tmp_path / "moved.nii", values(), moved)).laid_out_as(volume)
    moved[0, 3] = AFFINE[0, 3] + 0.1  # less than a tenth of the smallest distance, 1.5 mm
    nearly = read_values(save(tmp_path / "nearly.nii", values(), moved)).laid_out_as(volume)
    assert np.array_equal(nearly.affine, AFFINE)


def test_what_is_no_volume_is_refused(tmp_path):
    save(tmp_path / "4d.nii", np.zeros((2, 3, 4, 2), np.int16))
    with pytest.raises(InputError, match=r"4d\.nii: has the shape \(2, 3, 4, 2\), expected three axes"):
        read_values(tmp_path / "4d.nii")
    (tmp_path / "a.txt").write_text("no volume")
    with pytest.raises(InputError, match=r"a\.txt: is of no known kind, expected a NIfTI or NRRD volume"):
        read_values(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"absent\.nii: cannot be read"):
        read_values(tmp_path / "absent.nii")
    (tmp_path / "one").mkdir()
    write(tmp_path / "one" / "a.dcm", np.zeros((4, 6), np.uint8), SeriesInstanceUID="1.2")
    with pytest.raises(InputError, match="says no place of its slices, or has one alone"):
        read_values(tmp_path / "one")
    rgb = np.zeros((4, 6, 3), np.uint8)
    for number in (0, 1):
        place = {"ImagePositionPatient": [0, 0, number], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        (tmp_path / "rgb").mkdir(exist_ok=True)
        write(
            tmp_path / "rgb" / f"{number}.dcm",
            rgb,
            "RGB",
            PixelSpacing=[1, 1],
            SeriesInstanceUID="1",
            **place,
        )
    with pytest.raises(InputError, match="is in colour"):
        read_values(tmp_path / "rgb")


def test_volumes_can_be_made_of_arrays(tmp_path):
    assert Volume(values(), np.eye(4), tmp_path).spacing == (1, 1, 1)


def test_real_series_is_the_nifti_of_it(real_data):
    """TotalSegmentator's CT as DICOM: SimpleITK, an own reader, finds the same values."""
    folder = real_data("TotalSegmentator-example") / "example_ct_dicom"
    found = read_values(folder)
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = SimpleITK.ReadImage(names)
    theirs = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
    assert np.array_equal(found.values, theirs)
    assert found.spacing == pytest.approx(image.GetSpacing())
    # the set's label map of this series has its rows from the bottom, as its affine says
    label = read_values(folder.parent / "example_seg_dicom.nii.gz")
    assert np.array_equal(label.laid_out_as(found).values, label.values[:, ::-1])
