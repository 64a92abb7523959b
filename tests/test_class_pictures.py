"""Label maps with a palette, and overlays in the colours of the classes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from monai_sam2unet.class_pictures import class_overlay, label_map_picture
from monai_sam2unet.classes import Classes
from monai_sam2unet.overlays import overlay

TWO = Classes.of(["a", "b"], "softmax")


def masks():
    """Two rectangles that do not touch, in a picture that is neither square nor symmetric."""
    out = np.zeros((2, 40, 60), bool)
    out[0, 4:16, 6:50], out[1, 22:38, 30:44] = True, True
    return out


def test_a_label_map_is_numbers_to_programs_and_colours_to_viewers():
    file = io.BytesIO()
    label_map_picture(masks(), TWO).save(file, format="PNG")
    read = Image.open(file)
    assert read.mode == "P" and np.array_equal(np.asarray(read), TWO.label_map(masks()))
    shown = np.asarray(read.convert("RGB"))
    assert (shown[masks()[0]] == TWO.colours[0]).all() and (shown[masks()[1]] == TWO.colours[1]).all()
    assert not shown[~masks().any(axis=0)].any()


def test_all_254_classes_have_a_number():
    many = Classes.of([f"c{k}" for k in range(254)], "softmax")
    row = np.eye(254, dtype=bool)[:, None, :]
    assert np.asarray(label_map_picture(row, many)).tolist() == [list(range(1, 255))]


def test_overlays_have_each_class_in_its_colour():
    picture = np.full((40, 60, 3), 100, np.uint8)
    drawn = class_overlay(picture, masks(), TWO)
    assert (drawn[4, 6:50] == TWO.colours[0]).all(), "the outline"
    assert (drawn[22, 30:44] == TWO.colours[1]).all()
    outside = ~masks().any(axis=0)
    assert np.array_equal(drawn[outside], picture[outside])
    one = Classes.of([])
    assert np.array_equal(class_overlay(picture, masks()[:1], one), overlay(picture, masks()[0]))


def test_references_are_outlined_and_predictions_tinted():
    picture = np.full((40, 60, 3), 100, np.uint8)
    references = np.roll(masks(), 3, axis=2)
    drawn = class_overlay(picture, masks(), TWO, references)
    tint = np.rint(100 * 0.55 + np.array(TWO.colours[0]) * 0.45)  # the strength is 0.45
    assert (drawn[10, 6] == tint).all(), "no outline of the prediction"
    assert (drawn[3, 9:53] == TWO.colours[0]).all(), "just outside the reference"
    assert (drawn[21, 33:47] == TWO.colours[1]).all()
    assert np.array_equal(drawn[30, 10], picture[30, 10])


def test_masks_must_be_of_all_classes():
    with pytest.raises(ValueError, match="masks of 2 classes, got 1"):
        label_map_picture(masks()[:1], TWO)
    with pytest.raises(ValueError):
        class_overlay(np.zeros((40, 60, 3), np.uint8), masks()[:1], TWO)
