"""Pictures of every kind come out as a viewer shows them; what cannot be used is named."""

from __future__ import annotations

import logging
import os
import stat

import numpy as np
import pytest
from PIL import Image

from monai_sam2unet.errors import InputError
from monai_sam2unet.pictures import (
    PICTURE_SUFFIXES,
    open_mask,
    open_mask_and_grey,
    open_picture,
    to_mask,
    to_rgb,
    write_png,
)

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def rows(image):
    """The pixels of a picture, row by row."""
    return np.asarray(image).tolist()


def corner_picture(size=(40, 24)):
    """A black picture (width, height) whose top left quarter is white: asymmetric under every turn."""
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (0, 0, size[0] // 2, size[1] // 2))
    return image


# Where a viewer shows the stored top left, by the EXIF standard's words for tag 274, "Orientation":
# 6 is "row 0 is the right side, column 0 the top", hence top right.
@pytest.mark.parametrize(
    ("orientation", "white_corner"),
    [(1, "tl"), (2, "tr"), (3, "br"), (4, "bl"), (5, "tl"), (6, "tr"), (7, "br"), (8, "bl")],
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("opener", [open_picture, open_mask])
def test_exif_orientation(tmp_path, orientation, white_corner, suffix, opener):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"p{suffix}"
    corner_picture().save(path, exif=exif, **({"quality": 95} if suffix == ".jpg" else {}))
    image = opener(path)
    assert image.size == ((24, 40) if orientation >= 5 else (40, 24))
    a = np.asarray(image.convert("L"))
    corners = {"tl": a[2, 2], "tr": a[2, -3], "bl": a[-3, 2], "br": a[-3, -3]}
    assert max(corners, key=corners.get) == white_corner
    assert sorted(int(v) > 127 for v in corners.values()) == [False, False, False, True]


def test_damaged_exif_is_passed_over(tmp_path):
    path = tmp_path / "p.jpg"
    corner_picture().save(path, exif=b"Exif\x00\x00not a tiff header")
    assert open_picture(path).size == (40, 24)


def palette_image(transparency=None):
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (palette_image(), [RED, GREEN, BLUE]),
        (palette_image(transparency=1), [RED, (0, 0, 0), BLUE]),
        (palette_image(transparency=bytes([255, 0, 255])), [RED, (0, 0, 0), BLUE]),
        (Image.new("RGBA", (1, 1), (200, 100, 50, 0)), [(0, 0, 0)]),
        (Image.new("RGBA", (1, 1), (200, 100, 50, 255)), [(200, 100, 50)]),
        (Image.new("RGBA", (1, 1), (200, 100, 50, 128)), [(100, 50, 25)]),  # 128/255 of it over black
        (Image.new("LA", (1, 1), (200, 0)), [(0, 0, 0)]),
        (Image.new("LA", (1, 1), (200, 255)), [(200, 200, 200)]),
        (Image.new("1", (1, 1), 1), [(255, 255, 255)]),
        (Image.new("L", (1, 1), 7), [(7, 7, 7)]),
        (Image.new("CMYK", (1, 1), (0, 255, 255, 0)), [RED]),
    ],
)
def test_to_rgb_modes(image, expected):
    out = to_rgb(image)
    assert out.mode == "RGB"
    assert np.abs(np.asarray(out)[0].astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[1000, 1500, 2000]], np.uint16), [0, 128, 255]),
        (np.array([[0, 65535]], np.uint16), [0, 255]),
        (np.array([[-5, 0, 5]], np.int32), [0, 128, 255]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[7, 7]], np.uint16), [0, 0]),
        (np.array([[np.nan, 1, 2, np.inf, -np.inf]], np.float32), [0, 0, 255, 255, 0]),
        (np.array([[np.nan, np.nan]], np.float32), [0, 0]),
        (np.array([[-3e38, 3e38]], np.float32), [0, 255]),
    ],
)
def test_deep_grey_is_stretched(values, expected, tmp_path):
    image = Image.fromarray(values)
    assert rows(to_rgb(image)) == [[[v] * 3 for v in expected]]
    image.save(tmp_path / "deep.tif")
    assert rows(open_picture(tmp_path / "deep.tif")) == rows(to_rgb(image))


def test_sixteen_bit_png(tmp_path):
    Image.fromarray(np.array([[0, 300, 600]], np.uint16)).save(tmp_path / "deep.png")
    assert rows(open_picture(tmp_path / "deep.png")) == [[[0] * 3, [128] * 3, [255] * 3]]


def test_first_frame_of_several(tmp_path):
    frames = [Image.new("RGB", (4, 2), colour) for colour in (RED, GREEN)]
    for name in ("a.gif", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert rows(open_picture(tmp_path / name))[0][0] == list(RED)
    with Image.open(tmp_path / "a.gif") as image:
        image.seek(1)
        assert rows(to_rgb(image))[0][0] == list(RED)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 1]], np.uint8), [0, 255]),
        (np.array([[0, 127, 128, 255]], np.uint8), [0, 0, 255, 255]),
        (np.array([[0, 3, 250]], np.uint8), [0, 0, 255]),
        (np.array([[0, 0]], np.uint8), [0, 0]),
        (np.array([[1, 1]], np.uint8), [255, 255]),
        (np.array([[2, 9]], np.uint8), [0, 0]),
        (np.array([[0, 32767, 32768, 65535]], np.uint16), [0, 0, 255, 255]),
        (np.array([[0, 1]], np.uint16), [0, 255]),
        (np.array([[0.0, 0.49, 0.5, 1.0]], np.float32), [0, 0, 255, 255]),
        (np.array([[np.nan, np.inf, -np.inf, 1]], np.float32), [0, 255, 0, 255]),
        (np.array([[-7, 0, 1]], np.int32), [0, 0, 255]),
    ],
)
def test_to_mask_ranges(values, expected):
    out = to_mask(Image.fromarray(values))
    assert out.mode == "L"
    assert rows(out) == [expected]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (palette_image(), [255, 255, 255]),
        (palette_image(transparency=bytes([0, 0, 0])), [255, 255, 255]),
        (Image.new("1", (1, 1), 1), [255]),
        (Image.new("RGB", (1, 1), BLUE), [255]),
        (Image.new("RGB", (1, 1), (1, 0, 0)), [255]),
        (Image.new("RGBA", (1, 1), (255, 255, 255, 0)), [255]),
        (Image.new("RGBA", (1, 1), (0, 0, 0, 255)), [0]),
        (Image.new("LA", (1, 1), (0, 255)), [0]),
        (Image.new("LA", (1, 1), (255, 0)), [255]),
    ],
)
def test_to_mask_modes(image, expected):
    assert rows(to_mask(image)) == [expected]


def test_jpeg_mask(tmp_path):
    truth = np.zeros((64, 96), np.uint8)
    truth[9:43, 13:37] = 255  # across the blocks of 8, where JPEG rings
    Image.fromarray(truth).save(tmp_path / "m.jpg", quality=75)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "m.jpg")))) - {0, 255}, "not the case to be tested"
    assert np.array_equal(np.asarray(open_mask(tmp_path / "m.jpg")), truth)


def test_mask_of_class_numbers_is_named(tmp_path, caplog):
    Image.fromarray(np.array([[0, 2]], np.uint8)).save(tmp_path / "classes.png")
    with caplog.at_level(logging.WARNING):
        assert rows(open_mask(tmp_path / "classes.png")) == [[0, 0]]
    assert "classes.png" in caplog.text


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(np.array([[0, 127, 128, 254]], np.uint8)), [0, 127, 128, 254]),
        # ITU-R BT.601's weights of red and green, 0.299 and 0.587, of 255
        (Image.fromarray(np.array([[RED, GREEN]], np.uint8)), [76, 150]),
        (Image.fromarray(np.array([[0, 65535]], np.uint16)), None),
    ],
)
def test_mask_and_its_grey_values(tmp_path, image, expected):
    image.save(tmp_path / "m.png")
    mask, grey = open_mask_and_grey(tmp_path / "m.png")
    assert rows(mask) == rows(open_mask(tmp_path / "m.png"))
    assert (None if grey is None else rows(grey)[0]) == expected


def test_mask_and_its_grey_values_are_upright(tmp_path):
    image = corner_picture()
    exif = image.getexif()
    exif[274] = 3  # upside down: "row 0 is the bottom, column 0 the right side"
    image.save(tmp_path / "m.png", exif=exif)
    for form in open_mask_and_grey(tmp_path / "m.png"):
        assert np.asarray(form)[12:, 20:].min() == 255 and np.asarray(form).mean() == 255 / 4


def truncated(path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("opener", [open_picture, open_mask, open_mask_and_grey])
@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("missing.png", lambda p: None, "no such file"),
        ("folder.png", lambda p: p.mkdir(), "folder"),
        ("text.png", lambda p: p.write_text("hello"), "not a picture"),
        ("empty.png", lambda p: p.touch(), "0 bytes"),
        ("cut.png", truncated, "decoded"),
        ("cut.jpg", truncated, "decoded"),
        ("cut.tif", truncated, "decoded"),
        ("page.eps", lambda p: Image.new("RGB", (4, 4)).save(p), "not a picture"),
    ],
)
def test_unusable_files_are_named(tmp_path, caplog, name, make, reason, opener):
    make(tmp_path / name)
    with pytest.raises(InputError, match=reason) as caught:
        opener(str(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)
    assert "expected a readable picture" in str(caught.value)
    assert not caplog.records, "nothing else, such as EXIF data, is to be blamed"


@pytest.mark.parametrize("opener", [open_picture, open_mask])
def test_decompression_bomb(tmp_path, monkeypatch, opener):
    Image.new("L", (10, 11)).save(tmp_path / "big.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 54)  # 110 pixels are more than twice that
    with pytest.raises(InputError, match=r"big\.png: it has more than the 108 pixels allowed; cut it into"):
        opener(tmp_path / "big.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [55, 99, None])
def test_large_pictures_open(tmp_path, monkeypatch, limit):
    """Up to twice Pillow's limit of 89 million pixels, so that 10000x10000 are read."""
    assert Image.MAX_IMAGE_PIXELS * 2 > 10_000**2 > Image.MAX_IMAGE_PIXELS
    Image.new("L", (10, 11), 7).save(tmp_path / "big.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert (np.asarray(open_picture(tmp_path / "big.png")) == 7).all()


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
def test_every_suffix_opens(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    image = corner_picture()
    (image.convert("L") if suffix == ".pgm" else image).save(path)
    out = np.asarray(open_picture(path))
    assert out.shape == (24, 40, 3)
    assert out[3, 3, 0] > 200 > 50 > out[-3, -3, 0]


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_write_png_round_trip(tmp_path, shape):
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "a" / "b" / "out.png"
    write_png(path, array)
    write_png(path, Image.fromarray(array))  # replaces
    assert np.array_equal(np.asarray(Image.open(path)), array)
    assert os.listdir(path.parent) == ["out.png"]
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode), "readable as other files"


def test_maps_are_packed_as_small_as_by_default(tmp_path):
    """Fast packing must not fill the disk: a map made larger from few values, and its mask."""
    few = np.random.default_rng(0).normal(-6, 2, (22, 30))
    few[6:14, 9:20] += 12
    larger = np.asarray(Image.fromarray(few.astype(np.float32)).resize((300, 220), Image.Resampling.BILINEAR))
    soft = (255 / (1 + np.exp(-larger))).astype(np.uint8)
    for picture in (soft, (soft > 127) * np.uint8(255)):
        write_png(tmp_path / "ours.png", picture)
        Image.fromarray(picture).save(tmp_path / "default.png")
        assert (tmp_path / "ours.png").stat().st_size <= 1.05 * (tmp_path / "default.png").stat().st_size


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("a.png", np.zeros((2, 2), np.float32)),
        ("a.png", np.zeros((2, 2), bool)),
        ("a.png", np.zeros((3, 2, 2), np.uint8)),
        ("a.jpg", np.zeros((2, 2), np.uint8)),
        ("a.png", Image.new("CMYK", (2, 2))),
    ],
)
def test_write_png_refuses(tmp_path, name, picture):
    with pytest.raises(ValueError, match="must"):
        write_png(tmp_path / name, picture)
    assert not os.listdir(tmp_path)


def test_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.png"
    write_png(path, np.zeros((2, 2), np.uint8))
    resource = pytest.importorskip("resource")  # not on Windows
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # bytes; more fails, as on a full disk
    try:
        with pytest.raises(InputError, match=r"out\.png: cannot be written \(File too large"):
            write_png(path, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["out.png"]
    assert np.asarray(Image.open(path)).shape == (2, 2)


def test_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"out\.png"):
        write_png(tmp_path / "file" / "out.png", np.zeros((2, 2), np.uint8))
