"""Outlines of a mask, as clients draw them that know no masks (CVAT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import approximate_polygon, find_contours

__all__ = ["as_annotations", "outlines"]

TOLERANCE = 0.5
"""Pixels that a corner may lie off the outline."""


def outlines(mask: NDArray[np.bool_]) -> list[list[list[int]]]:
    """Polygons around the regions of a mask, and around their holes.

    Args:
        mask: (H, W).

    Returns:
        For each polygon its corners, ``[x, y]`` in pixels from the upper left one, the first one once.

    Example:
        >>> mask = np.zeros((4, 6), bool)
        >>> mask[1:3, 2:5] = True
        >>> sorted(outlines(mask)[0])
        [[2, 1], [2, 2], [4, 1], [4, 2]]
    """
    # the frame closes outlines of what touches the edge; at almost 1 they pass through the mask's own pixels
    contours = find_contours(np.pad(mask.astype(float), 1), 0.999)
    corners = [np.rint(approximate_polygon(contour, TOLERANCE)[:-1] - 1).astype(int) for contour in contours]
    return [polygon[:, ::-1].tolist() for polygon in corners if len(polygon) > 2]


def as_annotations(labels: NDArray[np.uint8], names: Mapping[str, int]) -> list[dict[str, Any]]:
    """A mask in the form that MONAI Label's plug-in for CVAT reads.

    Args:
        labels: label numbers, (H, W), 0 where there is nothing.
        names: the number of each label by its name.

    Returns:
        One annotation with an element for each label that occurs.
    """
    found = {name: outlines(labels == number) for name, number in names.items()}
    elements = [{"label": name, "contours": polygons} for name, polygons in found.items() if polygons]
    return [{"annotation": {"elements": elements}}]
