"""The DICOM series of a folder, each sorted by where its slices lie in the patient.

Positions are in millimetres, in DICOM's LPS+ (x to the left, y to the back, z to the head).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from monai_sam2unet.errors import InputError, listed
from monai_sam2unet.io.dicom import frames_of, read_header
from monai_sam2unet.io.kinds import is_dicom

__all__ = ["DicomSeries", "find_series"]

logger = logging.getLogger(__name__)

_SAME_PLACE = 1e-3  # mm: nearer slices are one place, positions being written with about six digits
_SAME_ANGLE = 1e-3  # of direction cosines
_GAP = 1.5  # times the usual distance: less is the rounding of positions, a lost slice makes it 2
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class DicomSeries:
    """One series.

    Attributes:
        uid: Series Instance UID; "" where the files have none.
        modality: such as "CT".
        description: Series Description.
        files: by position along the slices' normal, where they have one; else by Instance Number.
        headers: the data sets of the files, without pixels.
        affine: 4x4, from (column, row, slice) to mm in RAS+; None without positions, or for one slice.
        gaps: where slices are missing: the file before, the file after, and their distance in mm.
    """

    uid: str
    modality: str
    description: str
    files: tuple[Path, ...]
    headers: tuple[Dataset, ...]
    affine: np.ndarray | None
    gaps: tuple[tuple[Path, Path, float], ...]

    def __str__(self) -> str:
        named = f" {self.description!r}" if self.description else ""
        return f"{self.uid} ({self.modality}{named}, {len(self.files)} files)"


@dataclass(frozen=True)
class _Slice:
    """A file of a series; `position` and `directions` (row, column) are in mm and cosines, LPS+."""

    path: Path
    header: Dataset
    position: np.ndarray | None
    directions: np.ndarray | None


def find_series(folder: str | os.PathLike[str]) -> list[DicomSeries]:
    """Find all series of a folder and its subfolders, by the files' content.

    Files that are no DICOM, and DICOM without pictures (reports, structure sets, segmentations), are passed
    over, with a line in the log.

    Args:
        folder: the folder.

    Returns:
        The series, by Series Instance UID.

    Raises:
        InputError: If the slices of a series lie twice at a place, differ in size or direction, or only some
            have a position; it names the files.
    """
    groups: dict[str, list[_Slice]] = {}
    for path in files_in(folder):
        if not is_dicom(path):
            continue
        try:
            header = read_header(path)
        except InputError as err:
            logger.warning("passed over: %s", err)
            continue
        groups.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(_slice_of(path, header))
    return [_series(uid, slices) for uid, slices in sorted(groups.items())]


def series_of(files: Sequence[tuple[Path, Dataset]]) -> DicomSeries:
    """The series of files that are known to be one.

    Args:
        files: each with its data set.

    Returns:
        The series.

    Raises:
        InputError: As `find_series`.
    """
    uid = str(files[0][1].get("SeriesInstanceUID", ""))
    return _series(uid, [_slice_of(path, header) for path, header in files])


def files_in(folder: str | os.PathLike[str]) -> list[Path]:
    """All files of a folder and its subfolders, hidden ones left out, sorted by name."""
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _slice_of(path: Path, header: Dataset) -> _Slice:
    """A file with its place in the patient, if it is one slice and says so."""
    position, directions = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    if frames_of(path, header) > 1 or not position or not directions:
        return _Slice(path, header, None, None)
    try:
        numbers = np.array(position, np.float64).reshape(3), np.array(directions, np.float64).reshape(2, 3)
    except ValueError as err:
        raise InputError(f"{path}: has no valid position or orientation ({err}); take the file out") from err
    return _Slice(path, header, *numbers)


def _series(uid: str, slices: list[_Slice]) -> DicomSeries:
    """Sort the slices of a series and look for what is wrong with them."""
    without = [item.path.name for item in slices if item.position is None]
    if without and len(without) < len(slices):
        raise InputError(
            f"series {uid}: {listed(without)} of {len(slices)} files have no position in the patient, the "
            "others do; take out what does not belong to it"
        )
    affine: np.ndarray | None = None
    gaps: tuple[tuple[Path, Path, float], ...] = ()
    if without:
        slices = sorted(slices, key=lambda item: (_instance_number(item.header), item.path))
    else:
        _check_alike(uid, slices)
        slices, places = _sorted_along(slices)
        _check_twice(uid, slices, places)
        gaps = _gaps(slices, places)
        affine = _affine(slices)
    if gaps:
        told = (f"{before.name} to {after.name}: {distance:g} mm" for before, after, distance in gaps)
        logger.warning("series %s lacks slices at %s", uid, listed(told))
    first = slices[0].header
    return DicomSeries(
        uid,
        str(first.get("Modality", "")),
        str(first.get("SeriesDescription", "")),
        tuple(item.path for item in slices),
        tuple(item.header for item in slices),
        affine,
        gaps,
    )


def _instance_number(header: Dataset) -> int:
    """Instance Number, 0 where it is missing."""
    return int(header.get("InstanceNumber") or 0)


def _check_alike(uid: str, slices: Sequence[_Slice]) -> None:
    """Refuse slices that differ in size or direction from most of their series."""
    sizes = [(item.header.Rows, item.header.Columns) for item in slices]
    usual = max(sizes, key=sizes.count)
    other = [
        f"{item.path.name} {rows}x{columns}"
        for item, (rows, columns) in zip(slices, sizes, strict=True)
        if (rows, columns) != usual
    ]
    if other:
        raise InputError(
            f"series {uid}: slices differ in size (rows x columns): most are {usual[0]}x{usual[1]}, but "
            f"{listed(other)}; take these out"
        )
    turned = [
        item.path.name
        for item in slices
        if np.abs(_directions(item) - _directions(slices[0])).max() > _SAME_ANGLE
    ]
    if turned:
        raise InputError(
            f"series {uid}: {listed(turned)} have another orientation than {slices[0].path.name}; give "
            "slices of one direction each in a folder of their own"
        )


def _sorted_along(slices: Sequence[_Slice]) -> tuple[list[_Slice], np.ndarray]:
    """Slices by their position along the normal, and these positions in mm."""
    normal = np.cross(*_directions(slices[0]))
    along = np.array([_position(item) @ normal for item in slices])
    order = np.argsort(along, kind="stable")
    return [slices[index] for index in order], along[order]


def _check_twice(uid: str, slices: Sequence[_Slice], places: np.ndarray) -> None:
    """Refuse several slices at one place."""
    near = np.flatnonzero(np.diff(places) < _SAME_PLACE).tolist()
    if near:
        pairs = (f"{slices[i].path.name} = {slices[i + 1].path.name}" for i in near)
        raise InputError(
            f"series {uid}: slices lie twice at one place: {listed(pairs)}; take out copies, and give "
            "phases or echoes in a folder each"
        )


def _gaps(slices: Sequence[_Slice], places: np.ndarray) -> tuple[tuple[Path, Path, float], ...]:
    """Neighbours that are further apart than most."""
    distances = np.diff(places)
    if distances.size < 2:
        return ()
    wide = np.flatnonzero(distances > _GAP * np.median(distances)).tolist()
    return tuple((slices[i].path, slices[i + 1].path, float(distances[i])) for i in wide)


def _affine(slices: Sequence[_Slice]) -> np.ndarray | None:
    """The affine of the series, RAS+ (PS3.3, C.7.6.2.1.1, with the step between the outermost slices)."""
    spacing = slices[0].header.get("PixelSpacing")
    if len(slices) < 2 or not spacing:
        return None
    along_rows, along_columns = _directions(slices[0])
    affine = np.eye(4)
    affine[:3, 0] = along_rows * float(spacing[1])  # Pixel Spacing: between rows first, then between columns
    affine[:3, 1] = along_columns * float(spacing[0])
    affine[:3, 2] = (_position(slices[-1]) - _position(slices[0])) / (len(slices) - 1)
    affine[:3, 3] = _position(slices[0])
    return np.asarray(_LPS_TO_RAS @ affine)


def _position(item: _Slice) -> np.ndarray:
    assert item.position is not None  # _series handles those without
    return item.position


def _directions(item: _Slice) -> np.ndarray:
    assert item.directions is not None
    return item.directions
