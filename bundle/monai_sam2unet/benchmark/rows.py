"""The rows of the table: a figure of a set, ours over one or several runs, beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monai_sam2unet.benchmark.published import Published, published
from monai_sam2unet.benchmark.scoring import Run, Score
from monai_sam2unet.benchmark.sets import EvaluationSet
from monai_sam2unet.metrics import bootstrap_interval

__all__ = ["CONVENTIONS", "HEADINGS", "Row", "cells", "rows_of", "shown"]

CONVENTIONS = {
    "paper": "mask above 128 of 255; map stretched to its own minimum and maximum, cut to 8 bits; meandice, "
    "meaniou, meanFm and meanEm are means over 256 thresholds (>=), max of the mean curve, adp at twice the "
    "map's mean; F with beta squared 0.3; 0 for an empty mask; mean over pictures",
    "hetnet": "mask 255 alone; iou, ber and acc of the unstretched 8-bit map at >= 127.5; mae of the "
    "stretched map; f_measure is the greatest over 256 thresholds of F (beta squared 0.3) of mean precision "
    "and mean recall; undefined for an empty mask, but for mae; mean over pictures",
    "masnet": "mIoU of the unstretched map above 127 and the mask above 127, undefined for an empty mask; "
    "the other figures as in protocol paper; mean over pictures",
    "fixed": "probability >= {threshold} and mask >= 0.5, unstretched; means over the pictures with a mask "
    "that is not empty; false_alarm_rate and false_area_fraction over the others",
}
"""What the figures of each protocol are, in words."""

SHOWN = {
    "paper": (
        "meandice", "meaniou", "Smeasure", "wFmeasure", "adpFm", "maxFm", "meanEm", "maxEm", "MAE",
    ),
}  # fmt: skip
"""Figures of a protocol in the printed table; all where it is not named. CSV and JSON have all."""

HEADINGS = ("set", "n", "protocol", "figure", "paper", "ours", "95 % interval", "left out", "note")


@dataclass(frozen=True)
class Row:
    """One figure of one set.

    Attributes:
        found: the set.
        protocol: its name.
        figure: name within the protocol.
        value: mean over the runs.
        sd: sample standard deviation over the runs; None with one run.
        runs: figure of each run.
        interval: 95 % bootstrap interval over pictures (by group where known) of the mean over the runs; None
            for a figure that is no mean over pictures.
        undefined: pictures that leave it undefined, and are left out.
        paper: the paper's figure, if there is one.
    """

    found: EvaluationSet
    protocol: str
    figure: str
    value: float
    sd: float | None
    runs: tuple[float, ...]
    interval: tuple[float, float] | None
    undefined: int
    paper: Published | None

    @property
    def comparable(self) -> bool:
        """Whether the paper's figure is of as many pictures of the same test set."""
        same = self.paper is not None and self.paper.pictures == len(self.found.items)
        return same and self.found.tests_only

    @property
    def note(self) -> str:
        """What must be known to read the row."""
        if self.paper is None:
            return ""
        if not self.comparable:
            part = "" if self.found.tests_only else f" ({self.found.part})"
            own = f"these {len(self.found.items)}{part}"
            return (
                f"not comparable: the paper's {self.paper.name} {self.paper.value:.3f} is of "
                f"{self.paper.pictures} test pictures, not of {own}"
            )
        return f"the paper's {self.paper.name}" + ("" if self.paper.sure else ", of either protocol")


def rows_of(sets: Sequence[EvaluationSet], runs: Sequence[Run]) -> list[Row]:
    """The rows of the table.

    Args:
        sets: in the order of the table.
        runs: at least one, all over the same sets in the same protocols.

    Returns:
        Sets, protocols and figures in their own order.
    """
    return [
        _row(found, protocol, figure, [run.scores[found.name][protocol] for run in runs])
        for found in sets
        for protocol, score in runs[0].scores[found.name].items()
        for figure in score.figures
    ]


def _row(found: EvaluationSet, protocol: str, figure: str, scores: Sequence[Score]) -> Row:
    """One figure over all runs."""
    values = tuple(float(score.figures[figure]) for score in scores)
    interval = None
    if figure in scores[0].cases:
        cases = np.mean([score.cases[figure] for score in scores], axis=0)
        drawn = bootstrap_interval(cases.tolist(), found.groups)
        interval = drawn["low"], drawn["high"]
    return Row(
        found=found,
        protocol=protocol,
        figure=figure,
        value=float(np.mean(values)),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        runs=values,
        interval=interval,
        undefined=max(score.undefined[figure] for score in scores),
        paper=published(found.key, protocol, figure),
    )


def shown(rows: Sequence[Row]) -> list[Row]:
    """The rows of the printed table: the usual figures, without those that no picture defines."""
    return [
        row
        for row in rows
        if row.figure in SHOWN.get(row.protocol, (row.figure,)) and not math.isnan(row.value)
    ]


def cells(row: Row) -> tuple[str, ...]:
    """A row as text under `HEADINGS`; figures with three decimals, as in the paper."""
    ours = f"{row.value:.3f}" + ("" if row.sd is None else f" ± {row.sd:.3f}")
    interval = "no mean over pictures" if row.interval is None else "{:.3f} to {:.3f}".format(*row.interval)
    return (
        row.found.name,
        str(len(row.found.items)),
        row.protocol,
        row.figure,
        f"{row.paper.value:.3f}" if row.paper is not None and row.comparable else "",
        ours,
        interval,
        str(row.undefined),
        row.note,
    )
