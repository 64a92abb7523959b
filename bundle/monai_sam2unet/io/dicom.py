"""DICOM files: header, frames, and every frame as a viewer shows it.

pydicom decodes, by whichever of its plugins is installed; compressed files need the extra ``medical``. 12-bit
JPEG, which these leave out, SimpleITK decodes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import SimpleITK
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import get_decoder, iter_pixels, pixel_array
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from monai_sam2unet.errors import InputError
from monai_sam2unet.io.grey import (
    grey_elements,
    needs_span,
    padding,
    show_colour,
    show_grey,
    values_of,
)
from monai_sam2unet.io.kinds import Kind
from monai_sam2unet.io.source import Frame, Source
from monai_sam2unet.io.windows import WINDOWS, GivenWindow, find_window, span

__all__ = ["DicomPlace", "DicomSource", "NoPictureError", "holds_no_picture", "read_header"]

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # Segmentation, Label Map
_GREY = ("MONOCHROME1", "MONOCHROME2")
# Those of JPEG 2000 are RGB once decoded.
_COLOUR = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_INSTEAD = "give a DICOM picture, or take the file out"
_NEEDED = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation")


class NoPictureError(InputError):
    """A DICOM object that is whole and no picture: a segmentation, a report, a plan."""


@dataclass(frozen=True)
class DicomPlace:
    """Where a frame stands.

    Attributes:
        path: its file.
        dataset: the file's data set without pixels.
        number: the frame's number in this file, from 1, as DICOM counts (Referenced Frame Number).
    """

    path: Path
    dataset: Dataset
    number: int


def read_header(path: str | os.PathLike[str]) -> Dataset:
    """Read all of a DICOM file but its pixels, and check that there are pixels of a kind that is read.

    Args:
        path: a DICOM file, with or without preamble.

    Returns:
        The data set; ``file_meta`` names the transfer syntax, also where the file does not.

    Raises:
        NoPictureError: If it is whole and of a kind without a picture, such as a segmentation.
        InputError: If it is damaged, or has colours that are not read.
    """
    path = Path(path)
    try:
        header = dcmread(path, stop_before_pixels=True, force=True)
        _complete_meta(header)
        _check(path, header)
    except InputError:
        raise
    except OSError as err:
        raise InputError(f"{path}: cannot be read ({err.strerror or err})") from err
    except Exception as err:  # damaged data sets raise anything: struct.error, KeyError, NotImplementedError
        _refuse(path, f"is a damaged DICOM file ({type(err).__name__}: {err})", err)
    return header


def holds_no_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file is DICOM, whole, and of a kind without a picture, such as a segmentation or a report."""
    try:
        read_header(path)
    except NoPictureError:
        return True
    except InputError:
        return False
    return False


class DicomSource(Source[DicomPlace]):
    """The frames of one or more DICOM files, in the order given.

    Grey levels follow the file: rescale or modality table, then the first window or table of values of
    interest, then MONOCHROME1 inverted; pixel padding is black. Where a file of more than 8 bits names no
    window, black and white are minimum and maximum over all frames, padding left out.

    Args:
        path: what the user named: the file, or the series' folder.
        files: the DICOM files.
        window: in the place of the files' own; names are for CT only.
        headers: the files' data sets if they are read already.

    Attributes:
        places: where each frame stands, in the order of the frames.

    Raises:
        InputError: If a file is no picture that is read, or the window does not suit it.
    """

    def __init__(
        self,
        path: Path,
        files: list[Path],
        window: GivenWindow | None = None,
        headers: list[Dataset] | None = None,
    ) -> None:
        super().__init__(path, Kind.DICOM)
        headers = [read_header(file) for file in files] if headers is None else headers
        self.window = None if window is None else find_window(window)
        if window is not None:
            for file, header in zip(files, headers, strict=True):
                _check_window(file, header, window)
        self.places = [
            DicomPlace(file, header, number)
            for file, header in zip(files, headers, strict=True)
            for number in range(1, frames_of(file, header) + 1)
        ]
        self._ends: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.places)

    def _frame(self, number: int) -> Frame[DicomPlace]:
        place = self.places[number - 1]
        stored = next(_decode(place, range(place.number, place.number + 1)))
        return Frame(self._show(stored, place), number, place)

    def __iter__(self) -> Iterator[Frame[DicomPlace]]:
        """Decode the frames in their order, each file being gone through once."""
        for number, (place, stored) in enumerate(self._decode_all(), start=1):
            yield Frame(self._show(stored, place), number, place)

    def values(self) -> Iterator[np.ndarray]:
        """The values of each frame in the place of grey levels: Hounsfield units for CT.

        Yields:
            (H, W), real numbers, in the order of the frames.

        Raises:
            InputError: If a file is in colour or cannot be decoded.
        """
        for place, stored in self._decode_all():
            colours = place.dataset.PhotometricInterpretation
            if colours not in _GREY:
                _refuse(place.path, f"is in colour ({colours}), expected grey values")
            yield values_of(stored, grey_elements(place.dataset, place.number - 1))

    def _decode_all(self) -> Iterator[tuple[DicomPlace, np.ndarray]]:
        places = iter(self.places)
        for place in places:
            last = frames_of(place.path, place.dataset)
            for number, stored in enumerate(_decode(place, range(1, last + 1)), start=1):
                yield place if number == 1 else next(places), stored

    def _show(self, stored: np.ndarray, place: DicomPlace) -> np.ndarray:
        """Decoded pixels as (H, W, 3), uint8."""
        header = place.dataset
        try:
            if header.PhotometricInterpretation not in _GREY:
                return show_colour(stored, header)
            elements = grey_elements(header, place.number - 1)
            ends = self._span() if self.window is None and needs_span(header, elements) else None
            grey = show_grey(stored, header, elements, self.window, ends)
        except InputError:
            raise
        except Exception as err:  # tables that do not fit their descriptor, numbers that are none
            _refuse(place.path, f"its grey levels or colours cannot be made out ({err})", err)
        return np.repeat(grey[..., None], 3, axis=-1)

    def _span(self) -> tuple[float, float]:
        """Minimum and maximum of all frames, found once: a shade means the same value in each of them."""
        if self._ends is None:
            found = []
            for place, stored in self._decode_all():
                values = values_of(stored, grey_elements(place.dataset, place.number - 1))
                inside = values[~padding(stored, place.dataset)]
                if inside.size:
                    found.append(span(inside))
            lows, highs = zip(*found, strict=True) if found else ((0.0,), (0.0,))
            self._ends = min(lows), max(highs)
        return self._ends


def frames_of(path: Path, header: Dataset) -> int:
    """Number of Frames, 1 where it is missing.

    Raises:
        InputError: If it is no number above 0.
    """
    given = header.get("NumberOfFrames")
    try:
        number = 1 if given in (None, "") else int(given)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        _refuse(path, f"Number of Frames (0028,0008) is {given!r}, expected a number above 0")
    return number


def _complete_meta(header: Dataset) -> None:
    """Name the transfer syntax where the file does not, by the encoding that pydicom found."""
    if not hasattr(header, "file_meta"):
        header.file_meta = FileMetaDataset()
    if not header.file_meta.get("TransferSyntaxUID"):
        implicit, little = header.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _check(path: Path, header: Dataset) -> None:
    """Refuse what is no picture, or none that is read."""
    sop_class = header.get("SOPClassUID")
    if sop_class in _SEGMENTATIONS:
        raise NoPictureError(f"{path}: is a DICOM Segmentation: a result, and no picture; {_INSTEAD}")
    missing = [keyword for keyword in _NEEDED if header.get(keyword) is None]
    if missing:
        what = getattr(sop_class, "name", None) or "unknown"
        raise NoPictureError(
            f"{path}: is a DICOM file without a picture (SOP class {what}; no {', '.join(missing)}); "
            f"{_INSTEAD}"
        )
    colours = header.PhotometricInterpretation
    if colours not in _GREY + _COLOUR:
        _refuse(path, f"has Photometric Interpretation {colours}; read are {', '.join(_GREY + _COLOUR)}")
    frames_of(path, header)


def _check_window(path: Path, header: Dataset, window: GivenWindow) -> None:
    """Refuse windows for colour, and windows in Hounsfield units for what is no CT."""
    if header.PhotometricInterpretation not in _GREY:
        raise InputError(f"{path}: is in colour, where window {window!r} means nothing; leave it out")
    modality = header.get("Modality")
    if isinstance(window, str) and modality != "CT":
        raise InputError(
            f"{path}: window {window!r} is in Hounsfield units, and this is {modality or 'of no modality'}, "
            f"not CT; give (centre, width) in the place of a name ({', '.join(WINDOWS)})"
        )


def _decode(place: DicomPlace, numbers: range) -> Iterator[np.ndarray]:
    """The stored values of some frames of a file; never ends early without an error.

    Args:
        place: any frame of the file.
        numbers: the frames, from 1.
    """
    syntax = place.dataset.file_meta.TransferSyntaxUID
    decoded = 0
    try:
        for stored in iter_pixels(
            place.path, indices=[number - 1 for number in numbers], transfer_syntax_uid=syntax
        ):
            decoded += 1
            yield stored
    except Exception as err:  # each plugin of pydicom's raises its own
        for number in numbers[decoded:]:
            yield _decode_from_memory(place, number, err)


def _decode_from_memory(place: DicomPlace, number: int, err: Exception) -> np.ndarray:
    """A frame by other ways, for files that pydicom cannot decode from the disk by the plugin it prefers.

    These are deflated ones, such as are encoded otherwise than their transfer syntax says, and those that a
    plugin decodes into an array that pydicom cannot correct.

    Raises:
        InputError: If that fails, too, with the error of the last attempt.
    """
    try:
        whole = dcmread(place.path, force=True)
        _complete_meta(whole)
        plugins = get_decoder(whole.file_meta.TransferSyntaxUID).available_plugins
    except Exception:
        _refuse_pixels(place, number, err)
    for plugin in plugins or ("",):
        try:
            return pixel_array(whole, index=number - 1, decoding_plugin=plugin)
        except Exception as again:  # as in _decode
            err = again
    if whole.file_meta.TransferSyntaxUID == JPEGExtended12Bit:
        return _decode_by_itk(place, number, err)
    _refuse_pixels(place, number, err)


def _decode_by_itk(place: DicomPlace, number: int, err: Exception) -> np.ndarray:
    """A frame of 12-bit JPEG, which of pydicom's plugins only one can decode whose licence is GPL 3.

    SimpleITK gives values after rescaling by the file's slope and intercept, which is taken back here.

    Raises:
        InputError: If that fails, too, with the error of the attempts before.
    """
    header = place.dataset
    if (
        header.PhotometricInterpretation != "MONOCHROME2"
    ):  # of others SimpleITK gives other values than stored
        _refuse_pixels(place, number, err)
    try:
        image = SimpleITK.ReadImage(str(place.path), imageIO="GDCMImageIO")
    except RuntimeError:
        _refuse_pixels(place, number, err)
    frame = SimpleITK.GetArrayFromImage(image).reshape(-1, header.Rows, header.Columns)[number - 1]
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    return np.rint((frame - intercept) / slope).astype(np.int32)


def _refuse_pixels(place: DicomPlace, number: int, err: Exception) -> NoReturn:
    """Say why pixels were not decoded, and what helps."""
    syntax = place.dataset.file_meta.TransferSyntaxUID
    try:
        plugins = get_decoder(syntax).available_plugins if syntax.is_compressed else ("pydicom",)
    except NotImplementedError:
        _refuse(place.path, f"its transfer syntax, {syntax.name}, is not read", err)
    if not plugins:
        reason = 'no decoder for it is installed; pip install "monai-sam2unet[medical]"'
    else:
        reason = f"tried with {', '.join(plugins)}: {' '.join(str(err).split())}"
    _refuse(place.path, f"frame {number} cannot be decoded (transfer syntax {syntax.name}): {reason}", err)


def _refuse(path: Path, reason: str, cause: Exception | None = None) -> NoReturn:
    """Raise the InputError of a file that is not read."""
    raise InputError(f"{path}: {reason}; {_INSTEAD}") from cause
