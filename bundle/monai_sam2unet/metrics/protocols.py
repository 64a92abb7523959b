"""Named protocols: the figures of a set of pictures as each benchmark computes them.

`docs/metrics.md` has their conventions side by side: what is foreground, whether the map is stretched, what
an empty mask gives, what is averaged.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

import numpy as np

from monai_sam2unet.errors import InputError
from monai_sam2unet.metrics.counts import Confusion, rates
from monai_sam2unet.metrics.fixed import OVERLAP_NAMES, overlap
from monai_sam2unet.metrics.levels import (
    LEVELS,
    Comparison,
    as_map,
    as_mask,
    as_probabilities,
    check_sizes,
    compare,
)
from monai_sam2unet.metrics.rows import Layout, RowMean, Values
from monai_sam2unet.metrics.saliency import (
    adaptive_level,
    curves_of,
    enhanced_alignment,
    exceeding,
    f_ratio,
    mae_of,
    pixels_at,
    ratio,
)
from monai_sam2unet.metrics.structure import s_measure_of
from monai_sam2unet.metrics.weighted import weighted_f_of

__all__ = ["PROTOCOLS", "figures_of", "find_protocol", "is_graded", "paper_from_counts", "score"]

NAN = float("nan")


def score(
    predictions: Iterable[Any],
    masks: Iterable[Any],
    protocol: str = "paper",
    *,
    threshold: float | None = None,
) -> dict[str, float]:
    """Figures of a set of pictures as a benchmark computes them.

    Args:
        predictions: maps of (H, W), of any sizes: uint8 of 0 to 255, or floats in [0, 1] (probabilities,
            not logits); arrays or tensors. A generator will do: one pair is in memory at a time.
        masks: one for each, of the prediction's size: bool, uint8 of 0 to 255, or floats in [0, 1].
        protocol: `paper`, `hetnet`, `masnet` or `fixed`.
        threshold: operating point of `fixed` in [0, 1], 0.5 if not given; the others have their own.

    Returns:
        Figures by name. NaN for one that no picture defines. All but MAE, mae, ber and the false alarms are
        better if higher.

    Raises:
        InputError: for an unknown protocol, a threshold that it does not take, sequences of different
            lengths or without pictures, and a picture that does not fit (its number is named, from 0).

    Warns:
        UserWarning: if all maps were binary already, so that a figure over all thresholds says nothing; and
            if a figure of `hetnet` or `masnet` is undefined for a picture, which is then left out of it.

    Example:
        >>> figures = score([[[0.9, 0.2]]], [[[True, False]]], protocol="fixed")
        >>> figures["dice"], figures["specificity"]
        (1.0, 1.0)
    """
    mean, missing = RowMean(find_protocol(protocol, threshold)), object()
    for prediction, mask in zip_longest(predictions, masks, fillvalue=missing):
        if prediction is missing or mask is missing:
            short = "predictions" if prediction is missing else "masks"
            raise InputError(
                f"predictions and masks must be equally many, got only {mean.rows} {short}; pair them by name"
            )
        try:
            mean.add(mean.layout.row(prediction, mask))
        except InputError as err:
            raise InputError(f"picture {mean.rows}: {err}") from None
    return figures_of(mean)


def find_protocol(name: str, threshold: float | None = None) -> Layout:
    """What the protocol of that name measures.

    Args:
        name: one of `PROTOCOLS`.
        threshold: operating point of `fixed` in [0, 1].

    Returns:
        Its measurements and figures.

    Raises:
        InputError: if there is none of that name, or it takes no threshold, or that is out of range.
    """
    if name not in PROTOCOLS:
        raise InputError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}")
    if threshold is None:
        return PROTOCOLS[name]
    if name != "fixed":
        raise InputError(
            f"threshold is for protocol 'fixed' alone, got {threshold:g} for {name!r}; leave it out"
        )
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold must lie in [0, 1], got {threshold:g}")
    return PROTOCOLS[name]._replace(measure=lambda p, m: fixed(p, m, threshold))


def figures_of(mean: RowMean) -> dict[str, float]:
    """The figures of a set, with warnings of what they do not say."""
    values = mean.values()
    undefined = mean.undefined()
    if undefined and not mean.layout.apart:
        warnings.warn(
            f"an empty or full mask leaves figures undefined, which are means of the others of {mean.rows} "
            f"pictures: {', '.join(f'{k} of {n}' for k, n in undefined.items())}",
            stacklevel=3,
        )
    if values.get("graded") == 0:
        warnings.warn(
            "all predictions hold two values at most: they were binarised, so figures over all thresholds "
            "say nothing; give probabilities or 8-bit maps",
            stacklevel=3,
        )
    return mean.layout.finish(values)


def is_graded(pair: Comparison) -> bool:
    """Whether a map holds more than its least and its greatest value, or one between 0 and 1."""
    between = (pair.values > 0) & (pair.values < 1)
    return bool((pair.total @ between).any())


def paper(prediction: Any, mask: Any) -> Values:
    """One picture in the paper's protocol: stretched to its own minimum and maximum; mask above 128."""
    pair = compare(prediction, mask)
    return {**paper_from_counts(pair), "wFmeasure": weighted_f_of(pair.levels, pair.mask, pair.values)}


def paper_from_counts(pair: Comparison) -> Values:
    """All of `paper` that one pass over the picture gives: weighted F alone needs distances."""
    adaptive = adaptive_level(pair)
    tps, fps = exceeding(pair)
    tp, fp, fg, pixels = pixels_at(pair, pair.values > 0.5)
    return {
        "Smeasure": s_measure_of(pair),
        "MAE": mae_of(pair),
        "adpFm": f_ratio(*adaptive[:3]),
        "adpEm": enhanced_alignment(*adaptive),
        "sample_bidice": ratio(2 * tp, fg + tp + fp),
        "sample_biiou": ratio(tp, fg + fp),
        "graded": is_graded(pair),
        "tp": tp,
        "fp": fp,
        "fg": fg,
        "Fm": f_ratio(tps, fps, fg),
        "Em": enhanced_alignment(tps, fps, fg, pixels),
        "dice": ratio(2 * tps, fg + tps + fps),
        "iou": ratio(tps, fg + fps),
    }


def finish_paper(mean: Values) -> dict[str, float]:
    """Mean and maximum of the mean curves; pooled figures from the mean counts."""
    tp, fp, fg = mean["tp"], mean["fp"], mean["fg"]
    return {
        "meandice": float(mean["dice"].mean()),
        "meaniou": float(mean["iou"].mean()),
        "maxdice": float(mean["dice"].max()),
        "maxiou": float(mean["iou"].max()),
        "Smeasure": mean["Smeasure"],
        "wFmeasure": mean["wFmeasure"],
        "adpFm": mean["adpFm"],
        "meanFm": float(mean["Fm"].mean()),
        "maxFm": float(mean["Fm"].max()),
        "adpEm": mean["adpEm"],
        "meanEm": float(mean["Em"].mean()),
        "maxEm": float(mean["Em"].max()),
        "MAE": mean["MAE"],
        "sample_bidice": mean["sample_bidice"],
        "sample_biiou": mean["sample_biiou"],
        "overall_bidice": float(ratio(2 * tp, fg + tp + fp)),
        "overall_biiou": float(ratio(tp, fg + fp)),
    }


def hetnet(prediction: Any, mask: Any) -> Values:
    """One picture of mirror detection: mask 255; IoU, BER, Acc of the map as it is; MAE, F of it stretched.

    Without a mirror, all but the error is undefined; BER is so without background, too.
    """
    pair = compare(as_map(prediction), as_mask(mask, above=254))
    tp, fp, fg, pixels = pixels_at(pair, np.arange(LEVELS) >= 127.5)
    counts = rates(Confusion(tp, fp, fg - tp, pixels - fg - fp))
    curves = curves_of(pair)
    return {
        "iou": counts["iou"] if fg else NAN,
        "ber": counts["ber"],
        "acc": counts["recall"],
        "mae": mae_of(pair),
        "graded": is_graded(pair),
        "precision": curves.precision if fg else np.full(LEVELS, NAN),
        "recall": curves.recall if fg else np.full(LEVELS, NAN),
    }


def finish_hetnet(mean: Values) -> dict[str, float]:
    """F is the greatest over thresholds, of mean precision and mean recall (beta squared 0.3)."""
    precision, recall = mean["precision"], mean["recall"]
    f = ratio(1.3 * precision * recall, 0.3 * precision + recall)
    return {
        "iou": mean["iou"],
        "f_measure": float(f.max()),
        "mae": mean["mae"],
        "ber": mean["ber"],
        "acc": mean["acc"],
    }


def masnet(prediction: Any, mask: Any) -> Values:
    """One picture of marine animals: IoU of map and mask above 127, not stretched; the rest as `paper`."""
    pair = compare(prediction, mask)
    return {
        "mIoU": overlap(as_map(prediction) > 127, as_mask(mask, above=127))["iou"],
        "Smeasure": s_measure_of(pair),
        "wFmeasure": weighted_f_of(pair.levels, pair.mask, pair.values),
        "MAE": mae_of(pair),
        "graded": is_graded(pair),
        "Em": curves_of(pair).e,
    }


def finish_masnet(mean: Values) -> dict[str, float]:
    """Means; E over the thresholds, too."""
    return {
        "mIoU": mean["mIoU"],
        "Smeasure": mean["Smeasure"],
        "wFmeasure": mean["wFmeasure"],
        "meanEm": float(mean["Em"].mean()),
        "MAE": mean["MAE"],
    }


def fixed(prediction: Any, mask: Any, threshold: float = 0.5) -> Values:
    """One picture at an operating point: probability >= it, mask >= 0.5. Empty masks are kept apart."""
    probabilities, truth = as_probabilities(prediction), as_mask(mask, above=127)
    check_sizes(probabilities, truth)
    found = probabilities >= threshold
    if truth.any():
        return {**overlap(found, truth), "false_alarm_rate": NAN, "false_area_fraction": NAN}
    alarms = {"false_alarm_rate": found.any(), "false_area_fraction": found.mean()}
    return {**dict.fromkeys(OVERLAP_NAMES, NAN), **alarms}


PROTOCOLS = {
    "paper": Layout(
        scalars=(
            "Smeasure",
            "wFmeasure",
            "MAE",
            "adpFm",
            "adpEm",
            "sample_bidice",
            "sample_biiou",
            "graded",
            "tp",
            "fp",
            "fg",
        ),
        curves=("Fm", "Em", "dice", "iou"),
        measure=paper,
        finish=finish_paper,
    ),
    "hetnet": Layout(("iou", "ber", "acc", "mae", "graded"), ("precision", "recall"), hetnet, finish_hetnet),
    "masnet": Layout(("mIoU", "Smeasure", "wFmeasure", "MAE", "graded"), ("Em",), masnet, finish_masnet),
    "fixed": Layout(
        (*OVERLAP_NAMES, "false_alarm_rate", "false_area_fraction"),
        (),
        measure=fixed,
        finish=dict,
        apart=True,
    ),
}
"""What each named protocol measures."""
