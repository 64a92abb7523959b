"""Figures of the benchmarks for salient and camouflaged objects, of one map against its mask.

Definitions: E-measure, Fan et al., IJCAI 2018 (arXiv 1805.10421). F-measure and its adaptive threshold,
Achanta et al., CVPR 2009. Where these leave a choice (thresholds, empty masks), it is that of PySODMetrics,
which the benchmarks' tables are computed with. S-measure and weighted F-measure have modules of their own.

Every function takes a prediction (uint8 of 0 to 255, or floats in [0, 1]) and a mask of its size (bool; of
8 bit what is above 128), each (H, W). `stretch` says whether the map is stretched to its own minimum and
maximum first. The paper's figures are means over pictures: see `monai_sam2unet.metrics.protocols.score`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from monai_sam2unet.metrics.levels import EPSILON, LEVELS, Bools, Comparison, Floats, compare

__all__ = [
    "CaseCurves",
    "Dynamic",
    "adaptive_level",
    "curves",
    "curves_of",
    "e_measure",
    "enhanced_alignment",
    "exceeding",
    "f_measure",
    "f_ratio",
    "mae",
    "mae_of",
    "pixels_at",
    "ratio",
    "threshold_dice",
    "threshold_iou",
]


TINY = float(np.finfo(np.float64).tiny)


class Dynamic(NamedTuple):
    """A figure at all thresholds.

    Attributes:
        adaptive: at twice the map's mean, at most 1.
        mean: mean over the thresholds 0 to 255.
        max: greatest over them. Of a set of pictures, the benchmarks take it of the mean curve.
        curve: (256,), at 8-bit level >= threshold.
    """

    adaptive: float
    mean: float
    max: float
    curve: Floats


class CaseCurves(NamedTuple):
    """Figures of one picture at thresholds 0 to 255, each (256,) in [0, 1] and higher is better.

    The map is cut off to 8 bit after any stretching; foreground is what is >= the threshold. A figure
    whose denominator is 0 is 0.
    """

    f: Floats
    e: Floats
    dice: Floats
    iou: Floats
    precision: Floats
    recall: Floats
    specificity: Floats


def e_measure(prediction: Any, mask: Any, *, stretch: bool = True) -> Dynamic:
    """E-measure: how well map and mask agree in each pixel, relative to their means. Higher is better.

    In [0, N / (N - 1)] for N pixels: its sum is divided by one less than there are.

    Args:
        prediction: (H, W).
        mask: (H, W).
        stretch: whether to stretch the map first.

    Returns:
        With an empty mask the share of background in the prediction, with a full one that of foreground.

    Raises:
        InputError: if the two do not fit, see `compare`.
    """
    pair = compare(prediction, mask, stretch=stretch)
    tp, fp, fg, pixels = adaptive_level(pair)
    return _dynamic(curves_of(pair).e, float(enhanced_alignment(tp, fp, fg, pixels)))


def f_measure(prediction: Any, mask: Any, *, beta2: float = 0.3, stretch: bool = True) -> Dynamic:
    """F-measure of precision and recall. In [0, 1], higher is better; 0 with an empty mask.

    Args:
        prediction: (H, W).
        mask: (H, W).
        beta2: square of beta, the weight of recall against precision.
        stretch: whether to stretch the map first.

    Returns:
        Adaptive, mean, max and curve.

    Raises:
        InputError: if the two do not fit, see `compare`.
    """
    pair = compare(prediction, mask, stretch=stretch)
    tp, fp, fg, _ = adaptive_level(pair)
    return _dynamic(curves_of(pair, beta2).f, float(f_ratio(tp, fp, fg, beta2)))


def threshold_dice(prediction: Any, mask: Any, *, stretch: bool = True) -> Dynamic:
    """Dice at all thresholds; its mean is the paper's "mDice". In [0, 1], higher is better.

    This is not Dice at one threshold: the mean of a perfect binary mask is below 1, since at threshold 0
    all is foreground.

    Args:
        prediction: (H, W).
        mask: (H, W).
        stretch: whether to stretch the map first.

    Returns:
        Adaptive, mean, max and curve; 0 with an empty mask.

    Raises:
        InputError: if the two do not fit, see `compare`.
    """
    pair = compare(prediction, mask, stretch=stretch)
    tp, fp, fg, _ = adaptive_level(pair)
    return _dynamic(curves_of(pair).dice, float(ratio(2 * tp, fg + tp + fp)))


def threshold_iou(prediction: Any, mask: Any, *, stretch: bool = True) -> Dynamic:
    """Intersection over union at all thresholds; its mean is the paper's "mIoU". Else as `threshold_dice`.

    Args:
        prediction: (H, W).
        mask: (H, W).
        stretch: whether to stretch the map first.

    Returns:
        Adaptive, mean, max and curve; 0 with an empty mask.

    Raises:
        InputError: if the two do not fit, see `compare`.
    """
    pair = compare(prediction, mask, stretch=stretch)
    tp, fp, fg, _ = adaptive_level(pair)
    return _dynamic(curves_of(pair).iou, float(ratio(tp, fg + fp)))


def mae(prediction: Any, mask: Any, *, stretch: bool = True) -> float:
    """Mean absolute error between map and mask. In [0, 1], lower is better; an empty mask is no exception.

    Args:
        prediction: (H, W).
        mask: (H, W).
        stretch: whether to stretch the map first.

    Returns:
        The mean over pixels.

    Raises:
        InputError: if the two do not fit, see `compare`.
    """
    return mae_of(compare(prediction, mask, stretch=stretch))


def curves(prediction: Any, mask: Any, *, beta2: float = 0.3, stretch: bool = True) -> CaseCurves:
    """All figures that depend on a threshold, at thresholds 0 to 255, from one pass over the picture.

    Args:
        prediction: (H, W).
        mask: (H, W).
        beta2: square of beta in the F-measure.
        stretch: whether to stretch the map first.

    Returns:
        One curve for each figure.

    Raises:
        InputError: if the two do not fit, see `compare`.
    """
    return curves_of(compare(prediction, mask, stretch=stretch), beta2)


def mae_of(pair: Comparison) -> float:
    """Mean absolute error, see `mae`."""
    background, foreground = pair.total
    return float(background @ pair.values + foreground @ (1 - pair.values)) / pair.mask.size


def curves_of(pair: Comparison, beta2: float = 0.3) -> CaseCurves:
    """All curves, see `curves`."""
    tp, fp = exceeding(pair)
    fg, pixels = int(tp[0]), pair.mask.size
    return CaseCurves(
        f=f_ratio(tp, fp, fg, beta2),
        e=enhanced_alignment(tp, fp, fg, pixels),
        dice=ratio(2 * tp, fg + tp + fp),
        iou=ratio(tp, fg + fp),
        precision=ratio(tp, tp + fp),
        recall=ratio(tp, np.full(LEVELS, fg)),
        specificity=ratio(pixels - fg - fp, np.full(LEVELS, pixels - fg)),
    )


def exceeding(pair: Comparison) -> tuple[Floats, Floats]:
    """True and false positives at thresholds 0 to 255, each (256,)."""
    # cut off, not rounded: so do the benchmarks after stretching
    thresholds = (pair.values * 255).astype(np.intp)
    fp, tp = (
        np.bincount(thresholds, weights=counts, minlength=LEVELS)[::-1].cumsum()[::-1]
        for counts in pair.total
    )
    return tp, fp


def pixels_at(pair: Comparison, chosen: Bools) -> tuple[int, int, int, int]:
    """Count the pixels whose level is chosen.

    Args:
        pair: map and mask.
        chosen: (256,), which levels are foreground.

    Returns:
        True positives, false positives, pixels of the mask and of the picture.
    """
    fp, tp = pair.total @ chosen
    return int(tp), int(fp), int(pair.total[1].sum()), pair.mask.size


def adaptive_level(pair: Comparison) -> tuple[int, int, int, int]:
    """Count the pixels whose value is >= twice the map's mean (at most 1), see `pixels_at`."""
    counts = pair.total.sum(axis=0)
    double = 2 * float(counts @ pair.values) / pair.mask.size
    if counts @ (np.abs(pair.values - double) < 1e-12):
        # A level lies on the threshold itself, so the last bit decides. PySODMetrics' is that of a sum over
        # pixels, not over levels.
        double = 2 * float(pair.values[pair.levels].mean())
    return pixels_at(pair, pair.values >= min(double, 1.0))


def f_ratio(tp: Any, fp: Any, fg: Any, beta2: float = 0.3) -> Floats:
    """F-measure (1 + b) P R / (b P + R), b the square of beta; 0 where it is undefined."""
    return ratio((1 + beta2) * tp, beta2 * fg + tp + fp)


def enhanced_alignment(tp: Any, fp: Any, fg: int, pixels: int) -> Floats:
    """E-measure of binary maps, from their counts.

    Mask and map minus their means take two values each, so the alignment of a pixel is one of four.

    Args:
        tp: true positives, a number or one for each threshold.
        fp: false positives, likewise.
        fg: pixels of the mask.
        pixels: pixels of the picture.

    Returns:
        As many figures as counts.
    """
    found = np.asarray(tp + fp, dtype=np.float64)
    if fg in (0, pixels):
        total = pixels - found if fg == 0 else found
    else:
        p, m = found / pixels, fg / pixels
        a = np.array([1 - p, 1 - p, -p, -p])  # (4,) or (4, 256)
        b = np.array([1 - m, -m, 1 - m, -m]).reshape(4, *[1] * found.ndim)
        counts = np.array([tp, fp, fg - tp, pixels - fg - fp])
        alignment = 2 * a * b / (a * a + b * b + EPSILON)
        total = ((1 + alignment) ** 2 / 4 * counts).sum(axis=0)
    result: Floats = total / max(pixels - 1, 1)
    return result


def ratio(part: Any, whole: Any) -> Floats:
    """Part by whole; 0 where there is no whole."""
    whole = np.asarray(whole, dtype=np.float64)
    result: Floats = part / np.maximum(whole, TINY)  # without a whole there is no part
    return result


def _dynamic(curve: Floats, adaptive: float) -> Dynamic:
    """A curve, its mean and its greatest value."""
    return Dynamic(adaptive, float(curve.mean()), float(curve.max()), curve)
