"""Masks drawn over pictures."""

import numpy as np
import pytest

from monai_sam2unet.overlays import PREDICTION_COLOUR, REFERENCE_COLOUR, overlay


def test_overlay_marks_both():
    image = np.full((40, 60, 3), 100, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:50] = True
    before = image.copy()
    out = overlay(image, mask, reference=mask, alpha=0.5, width=1)
    assert np.array_equal(image, before), "the input must not change"
    assert out.shape == image.shape and out.dtype == np.uint8
    assert tuple(out[10, 20]) == PREDICTION_COLOUR  # the innermost row of the mask
    assert tuple(out[9, 20]) == REFERENCE_COLOUR  # the row above it
    assert tuple(out[8, 20]) == (100, 100, 100)
    assert tuple(out[20, 30]) == tuple(round(50 + c / 2) for c in PREDICTION_COLOUR)
    assert np.array_equal(overlay(image, np.zeros_like(mask)), image)


def test_overlay_at_the_edge_and_wrong_shapes():
    image = np.zeros((8, 12, 3), np.uint8)
    full = np.ones((8, 12), bool)
    out = overlay(image, np.zeros_like(full), reference=full, width=1)
    assert tuple(out[0, 5]) == REFERENCE_COLOUR and tuple(out[4, 5]) == (0, 0, 0)
    with pytest.raises(ValueError, match="mask"):
        overlay(image, full.T)
    with pytest.raises(ValueError, match="alpha"):
        overlay(image, full, alpha=2)
    with pytest.raises(ValueError, match="uint8"):
        overlay(image.astype(float), full)
