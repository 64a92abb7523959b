"""One way to read: any picture, DICOM file, series, volume or stack as frames."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from PIL import Image

from monai_sam2unet.errors import InputError, listed
from monai_sam2unet.io.dicom import DicomSource
from monai_sam2unet.io.kinds import Kind, is_dicom, kind_of
from monai_sam2unet.io.series import DicomSeries, find_series
from monai_sam2unet.io.source import Source
from monai_sam2unet.io.stacks import PictureSource, StackSource
from monai_sam2unet.io.video import VideoSource
from monai_sam2unet.io.volumes import Plane, read_volume
from monai_sam2unet.io.windows import GivenWindow
from monai_sam2unet.pictures import open_picture

__all__ = ["open_image", "read"]

_EXPECTED = (
    "expected a picture or a DICOM file of one frame; what has more is segmented by `python -m "
    "scripts.segment`"
)


def read(
    path: str | os.PathLike[str],
    window: GivenWindow | None = None,
    plane: Plane = "axial",
    series: str | None = None,
) -> Source[Any]:
    """Open whatever holds pictures; what it is, is found by content.

    Args:
        path: a picture, TIFF stack, DICOM file, NIfTI or NRRD volume, video, or a folder with a DICOM series.
        window: for grey values: a name of `monai_sam2unet.io.WINDOWS` or ``(centre, width)``; None for what
            the file says, else from minimum to maximum.
        plane: which way a volume is sliced.
        series: Series Instance UID, where a folder holds several series.

    Returns:
        The frames, decoded one by one.

    Raises:
        InputError: If it cannot be read, or a folder holds several series and none is named; the message
            names the file or the series.

    Example:
        >>> source = read("cine.dcm")  # doctest: +SKIP
        >>> for frame in source:  # doctest: +SKIP
        ...     print(frame.number, frame.pixels.shape)
    """
    path, kind = Path(path), kind_of(path)
    if kind is Kind.FOLDER:
        chosen = choose_series(path, find_series(path), series)
        return DicomSource(path, list(chosen.files), window, list(chosen.headers))
    if kind is Kind.DICOM:
        return DicomSource(path, [path], window)
    if kind in (Kind.NIFTI, Kind.NRRD):
        return read_volume(path, kind, plane, window)
    if kind is Kind.TIFF_STACK:
        return StackSource(path, window)
    if kind is Kind.DICOMDIR:
        raise InputError(f"{path}: is {kind.value}; give the folder that it lies in")
    if kind in (Kind.PICTURE, Kind.VIDEO) and window is not None:
        raise InputError(f"{path}: is {kind.value}, where window {window!r} means nothing; leave it out")
    if kind is Kind.VIDEO:
        return VideoSource(path)
    if kind is Kind.UNKNOWN:
        open_picture(path)  # says why it is none
    return PictureSource(path, kind)


def open_image(path: str | os.PathLike[str], window: GivenWindow | None = None) -> Image.Image:
    """Open a picture file or a DICOM file of one frame.

    Args:
        path: a file of any name. Of a TIFF of several pages the first is taken, as `open_picture` does.
        window: for grey DICOM, as `read` takes it; None for what the file says.

    Returns:
        A picture of mode "RGB", as a viewer shows it.

    Raises:
        InputError: If it cannot be read, is a volume or has several frames, or a window is given that means
            nothing for it; it names the path.
    """
    if is_dicom(path):
        source = read(path, window)
        if len(source) > 1:
            raise InputError(f"{path}: is a DICOM file of {len(source)} frames, {_EXPECTED}")
        return Image.fromarray(source.frame(1).pixels)
    try:
        picture = open_picture(path)
    except InputError:
        kind = kind_of(path) if Path(path).is_file() else Kind.UNKNOWN
        if kind in (Kind.NIFTI, Kind.NRRD, Kind.DICOMDIR, Kind.VIDEO):
            raise InputError(f"{path}: is {kind.value}, {_EXPECTED}") from None
        raise
    if window is not None:
        raise InputError(f"{path}: is a picture, where window {window!r} means nothing; leave it out")
    return picture


def choose_series(folder: Path, found: list[DicomSeries], uid: str | None) -> DicomSeries:
    """The series of a folder that is meant."""
    if not found:
        raise InputError(f"{folder}: holds no DICOM pictures; give a folder with the files of a series")
    if uid is None and len(found) > 1:
        raise InputError(
            f"{folder}: holds several series, {listed((str(one) for one in found), most=10)}; "
            "name one by series=UID"
        )
    chosen = [one for one in found if uid in (None, one.uid)]
    if not chosen:
        raise InputError(
            f"{folder}: holds no series {uid}; expected one of {listed((str(one) for one in found), most=10)}"
        )
    return chosen[0]
