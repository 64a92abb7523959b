"""Which figures of a report are tracked; tests/bundle/test_tracking.py tracks real runs with MLflow."""

from __future__ import annotations

import numpy as np
import pytest

from monai_sam2unet.handlers.tracking import _means
from monai_sam2unet.metrics import case_figures, summarize, summarize_classes


def row(found, label):
    """A case of ten pixels of which some are found."""
    reference = np.zeros((8, 20), bool)
    reference[2, 3:13] = True
    prediction = reference.copy()
    prediction[2, 3 + found :] = False
    return {**case_figures(prediction, reference), "group": "g", "class": label}


def test_figures_of_several_classes_have_their_names():
    rows = [row(5, "a"), row(10, "b left")]
    found = dict(_means(summarize_classes(rows)))
    assert found["dice"] == pytest.approx((10 / 15 + 1) / 2)  # by hand
    assert (found["dice_a"], found["dice_b left"]) == (pytest.approx(10 / 15), 1)
    assert dict(_means(summarize(rows[:1])))["dice"] == pytest.approx(10 / 15)
