"""Overlap at a fixed operating point, and bootstrap intervals."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_iou, get_confusion_matrix
from monai.metrics.confusion_matrix import compute_confusion_matrix_metric
from monai.metrics.meandice import compute_dice
from scipy.spatial import distance

from monai_sam2unet.metrics import OVERLAP_NAMES, bootstrap_interval, overlap

NAN = float("nan")


# --- overlap


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


# --- intervals


def sample(size=60, seed=1):
    return np.random.default_rng(seed).beta(8, 2, size)


@pytest.mark.parametrize("size", [10, 60, 300])
def test_interval_equals_scipys(size):
    values = sample(size)
    ours = bootstrap_interval(values, resamples=20000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert ours["mean"] == pytest.approx(values.mean())
    assert ours["cases"] == size
    # Two sets of draws: a bound's own deviation is about 1.2 % of the interval's width at 20000 draws.
    tolerance = 0.05 * (theirs.high - theirs.low)
    assert ours["low"] == pytest.approx(theirs.low, abs=tolerance)
    assert ours["high"] == pytest.approx(theirs.high, abs=tolerance)


def test_interval_equals_the_normal_one_for_many_cases():
    values = np.random.default_rng(0).normal(0.8, 0.1, 2000)
    half = scipy.stats.norm.ppf(0.975) * values.std() / math.sqrt(2000)
    ours = bootstrap_interval(values, resamples=10000)
    assert ours["low"] == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert ours["high"] == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_copies_within_a_group_bring_no_certainty():
    values = sample(20)
    groups = [f"patient{i:02d}" for i in range(20)]
    one = bootstrap_interval(values, groups)
    copies = bootstrap_interval(np.repeat(values, 5), np.repeat(groups, 5))
    for key in ("mean", "low", "high"):
        assert copies[key] == pytest.approx(one[key])
    assert copies["cases"] == 100
    ignored = bootstrap_interval(np.repeat(values, 5))
    assert ignored["high"] - ignored["low"] < 0.6 * (one["high"] - one["low"])  # sqrt(1/5) is 0.45


def test_whole_groups_are_drawn():
    """Of two groups, one of 0 and one of 1 only, samples have the means 0, 0.75 and 1."""
    interval = bootstrap_interval([0, 1, 1, 1], ["a", "b", "b", "b"])
    assert interval == {"mean": 0.75, "low": 0, "high": 1, "cases": 4}


def test_the_order_of_groups_does_not_matter():
    values, groups = sample(30), [f"p{i % 7}" for i in range(30)]
    order = np.random.default_rng(0).permutation(30)
    one = bootstrap_interval(values, groups)
    other = bootstrap_interval(values[order], [groups[i] for i in order])
    assert tuple(other.values()) == pytest.approx(tuple(one.values()))


def test_one_group_alone_has_no_spread():
    interval = bootstrap_interval([0.2, 0.4], ["a", "a"])
    assert tuple(interval.values()) == pytest.approx((0.3, 0.3, 0.3, 2))


def test_undefined_cases_are_left_out():
    values = sample(20)
    for groups in (None, [f"p{i:02d}" for i in range(20)]):
        expected = bootstrap_interval(values, groups)
        more = [*values, NAN]
        assert bootstrap_interval(more, groups and [*groups, "z"]) == expected
        assert bootstrap_interval([NAN, *values], groups and ["a", *groups]) == expected


@pytest.mark.parametrize(("values", "groups"), [([], None), ([NAN, NAN], None), ([NAN], ["a"]), ([], [])])
def test_no_cases_are_nan(values, groups):
    interval = bootstrap_interval(values, groups)
    assert interval["cases"] == 0
    assert all(math.isnan(interval[key]) for key in ("mean", "low", "high"))


def test_repeatable_by_seed():
    values = sample()
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 99))
def test_interval_lies_within_the_values(values, seed):
    interval = bootstrap_interval(values, resamples=200, seed=seed)
    low, high = min(values) - 1e-9, max(values) + 1e-9
    assert low <= interval["low"] <= interval["high"] <= high
    assert low <= interval["mean"] <= high
