"""Who and what a DICOM result is of: the source's identifiers, and the algorithm that made it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from monai_sam2unet.io.dicom import DicomPlace, DicomSource
from monai_sam2unet.io.geometry import plane_of
from monai_sam2unet.io.source import Source

__all__ = ["MANUFACTURER", "Algorithm", "has_plane", "lacking", "may_be_empty", "prepared"]

MANUFACTURER = "monai-sam2unet"

_IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
# Type 2 of the Patient and Study modules: may be empty, and are missing from files all the same.
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)


@dataclass(frozen=True)
class Algorithm:
    """What made the masks, for the object's algorithm identification.

    Attributes:
        model: name of the model's file.
        sha256: of that file.
        version: of this package.
    """

    model: str
    sha256: str
    version: str


def lacking(source: Source[Any]) -> str:
    """What stands in the way of any DICOM result for a source.

    Args:
        source: what was read.

    Returns:
        The reason with what to do, in words; "" if there is none.
    """
    if importlib.util.find_spec("highdicom") is None:
        return (
            "writing DICOM Segmentations needs highdicom, which is not installed: pip install "
            '"monai-sam2unet[medical]"'
        )
    if not isinstance(source, DicomSource):
        return (
            f"is {source.kind.value}, and a DICOM Segmentation refers to DICOM pictures; choose the format "
            "png, or nifti for a volume"
        )
    for place in source.places:
        missing = [keyword for keyword in _IDENTITY if not place.dataset.get(keyword)]
        if missing:
            return (
                f"{place.path.name} has no {', '.join(missing)}, by which a DICOM result would refer to it; "
                "choose the format png, or nifti for a series"
            )
    return ""


def may_be_empty(header: Dataset, keyword: str) -> DataElement:
    """An element of a source to be copied, empty if it is missing.

    Dates and times in ACR-NEMA's form (1997.03.04, 14:04:38), which the standard lets be read and not
    written (PS3.5, 6.2), are given without their signs.
    """
    value = header.get(keyword)
    vr = dictionary_VR(keyword)
    if vr in ("DA", "TM") and value:
        value = str(value).replace("." if vr == "DA" else ":", "")
    return DataElement(keyword, vr, value)


def has_plane(place: DicomPlace) -> bool:
    """Whether a frame has a place in a frame of reference."""
    return bool(place.dataset.get("FrameOfReferenceUID")) and plane_of(place) is not None


def prepared(place: DicomPlace) -> Dataset:
    """A source's data set with empty elements for those that may be empty, as highdicom wants them.

    Elements are shared with the source: only whole elements may be added or taken away.
    """
    made = Dataset()
    made.update(place.dataset)
    made.file_meta = place.dataset.file_meta
    for keyword in _MAY_BE_EMPTY:
        made[keyword] = may_be_empty(place.dataset, keyword)
    if not made.get("SpecificCharacterSet"):
        made.pop("SpecificCharacterSet", None)  # empty: the default, which highdicom does not know by that
    if not has_plane(place) and "FrameOfReferenceUID" in made:
        del made.FrameOfReferenceUID  # of no use without a position, and highdicom would look for one
    return made
