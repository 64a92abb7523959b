"""What an evaluation and an inference leave behind: figures per case, a summary, pictures."""

from __future__ import annotations

import csv
import io
import logging
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from monai_sam2unet.files import make_folder, write_atomically, write_json
from monai_sam2unet.metrics import OVERLAP_NAMES, bootstrap_interval, overlap
from monai_sam2unet.pictures import open_picture, overlay, write_png

__all__ = ["CaseReport", "SegmentationWriter"]

logger = logging.getLogger(__name__)

COLUMNS = ("case", "group", "height", "width", "reference_pixels", "predicted_pixels", *OVERLAP_NAMES)


class CaseReport:
    """Score every case at the picture's own size and write ``metrics.csv``, ``summary.json``, ``cases.png``.

    Protocol ``fixed``: binary prediction at the stated operating point. Cases whose reference is empty
    have no overlap figures; they are counted apart as false alarms.

    Args:
        output_dir: where the three files go.
        settings: what is written into the summary about the run (plain JSON values).
        shown: cases in each row (best, median, worst) of the figure.
    """

    def __init__(
        self, output_dir: str | os.PathLike[str], settings: Mapping[str, Any] | None = None, shown: int = 4
    ) -> None:
        self.output_dir = make_folder(output_dir)
        self.settings = dict(settings or {})
        self.shown = shown
        self.rows: list[dict[str, Any]] = []
        self.pictures: list[tuple[str, bytes]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose outputs hold binary ``pred`` and ``label``."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Engine) -> None:
        """Forget an earlier run."""
        self.rows, self.pictures = [], []

    def iteration_completed(self, engine: Engine) -> None:
        """Score the cases of this batch."""
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            prediction = np.asarray(output["pred"].cpu())[0] > 0
            reference = np.asarray(output["label"].cpu())[0] > 0
            self.rows.append(
                {
                    "case": item["case"],
                    "group": item.get("group", item["case"]),
                    "height": reference.shape[0],
                    "width": reference.shape[1],
                    "reference_pixels": int(reference.sum()),
                    "predicted_pixels": int(prediction.sum()),
                    **overlap(prediction, reference),
                }
            )
            # a mask of 600x600 takes about 1 kB this way: thousands of cases stay in memory
            packed = zlib.compress(np.packbits([prediction, reference]).tobytes(), 1)
            self.pictures.append((item["image"].meta["filename_or_obj"], packed))

    def completed(self, engine: Engine) -> None:
        """Write the three files and log the figures."""
        summary = self.summary()
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({name: _cell(row[name]) for name in COLUMNS})
        write_atomically(self.output_dir / "metrics.csv", lambda file: file.write(text.getvalue().encode()))
        write_json(self.output_dir / "summary.json", summary)
        self._draw()
        self._log(summary)

    def summary(self) -> dict[str, Any]:
        """Means with 95 % bootstrap intervals over the cases that have a lesion, and false alarms."""
        groups = [row["group"] for row in self.rows]
        clustered = len(set(groups)) < len(groups)
        figures = {}
        for name in OVERLAP_NAMES:
            values = [row[name] if row["reference_pixels"] else float("nan") for row in self.rows]
            figures[name] = _jsonable(bootstrap_interval(values, groups))
        negatives = [row for row in self.rows if row["reference_pixels"] == 0]
        alarms = [float(row["predicted_pixels"] > 0) for row in negatives]
        areas = [row["predicted_pixels"] / (row["height"] * row["width"]) for row in negatives]
        own = [row["group"] for row in negatives]
        return {
            **self.settings,
            "protocol": "fixed: per picture at its own size, mean over pictures, 95 % bootstrap interval"
            + (" over groups" if clustered else " over pictures"),
            "cases": len(self.rows),
            "with_reference": {"cases": len(self.rows) - len(negatives), **figures},
            "without_reference": {
                "cases": len(negatives),
                "false_alarm_rate": _jsonable(bootstrap_interval(alarms, own)),
                "false_area_fraction": _jsonable(bootstrap_interval(areas, own)),
            },
        }

    def _log(self, summary: dict[str, Any]) -> None:
        """Say the figures in a few lines."""
        positive, negative = summary["with_reference"], summary["without_reference"]
        for name in OVERLAP_NAMES if positive["cases"] else ():
            figure = positive[name]
            logger.info(
                "%-11s %.4f  (95 %% interval %.4f to %.4f, %d cases)",
                name,
                figure["mean"] if figure["mean"] is not None else float("nan"),
                figure["low"] if figure["low"] is not None else float("nan"),
                figure["high"] if figure["high"] is not None else float("nan"),
                figure["cases"],
            )
        if negative["cases"]:
            rate = negative["false_alarm_rate"]["mean"]
            logger.info("false alarms on %.1f %% of %d empty cases", 100 * rate, negative["cases"])
        logger.info("Report: %s (metrics.csv, summary.json, cases.png)", self.output_dir)

    def _draw(self) -> None:
        """Draw the best, median and worst cases by Dice in one figure."""
        scored = [i for i, row in enumerate(self.rows) if row["reference_pixels"]]
        order = sorted(scored, key=lambda i: (-self.rows[i]["dice"], self.rows[i]["case"]))
        if not order:
            logger.warning("No case has a reference with foreground: no figure of best and worst cases")
            return
        n = min(self.shown, len(order))
        middle = max(0, min(len(order) - n, (len(order) - n + 1) // 2))
        rows = {"best": order[:n], "median": order[middle : middle + n], "worst": order[-n:]}
        _figure(self.output_dir / "cases.png", {k: [self._panel(i) for i in v] for k, v in rows.items()})

    def _panel(self, index: int) -> tuple[str, np.ndarray]:
        """Title and overlay of one case."""
        row, (path, packed) = self.rows[index], self.pictures[index]
        shape = (2, row["height"], row["width"])
        bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=int(np.prod(shape)))
        prediction, reference = bits.reshape(shape).astype(bool)
        name = row["case"].rsplit("/", 1)[-1]
        title = f"{name if len(name) <= 24 else name[:23] + '…'}  Dice {row['dice']:.3f}"
        return title, overlay(np.asarray(open_picture(path)), prediction, reference)


class SegmentationWriter:
    """Write masks, and on request probability maps and overlays, as 8-bit PNG of the picture's own size.

    ``masks/`` holds 0 and 255; ``probabilities/`` holds the rounded probability times 255; ``overlays/``
    the picture with the mask. Below them the paths are those of the pictures.

    Args:
        output_dir: where the folders go.
        probabilities: whether to write probability maps.
        overlays: whether to write overlays.
    """

    def __init__(
        self, output_dir: str | os.PathLike[str], probabilities: bool = False, overlays: bool = False
    ) -> None:
        self.output_dir = make_folder(output_dir)
        self.probabilities = probabilities
        self.overlays = overlays
        self.written = 0

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose outputs hold binary ``pred`` and ``probability``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def iteration_completed(self, engine: Engine) -> None:
        """Write what was asked for, for each picture of the batch."""
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            mask = np.asarray(output["pred"].cpu())[0] > 0
            self._write("masks", item["output"], mask.astype(np.uint8) * 255)
            if self.probabilities:
                probability = np.asarray(output["probability"].cpu())[0]
                self._write("probabilities", item["output"], np.rint(probability * 255).astype(np.uint8))
            if self.overlays:
                picture = np.asarray(open_picture(item["image"].meta["filename_or_obj"]))
                self._write("overlays", item["output"], overlay(picture, mask))
            self.written += 1

    def completed(self, engine: Engine) -> None:
        """Say what was written."""
        logger.info("Masks written: %d, in %s", self.written, self.output_dir / "masks")

    def _write(self, folder: str, name: str, array: np.ndarray) -> None:
        """Write one PNG."""
        write_png(self.output_dir / folder / name, array)


def _figure(path: Path, rows: Mapping[str, Sequence[tuple[str, np.ndarray]]]) -> None:
    """Draw rows of titled pictures into one PNG."""
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
    figure.suptitle("Blue: prediction. Yellow: reference.", fontsize=10)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=110))


def _cell(value: Any) -> Any:
    """A CSV cell: empty where undefined, six decimals for figures."""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6f}"
    return value


def _jsonable(figures: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: null stands for undefined."""
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in figures.items()}
