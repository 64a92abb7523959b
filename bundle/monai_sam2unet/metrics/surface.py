"""Protocol ``fixed``: distance between the outline of one mask and that of its reference.

The outline of a mask is its pixels that touch, by one of their four sides, a pixel outside or the picture's
edge; of a volume, its voxels that touch one by their six sides. Both masks have the original size of picture
or volume. Distances are in pixels, or in mm where a spacing is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

# What MONAI's compute_surface_dice and compute_hausdorff_distance are made of. They themselves are not
# called, since each would find outlines and distances anew. Where nothing is predicted, the latter's 95th
# percentile is NaN, and MONAI's mean leaves it out (MONAI issue 9095). The tests compare with both.
from monai.metrics.utils import get_mask_edges, get_surface_distance

from monai_sam2unet.metrics.fixed import binary_pair

__all__ = ["SURFACE_NAMES", "Surface", "surface"]

SURFACE_NAMES = ("nsd", "hd95")
"""Figures of one case: NSD in [0, 1], higher is better; HD95 >= 0 in pixels or mm, lower is better."""


_NUMBERS = {2: "two", 3: "three"}


class Surface(TypedDict):
    """Figures of one case; NaN where a figure is undefined."""

    nsd: float
    hd95: float


def surface(
    prediction: npt.ArrayLike,
    reference: npt.ArrayLike,
    tolerance: float = 3.0,
    spacing: float | Sequence[float] | None = None,
) -> Surface:
    """Compare the outline of one binary mask with that of its reference.

    NSD, the normalised surface distance (surface Dice): the share of both outlines that lies within the
    tolerance of the other one (Nikolov et al., arXiv 1809.04430; Metrics Reloaded, arXiv 2206.01653). Every
    pixel of an outline counts once. HD95: the larger of the 95th percentiles of the distances from one
    outline to the other, in both directions (Metrics Reloaded), interpolated linearly.

    Args:
        prediction: (H, W), or (X, Y, Z) of a volume, bool or 0/1.
        reference: same shape.
        tolerance: distance that is still right, in pixels, or in mm with a spacing. It should be what two
            experts differ by. We know of no such figure for polyps; 3 pixels is 0.6 % of the diagonal of a
            picture of 384x288, and the boundary benchmark of BSDS allows 0.75 %.
        spacing: mm from one pixel to the next, one number or one for each axis; pixels if None.

    Returns:
        NSD in [0, 1], higher is better, and HD95, at least 0, lower is better. If the reference is empty,
        both are NaN. If nothing is predicted where there is something, NSD is 0, as Dice is, and HD95 is NaN:
        there is no outline to be at any distance. Whoever averages HD95 must state the number of such cases.

    Raises:
        ValueError: if the shapes differ, a value is neither 0 nor 1, or tolerance or spacing make no sense.

    Example:
        >>> surface([[1, 0, 0, 0, 0]], [[0, 0, 0, 0, 1]], tolerance=3)
        {'nsd': 0.0, 'hd95': 4.0}
    """
    p, r = binary_pair(prediction, reference)
    if p.ndim not in (2, 3):
        raise ValueError(f"prediction and reference must be (H, W) or (X, Y, Z), got shape {p.shape}")
    steps = _spacing(spacing, p.ndim)
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"tolerance must be a finite number of at least 0, got {tolerance}")
    if not r.any():
        return Surface(nsd=float("nan"), hd95=float("nan"))
    if not p.any():
        return Surface(nsd=0.0, hd95=float("nan"))
    box = _box(p | r)
    outline, true_outline = get_mask_edges(p[box], r[box], crop=False)
    there = np.asarray(get_surface_distance(outline, true_outline, spacing=steps))
    back = np.asarray(get_surface_distance(true_outline, outline, spacing=steps))
    limit = np.float32(tolerance)  # as the distances: three steps of 0.1 mm are within 0.3 mm
    near = np.count_nonzero(there <= limit) + np.count_nonzero(back <= limit)
    return Surface(
        nsd=float(near / (there.size + back.size)),
        hd95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
    )


def _box(mask: npt.NDArray[np.bool_]) -> tuple[slice, ...]:
    """Bounding box of what is inside; MONAI's own way to crop takes longer than all the rest."""
    inside = [
        mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis))
        for axis in range(mask.ndim)
    ]
    found = [np.flatnonzero(line) for line in inside]
    return tuple(slice(places[0], places[-1] + 1) for places in found)


def _spacing(spacing: float | Sequence[float] | None, axes: int) -> tuple[float, ...]:
    """Spacing along each axis; 1 stands for pixels."""
    if spacing is None:
        return (1.0,) * axes
    steps = (spacing,) * axes if isinstance(spacing, (int, float)) else tuple(spacing)
    if len(steps) != axes or not all(math.isfinite(step) and step > 0 for step in steps):
        raise ValueError(f"spacing must be one or {_NUMBERS[axes]} numbers above 0 (mm), got {spacing}")
    return steps
