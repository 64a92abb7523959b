"""Weighted F-measure (Margolin et al., "How to evaluate foreground maps?", CVPR 2014).

Errors inside the object count less where their neighbourhood has none, and errors outside count more the
farther they are from the object (1 beside it, up to 2). No threshold.
"""

from __future__ import annotations

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
    wider,
)

__all__ = ["weighted_f", "weighted_f_of"]

Places = npt.NDArray[np.int32]

RADIUS = 3  # pixels: the window is 7x7
SIGMA = 5.0  # pixels
BAND = 1 << 16  # pixels: what is computed of so many at a time stays in the processor's cache
HALF = 5.0  # pixels: at this distance from the object the weight of an error is halfway from 1 to 2
FAR = 200  # pixels: from here on the weight is 2, from which it differs by less than 1e-12

WEIGHTS: Floats = 2 - np.exp2(-np.sqrt(np.arange(FAR**2 + 1)) / HALF)
"""Weight of an error by its squared distance from the object, which is a whole number."""
WEIGHTS[0] = 0  # inside of the object, where nothing is added


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
    box = object_box(mask)
    window, beyond = _window(box, levels, values)
    mask, levels = mask[window], np.ascontiguousarray(levels[window])
    # nearest pixel of the object: (2, H, W) rows and columns; all of the object is within the window
    nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    fg = int(np.count_nonzero(mask))
    missed = _missed(mask, levels, values, nearest)
    added = _added(levels, values, nearest) + WEIGHTS[-1] * beyond
    hit = fg - missed
    precision, recall = hit / (hit + added + EPSILON), 1 - missed / fg
    return float(2 * recall * precision / (recall + precision + EPSILON))


def _window(box: Box, levels: Bytes, values: Floats) -> tuple[Box, float]:
    """Where distances count: the object, what is predicted near it, and a margin that the averaging looks at.

    Args:
        box: that of the object.
        levels: (H, W), the 8-bit map.
        values: (256,), what each level counts as.

    Returns:
        Rows and columns, and the sum of the values outside of them.
    """
    found = levels >= np.searchsorted(values, 0, side="right")  # levels that count for more than 0
    seen = object_box(found) if found.any() else box
    near, far = wider(box, RADIUS, levels.shape), wider(box, FAR, levels.shape)
    rows, columns = (
        slice(min(n.start, max(s.start, f.start)), max(n.stop, min(s.stop, f.stop)))
        for n, s, f in zip(near, seen, far, strict=True)
    )
    left, right = slice(seen[1].start, columns.start), slice(columns.stop, seen[1].stop)
    above, below = slice(seen[0].start, rows.start), slice(rows.stop, seen[0].stop)
    strips = (above, seen[1]), (below, seen[1]), (rows, left), (rows, right)
    return (rows, columns), float(sum(np.take(values, levels[strip]).sum() for strip in strips))


def _missed(mask: Bools, levels: Bytes, values: Floats, nearest: Places) -> float:
    """Sum of the errors inside the object, each at most the mean error around it."""
    box = wider(object_box(mask), RADIUS, mask.shape)
    # Outside of the object the error of its nearest pixel stands in, so that its edge is not blurred.
    stand_in = levels.take(nearest[0][box] * np.int32(levels.shape[1]) + nearest[1][box])
    error = np.take(1 - values, stand_in)
    kernel = np.exp(-(np.arange(-RADIUS, RADIUS + 1) ** 2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    around = error
    for axis in (0, 1):
        around = ndimage.correlate1d(around, kernel, axis=axis, mode="constant")
    return float(np.einsum("ij,ij", np.minimum(error, around), mask[box].astype(np.float64)))


def _added(levels: Bytes, values: Floats, nearest: Places) -> float:
    """Sum of the errors outside of the object, weighted by their distance from it."""
    height, width = levels.shape
    total, step = 0.0, max(BAND // width, 1)
    columns = np.arange(width, dtype=nearest.dtype)
    for start in range(0, height, step):
        band = slice(start, start + step)
        rows = np.arange(start, min(start + step, height), dtype=nearest.dtype)[:, None]
        dy, dx = nearest[0, band] - rows, nearest[1, band] - columns
        weights = WEIGHTS.take(dy * dy + dx * dx, mode="clip")
        total += float(np.einsum("ij,ij", np.take(values, levels[band]), weights))
    return total
