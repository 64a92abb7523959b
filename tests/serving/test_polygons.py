"""Outlines, filled again by scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from skimage.draw import ellipse, polygon2mask

from monai_sam2unet.serving.polygons import as_annotations, outlines


def drawn(rows: float, columns: float, hole: bool = False) -> np.ndarray:
    """An ellipse of a picture 90 rows by 120 columns, which may reach beyond it."""
    mask = np.zeros((90, 120), bool)
    mask[ellipse(rows, columns, 30, 40, mask.shape)] = True
    if hole:
        mask[ellipse(rows, columns, 12, 18, mask.shape)] = False
    return mask


def filled(polygons: list[list[list[int]]], shape: tuple[int, int]) -> np.ndarray:
    """The mask between outlines, by the even-odd rule."""
    inside = np.zeros(shape, bool)
    for polygon in polygons:
        inside ^= polygon2mask(shape, np.asarray(polygon)[:, ::-1])
    return inside


@pytest.mark.parametrize(("rows", "columns"), [(45, 60), (0, 0), (80, 115), (45, 10)])
def test_outlines_follow_the_mask_to_a_pixel(rows, columns):
    mask = drawn(rows, columns)
    (polygon,) = outlines(mask)
    again = filled([polygon], mask.shape)
    assert not (again & ~mask).any()  # never outside, and so never outside the picture
    assert not (binary_erosion(mask, iterations=2) & ~again).any()
    corners = np.asarray(polygon)
    assert corners.min() >= 0 and (corners.max(axis=0) <= (119, 89)).all() and len(polygon) < mask.sum() / 20


def test_holes_and_several_regions():
    mask = drawn(45, 50, hole=True)
    mask[2:20, 100:115] = True
    polygons = outlines(mask)
    again = filled(polygons, mask.shape)
    assert len(polygons) == 3 and (again & mask).sum() / (again | mask).sum() > 0.9


def test_annotations_name_what_occurs():
    labels = np.where(drawn(45, 60), 2, 0).astype(np.uint8)
    (found,) = as_annotations(labels, {"polyp": 1, "tool": 2})
    assert [element["label"] for element in found["annotation"]["elements"]] == ["tool"]
    assert found["annotation"]["elements"][0]["contours"] == outlines(labels == 2)
    assert as_annotations(np.zeros((5, 5), np.uint8), {"polyp": 1}) == [{"annotation": {"elements": []}}]
