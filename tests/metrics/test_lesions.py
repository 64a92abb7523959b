"""Lesions: drawn by hand, and against scikit-image's components."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import measure

from monai_sam2unet.metrics import FOUND_FROM, SIZES, find_lesions, size_of


def drawn(*lines):
    """A mask from lines of text: # is inside."""
    return np.array([[sign == "#" for sign in line] for line in lines])


def test_by_hand():
    """Three lesions, of which the last is missed; one mark lies beside them."""
    reference = drawn(
        "##....###",
        "##....###",
        ".........",
        "...#.....",
    )
    prediction = drawn(
        ".##......",
        ".##....#.",
        "#........",
        "........#",
    )
    found = find_lesions(prediction, reference)
    assert found.areas == (4, 6, 1)
    assert found.found == (True, True, False)
    # the mark in the corner; the pixel at the left joins a mark on the first lesion by its corner
    assert found.false_positives == 1


def test_corners_connect():
    """Eight neighbours: a diagonal is one lesion, and a mark with a gap of one pixel two."""
    assert find_lesions(np.eye(5, dtype=bool), np.eye(5, dtype=bool)).areas == (5,)
    assert find_lesions([[1, 0, 1]], [[0, 0, 0]]).false_positives == 2


@pytest.mark.parametrize(("marked", "found"), [(0, False), (1, False), (9, False), (10, True), (100, True)])
def test_a_tenth_must_be_marked(marked, found):
    reference = np.ones((10, 10), bool)
    prediction = np.zeros(100, bool)
    prediction[:marked] = True
    result = find_lesions(prediction.reshape(10, 10), reference)
    # what touches a lesion is no false positive, even if it is too little
    assert FOUND_FROM == 0.1 and result == ((100,), (found,), 0)


@pytest.mark.parametrize("tens", range(1, 40))
def test_exactly_a_tenth_is_found(tens):
    """Also where a tenth has no exact number in binary, such as 7 of 70."""
    reference = np.ones((tens, 10), bool)
    prediction = np.zeros((tens, 10), bool)
    prediction[:, 0] = True
    assert find_lesions(prediction, reference).found == (True,)
    prediction[0, 0] = False
    assert find_lesions(prediction, reference).found == (False,)


def test_several_marks_add_up_and_one_mark_may_find_several():
    reference = drawn("##########", "..........", "##########")
    prediction = drawn("#.........", "..........", "..........")
    assert find_lesions(prediction, reference, found_from=0.2).found == (False, False)
    prediction = drawn("#....#....", "..........", "..........")
    assert find_lesions(prediction, reference, found_from=0.2).found == (True, False)
    prediction = drawn("##........", "##........", "##........")
    assert find_lesions(prediction, reference, found_from=0.2) == ((10, 10), (True, True), 0)


def test_small_components_are_ignored():
    """A speck of the reference is no lesion, but marking it is not false; a speck marked is not false."""
    reference = drawn("####...#", "####....", "........")
    prediction = drawn("#......#", "........", ".....#..")
    assert find_lesions(prediction, reference) == ((8, 1), (True, True), 1)
    assert find_lesions(prediction, reference, min_area=1) == ((8, 1), (True, True), 1)
    assert find_lesions(prediction, reference, min_area=2) == ((8,), (True,), 0)
    assert find_lesions(prediction, reference, min_area=9) == ((), (), 0)


def test_empty_masks():
    nothing, there = np.zeros((4, 5), bool), drawn("#...#", ".....", ".....", "...##")
    assert find_lesions(nothing, nothing) == ((), (), 0)
    assert find_lesions(there, nothing) == ((), (), 3)
    assert find_lesions(nothing, there) == ((1, 1, 2), (False, False, False), 0)


def by_scikit_image(prediction, reference, min_area):
    """Both counts by sets of coordinates."""
    marked = set(map(tuple, np.argwhere(prediction)))
    inside = set(map(tuple, np.argwhere(reference)))
    lesions = [
        set(map(tuple, r.coords)) for r in measure.regionprops(measure.label(reference, connectivity=2))
    ]
    marks = [
        set(map(tuple, r.coords)) for r in measure.regionprops(measure.label(prediction, connectivity=2))
    ]
    lesions = [lesion for lesion in lesions if len(lesion) >= min_area]
    found = [10 * len(lesion & marked) >= len(lesion) for lesion in lesions]
    false = sum(len(mark) >= min_area and not mark & inside for mark in marks)
    return sorted(zip(map(len, lesions), found, strict=True)), false


masks = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14).flatmap(
    lambda shape: st.tuples(*(hnp.arrays(bool, shape, elements=st.booleans()) for _ in range(2)))
)


@settings(max_examples=150)
@given(masks, st.sampled_from([0, 1, 2, 5]))
def test_equal_to_scikit_image(pair, min_area):
    ours = find_lesions(*pair, min_area)
    lesions, false = by_scikit_image(*pair, min_area)
    assert sorted(zip(ours.areas, ours.found, strict=True)) == lesions
    assert ours.false_positives == false


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_scikit_image_with_many_lesions(seed):
    rng = np.random.default_rng(seed)
    reference, prediction = rng.random((40, 60)) < 0.15, rng.random((40, 60)) < 0.1
    lesions, false = by_scikit_image(prediction, reference, 0)
    ours = find_lesions(prediction, reference)
    assert len(lesions) > 50 and false > 10
    assert (sorted(zip(ours.areas, ours.found, strict=True)), ours.false_positives) == (lesions, false)


def test_bins_leave_no_gap():
    starts, ends = zip(*SIZES.values(), strict=True)
    assert starts == (0, *ends[:-1]) and ends[-1] == 1
    expected = {1e-9: "small", 0.00999: "small", 0.01: "medium", 0.0999: "medium", 0.1: "large", 1.0: "large"}
    assert {fraction: size_of(fraction) for fraction in expected} == expected


def test_other_masks_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        find_lesions(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="reference must be binary"):
        find_lesions([[0]], [[0.5]])
