"""What an evaluation and an inference of volumes leave behind: figures per volume and class, label maps.

Shape legend: ``K`` classes, ``X Y Z`` the axes of a volume as its file stores them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.utils import ImageMetaKey, MetaKeys

from monai_sam2unet.class_pictures import class_overlay
from monai_sam2unet.classes import Classes
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
from monai_sam2unet.io import Plane, VolumePlace, grey_levels, spacing_of, write_label_map
from monai_sam2unet.metrics import VOLUME_COLUMNS, summarize_volumes, volume_figures

__all__ = ["VolumeReport", "VolumeWriter"]

logger = logging.getLogger(__name__)

COLUMNS = ("case", "group", "class", *VOLUME_COLUMNS)
LOGGED = ("dice", "nsd", "hd95")
PANEL = 300
"""Pixels of the shorter side of a slice in the figure, about."""


class VolumeReport:
    """Score every structure of every volume, and write ``metrics.csv``, ``summary.json`` and ``cases.png``.

    Masks are compared as the volume's file stores it, in mm. A structure that a reference does not have has
    no overlap there; it is counted apart, as a false alarm where it was found.

    Args:
        output_dir: where the three files go.
        classes: names of the classes; empty for one structure.
        activation: how the network tells them apart, see `monai_sam2unet.classes.Classes`.
        plane: which way the figure shows volumes.
        settings: what is written into the summary about the run (plain JSON values).
        shown: volumes in each row (best, median, worst) of the figure.
        tolerance: mm from outline to outline that NSD takes as right.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        classes: Sequence[str] = (),
        activation: str = "sigmoid",
        plane: Plane = "axial",
        settings: Mapping[str, Any] | None = None,
        shown: int = 4,
        tolerance: float = 1.0,
    ) -> None:
        self.output_dir = make_folder(output_dir)
        self.classes = Classes.of(classes, activation)
        self.plane = plane
        self.settings = dict(settings or {})
        self.shown = shown
        self.tolerance = tolerance
        self.cases: list[tuple[list[dict[str, Any]], np.ndarray]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose outputs hold binary ``pred`` and ``label``, (K, X, Y, Z)."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Engine) -> None:
        """Forget an earlier run."""
        self.cases = []

    def iteration_completed(self, engine: Engine) -> None:
        """Score the volumes of this batch."""
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            predictions, references = (np.asarray(output[key].cpu()) > 0 for key in ("pred", "label"))
            affine = np.asarray(item["image"].meta[MetaKeys.ORIGINAL_AFFINE], np.float64)
            named = {"case": item["case"], "group": item.get("group", item["case"])}
            rows = [
                {**named, "class": name, **volume_figures(mask, truth, spacing_of(affine), self.tolerance)}
                for name, mask, truth in zip(self.classes.names, predictions, references, strict=True)
            ]
            self.cases.append((rows, self._panel(item["image"], affine, predictions, references)))

    def completed(self, engine: Engine) -> None:
        """Write the three files and log the figures; of several processes the first one does, for all."""
        cases = gathered(self.cases)
        if not is_first():
            return
        self.cases = cases
        summary = self.summary()
        rows = [row for own, _ in self.cases for row in own]
        write_rows(self.output_dir / "metrics.csv", rows, COLUMNS)
        write_json(self.output_dir / "summary.json", summary)
        self._draw()
        self._log(summary)

    def summary(self) -> dict[str, Any]:
        """What is known of the run, and its figures with 95 % bootstrap intervals; None where undefined."""
        rows = [row for own, _ in self.cases for row in own]
        clustered = len({row["group"] for row in rows}) < len(self.cases)
        return {
            **self.settings,
            "classes": list(self.classes.names),
            "activation": self.classes.activation,
            "protocol": "fixed: per volume as stored, in three dimensions, mean over volumes, 95 % bootstrap "
            f"interval over {'groups' if clustered else 'volumes'}",
            "unit_of_distances": "mm",
            "cases": len(self.cases),
            **jsonable(summarize_volumes(rows)),
        }

    def _panel(
        self, image: Any, affine: np.ndarray, predictions: np.ndarray, references: np.ndarray
    ) -> np.ndarray:
        """The slice with most of the reference (of the prediction where that is empty), with both drawn."""
        shape = (predictions.shape[1], predictions.shape[2], predictions.shape[3])
        depth = image.shape[-1]
        places = [VolumePlace(affine, shape, self.plane, index, 0) for index in range(depth)]
        most = np.asarray((references if references.any() else predictions).any(axis=0))
        index = int(np.argmax([place.view(most).sum() for place in places]))
        grey = _enlarged(grey_levels(np.asarray(image[0, :, :, index].cpu())))
        masks, truths = (
            np.stack([_enlarged(places[index].view(mask)) for mask in own])
            for own in (predictions, references)
        )
        return class_overlay(np.repeat(grey[..., None], 3, axis=-1), masks, self.classes, truths)

    def _draw(self) -> None:
        """Draw the best, median and worst volumes by Dice in one figure."""
        dice = [mean_dice(rows) for rows, _ in self.cases]
        scored = [i for i, value in enumerate(dice) if not np.isnan(value)]
        if not scored:
            logger.warning("No volume has a reference with a structure: no figure of best and worst cases")
            return
        names = [rows[0]["case"] for rows, _ in self.cases]
        order = sorted(scored, key=lambda i: (-dice[i], names[i]))
        panels = {
            name: [(title(names[i], dice[i]), self.cases[i][1]) for i in row]
            for name, row in thirds(order, self.shown).items()
        }
        key = f"Tinted: prediction. Outlined: reference. {self.classes.legend()}"
        draw_panels(self.output_dir / "cases.png", panels, key)

    def _log(self, summary: Mapping[str, Any]) -> None:
        """Say the main figures of each class."""
        for name, own in summary["by_class"].items():
            for figure in LOGGED:
                decimals = 2 if figure == "hd95" else 4
                logger.info("%s: %-5s %s", name, figure, in_words(own["with_reference"][figure], decimals))
            missed = own["with_reference"]["hd95"]["cases_without_prediction"]
            absent, alarms = own["without_reference"]["cases"], own["without_reference"]["false_alarm_rate"]
            if missed:
                logger.info("%s: not found at all in %d volumes", name, missed)
            if absent:
                rate = 100 * alarms["mean"]
                logger.info("%s: false alarms on %.1f %% of %d volumes without it", name, rate, absent)
        logger.info("dice, mean over classes: %s", in_words(summary["mean_over_classes"]["dice"]))
        logger.info("NSD within %g mm, HD95 in mm. Report: %s", self.tolerance, self.output_dir)


class VolumeWriter:
    """Write a label map of each volume as NIfTI: of the volume's shape and affine, uint8, 0 for background.

    They go to ``label_maps/``, below it to the paths of the volumes. Where classes overlap, the later counts.

    Args:
        output_dir: where the folder goes.
        classes: names of the classes; empty for one structure.
        activation: how the network tells them apart, see `monai_sam2unet.classes.Classes`.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        classes: Sequence[str] = (),
        activation: str = "sigmoid",
    ) -> None:
        self.folder = make_folder(output_dir) / "label_maps"
        self.classes = Classes.of(classes, activation)
        self.written = 0

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose outputs hold binary ``pred``, (K, X, Y, Z)."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def iteration_completed(self, engine: Engine) -> None:
        """Write the label maps of this batch."""
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            label_map = self.classes.label_map(np.asarray(output["pred"].cpu()))
            meta = item["image"].meta
            write_label_map(
                self.folder / item["output"], label_map, np.asarray(meta[MetaKeys.ORIGINAL_AFFINE])
            )
            logger.info("%s: %s", meta[ImageMetaKey.FILENAME_OR_OBJ], self._voxels(label_map))
            self.written += 1

    def completed(self, engine: Engine) -> None:
        """Say what was written."""
        logger.info("Label maps written: %d, in %s", self.written, self.folder)

    def _voxels(self, label_map: np.ndarray) -> str:
        """How many voxels each class has."""
        counts = np.bincount(label_map.ravel(), minlength=self.classes.count + 1)[1:]
        told = (f"{name} {count}" for name, count in zip(self.classes.names, counts, strict=True))
        return f"{', '.join(told)} voxels"


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """A slice whose pixels are squares of several where it is small, so that outlines do not hide it."""
    times = max(1, PANEL // min(picture.shape))
    return picture.repeat(times, axis=0).repeat(times, axis=1)
