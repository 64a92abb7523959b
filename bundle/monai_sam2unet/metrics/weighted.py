"""Weighted F-measure (Margolin et al., "How to evaluate foreground maps?", CVPR 2014).

Errors inside the object count less where their neighbourhood has none, and errors outside count more the
farther they are from the object (1 beside it, up to 2). No threshold.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_sam2unet.metrics.levels import (
    EPSILON,
    Bools,
    Box,
    Bytes,
    Floats,
    as_map,
    as_mask,
    check_sizes,
    level_values,
    object_box,
)

__all__ = ["weighted_f", "weighted_f_of"]

Places = npt.NDArray[np.int32]

RADIUS = 3  # pixels: the window is 7x7
SIGMA = 5.0  # pixels
BAND = 32  # rows: what is computed of so many at a time stays in the processor's cache
HALF = 5.0  # pixels: at this distance from the object the weight of an error is halfway from 1 to 2


def weighted_f(prediction: Any, mask: Any, *, stretch: bool = True) -> float:
    """Weighted F-measure with beta 1. In [0, 1], higher is better; 0 with an empty mask. No threshold.

    Args:
        prediction: (H, W), uint8 of 0 to 255 or floats in [0, 1].
        mask: (H, W), bool; of 8 bit what is above 128.
        stretch: whether to stretch the map to its own minimum and maximum first.

    Returns:
        The figure, with exact Euclidean distances in pixels.

    Raises:
        InputError: if the two do not fit, see `monai_sam2unet.metrics.levels.compare`.
    """
    levels, truth = as_map(prediction, stretch=stretch), as_mask(mask)
    check_sizes(levels, truth)
    return weighted_f_of(levels, truth, level_values(levels, stretch))


def weighted_f_of(levels: Bytes, mask: Bools, values: Floats) -> float:
    """Weighted F-measure, see `weighted_f`; for the three see `Comparison`."""
    if not mask.any():
        return 0.0
    lowest = int(np.searchsorted(values, 0, side="right"))  # first level that counts for more than 0
    window = _window(mask, levels >= lowest)
    mask, levels = mask[window], levels[window]
    # nearest pixel of the object: (2, H, W) rows and columns; all of the object is within the window
    nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    fg = int(np.count_nonzero(mask))
    missed = _missed(mask, levels, values, nearest)
    added = _added(~mask & (levels >= lowest), levels, values, nearest)
    hit = fg - missed
    precision, recall = hit / (hit + added + EPSILON), 1 - missed / fg
    return 2 * recall * precision / (recall + precision + EPSILON)


def _window(mask: Bools, found: Bools) -> Box:
    """The object, what is predicted, and a margin that the averaging looks at: nothing else counts."""
    rows, columns = object_box(mask | found)
    near = object_box(mask, RADIUS)
    return (
        slice(min(rows.start, near[0].start), max(rows.stop, near[0].stop)),
        slice(min(columns.start, near[1].start), max(columns.stop, near[1].stop)),
    )


def _missed(mask: Bools, levels: Bytes, values: Floats, nearest: Places) -> float:
    """Sum of the errors inside the object, each at most the mean error around it."""
    box = object_box(mask, RADIUS)
    inside, stand_in = mask[box], levels[box].copy()
    # Outside of the object the error of its nearest pixel stands in, so that its edge is not blurred.
    outside = ~inside
    stand_in[outside] = levels[nearest[0][box][outside], nearest[1][box][outside]]
    error = np.take(1 - values, stand_in)
    kernel = np.exp(-(np.arange(-RADIUS, RADIUS + 1) ** 2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    around = error
    for axis in (0, 1):
        around = ndimage.correlate1d(around, kernel, axis=axis, mode="constant")
    return float(np.minimum(error, around)[inside].sum())


def _added(wrong: Bools, levels: Bytes, values: Floats, nearest: Places) -> float:
    """Sum of the errors outside of the object, weighted by their distance from it."""
    total = 0.0
    columns = np.arange(wrong.shape[1], dtype=nearest.dtype)
    for start in range(0, wrong.shape[0], BAND):
        band = slice(start, start + BAND)
        chosen = wrong[band]
        rows = np.arange(start, start + chosen.shape[0], dtype=nearest.dtype)[:, None]
        dy, dx = (nearest[0, band] - rows)[chosen], (nearest[1, band] - columns)[chosen]
        weights = 2 - np.exp(-math.log(2) / HALF * np.sqrt(dy * dy + dx * dx))
        total += float(np.take(values, levels[band][chosen]) @ weights)
    return total
