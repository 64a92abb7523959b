"""Parts of reports: cells of tables, intervals in words, figures of titled pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_sam2unet.files import write_atomically

__all__ = ["draw_panels", "in_words", "jsonable", "mean_dice", "thirds", "title", "write_rows"]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write a CSV file: empty cells where undefined, six decimals for figures.

    Args:
        path: the file.
        rows: by column, more than the columns if need be.
        columns: what is written, in this order.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(row[name]) for name in columns})
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def in_words(figure: Mapping[str, Any], decimals: int = 4) -> str:
    """A mean with its interval and number of cases, for the log."""
    mean, low, high = (float("nan") if figure[k] is None else figure[k] for k in ("mean", "low", "high"))
    numbers = f"{mean:.{decimals}f}  (95 % interval {low:.{decimals}f} to {high:.{decimals}f}, "
    return f"{numbers}{figure['cases']} cases)"


def jsonable(value: Any) -> Any:
    """JSON has no NaN: None stands for undefined, at any depth."""
    if isinstance(value, Mapping):
        return {k: jsonable(v) for k, v in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value


def thirds(order: Sequence[int], shown: int) -> dict[str, list[int]]:
    """The first, middle and last of an order from best to worst.

    Args:
        order: positions.
        shown: how many of each.
    """
    n = min(shown, len(order))
    middle = max(0, min(len(order) - n, (len(order) - n + 1) // 2))
    rows = {"best": order[:n], "median": order[middle : middle + n], "worst": order[len(order) - n :]}
    return {name: list(row) for name, row in rows.items()}


def mean_dice(rows: Sequence[Mapping[str, Any]]) -> float:
    """Mean Dice over the classes that a case has; NaN if it has none."""
    values = [row["dice"] for row in rows if not np.isnan(row["dice"])]
    return float(np.mean(values)) if values else float("nan")


def title(case: str, dice: float) -> str:
    """What stands over the picture of a case: the end of its name, and its Dice."""
    name = case.rsplit("/", 1)[-1]
    return f"{name if len(name) <= 24 else name[:23] + '…'}  Dice {dice:.3f}"


def draw_panels(path: Path, rows: Mapping[str, Sequence[tuple[str, np.ndarray]]], key: str) -> None:
    """Draw rows of titled pictures into one PNG.

    Args:
        path: the file.
        rows: by the name of the row, title and picture (H, W, 3) of each panel.
        key: what the colours mean.
    """
    # not pyplot: it keeps figures and chooses a window system
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(panels) for panels in rows.values())
    figure = Figure(figsize=(3.2 * columns + 0.4, 3.1 * len(rows) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (label, panels) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_frame_on(False)
        line[0].set_ylabel(label, fontsize=13)
        for axis, (title, picture) in zip(line, panels, strict=False):
            axis.imshow(picture)
            axis.set_title(title, fontsize=8)
    figure.suptitle(key, fontsize=10)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=110))


def _cell(value: Any) -> Any:
    """A CSV cell: empty where undefined, six decimals for figures."""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6f}"
    return value
