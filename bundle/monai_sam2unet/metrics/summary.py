"""Protocol ``fixed``: all figures of one case, and their means and intervals over the cases of a set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from monai_sam2unet.metrics.bootstrap import Interval, bootstrap_class_mean, bootstrap_interval
from monai_sam2unet.metrics.fixed import OVERLAP_NAMES, overlap
from monai_sam2unet.metrics.lesions import SIZES, find_lesions, size_of
from monai_sam2unet.metrics.surface import SURFACE_NAMES, surface

__all__ = [
    "CASE_COLUMNS",
    "LESION_NAMES",
    "SPECK",
    "Figure",
    "case_figures",
    "set_figures",
    "summarize",
    "summarize_classes",
]

LESION_NAMES = ("lesions", "lesions_found", "false_positives")
"""Counts of one case (see `monai_sam2unet.metrics.lesions`)."""

CASE_COLUMNS = (
    "height", "width", "reference_pixels", "predicted_pixels", *OVERLAP_NAMES, *SURFACE_NAMES, *LESION_NAMES
)  # fmt: skip
"""What `case_figures` says of a case, without its parts."""

SPECK = 10
"""Pixels below which a component of a reference is more likely a trace of JPEG or of a pen than a lesion.

Kvasir-SEG has 143 components below it (in 1000 masks), and none from there to 200 pixels.
"""

Row = Mapping[str, Any]


class Figure(NamedTuple):
    """A figure over a set: what is averaged.

    Attributes:
        values: one of each case, NaN where it says nothing.
        weights: how much each counts; equally if None.
    """

    values: list[float]
    weights: list[float] | None = None


def case_figures(
    prediction: npt.NDArray[np.bool_],
    reference: npt.NDArray[np.bool_],
    tolerance: float = 3.0,
    spacing: float | Sequence[float] | None = None,
    min_lesion_area: int = 0,
    counted: npt.NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """All figures of one case.

    Args:
        prediction: (H, W), bool.
        reference: same shape.
        tolerance: of NSD, see `monai_sam2unet.metrics.surface`.
        spacing: mm between pixels, see there.
        min_lesion_area: pixels below which a component is ignored, see `monai_sam2unet.metrics.find_lesions`.
        counted: same shape, which pixels count; the masks must be empty elsewhere. None if all do.

    Returns:
        `CASE_COLUMNS`, with ``counted`` also ``ignored_pixels``, and ``sizes``: of each bin the numbers of
        lesions and of those found; ``specks``: the number of lesions with fewer than `SPECK` pixels.
    """
    lesions = find_lesions(prediction, reference, min_lesion_area)
    everywhere: Any = ... if counted is None else counted
    ignored = {} if counted is None else {"ignored_pixels": int(np.count_nonzero(~counted))}
    pixels = max(1, reference.size - ignored.get("ignored_pixels", 0))
    sizes = {name: [0, 0] for name in SIZES}
    for area, found in zip(lesions.areas, lesions.found, strict=True):
        counts = sizes[size_of(area / pixels)]
        counts[0] += 1
        counts[1] += found
    return {
        "height": reference.shape[0],
        "width": reference.shape[1],
        "reference_pixels": int(np.count_nonzero(reference)),
        "predicted_pixels": int(np.count_nonzero(prediction)),
        **overlap(prediction[everywhere], reference[everywhere]),
        **surface(prediction, reference, tolerance, spacing),
        "lesions": len(lesions.areas),
        "lesions_found": sum(lesions.found),
        "false_positives": lesions.false_positives,
        "sizes": sizes,
        "specks": sum(area < SPECK for area in lesions.areas),
        **ignored,
    }


def set_figures(rows: Sequence[Row]) -> dict[str, Figure]:
    """What is averaged over a set, for each figure whose columns the cases have.

    Args:
        rows: `CASE_COLUMNS` of each case, undefined ones NaN.

    Returns:
        By name: overlap and outline of the cases with a reference, each case counting once;
        ``lesion_sensitivity``, pooled over all lesions, [0, 1], higher is better; ``false_positives`` per
        picture, over all pictures, >= 0, lower is better; ``false_alarm_rate`` and ``false_area_fraction`` of
        the cases without a reference, [0, 1], lower is better.
    """
    nan = float("nan")
    figures = {
        name: Figure([float(row[name]) if row["reference_pixels"] else nan for row in rows])
        for name in (*OVERLAP_NAMES, *SURFACE_NAMES)
        if all(name in row for row in rows)
    }
    if all(name in row for name in LESION_NAMES for row in rows):
        figures["lesion_sensitivity"] = _sensitivity([(row["lesions"], row["lesions_found"]) for row in rows])
        figures["false_positives"] = Figure([float(row["false_positives"]) for row in rows])
    areas = [nan if row["reference_pixels"] else row["predicted_pixels"] / _counted(row) for row in rows]
    figures["false_alarm_rate"] = Figure([nan if math.isnan(area) else float(area > 0) for area in areas])
    figures["false_area_fraction"] = Figure(areas)
    return figures


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over a set with 95 % bootstrap intervals, and the counts behind them.

    Args:
        rows: what `case_figures` gives, and ``group``: patient or sequence of each case.

    Returns:
        ``with_reference``, ``without_reference``, ``lesions`` and ``by_size``; NaN where undefined.
    """
    figures, groups = set_figures(rows), [row["group"] for row in rows]
    intervals = {name: _interval(figure, groups) for name, figure in figures.items()}
    positives = [row for row in rows if row["reference_pixels"]]
    missed = sum(row["predicted_pixels"] == 0 for row in positives)
    return {
        "with_reference": {
            "cases": len(positives),
            **{name: intervals[name] for name in (*OVERLAP_NAMES, "nsd")},
            # nothing predicted: no distance. Said here, since the mean alone would reward it
            "hd95": {**intervals["hd95"], "cases_without_prediction": missed},
        },
        "without_reference": {
            "cases": len(rows) - len(positives),
            "false_alarm_rate": intervals["false_alarm_rate"],
            "false_area_fraction": intervals["false_area_fraction"],
        },
        "lesions": {
            "lesions": sum(row["lesions"] for row in rows),
            "found": sum(row["lesions_found"] for row in rows),
            "sensitivity": intervals["lesion_sensitivity"],
            "false_positives": sum(row["false_positives"] for row in rows),
            "false_positives_per_picture": intervals["false_positives"],
        },
        "by_size": {name: _of_size(name, rows, groups) for name in SIZES},
    }


def summarize_classes(rows: Sequence[Row]) -> dict[str, Any]:
    """Means of each class as `summarize` gives them, and the mean over the classes.

    Args:
        rows: what `case_figures` gives for each case and class, with ``group`` and ``class``; the cases of
            every class in one order.

    Returns:
        ``mean_over_classes``: the figures of `set_figures` that are means over cases, each class counting
        once; ``by_class``: names to what `summarize` gives.
    """
    by_class: dict[str, list[Row]] = {}
    for row in rows:
        by_class.setdefault(row["class"], []).append(row)
    figures = [set_figures(own) for own in by_class.values()]
    groups = [row["group"] for row in next(iter(by_class.values()), [])]
    names = [name for name, figure in (figures[0] if figures else {}).items() if figure.weights is None]
    return {
        "mean_over_classes": {
            name: bootstrap_class_mean([own[name].values for own in figures], groups) for name in names
        },
        "by_class": {name: summarize(own) for name, own in by_class.items()},
    }


def _counted(row: Row) -> int:
    """Pixels of a case that count."""
    pixels = int(row["height"] * row["width"] - row.get("ignored_pixels", 0))
    return max(1, pixels)


def _of_size(name: str, rows: Sequence[Row], groups: Sequence[str]) -> dict[str, Any]:
    """Dice of the pictures whose whole reference has this size; sensitivity to lesions of this size."""
    of_size = [
        row["reference_pixels"] > 0 and size_of(row["reference_pixels"] / _counted(row)) == name
        for row in rows
    ]
    dice = [row["dice"] if own else float("nan") for row, own in zip(rows, of_size, strict=True)]
    counts = [row["sizes"][name] for row in rows]
    start, end = SIZES[name]
    return {
        "area_from": start,
        "area_to": end,
        "dice": bootstrap_interval(dice, groups),
        "lesions": sum(number for number, _ in counts),
        "found": sum(found for _, found in counts),
        "sensitivity": _interval(_sensitivity(counts), groups),
    }


def _sensitivity(counts: Sequence[Sequence[int]]) -> Figure:
    """Share of lesions found, weighted by their number, from both numbers of each case."""
    shares = [found / number if number else float("nan") for number, found in counts]
    return Figure(shares, [float(number) for number, _ in counts])


def _interval(figure: Figure, groups: Sequence[str]) -> Interval:
    """Mean and interval of a figure."""
    return bootstrap_interval(figure.values, groups, weights=figure.weights)
