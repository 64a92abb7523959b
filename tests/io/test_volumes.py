"""Volumes of all orientations show the same slices, and masks go back to where they came from."""

from __future__ import annotations

import gzip
import shutil
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import SimpleITK
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from monai_sam2unet.errors import InputError
from monai_sam2unet.io import Kind, kind_of, read
from tests.io.phantoms import write

SHAPE = (5, 4, 3)  # left to right, back to front, feet to head, in RAS+
AFFINE = np.array([[2.0, 0, 0, -3], [0, 1.5, 0, 7], [0, 0, 4, 11], [0, 0, 0, 1]])
ORIENTATIONS = [
    "".join(pairs[axis][sign] for axis, sign in zip(axes, signs, strict=True))
    for pairs in [("LR", "PA", "IS")]
    for axes in permutations(range(3))
    for signs in product((0, 1), repeat=3)
]


def values():
    """(X, Y, Z) in RAS+, every value another one, 0 to 59."""
    return np.arange(60, dtype=np.int16).reshape(SHAPE)


def image_of(codes):
    """The phantom stored with axes that run to `codes`, by nibabel."""
    image = nibabel.Nifti1Image(values(), AFFINE)
    return image.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes)))


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_gives_the_same_slices(tmp_path, codes):
    nibabel.save(image_of(codes), tmp_path / "a.nii")
    assert "".join(nibabel.aff2axcodes(nibabel.load(tmp_path / "a.nii").affine)) == codes
    grey = np.rint(values() * 255 / 59)
    # Rows and columns by hand, in RAS+: from the front (y falls) or the head (z falls), from the patient's
    # right (x falls); a sagittal slice begins at the front.
    expected = {
        "axial": [grey[::-1, ::-1, k].T for k in range(3)],
        "coronal": [grey[::-1, j, ::-1].T for j in range(4)][::-1],
        "sagittal": [grey[i, ::-1, ::-1].T for i in range(5)][::-1],
    }
    for plane, slices in expected.items():
        source = read(tmp_path / "a.nii", plane=plane)
        assert len(source) == len(slices)
        for frame in source:
            assert np.array_equal(frame.pixels[..., 0], slices[frame.number - 1])


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_what_is_written_lies_on_what_was_read(tmp_path, codes, plane):
    nibabel.save(image_of(codes), tmp_path / "a.nii.gz")
    stored = np.asanyarray(nibabel.load(tmp_path / "a.nii.gz").dataobj)
    mask = np.zeros(stored.shape, np.uint8)
    for frame in read(tmp_path / "a.nii.gz", plane=plane):
        assert frame.place.shape == stored.shape
        assert stored.shape[frame.place.axis] == len(read(tmp_path / "a.nii.gz", plane=plane))
        frame.place.view(mask)[...] = frame.pixels[..., 0] >= 128
    assert np.array_equal(mask, np.rint(stored * 255 / 59) >= 128)


def test_affine_is_nibabels(tmp_path):
    nibabel.save(image_of("PIR"), tmp_path / "a.nii.gz")
    place = read(tmp_path / "a.nii.gz").frame(1).place
    assert np.array_equal(place.affine, nibabel.load(tmp_path / "a.nii.gz").affine)
    with pytest.raises(ValueError, match="shape"):
        place.view(np.zeros((1, 2, 3)))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_nrrd_is_as_nifti(tmp_path, codes):
    nibabel.save(image_of(codes), tmp_path / "a.nii")
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(tmp_path / "a.nii")), str(tmp_path / "a.nrrd"))
    shutil.copy(tmp_path / "a.nrrd", tmp_path / "volume")
    assert kind_of(tmp_path / "volume") is Kind.NRRD
    ours, theirs = read(tmp_path / "volume"), read(tmp_path / "a.nii")
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert np.allclose(one.place.affine, other.place.affine, atol=1e-5)
        assert one.place.shape == other.place.shape


def test_names_do_not_matter(tmp_path):
    nibabel.save(image_of("RAS"), tmp_path / "a.nii")
    for name, packed in (("one.png", False), ("two.nii", True)):
        data = (tmp_path / "a.nii").read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
        assert kind_of(tmp_path / name) is Kind.NIFTI
        assert np.array_equal(read(tmp_path / name).frame(2).pixels, read(tmp_path / "a.nii").frame(2).pixels)


def test_version_2_scaling_and_window(tmp_path):
    image = nibabel.Nifti2Image(values(), AFFINE)
    image.header.set_slope_inter(2, -1000)
    nibabel.save(image, tmp_path / "a.nii")
    hu = np.asanyarray(nibabel.load(tmp_path / "a.nii").dataobj)
    assert hu.min() == -1000
    shown = read(tmp_path / "a.nii", window=(-960, 41)).frame(1).pixels[..., 0]
    expected = np.clip(((hu[::-1, ::-1, 0].T + 960.5) / 40 + 0.5) * 255, 0, 255)  # PS3.3, C.11.2.1.2.1
    assert np.abs(shown - expected).max() <= 0.5


def test_colour(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    typed = rgb.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nibabel.save(nibabel.Nifti1Image(typed, AFFINE), tmp_path / "a.nii")
    for frame in read(tmp_path / "a.nii"):
        assert np.array_equal(frame.pixels, rgb[::-1, ::-1, frame.number - 1].swapaxes(0, 1))
    with pytest.raises(InputError, match=r"a\.nii: is in colour"):
        read(tmp_path / "a.nii", window="lung")


def test_oblique_volumes_keep_their_affine(tmp_path):
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    nibabel.save(nibabel.Nifti1Image(values(), turn @ AFFINE), tmp_path / "a.nii")
    place = read(tmp_path / "a.nii").frame(1).place
    assert np.allclose(place.affine, turn @ AFFINE, atol=1e-6)


def test_what_is_not_read_is_named(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((*SHAPE, 2), np.int16), AFFINE), tmp_path / "4d.nii")
    nibabel.save(nibabel.Nifti1Image(values(), AFFINE), tmp_path / "a.nii")
    (tmp_path / "cut.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:-20])
    (tmp_path / "cut.nrrd").write_bytes(b"NRRD0004\ntype: short\n")
    for name, words in (
        ("4d.nii", r"\(5, 4, 3, 2\), expected three axes"),
        ("cut.nii", "NIfTI"),
        ("cut.nrrd", "NRRD"),
    ):
        with pytest.raises(InputError, match=rf"{name}: .*{words}"):
            read(tmp_path / name)
    with pytest.raises(InputError, match="plane must be one of axial, coronal, sagittal, got 'z'"):
        read(tmp_path / "a.nii", plane="z")


def test_slices_of_a_series_show_as_the_volume_does(tmp_path):
    """The same phantom as DICOM, written by hand, and as NIfTI."""
    lps = values()[::-1, ::-1]  # RAS+ turned to LPS+: x and y run the other way
    origin = inv_ornt_aff(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt("LPS")), SHAPE)
    first = np.diag([-1, -1, 1, 1]) @ AFFINE @ origin @ [0, 0, 0, 1]
    for k in range(3):
        position = [float(first[0]), float(first[1]), float(first[2] + 4 * k)]
        placed = {"ImagePositionPatient": position, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        pixels = np.ascontiguousarray(lps[:, :, k].T)
        write(tmp_path / f"{9 - k}.dcm", pixels, PixelSpacing=[1.5, 2], SeriesInstanceUID="1.2", **placed)
    nibabel.save(image_of("RAS"), tmp_path / "a.nii")
    for ours, theirs in zip(read(tmp_path), read(tmp_path / "a.nii"), strict=True):
        assert np.array_equal(ours.pixels, theirs.pixels)
