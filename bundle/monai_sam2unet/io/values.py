"""Volumes as numbers: NIfTI, NRRD and DICOM series whole, with the values that the device measured.

`monai_sam2unet.io.read` gives slices as a viewer shows them; this gives what is learnt from and measured in.

Shape legend: ``X Y Z`` the axes as stored; of a series: columns, rows, slices. Affines map indices of these
axes to millimetres in RAS+.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform

from monai_sam2unet.errors import InputError
from monai_sam2unet.io.dicom import DicomSource
from monai_sam2unet.io.geometry import grid_of
from monai_sam2unet.io.kinds import Kind, kind_of
from monai_sam2unet.io.reading import choose_series
from monai_sam2unet.io.series import find_series
from monai_sam2unet.io.source import Source
from monai_sam2unet.io.volumes import VolumeSource, read_stored

__all__ = ["Volume", "read_values", "spacing_of", "volume_of"]

SAME_PLACE = 0.1
"""Voxels by which corners of two volumes may differ that are one: headers round in their own ways."""


@dataclass(frozen=True)
class Volume:
    """A volume of one number a voxel.

    Attributes:
        values: (X, Y, Z), real numbers; Hounsfield units for CT.
        affine: 4x4, from indices to mm, RAS+.
        path: where it was read from.
    """

    values: np.ndarray
    affine: np.ndarray
    path: Path

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Mm from one voxel to the next, along each axis."""
        return spacing_of(self.affine)

    def laid_out_as(self, other: Volume) -> Volume:
        """The same volume with axes in the order and direction of another one's.

        Programs that write label maps often turn axes round; the affine says so. Nothing is resampled.

        Args:
            other: the volume whose axes count.

        Returns:
            The volume, a view.

        Raises:
            InputError: If the two do not cover the same voxels then: other shape, spacing or place.
        """
        turn = ornt_transform(io_orientation(self.affine), io_orientation(other.affine))
        values = np.asarray(apply_orientation(self.values, turn))
        if values.shape != other.values.shape:
            raise InputError(
                f"{self.path}: has {_times(values.shape)} voxels, expected {_times(other.values.shape)} as "
                f"{other.path}; resample it to that volume"
            )
        ends = np.array(list(product(*((0, side - 1) for side in values.shape))))
        affine = self.affine @ inv_ornt_aff(turn, self.values.shape)
        apart = float(np.abs(_places(affine, ends) - _places(other.affine, ends)).max())
        if apart > SAME_PLACE * min(other.spacing):
            raise InputError(
                f"{self.path}: lies up to {apart:.3g} mm off {other.path} by its affine; correct its header, "
                "or resample it to that volume"
            )
        return Volume(values, other.affine, self.path)


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Mm from one voxel to the next along each axis of an affine."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return x, y, z


def read_values(path: str | os.PathLike[str], series: str | None = None) -> Volume:
    """Read a volume.

    Args:
        path: a NIfTI or NRRD file, or a folder with a DICOM series.
        series: Series Instance UID, where a folder holds several series.

    Returns:
        The volume in memory. Values of DICOM have slope and intercept applied, and no window.

    Raises:
        InputError: If it cannot be read, is none of these, has other than three axes, no real numbers, or
            no place in space; it names the file.
    """
    path, kind = Path(path), kind_of(path)
    if kind is Kind.FOLDER:
        values, affine = _read_series(path, series)
    elif kind in (Kind.NIFTI, Kind.NRRD):
        values, affine = read_stored(path, kind)
    else:
        raise InputError(
            f"{path}: is {kind.value}, expected a NIfTI or NRRD volume, or a folder with a DICOM series"
        )
    _check(path, values, affine)
    return Volume(values, affine, path)


def volume_of(source: Source[Any]) -> Volume:
    """The values behind the frames of a source, of which `monai_sam2unet.io.grid_of` gives the slices.

    Args:
        source: a volume, or DICOM frames that lie in the patient at even distances.

    Returns:
        As `read_values`.

    Raises:
        InputError: If the source is no such thing, or cannot be read.
    """
    if not isinstance(source, (DicomSource, VolumeSource)):
        raise InputError(
            f"{source.path}: is {source.kind.value}, expected a NIfTI or NRRD volume or a DICOM series"
        )
    grid = grid_of(source)
    if isinstance(source, DicomSource):
        values = _stacked(source)[:, :, np.argsort(grid.slices)]
    else:
        values, _ = read_stored(source.path, source.kind)
    _check(source.path, values, grid.affine)
    return Volume(values, grid.affine, source.path)


def _read_series(folder: Path, uid: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Values (columns, rows, slices) and affine of a series."""
    chosen = choose_series(folder, find_series(folder), uid)
    if chosen.affine is None:
        raise InputError(
            f"{folder}: series {chosen} says no place of its slices, or has one alone; expected two or more "
            "slices with position, orientation and spacing"
        )
    source = DicomSource(folder, list(chosen.files), None, list(chosen.headers))
    return _stacked(source), chosen.affine


def _stacked(source: DicomSource) -> np.ndarray:
    """Values of all frames, (columns, rows, frames)."""
    return np.stack([frame.T for frame in source.values()], axis=-1)


def _check(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    """Refuse what is no volume of one number a voxel."""
    if values.ndim != 3 or 0 in values.shape:
        raise InputError(
            f"{path}: has the shape {values.shape}, expected three axes; save one volume of several (time "
            "points, channels) as a file of its own"
        )
    if np.iscomplexobj(values) or values.dtype.fields:
        raise InputError(
            f"{path}: has values of type {values.dtype}, expected real numbers; convert the file"
        )
    if not np.isfinite(affine).all() or np.isnan(io_orientation(affine)).any():
        raise InputError(
            f"{path}: its affine {affine.tolist()} gives an axis no direction; correct the header"
        )


def _places(affine: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Mm of voxels, (N, 3)."""
    return np.asarray(indices @ affine[:3, :3].T + affine[:3, 3])


def _times(shape: tuple[int, ...]) -> str:
    """A shape as messages say it."""
    return "x".join(map(str, shape))
