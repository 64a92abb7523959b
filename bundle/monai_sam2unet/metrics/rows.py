"""A picture as a row of numbers, and the mean of rows: a set needs no more memory than a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from monai_sam2unet.errors import InputError
from monai_sam2unet.metrics.levels import LEVELS, Floats

__all__ = ["Layout", "RowMean"]

Values = Mapping[str, Any]


class Layout(NamedTuple):
    """What is measured in a picture, and what is made of the mean over pictures.

    Attributes:
        scalars: names of single numbers; NaN where a picture leaves one undefined.
        curves: names of curves over the 256 levels, likewise.
        measure: these numbers from a prediction and its mask.
        finish: the figures of a set from the mean of these numbers.
        apart: whether pictures that leave something undefined are a kind of their own, to be expected.
    """

    scalars: tuple[str, ...]
    curves: tuple[str, ...]
    measure: Callable[[Any, Any], Values]
    finish: Callable[[Values], dict[str, float]]
    apart: bool = False

    @property
    def width(self) -> int:
        """Length of a row."""
        return len(self.scalars) + LEVELS * len(self.curves)

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures of a set."""
        return tuple(self.finish(self.values(np.zeros(self.width))))

    def row(self, prediction: Any, mask: Any) -> Floats:
        """Measure one picture: one number for each scalar, 256 for each curve."""
        values = self.measure(prediction, mask)
        scalars = np.array([values[name] for name in self.scalars], dtype=np.float64)
        return np.concatenate([scalars, *(values[name] for name in self.curves)])

    def values(self, row: Floats) -> Values:
        """Names to the numbers of a row."""
        scalars, curves = np.split(row, [len(self.scalars)])
        return {
            **dict(zip(self.scalars, scalars.tolist(), strict=True)),
            **dict(zip(self.curves, curves.reshape(-1, LEVELS), strict=True)),
        }


class RowMean:
    """Mean of rows of which not all numbers are defined, without keeping the rows.

    Args:
        layout: whose rows they are.

    Attributes:
        rows: how many there were.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.rows = 0
        self._sum: Floats = np.zeros(layout.width)
        self._defined: npt.NDArray[np.int64] = np.zeros(layout.width, dtype=np.int64)

    def add(self, row: Floats) -> None:
        """Take one more row."""
        defined = ~np.isnan(row)
        self._sum += np.where(defined, row, 0)
        self._defined += defined
        self.rows += 1

    def values(self) -> Values:
        """The mean row by names; NaN where no row says anything."""
        if self.rows == 0:
            raise InputError("there must be at least one picture, got none; are the paths right?")
        mean = np.where(self._defined > 0, self._sum / np.maximum(self._defined, 1), np.nan)
        return self.layout.values(mean)

    def undefined(self) -> dict[str, int]:
        """Names of scalars that are undefined in some rows, with the number of these rows."""
        counts = zip(self.layout.scalars, self._defined.tolist(), strict=False)
        return {name: self.rows - n for name, n in counts if n < self.rows}
