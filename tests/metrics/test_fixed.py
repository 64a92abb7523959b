"""Overlap at a fixed operating point."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_iou, get_confusion_matrix
from monai.metrics.confusion_matrix import compute_confusion_matrix_metric
from monai.metrics.meandice import compute_dice
from scipy.spatial import distance

from monai_sam2unet.metrics import OVERLAP_NAMES, overlap

NAN = float("nan")


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        # counted by hand: TP FP FN TN, then dice, iou, precision, recall, specificity
        ([1, 1, 1, 0], [1, 1, 0, 0], (4 / 5, 2 / 3, 2 / 3, 1, 1 / 2)),  # 2 1 0 1
        ([1, 0, 0, 0], [1, 1, 1, 0], (1 / 2, 1 / 3, 1, 1 / 3, 1)),  # 1 0 2 1
        ([1, 1, 0, 0, 0], [0, 1, 1, 0, 0], (1 / 2, 1 / 3, 1 / 2, 1 / 2, 2 / 3)),  # 1 1 1 2
        ([0, 1], [0, 1], (1, 1, 1, 1, 1)),  # 1 0 0 1
        ([1, 0], [0, 1], (0, 0, 0, 0, 0)),  # 0 1 1 0
    ],
)
def test_by_hand(prediction, reference, expected):
    assert tuple(overlap(prediction, reference)) == OVERLAP_NAMES
    assert tuple(overlap(prediction, reference).values()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ([0, 0], [0, 0], (NAN, NAN, NAN, NAN, 1)),  # nothing there, nothing found
        ([1, 0], [0, 0], (NAN, NAN, NAN, NAN, 0.5)),  # nothing there, half of it found
        ([1, 1], [0, 0], (NAN, NAN, NAN, NAN, 0)),
        ([0, 0], [1, 0], (0, 0, 0, 0, 1)),  # a missed lesion is 0, precision too
        ([1, 1], [1, 1], (1, 1, 1, 1, NAN)),  # no background to be specific about
        ([0, 0], [1, 1], (0, 0, 0, 0, NAN)),
        ([1, 0], [1, 1], (2 / 3, 1 / 2, 1, 1 / 2, NAN)),
    ],
)
def test_conventions_for_empty_and_full_masks(prediction, reference, expected):
    assert tuple(overlap(prediction, reference).values()) == pytest.approx(expected, nan_ok=True)


masks = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


@settings(max_examples=150)
@given(masks)
def test_equal_to_monai(pair):
    prediction, reference = pair
    ours = overlap(prediction, reference)
    y_pred, y = (torch.from_numpy(m)[None, None].float() for m in pair)
    counts = get_confusion_matrix(y_pred, y)[0, 0]

    def rate(name):
        return compute_confusion_matrix_metric(name, counts).item()

    if reference.any():
        assert ours["dice"] == pytest.approx(compute_dice(y_pred, y).item(), abs=1e-6)
        assert ours["iou"] == pytest.approx(compute_iou(y_pred, y).item(), abs=1e-6)
        assert ours["recall"] == pytest.approx(rate("sensitivity"), abs=1e-6)
        # MONAI gives NaN where nothing is predicted; a missed lesion is 0 here
        precision = rate("precision")
        assert ours["precision"] == pytest.approx(0 if math.isnan(precision) else precision, abs=1e-6)
    else:
        assert all(math.isnan(ours[name]) for name in ("dice", "iou", "precision", "recall"))
    assert ours["specificity"] == pytest.approx(rate("specificity"), abs=1e-6, nan_ok=True)


@settings(max_examples=100)
@given(masks)
def test_properties(pair):
    prediction, reference = pair
    ours = overlap(prediction, reference)
    assert all(math.isnan(v) or 0 <= v <= 1 for v in ours.values())
    if reference.any():
        # SciPy counts disagreements of two vectors: another way to the same two figures
        assert ours["dice"] == pytest.approx(1 - distance.dice(prediction.ravel(), reference.ravel()))
        assert ours["iou"] == pytest.approx(1 - distance.jaccard(prediction.ravel(), reference.ravel()))
        assert ours["dice"] == pytest.approx(2 * ours["iou"] / (1 + ours["iou"]))
        if prediction.any():
            swapped = overlap(reference, prediction)
            assert (swapped["dice"], swapped["precision"]) == (ours["dice"], ours["recall"])
    turned = overlap(prediction.T, reference.T)
    assert tuple(turned.values()) == pytest.approx(tuple(ours.values()), nan_ok=True)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_binary_masks_of_any_type(dtype):
    prediction, reference = np.array([[1, 1], [0, 0]], dtype), np.array([[1, 0], [1, 0]], dtype)
    assert overlap(prediction, reference) == overlap(prediction.tolist(), reference.tolist())


def test_large_masks_do_not_overflow():
    ones = np.ones((600, 600), np.uint8)
    assert overlap(ones, ones)["dice"] == 1


def test_masks_that_are_not_binary_are_named():
    with pytest.raises(
        ValueError, match=r"prediction must be binary \(0 and 1\), got values \[0\.2 0\.7\]; threshold"
    ):
        overlap([0.2, 0.7], [0, 1])
    with pytest.raises(ValueError, match=r"reference must be binary.*got values \[  0 255\]"):
        overlap([0, 1], np.array([0, 255], np.uint8))
    with pytest.raises(ValueError, match="prediction must be binary"):
        overlap([NAN, 1], [0, 1])


def test_different_shapes_are_named():
    with pytest.raises(ValueError, match=r"one shape, got \(2, 3\) and \(3, 2\); resize the prediction"):
        overlap(np.zeros((2, 3)), np.zeros((3, 2)))
