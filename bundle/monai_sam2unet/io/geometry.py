"""How the frames of a source lie together in the patient, as one grid of voxels.

Shape legend: ``X Y Z`` the axes of the grid as stored, ``H`` rows and ``W`` columns of a frame. Affines map
indices to millimetres in RAS+; DICOM's own numbers are LPS+.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from monai_sam2unet.errors import InputError
from monai_sam2unet.io.dicom import DicomPlace, DicomSource
from monai_sam2unet.io.source import Frame, Source
from monai_sam2unet.io.volumes import VolumeSource

__all__ = ["Grid", "Plane", "grid_of", "pixel_area", "plane_of"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_OFF = 0.1  # of the step between slices: what a slice may be off its place in an even grid


@dataclass(frozen=True)
class Grid:
    """The voxels that the frames of a source are slices of.

    Attributes:
        affine: 4x4, from indices as stored to millimetres, RAS+.
        shape: (X, Y, Z): of a volume as its file has it, of DICOM frames (columns, rows, slices). Slices are
            in the order of their places along the normal, whatever the order of an enhanced object's frames.
        view: gives of an array of this shape and a frame of the source the slice (H, W), to be written to.
        slices: of DICOM, which slice each frame is, from 0; empty for volumes.
    """

    affine: np.ndarray
    shape: tuple[int, int, int]
    view: Callable[[np.ndarray, Frame[Any]], np.ndarray]
    slices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plane:
    """Where a DICOM frame lies, LPS+.

    Attributes:
        position: centre of the first pixel, mm.
        directions: (2, 3), unit vectors along the rows and down the columns.
        spacing: mm between rows, and between columns.
        thickness: Slice Thickness, mm; 0 where it is missing.
    """

    position: np.ndarray
    directions: np.ndarray
    spacing: tuple[float, float]
    thickness: float


def grid_of(source: Source[Any]) -> Grid:
    """The grid that the frames of a source are slices of.

    Args:
        source: a volume, or DICOM frames that lie in the patient at even distances.

    Returns:
        The grid.

    Raises:
        InputError: If the source has no such place, or its frames lie unevenly.
    """
    if isinstance(source, VolumeSource):
        return Grid(source.affine, source.shape, lambda volume, frame: frame.place.view(volume))
    places = source.places if isinstance(source, DicomSource) else []
    planes = [plane for place in places if (plane := plane_of(place)) is not None]
    if not places or len(planes) < len(places):
        raise InputError(
            f"{source.path}: has no place in a patient (position, orientation and spacing of every frame), "
            "which a volume needs; choose the format png"
        )
    header = places[0].dataset
    shape = (int(header.Columns), int(header.Rows), len(planes))
    normal = np.cross(*planes[0].directions)
    order = np.argsort([plane.position @ normal for plane in planes], kind="stable")
    affine = _affine(source.path, [planes[index] for index in order])
    slices = tuple(np.argsort(order).tolist())
    return Grid(affine, shape, lambda volume, frame: volume[:, :, slices[frame.number - 1]].T, slices)


def plane_of(place: DicomPlace) -> Plane | None:
    """Where a DICOM frame lies, by its own functional groups, the shared ones or the file's elements.

    Args:
        place: of the frame.

    Returns:
        The plane; None if an element that it needs is missing or no number.
    """
    position = _element(place, "PlanePositionSequence", "ImagePositionPatient")
    directions = _element(place, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _element(place, "PixelMeasuresSequence", "PixelSpacing")
    thickness = _element(place, "PixelMeasuresSequence", "SliceThickness")
    several = "PerFrameFunctionalGroupsSequence" in place.dataset
    if int(place.dataset.get("NumberOfFrames") or 1) > 1 and not several:
        return None  # the file's one position is that of no frame in particular
    try:
        rows, columns = (float(number) for number in spacing)
        return Plane(
            np.array(position, np.float64).reshape(3),
            np.array(directions, np.float64).reshape(2, 3),
            (rows, columns),
            float(thickness or 0),
        )
    except (TypeError, ValueError):
        return None


def pixel_area(source: Source[Any]) -> float | None:
    """Square millimetres of a pixel of the first frame in the patient; None where no one knows.

    Distances at a detector (Imager Pixel Spacing) are not those in the patient, and do not count.
    """
    if isinstance(source, VolumeSource):
        across = source.frame(1).place.axis
        first, second = (source.affine[:3, axis] for axis in range(3) if axis != across)
        return float(np.linalg.norm(np.cross(first, second)))
    if not isinstance(source, DicomSource):
        return None
    spacing = _element(source.places[0], "PixelMeasuresSequence", "PixelSpacing")
    try:
        rows, columns = (float(number) for number in spacing)
    except (TypeError, ValueError):
        return None
    return rows * columns


def _element(place: DicomPlace, group: str, keyword: str) -> Any:
    """An element of a frame's functional group, or of the file; None if it is missing."""
    own = place.dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = place.dataset.get("SharedFunctionalGroupsSequence") or []
    items: list[Dataset] = [*own[place.number - 1 : place.number], *shared[:1]]
    for item in items:
        found = (item.get(group) or [Dataset()])[0].get(keyword)
        if found is not None:
            return found
    return place.dataset.get(keyword)


def _affine(path: Path, planes: list[Plane]) -> np.ndarray:
    """The affine of frames at even distances (PS3.3, C.7.6.2.1.1)."""
    first = planes[0]
    normal = np.cross(*first.directions)
    step = normal * (first.thickness or 1.0)
    if len(planes) > 1:
        step = (planes[-1].position - first.position) / (len(planes) - 1)
    off = [np.abs(plane.position - first.position - index * step).max() for index, plane in enumerate(planes)]
    turned = any(np.abs(plane.directions - first.directions).max() > 1e-3 for plane in planes)
    if turned or not max(off) <= _OFF * np.linalg.norm(step) or not abs(step @ normal) > 0:
        raise InputError(
            f"{path}: its slices lie at no even distances (one is {max(off):.3g} mm off its place), "
            "which a volume cannot show; choose the format dicomseg or png"
        )
    affine = np.eye(4)
    affine[:3, 0] = first.directions[0] * first.spacing[1]
    affine[:3, 1] = first.directions[1] * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = first.position
    return np.asarray(_LPS_TO_RAS @ affine)
