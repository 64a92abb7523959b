"""Protocol ``fixed``: which lesions of one picture are found, and what is marked where there is none.

A lesion is a connected component of the reference. Pixels that touch by a side or a corner are connected
(8-connectivity), since a lesion that is drawn thin at one place should not fall into two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_sam2unet.metrics.fixed import binary_pair
from monai_sam2unet.metrics.levels import object_box

__all__ = ["FOUND_FROM", "SIZES", "Lesions", "find_lesions", "size_of"]

FOUND_FROM = 0.1
"""Share of a lesion's area from which it counts as found, if so much of it is marked.

An alarm is right if it points at the lesion: the polyp detection challenge of MICCAI 2015 (Bernal et al.,
IEEE TMI 36(6), 2017) takes a point within the lesion. A mask is more than a point, and a few pixels that
bleed over from a neighbour are no alarm. How well the lesion is outlined is what Dice and NSD say.
"""

SIZES = {"small": (0.0, 0.01), "medium": (0.01, 0.1), "large": (0.1, 1.0)}
"""Bins of size, as shares of the picture's area: from the first (included) to below the second (1 is large).

Camera pictures have no scale, so the bins are relative. They are powers of ten, the same for every data set:
1 % is about 40 pixels across in a network's input of 352x352, ten pixels of its finest features.
"""

EIGHT = np.ones((3, 3), dtype=bool)


class Lesions(NamedTuple):
    """Lesions of one picture.

    Attributes:
        areas: area of each lesion, in pixels.
        found: for each lesion, whether it was found.
        false_positives: number of marked components that touch no lesion.
    """

    areas: tuple[int, ...]
    found: tuple[bool, ...]
    false_positives: int


def find_lesions(
    prediction: npt.ArrayLike, reference: npt.ArrayLike, min_area: int = 0, found_from: float = FOUND_FROM
) -> Lesions:
    """Match the components of one binary mask with those of its reference.

    A lesion is found if at least ``found_from`` of its area is marked, by one component or several. A
    component of the prediction is a false positive if it has no pixel in common with the reference. So one
    that touches a lesion, but covers too little of it, is neither.

    Args:
        prediction: (H, W), bool or 0/1.
        reference: same shape.
        min_area: smaller components, in pixels, are ignored: such a part of the reference is no lesion that
            could be missed, but marking it is no false positive; such a part of the prediction is no false
            positive, but counts as marked.
        found_from: share of a lesion's area, above 0 and at most 1.

    Returns:
        Areas and whether found, by lesion; false positives. An empty reference has no lesions, all that is
        marked is false.

    Raises:
        ValueError: if the shapes differ or a value is neither 0 nor 1.

    Example:
        >>> find_lesions([[1, 1, 0, 0, 1]], [[0, 1, 0, 0, 0]])
        Lesions(areas=(1,), found=(True,), false_positives=1)
    """
    p, r = binary_pair(prediction, reference)
    marked_or_lesion = p | r
    if marked_or_lesion.any():  # the empty rest takes most of the time
        box = object_box(marked_or_lesion)
        p, r = p[box], r[box]
    lesions, number = ndimage.label(r, EIGHT)
    areas = np.bincount(lesions[r], minlength=number + 1)[1:]
    marked = np.bincount(lesions[p], minlength=number + 1)[1:]
    kept = areas >= min_area
    found = marked / areas >= found_from  # not marked >= found_from * areas: 0.1 * 70 is above 7 in binary
    components, number = ndimage.label(p, EIGHT)
    own_areas = np.bincount(components[p], minlength=number + 1)[1:]
    touching = np.bincount(components[r], minlength=number + 1)[1:] > 0
    return Lesions(
        areas=tuple(areas[kept].tolist()),
        found=tuple(found[kept].tolist()),
        false_positives=int(np.count_nonzero(~touching & (own_areas >= min_area))),
    )


def size_of(fraction: float) -> str:
    """The bin of `SIZES` that a share of the picture's area falls into.

    Args:
        fraction: above 0, at most 1.

    Example:
        >>> size_of(0.009), size_of(0.01), size_of(1.0)
        ('small', 'medium', 'large')
    """
    return next((name for name, (_, end) in SIZES.items() if fraction < end), "large")
