"""Label maps by value and by colour become masks, and what means nothing is named."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from monai_sam2unet.errors import InputError
from monai_sam2unet.labels import BLOCK, LabelReader

RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.fixture
def saved(tmp_path):
    """`saved(array or picture, name, **options)` gives the path of the file it is saved to."""

    def save(picture, name="map.png", **options):
        path = tmp_path / name
        (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
        return path

    return save


def numbers(seed=0, shape=(30, 40), values=(0, 1, 2)):
    """A label map that is neither square nor symmetric: columns of the values, a thin line of the last."""
    array = np.zeros(shape, np.uint8)
    for i, value in enumerate(values):
        array[:, i * shape[1] // len(values) :] = value
    array[3:5, 2:-7] = values[-1]
    return array


def ellipses(height=270, width=350):
    """Two ellipses of classes 1 and 2 that touch, and one of class 2 alone, as in the masks of polyps."""
    y, x = np.mgrid[:height, :width]
    out = np.zeros((height, width), np.uint8)
    out[((y - 90) / 60) ** 2 + ((x - 120) / 80) ** 2 < 1] = 1
    out[((y - 100) / 40) ** 2 + ((x - 230) / 50) ** 2 < 1] = 2
    out[((y - 220) / 25) ** 2 + ((x - 80) / 30) ** 2 < 1] = 2
    return out


# --- by value


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "I;16", "LA"])
def test_values_of_every_kind_of_file(saved, mode):
    array = numbers()
    picture = Image.fromarray(array)
    if mode == "P":
        picture.putpalette([0, 0, 0, 200, 10, 10, 10, 10, 200])  # values count, not what they look like
    elif mode == "I;16":
        picture = Image.fromarray(array.astype(np.uint16))
    elif mode != "L":
        picture = picture.convert(mode)
    masks = LabelReader(["a", "b"]).read([saved(picture)])
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(masks, np.stack([array == 1, array == 2]) * np.uint8(255))


def test_values_of_ones_own_and_values_to_ignore(saved):
    array = numbers(values=(0, 127, 255, 9))
    reader = LabelReader(["a", "b"], values=[255, 127], ignore_index=9)
    masks = reader.read([saved(array)])
    np.testing.assert_array_equal(masks > 0, np.stack([array == 255, array == 127, array == 9]))


def test_one_class_by_value(saved):
    array = numbers(values=(0, 7))
    assert LabelReader([]).plain and LabelReader(["polyp"]).plain
    masks = LabelReader(["liver"], values=[7]).read([saved(array)])
    np.testing.assert_array_equal(masks[0] > 0, array == 7)


def test_values_that_mean_nothing_are_named_with_the_file(saved):
    path = saved(numbers(values=(0, 1, 2, 3, 255)))
    with pytest.raises(InputError) as caught:
        LabelReader(["a", "b"]).read([path])
    assert str(caught.value) == (
        f"{path}: holds the values 3, 255, expected label numbers: 0 background, 1 a, 2 b; correct the file, "
        "or give label_values or ignore_index"
    )
    with pytest.raises(InputError, match=r"holds the values 3, expected .* 2 b, 255 to ignore; correct"):
        LabelReader(["a", "b"], ignore_index=255).read([path])
    with pytest.raises(InputError, match=r"holds the values 11, 12, 13, 14, 15, \.\.\., expected"):
        LabelReader(["a", "b"]).split(np.arange(11, 20), "some")


def test_volumes_are_split_likewise():
    volume = np.random.RandomState(0).randint(0, 3, (4, 5, 6))
    masks = LabelReader(["a", "b"]).split(volume, "v.nii")
    np.testing.assert_array_equal(masks > 0, np.stack([volume == 1, volume == 2]))


# --- a mask of each class


def test_masks_of_classes_that_overlap(saved):
    first, second = np.zeros((5, 8), np.uint8), np.zeros((5, 8), np.uint8)
    first[1:4, 2:6], second[2:5, 3] = 255, 1
    files = [saved(first, "a.png"), saved(second, "b.png")]
    masks = LabelReader(["a", "b"]).read(files)
    np.testing.assert_array_equal(masks > 0, np.stack([first, second]) > 0)
    with_room = LabelReader(["a", "b"], ignore_index=255).read(files)
    assert with_room.shape == (3, 5, 8) and not with_room[2].any()
    np.testing.assert_array_equal(LabelReader().read(files)[0] > 0, (first > 0) | (second > 0))
    with pytest.raises(InputError, match=r"one label map, or 3 masks, one a class \(a, b, c\), got 2 files"):
        LabelReader(["a", "b", "c"]).read(files)
    with pytest.raises(InputError, match=r"c\.png: the mask is \(8, 5\) .*, expected \(5, 8\)"):
        LabelReader(["a", "b"]).read([files[0], saved(first.T.copy(), "c.png")])


# --- by colour


@pytest.mark.parametrize("quality", [40, 75, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("colours", [(RED, GREEN), (RED, (255, 255, 0)), ((128, 128, 0), GREEN)], ids=str)
def test_a_jpeg_of_colours_keeps_its_classes(saved, quality, subsampling, colours):
    """Edges blur by a pixel or two; no thin line of a third class stands between two of them."""
    array = ellipses()
    painted = np.array([(0, 0, 0), *colours], np.uint8)[array]
    path = saved(painted, "map.jpg", quality=quality, subsampling=subsampling)
    masks = LabelReader(["a", "b"], colours=colours).read([path]) > 0
    read = masks[0] + 2 * masks[1]
    y, x = np.mgrid[-3:4, -3:4]
    near = [np.roll(array, (dy, dx), (0, 1)) for dy, dx in zip(y.flat, x.flat, strict=True)]
    assert (read != array).mean() < 0.01
    # whatever a pixel is taken for is there in the truth, within three pixels
    assert np.any([read == other for other in near], axis=0).all()


def test_lossless_colours_are_exact_and_palettes_are_colours(saved):
    array = ellipses()
    painted = Image.fromarray(np.array([(0, 0, 0), RED, GREEN], np.uint8)[array])
    for picture in (painted, painted.convert("RGBA"), painted.quantize(3)):
        masks = LabelReader(["a", "b"], colours=[RED, GREEN]).read([saved(picture)])
        np.testing.assert_array_equal(masks > 0, np.stack([array == 1, array == 2]))


def test_grey_files_are_read_by_value_beside_colours(saved):
    array = numbers()
    masks = LabelReader(["a", "b"], colours=[RED, GREEN]).read([saved(array)])
    np.testing.assert_array_equal(masks > 0, np.stack([array == 1, array == 2]))


def test_the_mixture_of_two_colours_is_no_third_class(saved):
    """Half red, half green is farther than the tolerance from all: its neighbours say what it is."""
    painted = np.zeros((20, 30, 3), np.uint8)
    painted[:, :15], painted[:, 15:] = RED, GREEN
    painted[:, 14] = (150, 150, 0)  # 148 from yellow, 183 from the others, by hand
    yellow = [RED, GREEN, (255, 255, 0)]
    masks = LabelReader(["a", "b", "c"], colours=yellow).read([saved(painted)])
    assert not masks[2].any() and (masks[0] > 0).sum() + (masks[1] > 0).sum() == 600
    loose = LabelReader(["a", "b", "c"], colours=yellow, tolerance=442).read([saved(painted)])
    assert (loose[2] > 0).sum() == 20


def test_a_colour_that_was_not_named_is_an_error(saved):
    painted = np.zeros((40, 60, 3), np.uint8)
    painted[:, :20] = RED
    painted[10:30, 30:50] = (0, 0, 255)
    path = saved(painted)
    with pytest.raises(InputError) as caught:
        LabelReader(["a", "b"], colours=[RED, GREEN]).read([path])
    assert str(caught.value).startswith(f"{path}: the colour [0, 0, 255] at row ")
    assert "farther than colour_tolerance 60 from black and from all of label_colours [[255, 0, 0], " in str(
        caught.value
    )
    painted[10 : 10 + BLOCK, 30:50] = 0
    painted[10 + BLOCK :] = 0  # what is left is not farther than a block from what is known
    painted[10:20, 30:40] = (0, 0, 255)
    assert not LabelReader(["a", "b"], colours=[RED, GREEN]).read([saved(painted)])[1].any()
    with pytest.raises(InputError, match=r"the colour \[0, 0, 255\]"):
        LabelReader(["a"], colours=[RED]).read([saved(np.full((9, 9, 3), (0, 0, 255), np.uint8))])


def test_colours_without_their_names_are_an_error(saved):
    path = saved(np.array([(0, 0, 0), RED], np.uint8)[numbers(values=(0, 1))])
    with pytest.raises(
        InputError, match=r"is in colour, expected a label map of numbers; .* \(a, b\) as label_"
    ):
        LabelReader(["a", "b"]).read([path])


def test_bad_files_are_named(tmp_path):
    (tmp_path / "bad.png").write_bytes(io.BytesIO(b"nothing").getvalue())
    with pytest.raises(InputError, match=r"bad\.png"):
        LabelReader(["a", "b"]).read([tmp_path / "bad.png"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": [1]}, "label_values must have one of each class, 2, got 1"),
        ({"values": [1, 1]}, r"label_values must differ .* got \[1, 1\]"),
        ({"colours": [RED]}, "label_colours must have one of each class, 2, got 1"),
        ({"colours": [RED, (0, 0, 0)]}, r"from 0, the background, got \[\[255, 0, 0\], \[0, 0, 0\]\]"),
        ({"ignore_index": 1}, "ignore_index must be a value that means nothing else in label maps, got 1"),
    ],
)
def test_marks_that_do_not_fit_are_named(options, message):
    with pytest.raises(InputError, match=message):
        LabelReader(["a", "b"], **options)
