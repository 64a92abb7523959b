"""DICOM files that tests write themselves: asymmetric, of every photometric interpretation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import convert_color_space
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid


def colours(rows: int = 6, columns: int = 10) -> np.ndarray:
    """(rows, columns, 3), uint8, without any symmetry."""
    return np.random.default_rng(0).integers(0, 256, (rows, columns, 3), dtype=np.uint8)


def ramp(rows: int = 6, columns: int = 10, dtype: Any = np.uint16) -> np.ndarray:
    """(rows, columns), every value another one, from 0 in row-major order."""
    return np.arange(rows * columns, dtype=dtype).reshape(rows, columns)


def write(
    path: Path,
    pixels: np.ndarray,
    photometric: str = "MONOCHROME2",
    *,
    syntax: UID = ExplicitVRLittleEndian,
    bits: int | None = None,
    frames: int | None = None,
    **elements: Any,
) -> FileDataset:
    """Write a DICOM file.

    Args:
        path: where to.
        pixels: as they are to lie in the file: (F, H, W), (F, H, W, 3) with `frames`, else without F.
        photometric: Photometric Interpretation; nothing is converted.
        syntax: native, or RLE, for which pydicom encodes.
        bits: Bits Stored, all if None.
        frames: Number of Frames, none if None.
        elements: further elements by keyword.

    Returns:
        What was written.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    made = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID = meta.MediaStorageSOPClassUID
    made.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    made.Modality = "OT"
    shape = pixels.shape[frames is not None :]
    made.Rows, made.Columns = shape[:2]
    made.SamplesPerPixel = shape[2] if len(shape) == 3 else 1
    if made.SamplesPerPixel > 1:
        made.PlanarConfiguration = 0
    made.PhotometricInterpretation = photometric
    made.BitsAllocated = pixels.dtype.itemsize * 8
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    if frames is not None:
        made.NumberOfFrames = frames
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    made.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    if syntax != ExplicitVRLittleEndian:
        made.compress(syntax, generate_instance_uid=False)
    made.save_as(path, enforce_file_format=True)
    return made


def ybr_full(rgb: np.ndarray) -> np.ndarray:
    """RGB as YBR_FULL."""
    return convert_color_space(rgb, "RGB", "YBR_FULL")


def ybr_full_422(rgb: np.ndarray) -> np.ndarray:
    """RGB as native YBR_FULL_422, (H, W * 2): Y1 Y2 Cb Cr of each pair of pixels (PS3.3, C.7.6.3.1.2)."""
    ybr = ybr_full(rgb)
    pairs = [ybr[:, 0::2, 0], ybr[:, 1::2, 0], ybr[:, 0::2, 1], ybr[:, 0::2, 2]]
    return np.stack(pairs, axis=-1).reshape(len(rgb), -1)


def item(**elements: Any) -> Dataset:
    """An item of a sequence."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def slices(folder: Path, directions: list[float], places: list[float], **elements: Any) -> list[Path]:
    """A series of CT slices of 4 x 6 pixels with 1000 times the slice's number as every value.

    Args:
        folder: where to; the names run against the places.
        directions: Image Orientation (Patient).
        places: mm along the normal, one for each slice.
        elements: further elements by keyword, for all.

    Returns:
        The files, in the order of `places`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(directions[:3], directions[3:])
    files = []
    for number, place in enumerate(places):
        file = folder / f"{len(places) - number:03d}.dcm"
        given = {
            "Modality": "CT",
            "SeriesInstanceUID": "1.2.3",
            "ImageOrientationPatient": directions,
            "ImagePositionPatient": [float(x) for x in normal * place],
            "PixelSpacing": [0.5, 0.25],
            "InstanceNumber": len(places) - number,
            **elements,
        }
        write(file, np.full((4, 6), 1000 * number, np.uint16), **given)
        files.append(file)
    return files
