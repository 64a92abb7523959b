"""What an evaluation and an inference leave behind: figures per case, a summary, pictures."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from PIL import Image

from monai_sam2unet.class_pictures import class_overlay, label_map_picture
from monai_sam2unet.classes import Classes
from monai_sam2unet.data.results import mask_folders, probability_folders
from monai_sam2unet.distributed import gathered, is_first
from monai_sam2unet.files import make_folder, write_json
from monai_sam2unet.handlers.reporting import (
    draw_panels,
    in_words,
    jsonable,
    mean_dice,
    thirds,
    title,
    write_rows,
)
from monai_sam2unet.io import open_image
from monai_sam2unet.metrics import CASE_COLUMNS, OVERLAP_NAMES, case_figures, summarize, summarize_classes
from monai_sam2unet.metrics.summary import SPECK
from monai_sam2unet.overlays import overlay
from monai_sam2unet.pictures import write_png
from monai_sam2unet.transforms.ignored import IGNORED

__all__ = ["CaseReport", "SegmentationWriter"]

logger = logging.getLogger(__name__)


class CaseReport:
    """Score every case at the picture's own size and write ``metrics.csv``, ``summary.json``, ``cases.png``.

    Protocol ``fixed``: binary prediction at the stated operating point. Cases whose reference is empty
    have no overlap figures; they are counted apart as false alarms. Of several classes each has a row a case
    and figures of its own, and the summary has their means, too.

    Args:
        output_dir: where the three files go.
        settings: what is written into the summary about the run (plain JSON values).
        shown: cases in each row (best, median, worst) of the figure.
        tolerance: distance from outline to outline that NSD takes as right, in pixels, or mm with a spacing.
        spacing: mm between pixels of all pictures, one number or (rows, columns); None for pixels.
        min_lesion_area: pixels below which a connected component is no lesion and no false positive.
        classes: names of the classes; empty for one structure.
        activation: how the network tells them apart, see `monai_sam2unet.classes.Classes`.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        settings: Mapping[str, Any] | None = None,
        shown: int = 4,
        tolerance: float = 3.0,
        spacing: float | Sequence[float] | None = None,
        min_lesion_area: int = 0,
        classes: Sequence[str] = (),
        activation: str = "sigmoid",
    ) -> None:
        self.output_dir = make_folder(output_dir)
        self.classes = Classes.of(classes, activation)
        self.several = self.classes.count > 1
        self.settings = dict(settings or {})
        self.shown = shown
        self.tolerance = tolerance
        self.spacing = spacing
        self.min_lesion_area = min_lesion_area
        self.rows: list[dict[str, Any]] = []
        self.pictures: list[tuple[str, bytes]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose outputs hold binary ``pred`` and ``label``, (K, H, W).

        They may hold ``ignored`` as well, (H, W): pixels that count nowhere, which must be 0 in both.
        """
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Engine) -> None:
        """Forget an earlier run."""
        self.rows, self.pictures = [], []

    def iteration_completed(self, engine: Engine) -> None:
        """Score the cases of this batch."""
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            predictions, references = (np.asarray(output[key].cpu()) > 0 for key in ("pred", "label"))
            counted = ~np.asarray(output[IGNORED].cpu(), dtype=bool) if IGNORED in output else None
            how = (self.tolerance, self.spacing, self.min_lesion_area, counted)
            case = {"case": item["case"], "group": item.get("group", item["case"])}
            for name, prediction, reference in zip(self.classes.names, predictions, references, strict=True):
                own = {**case, "class": name} if self.several else case
                self.rows.append({**own, **case_figures(prediction, reference, *how)})
            # a mask of 600x600 takes about 1 kB this way: thousands of cases stay in memory
            packed = zlib.compress(np.packbits([predictions, references]).tobytes(), 1)
            self.pictures.append((item["image"].meta["filename_or_obj"], packed))

    def completed(self, engine: Engine) -> None:
        """Write the three files and log the figures; of several processes the first one does, for all."""
        cases = gathered(list(zip(self._cases(), self.pictures, strict=True)))
        if not is_first():
            return
        self.rows = [row for rows, _ in cases for row in rows]
        self.pictures = [picture for _, picture in cases]
        summary = self.summary()
        ignored = ("ignored_pixels",) if any("ignored_pixels" in row for row in self.rows) else ()
        columns = ("case", "group", *(("class",) if self.several else ()), *CASE_COLUMNS, *ignored)
        write_rows(self.output_dir / "metrics.csv", self.rows, columns)
        write_json(self.output_dir / "summary.json", summary)
        self._draw()
        self._log(summary)

    def summary(self) -> dict[str, Any]:
        """What is known of the run, and its figures with 95 % bootstrap intervals; None where undefined."""
        clustered = len({row["group"] for row in self.rows}) < len(self.pictures)
        figures: dict[str, Any] = jsonable((summarize_classes if self.several else summarize)(self.rows))
        named = {"classes": list(self.classes.names), "activation": self.classes.activation}
        return {
            **self.settings,
            **(named if self.several else {}),
            "protocol": "fixed: per picture at its own size, mean over pictures, 95 % bootstrap interval"
            + (" over groups" if clustered else " over pictures"),
            "unit_of_distances": "pixels" if self.spacing is None else "mm",
            "cases": len(self.pictures),
            **figures,
        }

    def _cases(self) -> list[list[dict[str, Any]]]:
        """The rows of each case."""
        count = self.classes.count
        return [self.rows[i : i + count] for i in range(0, len(self.rows), count)]

    def _log(self, summary: dict[str, Any]) -> None:
        """Say the figures in a few lines."""
        if self.several:
            self._log_classes(summary)
        else:
            self._log_one(summary)
        logger.info("Report: %s (metrics.csv, summary.json, cases.png)", self.output_dir)

    def _log_classes(self, summary: dict[str, Any]) -> None:
        """Say Dice and false alarms of each class, and the mean Dice over the classes."""
        width = max(map(len, self.classes.names))
        for name, own in summary["by_class"].items():
            empty, alarms = (
                own["without_reference"]["cases"],
                own["without_reference"]["false_alarm_rate"]["mean"],
            )
            false = f"; false alarms on {100 * alarms:.1f} % of {empty} cases without it" if empty else ""
            logger.info("%-*s  Dice %s%s", width, name, in_words(own["with_reference"]["dice"]), false)
        logger.info("Dice, mean over classes: %s", in_words(summary["mean_over_classes"]["dice"]))

    def _log_one(self, summary: dict[str, Any]) -> None:
        """Say the figures of one structure."""
        positive, negative = summary["with_reference"], summary["without_reference"]
        if positive["cases"]:
            unit = summary["unit_of_distances"]
            for name in OVERLAP_NAMES:
                logger.info("%-11s %s", name, in_words(positive[name]))
            logger.info("%-11s %s, within %g %s", "nsd", in_words(positive["nsd"]), self.tolerance, unit)
            logger.info(
                "%-11s %s, in %s; %d more have no prediction",
                "hd95", in_words(positive["hd95"], 2), unit, positive["hd95"]["cases_without_prediction"],
            )  # fmt: skip
            self._log_lesions(summary)
        if self.rows:
            false = summary["lesions"]["false_positives"]
            logger.info("false positives: %d, %.2f per picture", false, false / len(self.rows))
        if negative["cases"]:
            rate = negative["false_alarm_rate"]["mean"]
            logger.info("false alarms on %.1f %% of %d empty cases", 100 * rate, negative["cases"])

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
        names, dice = (
            [rows[0]["case"] for rows in self._cases()],
            [mean_dice(rows) for rows in self._cases()],
        )
        scored = [i for i, value in enumerate(dice) if not np.isnan(value)]
        order = sorted(scored, key=lambda i: (-dice[i], names[i]))
        if not order:
            logger.warning("No case has a reference with foreground: no figure of best and worst cases")
            return
        rows = thirds(order, self.shown)
        panels = {k: [self._panel(i, dice[i]) for i in v] for k, v in rows.items()}
        draw_panels(self.output_dir / "cases.png", panels, self._key())

    def _key(self) -> str:
        """What the colours of the figure mean."""
        if not self.several:
            return "Blue: prediction. Yellow: reference."
        return f"Tinted: prediction. Outlined: reference. {self.classes.legend()}"

    def _panel(self, index: int, dice: float) -> tuple[str, np.ndarray]:
        """Title and overlay of one case."""
        row, (path, packed) = self._cases()[index][0], self.pictures[index]
        shape = (2, self.classes.count, row["height"], row["width"])
        bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=int(np.prod(shape)))
        predictions, references = bits.reshape(shape).astype(bool)
        heading = title(row["case"], dice)
        picture = np.asarray(open_image(path))
        if self.several:
            return heading, class_overlay(picture, predictions, self.classes, references)
        return heading, overlay(picture, predictions[0], references[0])


class SegmentationWriter:
    """Write masks, and on request probability maps and overlays, as 8-bit PNG of the picture's own size.

    ``masks/`` holds 0 and 255; ``probabilities/`` holds the rounded probability times 255; ``overlays/``
    the picture with the mask. Below them the paths are those of the pictures. Of several classes that exclude
    each other ``masks/`` holds label maps, 0 to K with a palette; of others ``masks/NAME/`` the mask of each,
    and of both ``probabilities/NAME/`` its probability. An item whose ``output`` is empty only fills a batch;
    nothing is written for it.

    Args:
        output_dir: where the folders go.
        probabilities: whether to write probability maps.
        overlays: whether to write overlays.
        classes: names of the classes; empty for one structure.
        activation: how the network tells them apart, see `monai_sam2unet.classes.Classes`.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        probabilities: bool = False,
        overlays: bool = False,
        classes: Sequence[str] = (),
        activation: str = "sigmoid",
    ) -> None:
        self.output_dir = make_folder(output_dir)
        self.classes = Classes.of(classes, activation)
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
            masks = np.asarray(output["pred"].cpu()) > 0
            self._write_masks(item["output"], masks)
            if self.probabilities:
                maps = np.asarray(output["probability"].cpu())
                for folder, probability in zip(probability_folders(self.classes), maps, strict=True):
                    self._write(folder, item["output"], np.rint(probability * 255).astype(np.uint8))
            if self.overlays:
                picture = np.asarray(open_image(item["image"].meta["filename_or_obj"]))
                self._write("overlays", item["output"], class_overlay(picture, masks, self.classes))
            self.written += 1

    def completed(self, engine: Engine) -> None:
        """Say what was written."""
        logger.info("Masks written: %d, in %s", self.written, self.output_dir / "masks")

    def _write_masks(self, name: str, masks: np.ndarray) -> None:
        """Write the masks of one picture, (K, H, W), or its label map."""
        if self.classes.exclusive and self.classes.count > 1:
            self._write("masks", name, label_map_picture(masks, self.classes))
            return
        for folder, mask in zip(mask_folders(self.classes), masks, strict=True):
            self._write(folder, name, mask.astype(np.uint8) * 255)

    def _write(self, folder: str, name: str, picture: np.ndarray | Image.Image) -> None:
        """Write one PNG."""
        write_png(self.output_dir / folder / name, picture)
