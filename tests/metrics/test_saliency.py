"""S-, E-, F- and weighted F-measure, MAE, threshold-averaged Dice and IoU of one map.

The figures of `metrics_cases.json` were computed by the paper's own evaluation (see tests/golden/README.md);
`test_pysodmetrics.py` compares with PySODMetrics itself.
"""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monai_sam2unet.errors import InputError
from monai_sam2unet.metrics import (
    Confusion,
    confusion,
    curves,
    e_measure,
    f_measure,
    mae,
    overlap,
    rates,
    s_measure,
    threshold_dice,
    threshold_iou,
    weighted_f,
)
from monai_sam2unet.metrics.levels import as_map, as_mask

CASES = range(12)
GREY, EMPTY = np.full((2, 2), 0.5), np.zeros((2, 2), bool)


@pytest.fixture(scope="module")
def cases(golden):
    """Prediction, mask and the paper's figures of each case."""
    arrays = np.load(golden / "metrics_cases.npz")
    figures = json.loads((golden / "metrics_cases.json").read_text())["cases"]
    return [(arrays[f"pred{i}"], arrays[f"gt{i}"], figures[i]["official_eval"]) for i in CASES]


pairs = hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9).flatmap(
    lambda shape: st.tuples(hnp.arrays(np.uint8, shape), hnp.arrays(bool, shape))
)


# --- against the paper's evaluation


@pytest.mark.parametrize("case", CASES)
def test_each_golden_case(cases, case):
    prediction, mask, expected = cases[case]
    e, f = e_measure(prediction, mask), f_measure(prediction, mask)
    dice, iou = threshold_dice(prediction, mask), threshold_iou(prediction, mask)
    figures = {
        "Smeasure": s_measure(prediction, mask),
        "wFmeasure": weighted_f(prediction, mask),
        "MAE": mae(prediction, mask),
        "adpEm": e.adaptive,
        "meanEm": e.mean,
        "maxEm": e.max,
        "adpFm": f.adaptive,
        "meanFm": f.mean,
        "maxFm": f.max,
        "meandice": dice.mean,
        "maxdice": dice.max,
        "meaniou": iou.mean,
        "maxiou": iou.max,
    }
    assert figures == pytest.approx({name: expected[name] for name in figures}, abs=1e-9)


# --- against the definitions


@settings(max_examples=30)
@given(pairs)
def test_curves_are_overlap_at_each_threshold(pair):
    """The masks at all thresholds, one after the other; test_fixed compares `overlap` with MONAI."""
    prediction, mask = pair
    ours = curves(prediction, mask, stretch=False)
    for threshold in range(256):
        expected = overlap(prediction >= threshold, mask)
        for name, value in expected.items():
            # undefined is 0 in these benchmarks
            assert getattr(ours, name)[threshold] == pytest.approx(0 if math.isnan(value) else value), name


@settings(max_examples=30)
@given(pairs, st.integers(0, 255))
def test_e_measure_pixel_by_pixel(pair, threshold):
    """Equations 2 to 5 of arXiv 1805.10421, written out for each pixel; its sum is divided by N - 1."""
    prediction, mask = pair
    if not mask.any() or mask.all():
        return
    binary = (prediction >= threshold).astype(float)
    a, b = binary - binary.mean(), mask - mask.mean()
    alignment = 2 * a * b / (a * a + b * b)
    expected = ((1 + alignment) ** 2 / 4).sum() / (mask.size - 1)
    assert e_measure(prediction, mask, stretch=False).curve[threshold] == pytest.approx(expected)


def test_adaptive_threshold_is_twice_the_mean():
    # mean 51 of 255, so the threshold is 102: the third and fourth pixel, of which one is in the mask
    prediction = np.array([[0, 0, 0, 102, 153, 51]], np.uint8)
    mask = np.array([[False, False, False, False, True, True]])
    # precision 1/2, recall 1/2: F is 1/2 whatever beta is
    assert f_measure(prediction, mask, stretch=False).adaptive == pytest.approx(0.5)
    assert threshold_iou(prediction, mask, stretch=False).adaptive == pytest.approx(1 / 3)
    assert threshold_dice(prediction, mask, stretch=False).adaptive == pytest.approx(1 / 2)


def test_f_measure_weighs_precision_by_beta():
    # 2 TP, 2 FP, 0 FN: precision 1/2, recall 1. Achanta et al.: 1.3 * 0.5 / (0.3 * 0.5 + 1); beta 1: 2/3
    prediction, mask = np.array([[255, 255, 255, 255, 0]], np.uint8), np.array([[1, 1, 0, 0, 0]], bool)
    assert f_measure(prediction, mask).curve[255] == pytest.approx(0.65 / 1.15)
    assert f_measure(prediction, mask, beta2=1).curve[255] == pytest.approx(2 / 3)


def test_mae_by_hand():
    # |0 - 0|, |51/255 - 1|, |204/255 - 1|, |255/255 - 0| = 0, 0.8, 0.2, 1
    prediction, mask = np.array([[0, 51, 204, 255]], np.uint8), np.array([[0, 1, 1, 0]], bool)
    assert mae(prediction, mask) == pytest.approx(0.5)


def test_s_measure_by_hand():
    """One object pixel of value 0.6 in a row of 2; arXiv 1708.00786, equations 2 to 6, one row."""
    prediction, mask = np.array([[153, 0]], np.uint8), np.array([[True, False]])
    # object: 2 * 0.6 / (0.36 + 1) of half the pixels, and the background is all 1: 2 / 2 of the other half
    parts = 0.5 * 1.2 / 1.36 + 0.5
    # the centre of mass is in the first pixel: two quarters of one pixel, both constant, so alike
    assert s_measure(prediction, mask, stretch=False) == pytest.approx(0.5 * parts + 0.5 * 1)
    assert s_measure(prediction, mask, alpha=1, stretch=False) == pytest.approx(parts)


def test_s_measure_of_regions_is_ssim():
    """Quarters cut behind the centre of mass; luminance, contrast and structure of each from NumPy."""
    rng = np.random.default_rng(3)
    prediction = rng.integers(0, 256, (9, 12), dtype=np.uint8)
    mask = np.zeros((9, 12), bool)
    mask[2:6, 3:9] = True  # centre of mass at (3.5, 5.5), to the even number: (4, 6)
    p, expected = prediction / 255, 0.0
    for part in (np.s_[:5, :7], np.s_[:5, 7:], np.s_[5:, :7], np.s_[5:, 7:]):
        x, y = p[part].ravel(), mask[part].ravel().astype(float)
        (vx, cov), (_, vy) = np.cov(x, y)
        similarity = 4 * x.mean() * y.mean() * cov / ((x.mean() ** 2 + y.mean() ** 2) * (vx + vy))
        expected += x.size / mask.size * similarity
    assert s_measure(prediction, mask, alpha=0, stretch=False) == pytest.approx(max(0, expected))


def test_weighted_f_by_distances_of_all_pixels():
    """Margolin et al., section 4, with the distance to each object pixel; one error within the object.

    The map is the same in all of the object, so the mean error around a pixel is that error where the window
    of 7x7 lies in the picture, and is less at the border.
    """
    rng = np.random.default_rng(1)
    mask = np.zeros((17, 23), bool)
    mask[5:9, 6:13] = True  # more than 3 pixels from the border
    prediction = np.where(mask, 204, rng.integers(0, 256, mask.shape)).astype(np.uint8)
    p = prediction / 255
    objects = np.argwhere(mask)
    added = 0.0
    for place in np.argwhere(~mask):
        distance = np.sqrt(((objects - place) ** 2).sum(axis=1)).min()
        added += p[tuple(place)] * (2 - 0.5 ** (distance / 5))
    hit = mask.sum() * 0.8
    precision, recall = hit / (hit + added), 0.8
    expected = 2 * precision * recall / (precision + recall)
    assert weighted_f(prediction, mask, stretch=False) == pytest.approx(expected)


def test_weighted_f_forgives_an_error_among_right_pixels():
    """One missed pixel counts as the mean over 7x7 around it: as its own weight in the Gaussian, sigma 5."""
    mask = np.ones((15, 15), bool)
    prediction = np.full((15, 15), 255, np.uint8)
    prediction[7, 7] = 0
    y, x = np.mgrid[-3:4, -3:4]
    gaussian = np.exp(-(x * x + y * y) / 50)
    recall = 1 - 1 / gaussian.sum() / 225
    assert weighted_f(prediction, mask) == pytest.approx(2 * recall / (1 + recall))


# --- conventions


def test_a_perfect_mask():
    mask = np.zeros((20, 30), bool)
    mask[4:11, 5:21] = True
    prediction = mask * np.uint8(255)
    assert s_measure(prediction, mask) == pytest.approx(1)
    assert weighted_f(prediction, mask) == pytest.approx(1)
    assert f_measure(prediction, mask).adaptive == pytest.approx(1)
    assert mae(prediction, mask) == 0
    dice = threshold_dice(prediction, mask)
    # at threshold 0 all 600 pixels are foreground, of which 112 are right: the mean is not 1
    assert dice.mean == pytest.approx((255 + 2 * 112 / 712) / 256)
    assert (dice.max, dice.curve.shape) == (1, (256,))


def test_an_empty_mask():
    prediction, mask = np.array([[0, 51, 102, 51]], np.uint8), np.zeros((1, 4), bool)  # mean 0.2
    assert s_measure(prediction, mask, stretch=False) == pytest.approx(1 - 0.2)
    assert mae(prediction, mask, stretch=False) == pytest.approx(0.2)
    assert weighted_f(prediction, mask, stretch=False) == 0
    found = curves(prediction, mask, stretch=False)
    assert found.f.max() == found.dice.max() == found.iou.max() == 0
    assert found.e[102] == pytest.approx(3 / 3)  # three of four agree; divided by one less


def test_a_full_mask():
    prediction, mask = np.array([[0, 51, 102, 51]], np.uint8), np.ones((1, 4), bool)
    assert s_measure(prediction, mask, stretch=False) == pytest.approx(0.2)
    assert mae(prediction, mask, stretch=False) == pytest.approx(0.8)
    assert 0 < weighted_f(prediction, mask, stretch=False) < 1
    found = curves(prediction, mask, stretch=False)
    assert found.dice[51] == pytest.approx(2 * 3 / (3 + 4))
    assert found.e[51] == pytest.approx(3 / 3)
    assert found.specificity.max() == 0


@pytest.mark.parametrize("place", [(0, 0), (5, 7), (2, 7), (5, 3)])
def test_an_object_of_one_pixel_at_the_border(place):
    """Quarters of no pixels weigh nothing, so a perfect map has S 1 (PySODMetrics gives NaN)."""
    mask = np.zeros((6, 8), bool)
    mask[place] = True
    prediction = mask * np.uint8(255)
    assert s_measure(prediction, mask) == pytest.approx(1)
    assert weighted_f(prediction, mask) == pytest.approx(1)


def test_one_pixel_alone():
    prediction, mask = np.array([[255]], np.uint8), np.array([[True]])
    assert s_measure(prediction, mask) == 1
    assert weighted_f(prediction, mask) == pytest.approx(1)
    # divided by 1, since by N - 1 is not possible: PySODMetrics divides by its epsilon and gives 4.5e15
    assert e_measure(prediction, mask).max == 1


def test_stretching():
    """Two maps of the same order of values and the same distances are one to the benchmarks."""
    rng = np.random.default_rng(0)
    prediction = rng.integers(0, 2, (9, 9)).astype(np.uint8)
    mask = rng.random((9, 9)) > 0.5
    for figure in (s_measure, weighted_f, mae):
        assert figure(prediction + np.uint8(40), mask) == figure(prediction * np.uint8(255), mask)
        assert figure(prediction, mask, stretch=False) != figure(prediction, mask)
    constant = np.full((9, 9), 51, np.uint8)  # has nothing to stretch
    assert mae(constant, mask) == pytest.approx(0.2 * (1 - mask.mean()) + 0.8 * mask.mean())


@settings(max_examples=60)
@given(pairs)
def test_bounds(pair):
    prediction, mask = pair
    dynamic = [f_measure(*pair), threshold_dice(*pair), threshold_iou(*pair)]
    figures = [s_measure(*pair), weighted_f(*pair), mae(*pair)]
    figures += [value for figure in dynamic for value in figure[:3]]
    assert all(0 <= value <= 1 + 1e-12 for value in figures)
    e = e_measure(prediction, mask)
    assert 0 <= e.mean <= e.max <= mask.size / (mask.size - 1) + 1e-12


# --- one threshold


def test_confusion_and_rates_by_hand():
    counts = confusion([[0.9, 0.5, 0.49, 0.1, 0.7]], [[True, True, True, False, False]])
    assert counts == Confusion(tp=2, fp=1, fn=1, tn=1)
    assert rates(counts) == pytest.approx(
        # recall 2/3, specificity 1/2: BER is 1 - their mean
        {
            "dice": 4 / 6,
            "iou": 2 / 4,
            "precision": 2 / 3,
            "recall": 2 / 3,
            "specificity": 1 / 2,
            "ber": 5 / 12,
        }
    )
    pooled = Confusion(*np.add(counts, Confusion(1, 0, 0, 0)))
    assert rates(pooled)["iou"] == pytest.approx(3 / 5)


def test_rates_without_foreground():
    nothing = Confusion(0, 0, 0, 4)
    undefined = {name for name, value in rates(nothing).items() if math.isnan(value)}
    assert undefined == {"dice", "iou", "precision", "recall", "ber"}
    assert rates(nothing, empty=0.0)["dice"] == 0
    assert rates(nothing)["specificity"] == 1


def test_a_threshold_out_of_range_is_named():
    with pytest.raises(InputError, match=r"threshold must lie in \[0, 1\], got 128"):
        confusion([[0.5]], [[True]], threshold=128)


# --- inputs


@pytest.mark.parametrize(
    "convert",
    [
        lambda levels: torch.from_numpy(levels),
        lambda levels: levels / 255,
        lambda levels: (levels / 255).astype(np.float32),
        lambda levels: torch.from_numpy(levels / 255).float(),
        lambda levels: np.asfortranarray(levels),
        lambda levels: levels[::-1][::-1],
    ],
)
def test_one_map_in_many_forms(cases, convert):
    prediction, mask, _ = cases[0]
    expected = curves(prediction, mask, stretch=False)
    ours = curves(convert(prediction), torch.from_numpy(mask), stretch=False)
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert s_measure(convert(prediction), mask > 128, stretch=False) == pytest.approx(
        s_measure(prediction, mask, stretch=False)
    )


def test_half_precision_of_torch():
    values = torch.tensor([[0.0, 0.25, 1.0]])
    for dtype in (torch.float16, torch.bfloat16):
        np.testing.assert_array_equal(as_map(values.to(dtype)), [[0, 64, 255]])


def test_floats_become_8_bit():
    values = np.array([[0.2, 0.5, 0.6]], np.float32)
    # rounded: 51, 127.5 (to the even number), 153
    np.testing.assert_array_equal(as_map(values), [[51, 128, 153]])
    # as the paper's test.py: (p - min) / (max - min + 1e-8) * 255, cut off: 0, 0.75 * 255 = 191.25, 255
    np.testing.assert_array_equal(as_map(values, stretch=True), [[0, 191, 255]])
    np.testing.assert_array_equal(as_map(np.full((1, 3), 0.7), stretch=True), [[0, 0, 0]])


def test_what_is_foreground_of_a_mask():
    mask = np.array([[127, 128, 129, 255]], np.uint8)
    np.testing.assert_array_equal(as_mask(mask), [[False, False, True, True]])
    np.testing.assert_array_equal(as_mask(mask, above=127), [[False, True, True, True]])
    np.testing.assert_array_equal(as_mask(np.array([[0.49, 0.5, 1.0]]), above=127), [[False, True, True]])


def test_read_only_arrays_are_taken_without_a_warning(recwarn):
    prediction = np.zeros((4, 4), np.uint8)
    prediction.setflags(write=False)
    assert mae(prediction, np.zeros((4, 4), bool)) == 0
    assert not recwarn


@pytest.mark.parametrize(
    ("prediction", "mask", "message"),
    [
        (GREY[:, :1], EMPTY, "mask's size 2x2, got 2x1; resize the prediction to the mask, never the mask"),
        (GREY[None], EMPTY, r"prediction must have two dimensions \(H, W\).*got \(1, 2, 2\)"),
        (GREY[:0], EMPTY[:0], r"prediction must have two dimensions \(H, W\), none of them 0"),
        (GREY - 3, EMPTY, r"prediction must lie in \[0, 1\] if floats, got -2.5 to -2.5; apply the sigmoid"),
        (GREY * np.nan, EMPTY, "prediction must not hold NaN, got 4 of 4"),
        (GREY.astype(np.int64), EMPTY, "prediction must be uint8 of 0 to 255.*got int64; convert it"),
        (GREY, np.eye(2, dtype=np.uint8), "mask must be of 0 to 255 if uint8, got 0 and 1; give it as bool"),
        (GREY, EMPTY + 255.0, r"mask must lie in \[0, 1\] if floats, got 255 to 255"),
        (GREY, np.array([[np.nan, 1], [0, 0]]), "mask must not hold NaN, got 1 of 4"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("figure", [s_measure, weighted_f, mae, curves, confusion, e_measure])
def test_what_does_not_fit_is_named(figure, prediction, mask, message):
    with pytest.raises(InputError, match=message):
        figure(prediction, mask)
