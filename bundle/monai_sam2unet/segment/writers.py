"""In which form the result of an input is written, and by which function."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from monai_sam2unet.classes import Classes
from monai_sam2unet.errors import InputError
from monai_sam2unet.io import Kind, Source, grid_of, write_nifti, write_nrrd, write_pngs
from monai_sam2unet.io.capture import write_capture
from monai_sam2unet.io.dicom import DicomSource
from monai_sam2unet.io.dicomseg import (
    Fallback,
    SegmentationType,
    check_dicomseg,
    write_dicomseg,
    write_frame_segmentations,
)
from monai_sam2unet.io.identity import Algorithm, lacking
from monai_sam2unet.io.writing import Results

__all__ = ["FORMATS", "Format", "Writer", "default_format", "writer_for"]

logger = logging.getLogger(__name__)

Format = Literal["png", "nifti", "nrrd", "dicomseg"]
FORMATS: tuple[Format, ...] = get_args(Format)

_VOLUMES = {"nifti": write_nifti, "nrrd": write_nrrd}
SUFFIXES = (".png", ".nii.gz", ".nrrd", ".dcm")
"""Of results that are one file."""


@dataclass(frozen=True)
class Writer:
    """How the results of an input are written.

    Args:
        form: the format.
        classes: what the masks stand for.
        algorithm: what makes them.
        note: what is written in the place of what was asked for, and why; "" if nothing is.
        segmentation_type: of DICOM Segmentations.
        fallback: what a source becomes that `note` tells of.
        anonymised: whether identifiers are removed.
    """

    form: Format
    classes: Classes
    algorithm: Algorithm
    note: str = ""
    segmentation_type: SegmentationType = "binary"
    fallback: Fallback = "error"
    anonymised: bool = False

    def write(self, target: Path, source: Source[Any], results: Results) -> list[Path]:
        """Write the results of a source's frames.

        Args:
            target: path without suffix.
            source: the input.
            results: frames and masks, taken one by one.

        Returns:
            The files.

        Raises:
            InputError: If a frame cannot be read or a file not be written.
        """
        if self.form == "png":
            return write_pngs(target, source, results, self.classes)
        if self.form != "dicomseg":
            return _VOLUMES[self.form](target, source, results, self.classes)
        assert isinstance(source, DicomSource)  # writer_for refuses others
        given = (target, source, results, self.classes, self.algorithm)
        if not self.note:
            return write_dicomseg(*given, self.segmentation_type, self.anonymised)
        if self.fallback == "frames":
            return write_frame_segmentations(*given, self.anonymised)
        return write_capture(*given, self.anonymised)


def default_format(source: Source[Any]) -> Format:
    """The format where none is asked for.

    Volumes become NIfTI, DICOM becomes a Segmentation. DICOM that nothing can refer to, and all of it where
    highdicom is missing, becomes NIfTI if its slices lie in the patient, else PNG; the log says so.

    Args:
        source: the input.
    """
    if isinstance(source, DicomSource):
        reason = lacking(source)
        if not reason:
            return "dicomseg"
        form: Format = "nifti" if len(source) > 1 and _is_volume(source) else "png"
        logger.warning("%s: written as %s: %s", source.path, form, reason)
        return form
    return "nifti" if source.kind in (Kind.NIFTI, Kind.NRRD) else "png"


def _is_volume(source: Source[Any]) -> bool:
    """Whether the frames lie at even distances in the patient."""
    try:
        grid_of(source)
    except InputError:
        return False
    return True


def writer_for(
    source: Source[Any],
    form: Format | None,
    classes: Classes,
    algorithm: Algorithm,
    segmentation_type: SegmentationType = "binary",
    fallback: Fallback = "error",
    anonymised: bool = False,
) -> Writer:
    """Choose how the results of a source are written, and see that they can be, before the work.

    Args:
        source: the input.
        form: the format asked for; None for `default_format`.
        classes: what the masks stand for.
        algorithm: what makes them.
        segmentation_type: of DICOM Segmentations.
        fallback: for sources that no Segmentation object holds.
        anonymised: whether identifiers are removed.

    Raises:
        InputError: If the source cannot have that format; the message says which it can have.
    """
    form = default_format(source) if form is None else form
    note = ""
    if form in _VOLUMES:
        grid_of(source)
    elif form == "dicomseg":
        note = check_dicomseg(source, fallback)
        if segmentation_type == "labelmap" and classes.count > 1 and not classes.exclusive:
            raise InputError(
                "segmentation_type labelmap has one class for each pixel, and those of this model may "
                "overlap; take binary"
            )
    return Writer(form, classes, algorithm, note, segmentation_type, fallback, anonymised)


def outputs_at(target: Path) -> list[Path]:
    """What results of any format would be called, files and folders, as far as it is there."""
    files = (target.with_name(target.name + suffix) for suffix in (*SUFFIXES, ".overlay.png"))
    folders = (target, target.with_name(f"{target.name}.overlay"))
    return [file for file in files if file.is_file()] + [folder for folder in folders if folder.is_dir()]
