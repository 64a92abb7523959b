"""S-measure (Fan et al., "Structure-measure: A New Way to Evaluate Foreground Maps", arXiv 1708.00786).

It joins two views: how near the object and the background are to 1 and 0 and how even (section 3.2), and how
alike map and mask are in structure in the quarters about the object's centre of mass (section 3.1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from monai_sam2unet.metrics.levels import EPSILON, Comparison, Floats, compare, quarters

__all__ = ["s_measure", "s_measure_of"]


def s_measure(prediction: Any, mask: Any, *, alpha: float = 0.5, stretch: bool = True) -> float:
    """S-measure: how alike the structure of map and mask is. In [0, 1], higher is better. No threshold.

    Args:
        prediction: (H, W).
        mask: (H, W).
        alpha: weight of the object's part, in [0, 1]; the rest is that of the regions.
        stretch: whether to stretch the map first.

    Returns:
        With an empty mask 1 minus the map's mean, with a full one the map's mean.

    Raises:
        InputError: if the two do not fit, see `compare`.
    """
    return s_measure_of(compare(prediction, mask, stretch=stretch), alpha)


def s_measure_of(pair: Comparison, alpha: float = 0.5) -> float:
    """S-measure, see `s_measure`."""
    counts = pair.total
    pixels, fg = int(counts.sum()), int(counts[1].sum())
    mean = float(counts.sum(axis=0) @ pair.values) / pixels
    if fg == 0:
        return 1 - mean
    if fg == pixels:
        return mean
    share = fg / pixels
    parts = share * _likeness(counts[1], pair.values) + (1 - share) * _likeness(counts[0], 1 - pair.values)
    return max(0.0, alpha * parts + (1 - alpha) * _regions(pair))


def _likeness(counts: Any, values: Floats) -> float:
    """How near to 1 the values of an object are, and how even: the object's part of the S-measure."""
    pixels = int(counts.sum())
    mean = float(counts @ values) / pixels
    spread = float(np.sqrt(counts @ (values - mean) ** 2 / (pixels - 1))) if pixels > 1 else 0.0
    return 2 * mean / (mean * mean + 1 + spread + EPSILON)


def _regions(pair: Comparison) -> float:
    """The regions' part of the S-measure: structural similarity of the quarters, weighted by area."""
    n = pair.counts.sum(axis=(1, 2))  # (4,) pixels
    total = 0.0
    for i, quarter in enumerate(quarters(pair.mask.shape, pair.cut)):
        if n[i]:
            total += n[i] / pair.mask.size * _similarity(pair, pair.counts[i], quarter)
    return float(total)


def _similarity(pair: Comparison, counts: Any, quarter: tuple[slice, slice]) -> float:
    """Structural similarity of map and mask in one quarter.

    Where both are constant it is 1 by definition. The benchmarks' program asks whether the variance is 0
    and takes it around a rounded mean, so there it may come out as 0; it is the same here.
    """
    n, fg = int(counts.sum()), int(counts[1].sum())
    levels = counts.sum(axis=0)
    if np.count_nonzero(levels) == 1:
        if fg not in (0, n):
            return 0.0
        value = pair.values[levels.argmax()]
        return float(value in (0, 1) or pair.values[pair.levels][quarter].mean() == value)
    x, y = float(levels @ pair.values) / n, fg / n
    offset = pair.values - x
    variances = float(levels @ offset**2) + n * y * (1 - y)
    covariance = float((1 - y) * (counts[1] @ offset) - y * (counts[0] @ offset))
    # both are sums: their common denominator n - 1 cancels but for the epsilon
    below = (x * x + y * y) * variances / (n - 1 + EPSILON) + EPSILON
    return 4 * x * y * covariance / (n - 1 + EPSILON) / below
