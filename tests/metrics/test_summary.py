"""Figures of a set: who counts in which mean, and the counts behind them; all expected by hand."""

import math

import numpy as np
import pytest

from monai_sam2unet.metrics import (
    CASE_COLUMNS,
    OVERLAP_NAMES,
    SURFACE_NAMES,
    case_figures,
    set_figures,
    summarize,
)

SIDE = 20  # pixels: 400 in all


def boxes(*corners):
    """A mask of boxes (top, left, height, width)."""
    mask = np.zeros((SIDE, SIDE), bool)
    for top, left, height, width in corners:
        mask[top : top + height, left : left + width] = True
    return mask


CASES = {  # (prediction, reference)
    "found": (boxes((2, 2, 4, 5)), boxes((2, 2, 4, 5))),
    # half of a lesion of 10 pixels, and 4 pixels elsewhere: Dice 2 * 5 / (10 + 9)
    "half": (boxes((2, 2, 1, 5), (15, 15, 2, 2)), boxes((2, 2, 2, 5))),
    "missed": (boxes(), boxes((2, 2, 3, 3), (10, 10, 8, 8))),
    "false alarm": (boxes((0, 0, 2, 2)), boxes()),
    "clean": (boxes(), boxes()),
}


@pytest.fixture(scope="module")
def rows():
    return [{**case_figures(p, r), "group": name} for name, (p, r) in CASES.items()]


def test_a_case(rows):
    half = rows[1]
    assert set(CASE_COLUMNS) <= half.keys()
    assert (half["height"], half["width"], half["reference_pixels"], half["predicted_pixels"]) == (
        20,
        20,
        10,
        9,
    )
    assert half["dice"] == pytest.approx(10 / 19)
    assert (half["lesions"], half["lesions_found"], half["false_positives"]) == (1, 1, 1)
    missed = rows[2]
    # 9 pixels of 400 are 2.25 %, 64 are 16 %; 9 are below a speck's 10
    assert missed["sizes"] == {"small": [0, 0], "medium": [1, 0], "large": [1, 0]} and missed["specks"] == 1


def test_who_counts_in_which_mean(rows):
    figures = set_figures(rows)
    assert figures["dice"].values == pytest.approx([1, 10 / 19, 0, math.nan, math.nan], nan_ok=True)
    assert figures["false_alarm_rate"].values == pytest.approx([math.nan] * 3 + [1, 0], nan_ok=True)
    assert figures["false_area_fraction"].values == pytest.approx([math.nan] * 3 + [0.01, 0], nan_ok=True)
    assert figures["false_positives"].values == [0, 1, 0, 1, 0]
    assert figures["lesion_sensitivity"].weights == [1, 1, 2, 0, 0]
    assert {*OVERLAP_NAMES, *SURFACE_NAMES} <= figures.keys()


def test_a_figure_whose_column_is_missing_is_left_out(rows):
    """As in reports of earlier versions, which had neither outlines nor lesions."""
    older = [{k: v for k, v in row.items() if k not in ("nsd", "hd95", "lesions")} for row in rows]
    assert set_figures(rows).keys() - set_figures(older).keys() == {
        "nsd", "hd95", "lesion_sensitivity", "false_positives"
    }  # fmt: skip


def test_the_summary(rows):
    summary = summarize(rows)
    reference = summary["with_reference"]
    assert reference["cases"] == 3
    assert reference["dice"]["mean"] == pytest.approx((1 + 10 / 19) / 3)
    assert reference["hd95"]["cases_without_prediction"] == 1
    negatives = summary["without_reference"]
    assert (negatives["cases"], negatives["false_alarm_rate"]["mean"]) == (2, 0.5)
    assert negatives["false_area_fraction"]["mean"] == pytest.approx(0.005)
    lesions = summary["lesions"]
    assert (lesions["lesions"], lesions["found"], lesions["false_positives"]) == (4, 2, 2)
    assert lesions["sensitivity"]["mean"] == pytest.approx(0.5)
    assert lesions["false_positives_per_picture"]["mean"] == pytest.approx(2 / 5)
    sizes = summary["by_size"]
    assert sum(size["lesions"] for size in sizes.values()) == 4
    # the picture of two lesions is large as a whole: 73 pixels of 400
    assert sizes["large"]["dice"]["mean"] == 0 and sizes["large"]["found"] == 0


def test_the_intervals_go_by_group():
    """Two patients of ten alike pictures each: drawing patients, the mean is 0, a half or 1."""
    right, wrong = case_figures(*CASES["found"]), case_figures(boxes(), CASES["found"][1])
    rows = [{**row, "group": group} for row, group in ((right, "a"), (wrong, "b")) for _ in range(10)]
    dice = summarize(rows)["with_reference"]["dice"]
    assert (dice["mean"], dice["low"], dice["high"]) == (0.5, 0, 1)
    alone = summarize([{**row, "group": str(i)} for i, row in enumerate(rows)])["with_reference"]["dice"]
    assert 0.2 < alone["low"] < 0.5 < alone["high"] < 0.8


def test_pixels_that_do_not_count_are_in_no_figure():
    """The right half is ignored: both masks are empty there, as `LeaveOutIgnoredd` leaves them."""
    prediction, reference = boxes((2, 2, 1, 5)), boxes((2, 2, 2, 5))
    counted = np.ones((SIDE, SIDE), bool)
    counted[:, 10:] = False
    figures = case_figures(prediction, reference, counted=counted)
    assert figures["ignored_pixels"] == 200
    assert figures["dice"] == pytest.approx(10 / 15)
    assert (
        case_figures(boxes((9, 0, 2, 10)), reference, counted=counted)["specificity"] == 170 / 190
    )  # by hand
    assert figures["sizes"]["medium"] == [1, 1], "10 of 200 pixels, 5 % of what counts"
    alarm = {**case_figures(boxes((2, 2, 2, 5)), boxes(), counted=counted), "group": "g"}
    assert set_figures([alarm])["false_area_fraction"].values == [10 / 200]
    nothing = {**case_figures(boxes(), boxes(), counted=np.zeros_like(counted)), "group": "g"}
    assert set_figures([nothing])["false_area_fraction"].values == [0]
