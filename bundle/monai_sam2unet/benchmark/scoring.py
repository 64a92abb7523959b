"""Figures of one set in several protocols, from its pictures one after the other."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from monai_sam2unet.benchmark.maps import Masks
from monai_sam2unet.metrics.levels import Floats
from monai_sam2unet.metrics.protocols import figures_of, find_protocol
from monai_sam2unet.metrics.rows import RowMean

__all__ = ["NOT_MEANS", "Run", "Score", "Scorer"]

NOT_MEANS = {
    "paper": ("maxdice", "maxiou", "maxFm", "maxEm", "overall_bidice", "overall_biiou"),
    "hetnet": ("f_measure",),
    "masnet": (),
    "fixed": (),
}
"""Figures that are no means over pictures: maxima of mean curves, and pooled ones. They have no interval."""


@dataclass(frozen=True)
class Score:
    """Figures of one set in one protocol.

    Attributes:
        figures: by name, NaN where no picture defines one.
        cases: of each figure that is a mean over pictures, the value of each picture; NaN where undefined.
        undefined: how many pictures leave a figure undefined.
        notes: what the protocol warned of.
    """

    figures: dict[str, float]
    cases: dict[str, list[float]]
    undefined: dict[str, int]
    notes: tuple[str, ...]


@dataclass
class Run:
    """One network, or one folder of maps, on all sets.

    Attributes:
        about: what it is (plain JSON values).
        scores: by set and protocol.
        notes: by set, what is to be known of its pictures.
    """

    about: dict[str, Any]
    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)


class Scorer:
    """Score picture after picture of one set; of each, a number for each figure is kept.

    Args:
        protocols: names.
        threshold: operating point of `fixed`.
    """

    def __init__(self, protocols: Sequence[str], threshold: float) -> None:
        self.means = {
            name: RowMean(find_protocol(name, threshold if name == "fixed" else None)) for name in protocols
        }
        self.cases: dict[str, list[dict[str, float]]] = {name: [] for name in protocols}

    def measure(self, prediction: npt.NDArray[Any], masks: Masks) -> dict[str, Floats]:
        """Measure a picture, and keep nothing: several threads may do so at once.

        Args:
            prediction: (H, W), uint8 or probabilities.
            masks: see `read_masks`; `fixed` takes the second, as the bundle's evaluation does.

        Returns:
            For each protocol what `add` takes.
        """
        return {
            name: mean.layout.row(prediction, masks[1] if name == "fixed" else masks[0])
            for name, mean in self.means.items()
        }

    def add(self, rows: Mapping[str, Floats]) -> None:
        """Take what was measured of one more picture."""
        for name, mean in self.means.items():
            mean.add(rows[name])
            self.cases[name].append(mean.layout.finish(mean.layout.values(rows[name])))

    def scores(self) -> dict[str, Score]:
        """Figures by protocol."""
        return {name: self._score(name) for name in self.means}

    def _score(self, name: str) -> Score:
        cases = self.cases[name]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            figures = figures_of(self.means[name])
        values = {figure: [float(case[figure]) for case in cases] for figure in figures}
        undefined = {figure: sum(map(math.isnan, numbers)) for figure, numbers in values.items()}
        means = {f: v for f, v in values.items() if f not in NOT_MEANS[name]}
        return Score(figures, means, undefined, tuple(str(warning.message) for warning in caught))
