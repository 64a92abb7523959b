"""What became of each input: figures while it is segmented, a document for programs, a table for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from monai_sam2unet.classes import Classes
from monai_sam2unet.errors import InputError
from monai_sam2unet.io import Source, grid_of
from monai_sam2unet.io.geometry import pixel_area
from monai_sam2unet.io.writing import Masks

__all__ = ["Amount", "Outcome", "Tally", "document", "summary"]

Status = Literal["done", "failed", "passed over"]


@dataclass
class Amount:
    """How much of a class was found in an input.

    Attributes:
        pixels: in all frames together.
        frames: that have any.
        mm2: area, of an input of one frame with known spacing; None otherwise.
        ml: volume, of frames at even distances in the patient; None otherwise.
    """

    pixels: int = 0
    frames: int = 0
    mm2: float | None = None
    ml: float | None = None


@dataclass
class Outcome:
    """What became of an input.

    Attributes:
        input: its path.
        series: Series Instance UID, of a series.
        kind: what it is.
        status: whether there is a result.
        reason: why there is none.
        note: what was done otherwise than asked, and why.
        format: of the result.
        outputs: files.
        frames: how many were segmented.
        seconds: that it took.
        classes: by name.
    """

    input: str
    status: Status
    series: str | None = None
    kind: str | None = None
    reason: str | None = None
    note: str | None = None
    format: str | None = None
    outputs: list[str] = field(default_factory=list)
    frames: int = 0
    seconds: float = 0.0
    classes: dict[str, Amount] = field(default_factory=dict)


class Tally:
    """Counts what is found, frame by frame.

    Args:
        source: the input.
        classes: what the masks stand for.
    """

    def __init__(self, source: Source[Any], classes: Classes) -> None:
        self.frames = 0
        self._amounts = {name: Amount() for name in classes.names}
        self._area = pixel_area(source) if len(source) == 1 else None
        self._volume = _voxel_volume(source)

    def add(self, masks: Masks) -> None:
        """Count the masks of a frame, (K, H, W)."""
        self.frames += 1
        for amount, pixels in zip(self._amounts.values(), masks.sum(axis=(1, 2)).tolist(), strict=True):
            amount.pixels += pixels
            amount.frames += pixels > 0

    def amounts(self) -> dict[str, Amount]:
        """What was found, by class."""
        for amount in self._amounts.values():
            amount.mm2 = None if self._area is None else round(amount.pixels * self._area, 3)
            amount.ml = None if self._volume is None else round(amount.pixels * self._volume / 1000, 4)
        return self._amounts


def document(model: Mapping[str, Any], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All that became of the inputs, as plain JSON values.

    Args:
        model: what is told of the model and the settings.
        outcomes: one for each input.
    """
    counts = {status: sum(one.status == status for one in outcomes) for status in ("done", "failed")}
    return {**model, **counts, "inputs": [asdict(one) for one in outcomes]}


def summary(outcomes: Sequence[Outcome], folder: Path) -> list[Any]:
    """What people are told: a table of the results, then a line for each input without one.

    Args:
        outcomes: one for each input.
        folder: that results are in, which paths are shown below.

    Returns:
        A table of rich's and lines of text.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Results in {folder}")
    for name in ("input", "frames", "found", "result"):
        table.add_column(name, overflow="fold")
    done = [one for one in outcomes if one.status == "done"]
    for one in done:
        cells = (Path(one.input).name, str(one.frames), _found(one.classes), _place(one, folder))
        table.add_row(*map(Text, cells))
    failed = [f"failed: {one.reason}" for one in outcomes if one.status == "failed"]
    counts = Counter(one.status for one in outcomes)
    told = ", ".join(f"{counts[status]} {status}" for status in ("done", "failed", "passed over"))
    return [*([table] if done else []), *failed, told]


def _voxel_volume(source: Source[Any]) -> float | None:
    """Cubic millimetres; None for one frame, or without even distances."""
    try:
        grid = grid_of(source)
    except InputError:
        return None
    return float(abs(np.linalg.det(grid.affine[:3, :3]))) if len(source) > 1 else None


def _found(classes: Mapping[str, Amount]) -> str:
    """Amounts in words."""
    told = []
    for name, amount in classes.items():
        unit = f"{amount.pixels} pixels"
        if amount.ml is not None:
            unit = f"{amount.ml:.2f} ml"
        elif amount.mm2 is not None:
            unit = f"{amount.mm2:.1f} mm2"
        told.append(f"{name} {unit}")
    return ", ".join(told)


def _place(one: Outcome, folder: Path) -> str:
    """Where the results of an input are, and in which form if that is another than was asked for."""
    first = str(Path(one.outputs[0]).relative_to(folder)) if one.outputs else "none"
    told = first if len(one.outputs) < 2 else f"{first} and {len(one.outputs) - 1} more"
    return f"{told} ({one.note})" if one.note else told
