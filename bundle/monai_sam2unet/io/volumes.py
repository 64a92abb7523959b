"""NIfTI and NRRD volumes, slice by slice, as a viewer shows them.

Shape legend: ``X Y Z`` the axes as stored, ``H`` rows and ``W`` columns of a slice. Affines map indices of
the stored axes to millimetres in RAS+ (x to the right, y to the front, z to the head), as nibabel's do.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from io import IOBase
from pathlib import Path
from typing import Literal, cast, get_args

import nibabel
import numpy as np
import SimpleITK
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from monai_sam2unet.errors import InputError
from monai_sam2unet.io.kinds import Kind, nifti_version
from monai_sam2unet.io.source import Frame, Source
from monai_sam2unet.io.windows import GivenWindow, find_window, span, stretch, windowed

__all__ = ["Plane", "VolumePlace", "VolumeSource", "read_volume"]

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = get_args(Plane)

_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])  # NIfTI's RGB24


@dataclass(frozen=True)
class VolumePlace:
    """Where a slice stands.

    Attributes:
        affine: 4x4, from indices as stored to millimetres, RAS+.
        shape: of the volume as stored, (X, Y, Z).
        plane: which way it is sliced.
        index: the slice along the plane's axis, from 0 at the right, the front or the feet.
        axis: the stored axis that the plane cuts across, 0 to 2.
    """

    affine: np.ndarray
    shape: tuple[int, int, int]
    plane: Plane
    index: int
    axis: int

    def view(self, volume: np.ndarray) -> np.ndarray:
        """The slice of an array that is laid out as the volume is stored, to be read or written.

        Args:
            volume: (X, Y, Z), with or without further axes.

        Returns:
            A view, (H, W) and the further axes, in the rows and columns of the frame: what is written to it
            stands in ``volume``.

        Raises:
            ValueError: If the volume has another shape.
        """
        if volume.shape[:3] != self.shape:
            raise ValueError(f"volume must have the shape {self.shape}, got {volume.shape[:3]}")
        return _slice(_upright(volume, self.affine), self.plane, self.index)


class VolumeSource(Source[VolumePlace]):
    """The slices of a volume.

    An axial slice shows the patient's right side at the left and the front at the top, a coronal one the
    right side at the left and the head at the top, a sagittal one the front at the left and the head at the
    top, in whatever order the file stores its axes. Colours, and grey of 8 bits, are shown as stored, other
    grey from the volume's minimum to its maximum unless a window is given.

    Args:
        path: the file.
        kind: what it is.
        values: (X, Y, Z), or uint8 (X, Y, Z, 3).
        affine: 4x4, RAS+, millimetres.
        plane: which way it is sliced.
        window: grey levels, a name for CT only (a volume's file does not say what it is).

    Attributes:
        affine: as given.
        shape: (X, Y, Z).

    Raises:
        InputError: If the volume has other axes, no orientation, or is in colour and a window is given.
    """

    def __init__(
        self,
        path: Path,
        kind: Kind,
        values: np.ndarray,
        affine: np.ndarray,
        plane: Plane = "axial",
        window: GivenWindow | None = None,
    ) -> None:
        super().__init__(path, kind)
        _check(path, values, affine, plane, window)
        self.affine = affine
        self.shape = (values.shape[0], values.shape[1], values.shape[2])
        self._plane = plane
        self._upright = _upright(values, affine)
        self._window = None if window is None else find_window(window)
        self._ends = (0.0, 255.0) if values.dtype == np.uint8 else span(values)

    def __len__(self) -> int:
        return int(self._upright.shape[_axis(self._plane)])

    def _frame(self, number: int) -> Frame[VolumePlace]:
        values = _slice(self._upright, self._plane, number - 1)
        colour = values.ndim == 3
        grey = windowed(values, self._window) if self._window else stretch(values, *self._ends)
        pixels = np.array(values) if colour else np.repeat(grey[..., None], 3, axis=-1)
        stored_axis = int(np.argmax(io_orientation(self.affine)[:, 0] == _axis(self._plane)))
        place = VolumePlace(self.affine, self.shape, self._plane, number - 1, stored_axis)
        return Frame(pixels, number, place)


def read_volume(
    path: Path, kind: Kind, plane: Plane = "axial", window: GivenWindow | None = None
) -> VolumeSource:
    """Read a volume into memory.

    Args:
        path: the file, of any name.
        kind: NIFTI or NRRD.
        plane: see `VolumeSource`.
        window: see `VolumeSource`.

    Returns:
        Its slices.

    Raises:
        InputError: If it cannot be read, or as `VolumeSource` says.
    """
    values, affine = read_stored(path, kind)
    return VolumeSource(path, kind, values, affine, plane, window)


def read_stored(path: Path, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """The values of a volume file as stored, with their scaling applied, and its affine.

    Args:
        path: the file, of any name.
        kind: NIFTI or NRRD.

    Returns:
        Values, (X, Y, Z) with or without further axes, and the affine, RAS+.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        return _read_nifti(path) if kind is Kind.NIFTI else _read_nrrd(path)
    except Exception as err:  # damaged headers, short data: each library raises its own, SimpleITK any
        raise InputError(
            f"{path}: is {kind.value}, and cannot be read ({' '.join(str(err).split())}); replace the file"
        ) from err


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values and affine; by stream, since nibabel goes by the name otherwise."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as opened:
        stream = cast(IOBase, opened)
        version = nifti_version(stream.read(348))
        stream.seek(0)
        kind = nibabel.Nifti2Image if version == 2 else nibabel.Nifti1Image
        image = kind.from_stream(stream)
        values = np.asanyarray(image.dataobj)
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.dtype == _RGB:
        values = np.stack([values[name] for name in "RGB"], axis=-1)
    return values, np.asarray(image.affine, np.float64)


def _read_nrrd(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values and affine; ITK's directions are LPS+, of which two axes change sign."""
    image = SimpleITK.ReadImage(str(path), imageIO="NrrdImageIO")
    size = image.GetDimension()
    values = SimpleITK.GetArrayFromImage(image)
    spatial = tuple(range(size))[::-1]  # ITK's arrays have the last axis first
    values = values.transpose(*spatial, *range(size, values.ndim))
    if size != 3:
        return values, np.eye(4)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return values, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _check(
    path: Path, values: np.ndarray, affine: np.ndarray, plane: Plane, window: GivenWindow | None
) -> None:
    """Refuse what has no slices of one grey level or colour."""
    if plane not in PLANES:
        raise InputError(f"plane must be one of {', '.join(PLANES)}, got {plane!r}")
    colour = values.ndim == 4 and values.shape[3] == 3 and values.dtype == np.uint8
    if not colour and values.ndim != 3:
        raise InputError(
            f"{path}: has the shape {values.shape}, expected three axes, or colour of 8 bits; save one "
            "volume of several as a file of its own"
        )
    if np.iscomplexobj(values) or values.dtype.fields:
        raise InputError(
            f"{path}: has values of type {values.dtype}, expected real numbers or RGB; convert the file"
        )
    if colour and window is not None:
        raise InputError(f"{path}: is in colour, where window {window!r} means nothing; leave it out")
    if not np.isfinite(affine).all() or np.isnan(io_orientation(affine)).any():
        raise InputError(
            f"{path}: its affine {affine.tolist()} gives an axis no direction; correct the header"
        )


def _axis(plane: Plane) -> int:
    """The axis of an upright volume that a plane cuts across."""
    return {"sagittal": 0, "coronal": 1, "axial": 2}[plane]


def _upright(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A view whose axes run to the patient's left, back and head: DICOM's LPS."""
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(("L", "P", "S")))
    return np.asarray(apply_orientation(values, turn))


def _slice(upright: np.ndarray, plane: Plane, index: int) -> np.ndarray:
    """A slice of an upright volume as a view, rows first."""
    if plane == "axial":
        return upright[:, :, index].swapaxes(0, 1)
    across = upright[index] if plane == "sagittal" else upright[:, index]
    return across[:, ::-1].swapaxes(0, 1)
