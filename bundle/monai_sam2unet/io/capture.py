"""DICOM frames with the outlines of their masks drawn in, as one multi-frame Secondary Capture.

For sources that no Segmentation object can hold; every viewer shows it, and no program can measure in it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate_extended
from pydicom.uid import JPEGBaseline8Bit, MultiFrameTrueColorSecondaryCaptureImageStorage, generate_uid

from monai_sam2unet.class_pictures import class_overlay
from monai_sam2unet.classes import Classes
from monai_sam2unet.files import write_atomically
from monai_sam2unet.io.anonymise import anonymise
from monai_sam2unet.io.dicom import DicomSource
from monai_sam2unet.io.identity import MANUFACTURER, Algorithm, may_be_empty
from monai_sam2unet.io.writing import Results

__all__ = ["write_capture"]

QUALITY = 95  # of JPEG: outlines keep their edges

# Of the patient and the study, unchanged: where the source has them, and in any case.
_COPIED = ("SpecificCharacterSet", "StudyInstanceUID", "StudyDescription", "PatientAge")
_MUST_BE_THERE = (
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientOrientation",
)


def write_capture(
    target: Path,
    source: DicomSource,
    results: Results,
    classes: Classes,
    algorithm: Algorithm,
    anonymised: bool = False,
) -> list[Path]:
    """Write one multi-frame object of the source's frames with the masks drawn in, JPEG of high quality.

    The frames are held as JPEG until they are written.

    Args:
        target: path of the result without suffix: ``TARGET.dcm``.
        source: DICOM frames of one size.
        results: frames and masks.
        classes: what the masks stand for.
        algorithm: what made them.
        anonymised: whether to remove what identifies the patient. Text within the pixels stays.

    Returns:
        The file.

    Raises:
        InputError: If writing fails.
    """
    frames = list(_jpegs(results, classes))
    made = _object(source, len(frames), algorithm)
    made.PixelData, made.ExtendedOffsetTable, made.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    made["PixelData"].is_undefined_length = True
    raw = made.Rows * made.Columns * 3 * len(frames)
    made.LossyImageCompressionRatio = f"{raw / sum(map(len, frames)):.2f}"
    if anonymised:
        anonymise(made)
    file = target.with_name(f"{target.name}.dcm")
    write_atomically(file, lambda opened: made.save_as(opened, enforce_file_format=True))
    return [file]


def _jpegs(results: Results, classes: Classes) -> Iterator[bytes]:
    """Each frame with its masks, as JPEG."""
    for frame, masks in results:
        encoded = io.BytesIO()
        drawn = Image.fromarray(class_overlay(frame.pixels, masks, classes))
        drawn.save(encoded, format="JPEG", quality=QUALITY, subsampling="4:2:2")
        yield encoded.getvalue()


def _object(source: DicomSource, frames: int, algorithm: Algorithm) -> Dataset:
    """All elements but the pixels (PS3.3, A.8.5)."""
    first = source.places[0].dataset
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.file_meta.MediaStorageSOPClassUID = MultiFrameTrueColorSecondaryCaptureImageStorage
    made.SOPClassUID = MultiFrameTrueColorSecondaryCaptureImageStorage
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for keyword in _COPIED:
        if first.get(keyword):
            made[keyword] = first[keyword]
    for keyword in _MUST_BE_THERE:
        made[keyword] = may_be_empty(first, keyword)
    made.SeriesInstanceUID = generate_uid()
    made.SeriesNumber = 1000 + max(0, int(first.get("SeriesNumber") or 0))
    made.SeriesDescription = "Overlay by SAM2-UNet"
    made.Modality = first.get("Modality") or "OT"
    made.Laterality = None
    made.InstanceNumber = 1
    made.ConversionType = "WSD"
    made.Manufacturer, made.ManufacturerModelName = MANUFACTURER, "SAM2-UNet"
    made.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    made.SoftwareVersions = algorithm.version
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = f"Outlines by {algorithm.model}, SHA-256 {algorithm.sha256}"
    made.BurnedInAnnotation = "YES"  # the outlines; what the source has is in the pixels as well
    made.SourceImageSequence = [_reference(file) for file in _files(source)]
    _describe_pixels(made, first, frames)
    return made


def _describe_pixels(made: Dataset, first: Dataset, frames: int) -> None:
    """Size and coding of the frames, and what tells one from the next."""
    made.SamplesPerPixel, made.PlanarConfiguration = 3, 0
    made.PhotometricInterpretation = "YBR_FULL_422"
    made.Rows, made.Columns = first.Rows, first.Columns
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    made.NumberOfFrames = frames
    made.LossyImageCompression, made.LossyImageCompressionMethod = "01", "ISO_10918_1"
    if first.get("FrameTime"):
        made.FrameTime = first.FrameTime
        made.FrameIncrementPointer = made["FrameTime"].tag
    elif frames > 1:
        made.PageNumberVector = list(range(1, frames + 1))
        made.FrameIncrementPointer = made["PageNumberVector"].tag


def _files(source: DicomSource) -> list[Dataset]:
    """The data set of each of the source's files."""
    return list({place.path: place.dataset for place in source.places}.values())


def _reference(dataset: Dataset) -> Dataset:
    """What refers to a source."""
    made = Dataset()
    made.ReferencedSOPClassUID = dataset.SOPClassUID
    made.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    return made
