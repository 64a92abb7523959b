"""Names, channels and label maps of classes."""

from __future__ import annotations

import numpy as np
import pytest

from monai_sam2unet.classes import MOST_CLASSES, Classes
from monai_sam2unet.errors import InputError


def test_channels_have_one_more_for_the_background_where_classes_exclude_each_other():
    assert Classes.of([]).names == ("structure",)
    assert Classes.of([]).out_channels == 1
    assert Classes.of(["a", "b"], "sigmoid").out_channels == 2
    assert Classes.of(["a", "b"], "softmax").out_channels == 3
    assert Classes.of(["a"], "softmax").out_channels == 2


def test_a_label_map_and_its_masks_are_inverse_in_two_and_three_dimensions():
    classes = Classes.of(["a", "b", "c"], "softmax")
    for shape in ((5, 7), (3, 5, 7)):
        label_map = np.random.RandomState(0).randint(0, 4, shape).astype(np.uint8)
        masks = classes.masks(label_map)
        assert masks.shape == (3, *shape)
        np.testing.assert_array_equal(masks[1], label_map == 2)
        np.testing.assert_array_equal(classes.label_map(masks), label_map)
    with pytest.raises(ValueError, match="masks of 3 classes, got 2"):
        classes.label_map(masks[:2])


def test_each_of_the_first_classes_has_a_colour_of_its_own():
    colours = Classes.of([f"c{k}" for k in range(7)]).colours
    assert len(set(colours[:6])) == 6
    assert colours[6] == colours[0]


def test_a_legend_names_each_colour():
    assert Classes.of(["liver", "tumour"]).legend() == "Blue: liver. Orange: tumour."
    assert Classes.of([f"c{k}" for k in range(7)]).legend().endswith("Blue: c6.")


def test_names_of_any_language_are_taken():
    names = ("T", "Leber", "опухоль", "grade 3.5", "non-neoplastic", "肝臓", "left_lung")
    assert Classes.of(names).names == names


@pytest.mark.parametrize(
    ("names", "activation", "message"),
    [
        (["a", "a"], "sigmoid", r"names that differ, got \['a', 'a'\]"),
        (["a", " "], "sigmoid", "names that differ"),
        (["a", 2], "sigmoid", "names that differ"),
        ([f"c{k}" for k in range(MOST_CLASSES + 1)], "sigmoid", "1 to 254 names, got 255"),
        (["left/right", "core (T1)"], "sigmoid", r"names of letters, .* got \['left/right', 'core \(T1\)'\]"),
        (["a", "..", "b "], "sigmoid", r"spaces between these, got \['\.\.', 'b '\]"),
        (["Liver", "liver"], "sigmoid", r"differ in more than capitals, got \['Liver', 'liver'\]"),
        ("liver", "sigmoid", r"a list of names such as .*, got 'liver'"),
        (["a"], "relu", "one of sigmoid, softmax, got 'relu'"),
    ],
)
def test_bad_classes_are_named(names, activation, message):
    with pytest.raises(InputError, match=message):
        Classes.of(names, activation)
