"""Figures of volumes against a computation by hand, and what their summary says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monai_sam2unet.metrics import VOLUME_COLUMNS, VOLUME_FIGURES, summarize_volumes, volume_figures


def cube(start, side=4, shape=(12, 12, 12)):
    mask = np.zeros(shape, bool)
    mask[start : start + side, 2 : 2 + side, 2 : 2 + side] = True
    return mask


def row(case, name, prediction, reference, group=None):
    figures = volume_figures(prediction, reference, (1.0, 1.0, 2.0), 1.0)
    return {"case": case, "class": name, "group": group or case, **figures}


def test_figures_of_a_cube_that_is_moved():
    """By hand: 64 voxels of 2 mm^3, moved by one along an axis of 1 mm; 48 are common."""
    found = volume_figures(cube(3), cube(2), (1.0, 1.0, 2.0), 1.0)
    assert tuple(found) == VOLUME_COLUMNS
    assert found["reference_ml"] == found["predicted_ml"] == pytest.approx(0.128)
    assert found["dice"] == pytest.approx(48 / 64) and found["iou"] == pytest.approx(48 / 80)
    assert found["hd95"] == pytest.approx(1) and found["nsd"] == 1
    # 2 mm along the last axis: moved by one slice, the outline is farther off than the tolerance
    turned = volume_figures(cube(3).transpose(2, 1, 0), cube(2).transpose(2, 1, 0), (1.0, 1.0, 2.0), 1.0)
    assert turned["hd95"] == pytest.approx(2) and turned["nsd"] < 1


def test_summary_keeps_classes_and_empty_references_apart():
    nothing = np.zeros((12, 12, 12), bool)
    rows = [
        row("a", "head", cube(2), cube(2)),  # right: Dice 1
        row("a", "tail", cube(3), cube(2)),  # Dice 0.75
        row("b", "head", nothing, cube(2)),  # missed: Dice 0, no distance
        row("b", "tail", cube(2), nothing),  # a false alarm
    ]
    found = summarize_volumes(rows)
    head, tail = found["by_class"]["head"], found["by_class"]["tail"]
    assert head["with_reference"]["dice"]["mean"] == pytest.approx(0.5)
    assert head["with_reference"]["cases"] == 2 and head["without_reference"]["cases"] == 0
    assert head["with_reference"]["hd95"]["mean"] == 0
    assert head["with_reference"]["hd95"]["cases_without_prediction"] == 1
    assert tail["with_reference"]["dice"]["mean"] == pytest.approx(0.75)
    assert tail["without_reference"]["cases"] == 1
    assert tail["without_reference"]["false_alarm_rate"]["mean"] == 1
    # each class counts once, however many volumes have it
    assert found["mean_over_classes"]["dice"]["mean"] == pytest.approx((0.5 + 0.75) / 2)
    assert set(found["mean_over_classes"]) == set(VOLUME_FIGURES)


def test_intervals_are_over_patients():
    """Two volumes of each of two patients: as few as two groups are drawn, so the bounds are their means."""
    rows = [
        row(name, "head", prediction, cube(2), group)
        for group, prediction in (("p", cube(2)), ("q", cube(3)))
        for name in (f"{group}1", f"{group}2")
    ]
    found = summarize_volumes(rows)["by_class"]["head"]["with_reference"]["dice"]
    assert (found["low"], found["high"], found["cases"]) == (0.75, 1, 4)


def test_a_class_that_nobody_has_is_undefined():
    nothing = np.zeros((12, 12, 12), bool)
    found = summarize_volumes([row("a", "head", nothing, nothing)])
    assert math.isnan(found["mean_over_classes"]["dice"]["mean"])
    assert found["by_class"]["head"]["with_reference"]["cases"] == 0
