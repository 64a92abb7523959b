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
    pixels, fg = pair.mask.size, int(counts[1].sum())
    if fg in (0, pixels):
        mean = float(counts.sum(axis=0) @ pair.values) / pixels
        return mean if fg else 1 - mean
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
    levels = pair.counts.sum(axis=1)  # (4, 256) pixels
    n, fg = levels.sum(axis=1), pair.counts[:, 1].sum(axis=1)  # (4,)
    pixels = np.maximum(n, 1)  # a quarter of none weighs nothing
    x, y = levels @ pair.values / pixels, fg / pixels
    offset = pair.values - x[:, None]  # (4, 256)
    variances = (levels * offset**2).sum(axis=1) + n * y * (1 - y)
    against = (1 - y)[:, None] * pair.counts[:, 1] - y[:, None] * pair.counts[:, 0]
    covariance = (against * offset).sum(axis=1)
    # both are sums: their common denominator n - 1 cancels but for the epsilon
    below = (x * x + y * y) * variances / (n - 1 + EPSILON) + EPSILON
    similarity = 4 * x * y * covariance / (n - 1 + EPSILON) / below
    for i in np.flatnonzero((levels > 0).sum(axis=1) == 1):
        similarity[i] = _similarity_of_constant(pair, int(i)) if fg[i] in (0, n[i]) else 0.0
    return float(n @ similarity) / pair.mask.size


def _similarity_of_constant(pair: Comparison, i: int) -> float:
    """Structural similarity of map and mask in a quarter where both are constant.

    It is 1 by definition. The benchmarks' program asks whether the variance is 0 and takes it around a
    rounded mean, so there it may come out as 0; it is the same here.
    """
    quarter = quarters(pair.mask.shape, pair.cut)[i]
    value = pair.values[pair.counts[i].sum(axis=0).argmax()]
    return float(value in (0, 1) or pair.values[pair.levels][quarter].mean() == value)
