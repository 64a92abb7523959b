"""Masks of DICOM frames as DICOM Segmentation objects, by highdicom.

Shape legend: ``F`` frames, ``K`` classes, ``H`` rows, ``W`` columns.

Patient and study are the source's, unchanged; series and object are new, and refer to the source frames.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from monai_sam2unet.classes import Classes
from monai_sam2unet.errors import InputError
from monai_sam2unet.files import write_atomically
from monai_sam2unet.io.anonymise import anonymise
from monai_sam2unet.io.coding import PRIVATE_SCHEME, coded, private_scheme
from monai_sam2unet.io.dicom import DicomPlace, DicomSource, frames_of
from monai_sam2unet.io.identity import MANUFACTURER, Algorithm, has_plane, lacking, prepared
from monai_sam2unet.io.source import Source
from monai_sam2unet.io.writing import Masks, Results

__all__ = [
    "FALLBACKS",
    "SEGMENTATION_TYPES",
    "Fallback",
    "SegmentationType",
    "check_dicomseg",
    "obstacle",
    "write_dicomseg",
    "write_frame_segmentations",
]

SegmentationType = Literal["binary", "labelmap"]
SEGMENTATION_TYPES: tuple[SegmentationType, ...] = get_args(SegmentationType)

Fallback = Literal["error", "frames", "secondary-capture"]
FALLBACKS: tuple[Fallback, ...] = get_args(Fallback)


def obstacle(source: Source[Any]) -> str | None:
    """Why the frames of a source cannot be in one Segmentation object.

    Args:
        source: what was read.

    Returns:
        The reason in words; None if there is none.

    Raises:
        InputError: If the source is no DICOM or lacks its identifiers, so that nothing can refer to it, or
            highdicom is not installed.
    """
    if reason := lacking(source):
        raise InputError(f"{source.path}: {reason}")
    assert isinstance(source, DicomSource)  # lacking has said so of others
    files = {place.path for place in source.places}
    first = source.places[0]
    if 1 < len(files) < len(source):
        return "it is several files, some of which have several frames"
    if len(source) > 1 and not all(has_plane(place) for place in source.places):
        return "its frames have no place in a common frame of reference"
    if len(source) > 1 and len(files) == 1:
        return None
    try:
        shape = (1, int(first.dataset.Rows), int(first.dataset.Columns), 1)
        _segmentation([prepared(first)], np.ones(shape, np.uint8), Classes.of([]), Algorithm("", "", ""))
    except InputError as err:
        return str(err)
    return None


def check_dicomseg(source: Source[Any], fallback: Fallback = "error") -> str:
    """See before the work that the results can be written.

    Args:
        source: what was read.
        fallback: what to write where no Segmentation object of all frames is possible.

    Returns:
        "" if one object will hold all frames; else what is written instead and why, in words.

    Raises:
        InputError: If the results cannot be written; it says what to do.
    """
    reason = obstacle(source)
    if reason is None:
        return ""
    if fallback == "error":
        raise InputError(
            f"{source.path}: no DICOM Segmentation can hold its frames: {reason}; give --fallback frames "
            "(one object a frame) or --fallback secondary-capture (the frames with the outlines drawn in)"
        )
    what = {"frames": "one Segmentation object a frame", "secondary-capture": "a secondary capture"}[fallback]
    return f"{what} in place of a Segmentation object of all frames: {reason}"


def write_dicomseg(
    target: Path,
    source: DicomSource,
    results: Results,
    classes: Classes,
    algorithm: Algorithm,
    segmentation_type: SegmentationType = "binary",
    anonymised: bool = False,
) -> list[Path]:
    """Write one Segmentation object of all frames; frames without any foreground are left out of it.

    The masks are collected, 1 byte a pixel and frame, or 1 byte a class where classes may overlap.

    Args:
        target: path of the result without suffix: ``TARGET.dcm``.
        source: DICOM frames, such as `check_dicomseg` passes.
        results: frames and masks.
        classes: what the masks stand for.
        algorithm: what made them.
        segmentation_type: ``binary``, which all viewers of segmentations read, or ``labelmap`` (Label Map
            Segmentation of 2024, for classes that exclude each other), which few read yet.
        anonymised: whether to remove what identifies the patient.

    Returns:
        The file.

    Raises:
        InputError: If highdicom refuses the source, or writing fails.
    """
    stacked = _stacked(source, results, classes)
    files = {place.path: place for place in source.places}
    made = _segmentation(
        [prepared(place) for place in files.values()], stacked, classes, algorithm, segmentation_type
    )
    return [_save(made, target.with_name(f"{target.name}.dcm"), anonymised)]


def write_frame_segmentations(
    target: Path,
    source: DicomSource,
    results: Results,
    classes: Classes,
    algorithm: Algorithm,
    anonymised: bool = False,
) -> list[Path]:
    """Write one Segmentation object for each frame, all of one new series, each naming its source frame.

    Frames without any foreground get none; if there is none at all, the first frame gets an empty one.

    Args:
        target: path of the result without suffix: ``TARGET/0001.dcm`` and so on, by the frames' numbers.
        source: DICOM frames.
        results: frames and masks.
        classes: what the masks stand for.
        algorithm: what made them.
        anonymised: whether to remove what identifies the patient.

    Returns:
        The files.

    Raises:
        InputError: If highdicom refuses a frame, or writing fails; the files written before are removed.
    """
    series, files = generate_uid(), []
    digits = max(4, len(str(len(source))))
    empty: Masks | None = None
    try:
        for frame, masks in results:
            empty = np.zeros_like(masks) if empty is None else empty
            if masks.any():
                made = _of_frame(frame.place, masks, classes, algorithm, series, frame.number)
                files.append(_save(made, target / f"{frame.number:0{digits}d}.dcm", anonymised))
        if not files and empty is not None:
            made = _of_frame(source.places[0], empty, classes, algorithm, series)
            files.append(_save(made, target / f"{1:0{digits}d}.dcm", anonymised))
    except BaseException:  # Ctrl-C as well
        for file in files:
            file.unlink(missing_ok=True)
        raise
    return files


def _stacked(source: DicomSource, results: Results, classes: Classes) -> np.ndarray:
    """All masks: a label map (F, H, W), or (F, H, W, K) where classes may overlap."""
    header = source.places[0].dataset
    shape = (len(source), int(header.Rows), int(header.Columns))
    together = classes.count == 1 or classes.exclusive
    stacked = np.zeros(shape if together else (*shape, classes.count), np.uint8)
    for frame, masks in results:
        stacked[frame.number - 1] = classes.label_map(masks) if together else masks.transpose(1, 2, 0)
    return stacked


def _of_frame(
    place: DicomPlace,
    masks: Masks,
    classes: Classes,
    algorithm: Algorithm,
    series: str | None = None,
    number: int = 1,
) -> Dataset:
    """The Segmentation of one frame of any file.

    highdicom is shown the frame as a picture of its own without a frame of reference, which it takes; the
    references, by which a viewer finds the frame, are set to what it is.
    """
    source = prepared(place)
    source.add_new("SOPClassUID", "UI", SecondaryCaptureImageStorage)
    source.add_new("NumberOfFrames", "IS", 1)
    source.pop("FrameOfReferenceUID", None)
    made = _segmentation([source], masks.transpose(1, 2, 0)[None].astype(np.uint8), classes, algorithm)
    made.SeriesInstanceUID = series or made.SeriesInstanceUID
    made.InstanceNumber = number
    own = made.PerFrameFunctionalGroupsSequence
    pictures = [item for group in own for item in group.DerivationImageSequence[0].SourceImageSequence]
    if frames_of(place.path, place.dataset) > 1:
        for picture in pictures:
            picture.ReferencedFrameNumber = place.number
    listed = made.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    for picture in [*pictures, *listed, *made.get("SourceImageSequence", [])]:
        picture.ReferencedSOPClassUID = place.dataset.SOPClassUID
    return made


def _segmentation(
    sources: list[Dataset],
    stacked: np.ndarray,
    classes: Classes,
    algorithm: Algorithm,
    segmentation_type: SegmentationType = "binary",
) -> Dataset:
    """The object; InputError if highdicom refuses the source, with its own error as the cause."""
    try:
        with warnings.catch_warnings():  # of names that are unusual: they are copied as they are
            warnings.simplefilter("ignore", UserWarning)
            made = _highdicoms(sources, stacked, classes, algorithm, segmentation_type)
    except Exception as err:  # highdicom raises anything on what it does not take
        raise InputError(f"highdicom refuses it: {' '.join(str(err).split())}") from err
    used = [coded(name).kind.scheme_designator for name in classes.names]
    if PRIVATE_SCHEME in used:
        made.CodingSchemeIdentificationSequence = [private_scheme()]
    _complete(made, sources[0])
    return made


def _highdicoms(
    sources: list[Dataset],
    stacked: np.ndarray,
    classes: Classes,
    algorithm: Algorithm,
    segmentation_type: SegmentationType,
) -> Dataset:
    """The object as highdicom makes it."""
    import highdicom  # takes a moment, and is not always there

    made: Dataset = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=stacked,
        segmentation_type=segmentation_type.upper(),
        segment_descriptions=_descriptions(classes, algorithm),
        series_instance_uid=generate_uid(),
        series_number=1000 + max(0, int(sources[0].get("SeriesNumber") or 0)),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name="SAM2-UNet",
        software_versions=algorithm.version,
        device_serial_number=algorithm.sha256 or "none",
        omit_empty_frames=bool(stacked.any()),
        content_label="SEGMENTATION",
        content_description="Segmentation by SAM2-UNet",
        series_description="Segmentation by SAM2-UNet",
    )
    return made


def _descriptions(classes: Classes, algorithm: Algorithm) -> list[Dataset]:
    """What each segment is, and what made it."""
    import highdicom

    identification = highdicom.AlgorithmIdentificationSequence(
        name="SAM2-UNet",
        family=codes.DCM.ArtificialIntelligence,
        version=algorithm.version or "none",
        source=MANUFACTURER,
        parameters={"model": algorithm.model, "sha256": algorithm.sha256},
    )
    made = []
    for k, (name, colour) in enumerate(zip(classes.names, classes.colours, strict=True), start=1):
        code = coded(name)
        made.append(
            highdicom.seg.SegmentDescription(
                segment_number=k,
                segment_label=name[:64],
                segmented_property_category=code.category,
                segmented_property_type=code.kind,
                algorithm_type="AUTOMATIC",
                algorithm_identification=identification,
                anatomic_regions=None if code.region is None else [code.region],
                display_color=highdicom.color.CIELabColor.from_rgb(*colour),
            )
        )
    return made


def _complete(made: Dataset, source: Dataset) -> None:
    """What the standard asks for, and highdicom leaves out."""
    if "FrameOfReferenceUID" not in made:  # Patient Orientation: type 2C of pictures without a position
        made.PatientOrientation = source.get("PatientOrientation")


def _save(made: Dataset, file: Path, anonymised: bool) -> Path:
    """Write an object."""
    if anonymised:
        anonymise(made)
    write_atomically(file, lambda opened: made.save_as(opened, enforce_file_format=True))
    return file
