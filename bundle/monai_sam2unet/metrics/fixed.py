"""Protocol ``fixed``: overlap of one mask with its reference at a fixed operating point.

Both are binary and of the picture's original size. A reference without any foreground is kept apart:
overlap says nothing there, the question is whether (and how much) was found that is not there.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import numpy.typing as npt

__all__ = ["OVERLAP_NAMES", "Overlap", "binary_pair", "overlap"]

OVERLAP_NAMES = ("dice", "iou", "precision", "recall", "specificity")
"""Figures of one case, each in [0, 1], higher is better."""


class Overlap(TypedDict):
    """Figures of one case; NaN where a figure is undefined."""

    dice: float
    iou: float
    precision: float
    recall: float
    specificity: float


def overlap(prediction: npt.ArrayLike, reference: npt.ArrayLike) -> Overlap:
    """Compare one binary mask with its reference.

    Args:
        prediction: (H, W) or any shape, bool or 0/1.
        reference: same shape.

    Returns:
        Dice ``2TP/(2TP+FP+FN)``, IoU ``TP/(TP+FP+FN)``, precision ``TP/(TP+FP)``, recall ``TP/(TP+FN)`` and
        specificity ``TN/(TN+FP)`` in [0, 1]. If nothing is predicted where there is something, precision
        is 0, as Dice is. If the reference is empty, the first four are NaN; specificity is NaN if it is
        full.

    Raises:
        ValueError: if the shapes differ or a value is neither 0 nor 1.

    Example:
        >>> overlap([[1, 1, 0]], [[0, 1, 1]])["dice"]
        0.5
    """
    p, r = binary_pair(prediction, reference)
    tp = int(np.count_nonzero(p & r))
    fp = int(np.count_nonzero(p)) - tp
    fn = int(np.count_nonzero(r)) - tp
    tn = p.size - tp - fp - fn
    nan = float("nan")
    specificity = tn / (tn + fp) if tn + fp else nan
    if tp + fn == 0:
        return Overlap(dice=nan, iou=nan, precision=nan, recall=nan, specificity=specificity)
    return Overlap(
        dice=2 * tp / (2 * tp + fp + fn),
        iou=tp / (tp + fp + fn),
        precision=tp / (tp + fp) if tp + fp else 0.0,
        recall=tp / (tp + fn),
        specificity=specificity,
    )


def binary_pair(
    prediction: npt.ArrayLike, reference: npt.ArrayLike
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Both masks as bool.

    Raises:
        ValueError: if the shapes differ or a value is neither 0 nor 1.
    """
    p, r = _binary("prediction", prediction), _binary("reference", reference)
    if p.shape != r.shape:
        raise ValueError(
            f"prediction and reference must have one shape, got {p.shape} and {r.shape}; "
            "resize the prediction to the reference"
        )
    return p, r


def _binary(name: str, mask: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """The mask as bool, if it holds nothing but 0 and 1."""
    array = np.asarray(mask)
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must be binary (0 and 1), got values {np.unique(array)[:5]}; threshold it")
    return array.astype(bool, copy=False)
