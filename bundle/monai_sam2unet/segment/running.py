"""Segment inputs one after the other; what fails is told, and the rest goes on."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np

from monai_sam2unet.class_pictures import class_overlay
from monai_sam2unet.classes import Classes
from monai_sam2unet.errors import InputError
from monai_sam2unet.files import make_folder, write_json
from monai_sam2unet.io import GivenWindow, Kind, Plane, Source, grid_of, kind_of, volume_of
from monai_sam2unet.io.anonymise import check_anonymiser
from monai_sam2unet.io.dicomseg import Fallback, SegmentationType
from monai_sam2unet.io.identity import Algorithm
from monai_sam2unet.io.writing import Masks, Results
from monai_sam2unet.pictures import write_png
from monai_sam2unet.prediction import Segmenter
from monai_sam2unet.segment.inputs import Unit
from monai_sam2unet.segment.outcome import Outcome, Tally
from monai_sam2unet.segment.writers import Format, Writer, outputs_at, writer_for
from monai_sam2unet.volume_prediction import VolumeSegmenter

__all__ = ["RECORD", "Options", "segment"]

logger = logging.getLogger(__name__)

RECORD = "segmented.json"
"""In the output folder: which input each result was made of."""

_SAVED_EVERY = 5.0  # seconds


@dataclass(frozen=True)
class Options:
    """How inputs are segmented and written.

    Attributes:
        output: folder of the results.
        form: of all results; None for what suits each input.
        window: grey levels, as `monai_sam2unet.io.read` takes it; None for those that the model was trained
            with, else what each file says.
        plane: which way volumes are sliced.
        names: what the classes are called in results; empty for the model's own names.
        segmentation_type: of DICOM Segmentations.
        fallback: for DICOM that no Segmentation object holds.
        overlays: whether the frames with the outlines are written, too.
        anonymise: whether what identifies the patient is left out, in file names as well.
        overwrite: whether results that are there and not known to be of the same input are replaced.
    """

    output: Path
    form: Format | None = None
    window: GivenWindow | None = None
    plane: Plane = "axial"
    names: tuple[str, ...] = ()
    segmentation_type: SegmentationType = "binary"
    fallback: Fallback = "error"
    overlays: bool = False
    anonymise: bool = False
    overwrite: bool = False


def segment(
    units: Sequence[Unit],
    segmenter: Segmenter | VolumeSegmenter,
    algorithm: Algorithm,
    options: Options,
    progress: Callable[[Unit, int, int], None] | None = None,
) -> Iterator[Outcome]:
    """Segment inputs.

    Args:
        units: the inputs.
        segmenter: the model, of pictures or of volumes.
        algorithm: what DICOM results say of it.
        options: how.
        progress: is told the input, frames done and frames in all, after each frame.

    Returns:
        Iterator over what became of each input, in their order.

    Raises:
        InputError: If the output folder cannot be written, names do not fit the model, or a package that
            anonymising needs is missing.
    """
    run = _Run(segmenter, algorithm, options, progress)
    run.record.protect(file for unit in units for file in unit.files)
    digits = max(4, len(str(len(units))))
    try:
        for number, unit in enumerate(units, start=1):
            begun = time.monotonic()
            outcome = Outcome(str(unit.path), "failed", unit.series.uid if unit.series else None)
            try:
                run.segment(unit, f"{number:0{digits}d}" if options.anonymise else unit.name, outcome)
                outcome.status = "done"
            except InputError as err:
                outcome.reason = str(err)
            outcome.seconds = round(time.monotonic() - begun, 3)
            yield outcome
    finally:
        run.record.save()


class _Record:
    """Which input each result of the output folder was made of, so that no run replaces another's results.

    Args:
        folder: the output folder.
        options: an anonymised run keeps no record, since it would name the inputs.
    """

    def __init__(self, folder: Path, options: Options) -> None:
        self.path = folder / RECORD
        self._options = options
        self._made_from: dict[str, str] = {}
        self._inputs: set[Path] = set()
        self._saved = time.monotonic()
        if self.path.is_file():
            try:
                self._made_from = dict(json.loads(self.path.read_text(encoding="utf-8"))["made_from"])
            except (OSError, ValueError, TypeError, KeyError) as err:
                raise InputError(
                    f"{self.path}: cannot be read as the record of earlier results ({err}); choose another "
                    "output folder, or delete the file"
                ) from err

    def protect(self, files: Iterable[Path]) -> None:
        """Let no result take the place of these files, or lie in a folder with them that is called as it."""
        for file in files:
            resolved = file.resolve()
            self._inputs |= {resolved, *resolved.parents}

    def check(self, name: str, unit: Unit) -> None:
        """Refuse to replace results of anything else, and inputs in any case."""
        there = outputs_at(self.path.parent / name)
        inputs = [place for place in there if place.resolve() in self._inputs]
        if inputs:
            raise InputError(
                f"{inputs[0]} is an input, or holds some, where the results of {unit.label} would be; choose "
                "another output folder"
            )
        if there and not self._options.overwrite and self._made_from.get(name) != _origin(unit):
            of = self._made_from.get(name, "nobody knows what")
            raise InputError(
                f"{there[0]} is there already, made of {of}; choose another output folder, or --overwrite"
            )

    def add(self, name: str, unit: Unit, files: Sequence[Path]) -> None:
        """Note a result; what an earlier run left of the same input beside it goes, such as later frames."""
        folder = self.path.parent
        if self._made_from.get(name) == _origin(unit):
            suffixes = {file.suffix for file in files}
            for path in (folder / name).rglob("*"):
                own = path.relative_to(folder).with_suffix("").as_posix() in self._made_from
                numbered = path.stem.isdecimal() and path.suffix in suffixes
                if path.is_file() and numbered and path not in files and not own:
                    path.unlink(missing_ok=True)
        self._made_from[name] = _origin(unit)
        if time.monotonic() - self._saved > _SAVED_EVERY:
            self.save()

    def save(self) -> None:
        """Write the record."""
        if self._made_from and not self._options.anonymise:
            write_json(self.path, {"made_from": dict(sorted(self._made_from.items()))})
        self._saved = time.monotonic()


def _origin(unit: Unit) -> str:
    """What a result is made of."""
    return str(unit.path.resolve()) + (f"#{unit.series.uid}" if unit.series else "")


class _Run:
    """What all inputs of a run have in common; arguments as those of `segment`."""

    def __init__(
        self,
        segmenter: Segmenter | VolumeSegmenter,
        algorithm: Algorithm,
        options: Options,
        progress: Callable[[Unit, int, int], None] | None,
    ) -> None:
        self.segmenter = segmenter
        self.algorithm = algorithm
        self.options = options
        self.progress = progress
        self.classes = _called(segmenter.classes, options.names)
        if options.anonymise:
            check_anonymiser()
        self.record = _Record(make_folder(options.output), options)

    def segment(self, unit: Unit, name: str, outcome: Outcome) -> None:
        """Segment one input, write it under a name, and fill in what became of it."""
        source = unit.open(self._window(unit), self.options.plane)
        outcome.kind = source.kind.value
        writer = self._writer(source)
        outcome.format, outcome.note = writer.form, writer.note or None
        if writer.note:
            logger.warning("%s: %s", unit.label, writer.note)
        self.record.check(name, unit)
        tally = Tally(source, self.classes)
        target = self.options.output / name
        drawn = _Overlays(target, self.classes, len(source)) if self.options.overlays else None
        results = _results(source, self.segmenter, tally, drawn)
        if self.progress is not None:
            results = _told(results, unit, len(source), self.progress)
        files = _written(writer, target, source, results, drawn)
        self.record.add(name, unit, files)
        outcome.outputs = [str(file) for file in files + (drawn.files if drawn else [])]
        outcome.frames, outcome.classes = tally.frames, tally.amounts()

    def _window(self, unit: Unit) -> GivenWindow | None:
        """The window that was asked for; else, of what has grey levels to choose from, that of the model."""
        grey = unit.series is not None or kind_of(unit.path) in (Kind.DICOM, Kind.NIFTI, Kind.NRRD)
        return self.options.window or (self.segmenter.window if grey else None)

    def _writer(self, source: Source[Any]) -> Writer:
        """How the results of an input are written."""
        options = self.options
        return writer_for(
            source,
            options.form,
            self.classes,
            self.algorithm,
            options.segmentation_type,
            options.fallback,
            options.anonymise,
        )


def _written(
    writer: Writer, target: Path, source: Source[Any], results: Results, drawn: _Overlays | None
) -> list[Path]:
    """Write the results; if that fails no overlays stay either."""
    try:
        return writer.write(target, source, results)
    except BaseException:
        if drawn is not None:
            drawn.remove()
        raise


def _results(
    source: Source[Any], segmenter: Segmenter | VolumeSegmenter, tally: Tally, drawn: _Overlays | None
) -> Iterator[tuple[Any, Masks]]:
    """Each frame with its masks, counted and drawn on the way."""
    for frame, masks in _found(source, segmenter):
        tally.add(masks)
        if drawn is not None:
            drawn.add(frame, masks)
        yield frame, masks


def _found(source: Source[Any], segmenter: Segmenter | VolumeSegmenter) -> Iterator[tuple[Any, Masks]]:
    """Each frame with its masks; a model of volumes finds those of all frames at once."""
    if isinstance(segmenter, VolumeSegmenter):
        grid = grid_of(source)
        volumes = segmenter.segment(volume_of(source))
        for frame in source:
            yield frame, np.stack([grid.view(volume, frame) for volume in volumes])
        return
    frames, pixels = tee(source)  # which keeps no more frames than are computed at once
    found = segmenter.segment(frame.pixels for frame in pixels)
    for frame, segmented in zip(frames, found, strict=True):
        yield frame, segmented.masks


def _told(
    results: Results, unit: Unit, frames: int, progress: Callable[[Unit, int, int], None]
) -> Iterator[tuple[Any, Masks]]:
    """The results, of which somebody is told."""
    for done, result in enumerate(results, start=1):
        yield result
        progress(unit, done, frames)


class _Overlays:
    """Pictures of the frames with the masks drawn in.

    Args:
        target: of the results; these become ``TARGET.overlay.png``, or ``TARGET.overlay/0001.png`` and so on.
        classes: what the masks stand for.
        frames: how many frames there are.
    """

    def __init__(self, target: Path, classes: Classes, frames: int) -> None:
        self.files: list[Path] = []
        self._classes = classes
        self._folder = target.with_name(f"{target.name}.overlay")
        self._digits = max(4, len(str(frames))) if frames > 1 else 0

    def add(self, frame: Any, masks: Masks) -> None:
        """Write that of a frame."""
        numbered = self._folder / f"{frame.number:0{self._digits}d}.png"
        alone = self._folder.with_name(f"{self._folder.name}.png")
        file = numbered if self._digits else alone
        write_png(file, class_overlay(frame.pixels, masks, self._classes))
        self.files.append(file)

    def remove(self) -> None:
        """Remove those that were written."""
        for file in self.files:
            file.unlink(missing_ok=True)


def _called(classes: Classes, names: Sequence[str]) -> Classes:
    """The classes under the names that were asked for."""
    if not names:
        return classes
    if len(names) != classes.count:
        raise InputError(
            f"names must be as many as the model has classes, {classes.count} ({', '.join(classes.names)}), "
            f"got {len(names)}: {', '.join(names)}"
        )
    return Classes.of(list(names), classes.activation)
