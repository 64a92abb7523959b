"""Figures of volumes: those of protocol ``fixed``, for each structure of each volume, in three dimensions.

Shape legend: ``X Y Z`` the axes of a volume as stored. Distances are in mm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_sam2unet.metrics.bootstrap import bootstrap_class_mean, bootstrap_interval
from monai_sam2unet.metrics.fixed import OVERLAP_NAMES, overlap
from monai_sam2unet.metrics.summary import Figure
from monai_sam2unet.metrics.surface import SURFACE_NAMES, surface

__all__ = ["VOLUME_COLUMNS", "VOLUME_FIGURES", "summarize_volumes", "volume_figures", "volume_set_figures"]

VOLUME_FIGURES = ("dice", "iou", "precision", "recall", *SURFACE_NAMES)
"""What is averaged. Specificity is not: nearly all of a volume is background, and it says nothing there."""

VOLUME_COLUMNS = ("reference_ml", "predicted_ml", *OVERLAP_NAMES, *SURFACE_NAMES)
"""What `volume_figures` says of one structure of one volume."""

Row = Mapping[str, Any]


def volume_figures(
    prediction: npt.NDArray[np.bool_],
    reference: npt.NDArray[np.bool_],
    spacing: Sequence[float],
    tolerance: float = 1.0,
) -> dict[str, Any]:
    """All figures of one structure of one volume.

    Args:
        prediction: (X, Y, Z), bool.
        reference: same shape.
        spacing: mm from one voxel to the next, along each axis.
        tolerance: mm from outline to outline that NSD takes as right.

    Returns:
        `VOLUME_COLUMNS`: both volumes in ml, overlap as `overlap`, outlines as `surface`; NaN where
        undefined.
    """
    millilitres = float(np.prod(spacing)) / 1000
    return {
        "reference_ml": int(np.count_nonzero(reference)) * millilitres,
        "predicted_ml": int(np.count_nonzero(prediction)) * millilitres,
        **overlap(prediction, reference),
        **surface(prediction, reference, tolerance, spacing),
    }


def volume_set_figures(rows: Sequence[Row]) -> dict[str, Figure]:
    """What is averaged over volumes, for each of `VOLUME_FIGURES`.

    Args:
        rows: what `volume_figures` gives for one class of each volume, undefined figures NaN.
    """
    return {name: Figure([float(row[name]) for row in rows]) for name in VOLUME_FIGURES}


def summarize_volumes(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over volumes with 95 % bootstrap intervals, for each class and over the classes.

    Args:
        rows: what `volume_figures` gives for each volume and class, with ``class`` and ``group`` (the
            patient); the volumes of every class in one order.

    Returns:
        ``mean_over_classes``: `VOLUME_FIGURES`, each class counting once. ``by_class``: by name,
        ``with_reference`` (figures of the volumes that hold the structure) and ``without_reference`` (of the
        others: how many, and the share in which it was found all the same). NaN where undefined.
    """
    by_class: dict[str, list[Row]] = {}
    for row in rows:
        by_class.setdefault(row["class"], []).append(row)
    groups = [row["group"] for row in next(iter(by_class.values()), [])]
    return {
        "mean_over_classes": {
            name: bootstrap_class_mean([[row[name] for row in own] for own in by_class.values()], groups)
            for name in VOLUME_FIGURES
        },
        "by_class": {name: _of_class(own) for name, own in by_class.items()},
    }


def _of_class(rows: Sequence[Row]) -> dict[str, Any]:
    """Figures of one class."""
    there = [row for row in rows if row["reference_ml"] > 0]
    absent = [row for row in rows if not row["reference_ml"] > 0]
    groups = [row["group"] for row in there]
    figures: dict[str, Any] = {
        name: bootstrap_interval([row[name] for row in there], groups) for name in VOLUME_FIGURES
    }
    # nothing predicted: no distance. Said here, since the mean alone would reward it
    figures["hd95"]["cases_without_prediction"] = sum(row["predicted_ml"] == 0 for row in there)
    return {
        "with_reference": {"cases": len(there), **figures},
        "without_reference": {
            "cases": len(absent),
            "false_alarm_rate": bootstrap_interval(
                [float(row["predicted_ml"] > 0) for row in absent], [row["group"] for row in absent]
            ),
        },
    }
