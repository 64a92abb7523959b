"""Codes of what is segmented, for DICOM: SNOMED CT by the names of the classes."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

__all__ = ["PRIVATE_SCHEME", "Coded", "coded", "private_scheme"]

PRIVATE_SCHEME = "99SAM2UNET"
"""Coding scheme of names that are not in the table; 99 begins schemes of one's own (PS3.16, 8.2)."""

_ANATOMY = codes.SCT.AnatomicalStructure
_ABNORMAL = codes.SCT.MorphologicallyAbnormalStructure


@dataclass(frozen=True)
class Coded:
    """What a segment is, by codes.

    Attributes:
        category: Segmented Property Category.
        kind: Segmented Property Type.
        region: Anatomic Region; None if the type says it, or nobody knows it.
    """

    category: Code
    kind: Code
    region: Code | None = None


def _organ(kind: Code) -> Coded:
    return Coded(_ANATOMY, kind)


def _finding(kind: Code, region: Code | None = None) -> Coded:
    return Coded(_ABNORMAL, kind, region)


_SCT = codes.SCT
_KNOWN = {
    "adenoma": _finding(_SCT.Adenoma),
    "aorta": _organ(_SCT.Aorta),
    "brain": _organ(_SCT.Brain),
    "breast lesion": _finding(_SCT.Lesion, _SCT.Breast),
    "cyst": _finding(_SCT.Cyst),
    "gallbladder": _organ(_SCT.Gallbladder),
    "heart": _organ(_SCT.Heart),
    "hippocampus": _organ(_SCT.Hippocampus),
    # Medical Segmentation Decathlon, task 4: both are parts of the hippocampus, and the label tells which.
    "anterior hippocampus": _organ(_SCT.Hippocampus),
    "posterior hippocampus": _organ(_SCT.Hippocampus),
    "kidney": _organ(_SCT.Kidney),
    "lesion": _finding(_SCT.Lesion),
    "liver": _organ(_SCT.Liver),
    "liver tumour": _finding(_SCT.Neoplasm, _SCT.Liver),
    "lung": _organ(_SCT.Lung),
    "lungs": _organ(_SCT.Lung),
    "mass": _finding(_SCT.Mass),
    # BKAI-IGH NeoPolyp: neoplastic and non-neoplastic polyps of the colon.
    "neoplastic": _finding(_SCT.Neoplasm, _SCT.Colon),
    "non-neoplastic": _finding(_SCT.PolypOfColon),
    "nodule": _finding(_SCT.Nodule),
    "optic disc": _organ(_SCT.OpticDiscStructure),
    "pancreas": _organ(_SCT.Pancreas),
    "polyp": _finding(_SCT.PolypOfColon),
    "prostate": _organ(_SCT.Prostate),
    "retinal vessel": Coded(_ANATOMY, _SCT.BloodVessel, _SCT.Retina),
    "skin lesion": _finding(_SCT.Lesion, _SCT.Skin),
    "spleen": _organ(_SCT.Spleen),
    "stomach": _organ(_SCT.Stomach),
    "thyroid": _organ(_SCT.Thyroid),
    "tumour": _finding(_SCT.Neoplasm),
    "vessel": _organ(_SCT.BloodVessel),
}


def coded(name: str) -> Coded:
    """The codes of a class.

    Args:
        name: of the class; case, ``_`` for a space, and ``tumor`` for ``tumour`` do not matter.

    Returns:
        Codes of SNOMED CT, or for names that are not known the name itself in the private scheme, as
        an anatomical structure.

    Example:
        >>> coded("Skin_Lesion").kind.meaning, coded("Skin_Lesion").region.meaning
        ('Lesion', 'Skin')
        >>> coded("gizmo").kind.scheme_designator
        '99SAM2UNET'
    """
    known = _KNOWN.get(" ".join(name.lower().replace("_", " ").split()).replace("tumor", "tumour"))
    if known is not None:
        return known
    # Code Value is a short string of 16 characters, Code Meaning a long one of 64 (PS3.3, 8.8).
    return Coded(_ANATOMY, Code(name[:16].strip(), PRIVATE_SCHEME, name[:64]))


def private_scheme() -> Dataset:
    """The item that says whose the private scheme is (Coding Scheme Identification Sequence)."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = "Names of classes of a SAM2-UNet model"
    item.CodingSchemeResponsibleOrganization = "the user of monai-sam2unet"
    return item
