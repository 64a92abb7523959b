"""What is to be segmented: each file, and each DICOM series, that gets a result of its own."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from pydicom.dataset import Dataset

from monai_sam2unet.data.sources import source_root
from monai_sam2unet.errors import InputError
from monai_sam2unet.io import (
    DICOM_SUFFIXES,
    VIDEO_SUFFIXES,
    DicomSource,
    GivenWindow,
    Kind,
    Plane,
    Source,
    kind_of,
    read,
)
from monai_sam2unet.io.dicom import NoPictureError, frames_of, read_header
from monai_sam2unet.io.series import DicomSeries, files_in, series_of
from monai_sam2unet.pictures import PICTURE_SUFFIXES

__all__ = ["MARKS", "Found", "Unit", "find_units"]

logger = logging.getLogger(__name__)

MARKS = (".overlay",)
"""Ends of names that further results of an input have."""

_VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd")
_READ = (Kind.PICTURE, Kind.TIFF_STACK, Kind.DICOM, Kind.NIFTI, Kind.NRRD, Kind.VIDEO)


@dataclass(frozen=True)
class Unit:
    """One input that gets a result.

    Attributes:
        path: the file, or the folder that a series lies in.
        name: where its results go below the output folder, without suffix; no two are the same.
        series: the series, if it is one.
    """

    path: Path
    name: str
    series: DicomSeries | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Its files."""
        return (self.path,) if self.series is None else self.series.files

    def open(self, window: GivenWindow | None = None, plane: Plane = "axial") -> Source[Any]:
        """Its frames.

        Args:
            window: as `monai_sam2unet.io.read` takes it.
            plane: likewise.

        Raises:
            InputError: If it cannot be read.
        """
        if self.series is None:
            return read(self.path, window, plane)
        return DicomSource(self.path, list(self.series.files), window, list(self.series.headers))

    @property
    def label(self) -> str:
        """What names it to a user: the path, and of a series its UID."""
        return str(self.path) if self.series is None else f"{self.path} (series {self.series.uid})"


@dataclass
class Found:
    """What lies at the inputs.

    Attributes:
        units: what gets results, by name.
        failed: what cannot be read, with the reason.
        passed_over: objects without a picture in folders, with what they are.
    """

    units: list[Unit] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Listed:
    """A unit, and the names that it may get, from short to one that no other unit has."""

    unit: Unit
    names: tuple[str, ...]


def _of_file(path: Path, root: Path) -> _Listed:
    """A file as a unit: ``a``, else ``a.png``, else with the input's folder, else with its whole path."""
    relative = path.relative_to(root).as_posix()
    stem, suffix = os.path.splitext(relative)
    if suffix.lower() == ".gz":
        stem = os.path.splitext(stem)[0]
    stem = relative if suffix[1:].isdigit() else stem  # the last number of a UID is no suffix
    return _Listed(Unit(path, ""), (stem, *_longer(relative, root, path)))


def _of_series(folder: Path, root: Path, series: DicomSeries) -> _Listed:
    """A series as a unit, named as its folder, else by its UID as well."""
    relative = folder.relative_to(root).as_posix()
    relative = folder.resolve().name or "series" if relative == "." else relative
    own = f"{relative}/{series.uid}"
    return _Listed(Unit(folder, "", series), (relative, *_longer(own, root, folder / series.uid)))


def _longer(name: str, root: Path, path: Path) -> tuple[str, ...]:
    """A name, the name with that of the input's folder, and the whole path."""
    whole = path.resolve().as_posix().lstrip("/").replace(":", "")
    return name, f"{root.resolve().name}/{name}", whole


def find_units(
    inputs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str] | None = None
) -> Found:
    """Find everything that is to be segmented.

    A folder is searched with its subfolders. Its DICOM files with a position in the patient are put together
    by series; all others are inputs of their own, as are pictures, stacks, volumes and videos. Files of other
    kinds are no inputs; what has the suffix of such a kind and is none counts as failed.

    Args:
        inputs: files, folders and patterns such as ``in/**/*.dcm``; what is there twice counts once.
        output: folder of results; if it lies in a folder that is searched, what is in it is left out.

    Returns:
        The units, and what is none.

    Raises:
        InputError: If nothing lies at a path or matches a pattern.
    """
    found, listed, seen = Found(), list[_Listed](), set[Path]()
    results = None if output is None else Path(os.path.expanduser(output)).resolve()
    batches: dict[tuple[Path, bool], list[Path]] = {}  # files that are named one by one belong together, too
    for path in inputs:
        given = os.path.expanduser(os.fspath(path))
        root = source_root(given)
        above = (root.resolve(), *root.resolve().parents)
        batch = batches.setdefault((root, Path(given).is_file()), [])
        for file in _files(given):
            resolved = file.resolve()
            is_result = results in resolved.parents and results not in above
            if resolved not in seen and not is_result:
                seen.add(resolved)
                batch.append(file)
    for (root, named), files in batches.items():
        listed += _listed(files, root, named, found)
    found.units = sorted(_named(listed), key=lambda unit: unit.name)
    for reason in found.passed_over.values():
        logger.warning("passed over: %s", reason)
    return found


def _files(given: str) -> list[Path]:
    """The files that an input means."""
    place = Path(given)
    if place.is_file():
        return [place]
    if place.is_dir():
        return files_in(place)
    if not glob.has_magic(given):
        raise InputError(f"{place} is not there; give a file, a folder or a pattern such as 'in/**/*.dcm'")
    matched = sorted({Path(hit) for hit in glob.glob(given, recursive=True)})
    files = [path for path in matched if path.is_file()]
    if not files:
        raise InputError(f"no file matches the pattern {given}; correct it, or give the folder")
    return files


def _listed(files: Iterable[Path], root: Path, named: bool, found: Found) -> list[_Listed]:
    """Units of some files.

    Args:
        files: the files.
        root: what names are relative to.
        named: whether the user has named these very files, so that each has a result or fails.
        found: is told what is no unit.
    """
    listed: list[_Listed] = []
    groups: dict[str, list[tuple[Path, Dataset]]] = {}
    for path in files:
        try:
            kind = kind_of(path)
            header = read_header(path) if kind is Kind.DICOM else None
        except NoPictureError as err:
            (found.failed if named else found.passed_over)[str(path)] = str(err)
            continue
        except InputError as err:
            found.failed[str(path)] = str(err)
            continue
        if header is not None and _has_place(path, header):
            # files that lack the UID are a series if they lie together
            uid = header.get("SeriesInstanceUID") or f"in {path.parent}"
            groups.setdefault(str(uid), []).append((path, header))
        elif named or kind in _READ or _looks_read(path):  # reading says what is wrong with it
            listed.append(_of_file(path, root))
    return listed + _series(groups, root, found)


def _has_place(path: Path, header: Dataset) -> bool:
    """Whether a DICOM file is a slice of a series."""
    needed = ("ImagePositionPatient", "ImageOrientationPatient")
    return all(header.get(keyword) for keyword in needed) and frames_of(path, header) == 1


def _looks_read(path: Path) -> bool:
    """Whether the name is that of a picture, a volume or a video."""
    suffixes = (*PICTURE_SUFFIXES, *DICOM_SUFFIXES, *VIDEO_SUFFIXES, *_VOLUME_SUFFIXES)
    return path.name.lower().endswith(suffixes)


def _series(groups: dict[str, list[tuple[Path, Dataset]]], root: Path, found: Found) -> list[_Listed]:
    """Units of series; those of one file are named by the file, others by their folder."""
    listed = []
    for uid, files in groups.items():
        if len(files) == 1:
            listed.append(_of_file(files[0][0], root))
            continue
        folder = Path(os.path.commonpath([path.parent for path, _ in files]))
        try:
            listed.append(_of_series(folder, root, series_of(files)))
        except InputError as err:
            found.failed[f"{folder} (series {uid})"] = str(err)
    return listed


def _named(listed: Sequence[_Listed]) -> list[Unit]:
    """The units with names: no two alike, and none the folder of another one.

    Each takes the shortest of its names that is free; of several that want one none gets it, so that a name
    says the same in every order of the inputs.
    """
    steps = [0] * len(listed)
    while True:
        names = [item.names[step] for item, step in zip(listed, steps, strict=True)]
        counts = Counter(names)
        folders = {parent.as_posix() for name in counts for parent in PurePosixPath(name).parents}
        taken = [name for name in names if counts[name] > 1 or name in folders or name.endswith(MARKS)]
        longer = [
            index
            for index, (item, name) in enumerate(zip(listed, names, strict=True))
            if name in taken and steps[index] + 1 < len(item.names)
        ]
        if not longer:
            return [replace(item.unit, name=name) for item, name in zip(listed, names, strict=True)]
        for index in longer:
            steps[index] += 1
