"""Masks come back on their pixels: PNG of every kind of classes, NIfTI and NRRD in every orientation."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import SimpleITK
from nibabel.orientations import axcodes2ornt, ornt_transform
from PIL import Image

from monai_sam2unet.classes import Classes
from monai_sam2unet.errors import InputError
from monai_sam2unet.io import read, volume_of, write_nifti, write_nrrd, write_pngs
from monai_sam2unet.io.geometry import pixel_area
from tests.io.phantoms import colours, item, slices, write

ONE = Classes.of([])
EXCLUSIVE = Classes.of(["liver", "left tumour"], "softmax")
OVERLAPPING = Classes.of(["liver", "left tumour"], "sigmoid")
AFFINE = np.array([[2.0, 0, 0, -3], [0, 1.5, 0, 7], [0, 0, 4, 11], [0, 0, 0, 1]])
ORIENTATIONS = [
    "".join(["LR", "PA", "IS"][axis][sign] for axis, sign in zip(axes, signs, strict=True))
    for axes in permutations(range(3))
    for signs in product((0, 1), repeat=3)
]


def bright(source, classes=ONE):
    """Frames with masks that follow from their pixels: bright, and very bright."""
    for frame in source:
        levels = frame.pixels[..., 0]
        masks = [levels >= 128, levels >= 192][: classes.count]
        if classes.exclusive:
            masks[0] &= ~masks[1]
        yield frame, np.stack(masks)


def volume(path, codes="RAS", affine=AFFINE):
    """5x4x3 voxels stored with axes that run to `codes`, by nibabel, every value another one."""
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), affine)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    nibabel.save(image.as_reoriented(turn), path)
    return path


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_volumes_lie_on_their_source(tmp_path, codes):
    """SimpleITK reads source and result, and its affine is one that neither we nor nibabel compute."""
    path = volume(tmp_path / "a.nii", codes)
    theirs = SimpleITK.ReadImage(str(path))
    expected = np.rint(SimpleITK.GetArrayFromImage(theirs) * 255 / 59) >= 128  # 0 to 59 shown as 0 to 255
    for plane in ("axial", "coronal", "sagittal"):
        for write_volume, suffix in ((write_nifti, ".nii.gz"), (write_nrrd, ".nrrd")):
            source = read(path, plane=plane)
            assert write_volume(tmp_path / "out", source, bright(source), ONE) == [tmp_path / f"out{suffix}"]
            ours = SimpleITK.ReadImage(str(tmp_path / f"out{suffix}"))
            assert ours.GetPixelID() == SimpleITK.sitkUInt8
            assert np.array_equal(SimpleITK.GetArrayFromImage(ours), expected)
            for place in ("GetOrigin", "GetSpacing", "GetDirection"):
                assert np.allclose(getattr(ours, place)(), getattr(theirs, place)(), atol=1e-5)
    made = nibabel.load(tmp_path / "out.nii.gz")
    assert np.array_equal(made.affine, nibabel.load(path).affine)
    assert made.shape == nibabel.load(path).shape


def test_slanted_volumes_keep_their_affine(tmp_path):
    slanted = AFFINE.copy()
    slanted[0, 2] = 1.0  # as with a tilted gantry
    source = read(volume(tmp_path / "a.nii", affine=slanted))
    write_nifti(tmp_path / "out", source, bright(source), ONE)
    assert np.array_equal(nibabel.load(tmp_path / "out.nii.gz").affine, slanted)


@pytest.mark.parametrize("classes", [EXCLUSIVE, OVERLAPPING])
def test_classes_in_a_volume(tmp_path, classes):
    source = read(volume(tmp_path / "a.nii"))
    files = write_nifti(tmp_path / "out", source, bright(source, classes), classes)
    shown = np.rint(np.arange(60).reshape(5, 4, 3) * 255 / 59)
    found = [np.asanyarray(nibabel.load(file).dataobj) for file in files]
    if classes.exclusive:
        assert np.array_equal(found[0], (shown >= 128).astype(int) + (shown >= 192))
    else:
        assert [file.relative_to(tmp_path).as_posix() for file in files] == [
            "out/1-liver.nii.gz", "out/2-left tumour.nii.gz",
        ]  # fmt: skip
        assert np.array_equal(found[0], shown >= 128)
        assert np.array_equal(found[1], shown >= 192)


def test_pictures_of_one_structure(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png")
    source = read(tmp_path / "a.png")
    (file,) = write_pngs(tmp_path / "b.c", source, bright(source), ONE)  # what looks like a suffix is none
    assert file == tmp_path / "b.c.png"
    with Image.open(file) as made:
        assert made.mode == "L"
        assert np.array_equal(np.asarray(made), np.where(colours()[..., 0] >= 128, 255, 0))


def test_pictures_of_several_classes(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png")
    source, red = read(tmp_path / "a.png"), colours()[..., 0]
    (file,) = write_pngs(tmp_path / "one", source, bright(source, EXCLUSIVE), EXCLUSIVE)
    with Image.open(file) as made:
        assert made.mode == "P"
        assert np.array_equal(np.asarray(made), (red >= 128).astype(int) + (red >= 192))
        assert tuple(np.asarray(made.convert("RGB"))[red >= 192][0]) == EXCLUSIVE.colours[1]
    files = write_pngs(tmp_path / "two", source, bright(source, OVERLAPPING), OVERLAPPING)
    assert [file.name for file in files] == ["1-liver.png", "2-left tumour.png"]
    assert np.array_equal(np.asarray(Image.open(files[1])) > 0, red >= 192)


def test_frames_are_numbered_files_and_half_a_source_leaves_none(tmp_path):
    pages = [Image.fromarray(np.rot90(colours(), k)) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    source = read(tmp_path / "a.tif")
    files = write_pngs(tmp_path / "out", source, bright(source), ONE)
    assert [file.name for file in files] == ["0001.png", "0002.png", "0003.png"]
    assert np.array_equal(np.asarray(Image.open(files[1])) > 0, np.rot90(colours())[..., 0] >= 128)

    def broken():
        yield from list(bright(source))[:2]
        raise InputError("page 3 cannot be decoded")

    with pytest.raises(InputError, match="page 3"):
        write_pngs(tmp_path / "half", source, broken(), ONE)
    assert not list((tmp_path / "half").iterdir())


def test_what_has_no_place_is_refused_as_a_volume(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png")
    write(tmp_path / "b.dcm", colours(), "RGB")
    slices(tmp_path / "uneven", [1, 0, 0, 0, 1, 0], [0, 2, 4, 9])
    for name, words in (("a.png", "no place"), ("b.dcm", "no place"), ("uneven", "no even distances")):
        source = read(tmp_path / name)
        with pytest.raises(InputError, match=rf"{name}: .*{words}"):
            write_nifti(tmp_path / "out", source, bright(source), ONE)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_functional_groups_place_the_frames_of_an_enhanced_object(tmp_path, order):
    """Whatever order the file has its frames in, the volume has them in that of their places."""
    places = [[1.0, 2.0, 3.0 + 4 * k] for k in order]
    own = [item(PlanePositionSequence=[item(ImagePositionPatient=place)]) for place in places]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.25], SliceThickness=4)],
    )
    pixels = np.arange(180, dtype=np.uint8).reshape(3, 6, 10)
    groups = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": own}
    write(tmp_path / "a.dcm", pixels[list(order)], frames=3, **groups)
    source = read(tmp_path / "a.dcm")
    write_nifti(tmp_path / "out", source, bright(source), ONE)
    made = nibabel.load(tmp_path / "out.nii.gz")
    # By hand: LPS+ to RAS+ turns x and y; columns are 0.25 mm apart, rows 0.5 mm, frames 4 mm.
    assert np.array_equal(made.affine, [[-0.25, 0, 0, -1], [0, -0.5, 0, -2], [0, 0, 4, 3], [0, 0, 0, 1]])
    assert np.array_equal(np.asanyarray(made.dataobj), (pixels >= 128).transpose(2, 1, 0))
    values = volume_of(source)
    assert np.array_equal(values.affine, made.affine)
    assert np.array_equal(values.values, pixels.transpose(2, 1, 0))


def test_area_of_a_pixel(tmp_path):
    volume(tmp_path / "a.nii", "PIR")
    # By hand: axial slices show x and y, 2 mm and 1.5 mm; sagittal ones y and z, 1.5 mm and 4 mm.
    assert pixel_area(read(tmp_path / "a.nii")) == pytest.approx(3.0)
    assert pixel_area(read(tmp_path / "a.nii", plane="sagittal")) == pytest.approx(6.0)
    write(tmp_path / "b.dcm", colours(), "RGB", PixelSpacing=[0.5, 0.25])
    write(tmp_path / "c.dcm", colours(), "RGB", ImagerPixelSpacing=[0.5, 0.25])
    assert pixel_area(read(tmp_path / "b.dcm")) == pytest.approx(0.125)
    assert pixel_area(read(tmp_path / "c.dcm")) is None
