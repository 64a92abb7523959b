"""True and false positives and negatives at one threshold, and the figures made of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from monai_sam2unet.errors import InputError
from monai_sam2unet.metrics.levels import compare
from monai_sam2unet.metrics.saliency import pixels_at

__all__ = ["Confusion", "confusion", "rates"]


class Confusion(NamedTuple):
    """Pixels of one picture, or of several taken together."""

    tp: int
    fp: int
    fn: int
    tn: int


def confusion(prediction: Any, mask: Any, *, threshold: float = 0.5, stretch: bool = False) -> Confusion:
    """Count pixels at one threshold. Floats are rounded to 8 bit first (0.5 and more to 128 and more).

    Args:
        prediction: (H, W).
        mask: (H, W).
        threshold: in [0, 1]; foreground is a value >= it, a level counting as its 255th part.
        stretch: whether to stretch the map first.

    Returns:
        The four counts; `rates` makes figures of them, also of their sums over pictures (pooled).

    Raises:
        InputError: if the threshold is out of range or the two do not fit, see `compare`.

    Example:
        >>> pair = confusion([[1.0, 0.7, 0.2]], [[True, False, False]])
        >>> pair, rates(pair)["iou"]
        (Confusion(tp=1, fp=1, fn=0, tn=1), 0.5)
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold must lie in [0, 1], got {threshold:g}")
    pair = compare(prediction, mask, stretch=stretch)
    tp, fp, fg, pixels = pixels_at(pair, pair.values >= threshold)
    return Confusion(tp, fp, fg - tp, pixels - fg - fp)


def rates(counts: Confusion, *, empty: float = float("nan")) -> dict[str, float]:
    """Figures of the pixels at one threshold.

    Args:
        counts: of one picture (then to be averaged over pictures) or summed over pictures (pooled).
        empty: what a figure is whose denominator is 0.

    Returns:
        dice, iou, precision, recall (which the mirror benchmark calls Acc), specificity: in [0, 1], higher
        is better; ber, the balanced error rate, 1 minus the mean of recall and specificity: lower is better.
    """
    tp, fp, fn, tn = (int(n) for n in counts)

    def share(part: int, whole: int) -> float:
        return part / whole if whole else empty

    recall, specificity = share(tp, tp + fn), share(tn, tn + fp)
    return {
        "dice": share(2 * tp, 2 * tp + fp + fn),
        "iou": share(tp, tp + fp + fn),
        "precision": share(tp, tp + fp),
        "recall": recall,
        "specificity": specificity,
        "ber": 1 - (recall + specificity) / 2,
    }
