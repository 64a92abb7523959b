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

from monai_sam2unet.distributed import gathered, is_first
from monai_sam2unet.files import make_folder, write_atomically, write_json
from monai_sam2unet.io import open_image
from monai_sam2unet.metrics import CASE_COLUMNS, OVERLAP_NAMES, case_figures, summarize
from monai_sam2unet.metrics.summary import SPECK
from monai_sam2unet.pictures import overlay, write_png

__all__ = ["CaseReport", "SegmentationWriter"]

logger = logging.getLogger(__name__)

COLUMNS = ("case", "group", *CASE_COLUMNS)


class CaseReport:
    """Score every case at the picture's own size and write ``metrics.csv``, ``summary.json``, ``cases.png``.

    Protocol ``fixed``: binary prediction at the stated operating point. Cases whose reference is empty
    have no overlap figures; they are counted apart as false alarms.

    Args:
        output_dir: where the three files go.
        settings: what is written into the summary about the run (plain JSON values).
        shown: cases in each row (best, median, worst) of the figure.
        tolerance: distance from outline to outline that NSD takes as right, in pixels, or mm with a spacing.
        spacing: mm between pixels of all pictures, one number or (rows, columns); None for pixels.
        min_lesion_area: pixels below which a connected component is no lesion and no false positive.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        settings: Mapping[str, Any] | None = None,
        shown: int = 4,
        tolerance: float = 3.0,
        spacing: float | Sequence[float] | None = None,
        min_lesion_area: int = 0,
    ) -> None:
        self.output_dir = make_folder(output_dir)
        self.settings = dict(settings or {})
        self.shown = shown
        self.tolerance = tolerance
        self.spacing = spacing
        self.min_lesion_area = min_lesion_area
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
                    **case_figures(prediction, reference, self.tolerance, self.spacing, self.min_lesion_area),
                }
            )
            # a mask of 600x600 takes about 1 kB this way: thousands of cases stay in memory
            packed = zlib.compress(np.packbits([prediction, reference]).tobytes(), 1)
            self.pictures.append((item["image"].meta["filename_or_obj"], packed))

    def completed(self, engine: Engine) -> None:
        """Write the three files and log the figures; of several processes the first one does, for all."""
        cases = gathered(list(zip(self.rows, self.pictures, strict=True)))
        if not is_first():
            return
        self.rows, self.pictures = [row for row, _ in cases], [picture for _, picture in cases]
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
        """What is known of the run, and its figures with 95 % bootstrap intervals; None where undefined."""
        clustered = len({row["group"] for row in self.rows}) < len(self.rows)
        figures: dict[str, Any] = _jsonable(summarize(self.rows))
        return {
            **self.settings,
            "protocol": "fixed: per picture at its own size, mean over pictures, 95 % bootstrap interval"
            + (" over groups" if clustered else " over pictures"),
            "unit_of_distances": "pixels" if self.spacing is None else "mm",
            "cases": len(self.rows),
            **figures,
        }

    def _log(self, summary: dict[str, Any]) -> None:
        """Say the figures in a few lines."""
        positive, negative = summary["with_reference"], summary["without_reference"]
        if positive["cases"]:
            unit = summary["unit_of_distances"]
            for name in OVERLAP_NAMES:
                logger.info("%-11s %s", name, _interval(positive[name]))
            logger.info("%-11s %s, within %g %s", "nsd", _interval(positive["nsd"]), self.tolerance, unit)
            logger.info(
                "%-11s %s, in %s; %d more have no prediction",
                "hd95", _interval(positive["hd95"], 2), unit, positive["hd95"]["cases_without_prediction"],
            )  # fmt: skip
            self._log_lesions(summary)
        if self.rows:
            false = summary["lesions"]["false_positives"]
            logger.info("false positives: %d, %.2f per picture", false, false / len(self.rows))
        if negative["cases"]:
            rate = negative["false_alarm_rate"]["mean"]
            logger.info("false alarms on %.1f %% of %d empty cases", 100 * rate, negative["cases"])
        logger.info("Report: %s (metrics.csv, summary.json, cases.png)", self.output_dir)

    def _log_lesions(self, summary: dict[str, Any]) -> None:
        """Say how many lesions were found, and whether some of them may be none."""
        of_size = (f"{name} {s['found']}/{s['lesions']}" for name, s in summary["by_size"].items())
        logger.info(
            "lesions     %d of %d found (%s)",
            summary["lesions"]["found"], summary["lesions"]["lesions"], ", ".join(of_size),
        )  # fmt: skip
        specks = sum(row["specks"] for row in self.rows)
        if specks:
            logger.warning(
                "%d of %d lesions have fewer than %d pixels and may be specks of the masks; "
                "--min_lesion_area %d leaves them out",
                specks, summary["lesions"]["lesions"], SPECK, SPECK,
            )  # fmt: skip

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
        return title, overlay(np.asarray(open_image(path)), prediction, reference)


class SegmentationWriter:
    """Write masks, and on request probability maps and overlays, as 8-bit PNG of the picture's own size.

    ``masks/`` holds 0 and 255; ``probabilities/`` holds the rounded probability times 255; ``overlays/``
    the picture with the mask. Below them the paths are those of the pictures. An item whose ``output`` is
    empty only fills a batch; nothing is written for it.

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
            if not item["output"]:
                continue
            mask = np.asarray(output["pred"].cpu())[0] > 0
            self._write("masks", item["output"], mask.astype(np.uint8) * 255)
            if self.probabilities:
                probability = np.asarray(output["probability"].cpu())[0]
                self._write("probabilities", item["output"], np.rint(probability * 255).astype(np.uint8))
            if self.overlays:
                picture = np.asarray(open_image(item["image"].meta["filename_or_obj"]))
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


def _interval(figure: Mapping[str, Any], decimals: int = 4) -> str:
    """A mean with its interval and number of cases, for the log."""
    mean, low, high = (float("nan") if figure[k] is None else figure[k] for k in ("mean", "low", "high"))
    numbers = f"{mean:.{decimals}f}  (95 % interval {low:.{decimals}f} to {high:.{decimals}f}, "
    return f"{numbers}{figure['cases']} cases)"


def _jsonable(value: Any) -> Any:
    """JSON has no NaN: None stands for undefined, at any depth."""
    if isinstance(value, Mapping):
        return {k: _jsonable(v) for k, v in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
