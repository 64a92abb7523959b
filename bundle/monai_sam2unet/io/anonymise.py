"""The Basic Application Level Confidentiality Profile (PS3.15, E.2) for what is written, by dicom-anonymizer.

dicom-anonymizer has the standard's table and an action for each entry, and keeps which new UID an old one
became for as long as the process runs. It applies the table to a data set and not to the items of its
sequences, where references stand; `anonymise` goes down to them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from monai_sam2unet.errors import InputError

__all__ = ["anonymise", "check_anonymiser"]

EDITION = "dicomfields_2026c"
"""The table's edition of the standard, as dicom-anonymizer names it."""

Tag = tuple[int, ...]
Rules = dict[Tag, Callable[[Dataset, Tag], None]]

# The profile lets these references stay if the UIDs in them are replaced (X/Z/U*); the library empties them.
_REFERENCES: tuple[Tag, ...] = ((0x0008, 0x1140), (0x0008, 0x2112))
_META_GROUP = 0x0002

_LIBRARY_DATES = {"DA": "00010101", "TM": "000000.00", "DT": "00010101010101.000000+0000"}
_NEEDED_DATES = {"ContentDate": "19000101", "ContentTime": "000000"}  # type 1 of Segmentation objects


def check_anonymiser() -> None:
    """See that dicom-anonymizer is there.

    Raises:
        InputError: If it is not.
    """
    if importlib.util.find_spec("dicomanonymizer") is None:
        raise InputError(
            "anonymising needs dicom-anonymizer, which is not installed: pip install "
            '"monai-sam2unet[medical]"'
        )


def anonymise(dataset: Dataset) -> None:
    """Remove what identifies the patient, in place.

    The same UID becomes the same new one in all data sets of a process, so that references among them hold;
    those to files that were not anonymised in it lead nowhere. Pixels are not looked at.

    Args:
        dataset: with its ``file_meta``.

    Raises:
        InputError: If dicom-anonymizer is not installed.
    """
    check_anonymiser()
    from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions, keep

    rules: Rules = initialize_actions(EDITION)
    rules.update(dict.fromkeys(_REFERENCES, keep))
    nested = list(_items(dataset))
    present = {(element.tag.group, element.tag.element) for item in [dataset, *nested] for element in item}
    # of hundreds of rules those for what is there, and those for repeating groups
    used: Rules = {
        tag: rule for tag, rule in rules.items() if len(tag) > 2 or tag in present or tag[0] == _META_GROUP
    }
    for item in [*nested, dataset]:
        anonymize_dataset(item, base_rules_gen=lambda: dict(used))
    for item in [*nested, dataset]:
        _correct_dates(item)
    _say(dataset)


def _items(dataset: Dataset) -> Iterator[Dataset]:
    """All items of all sequences, innermost first."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _items(item)
                yield item


def _correct_dates(item: Dataset) -> None:
    """Empty the dates that the library set to the year 1, which is no valid date, but for those needed."""
    for element in item:
        if element.VR in _LIBRARY_DATES and str(element.value) == _LIBRARY_DATES[element.VR]:
            element.value = _NEEDED_DATES.get(element.keyword, "")


def _say(dataset: Dataset) -> None:
    """The elements by which a data set says that it is anonymised (PS3.15, E.1.1)."""
    code: Any = codes.DCM.BasicApplicationConfidentialityProfile
    method = Dataset()
    method.CodeValue, method.CodingSchemeDesignator, method.CodeMeaning = (
        code.value,
        code.scheme_designator,
        code.meaning,
    )
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "PS3.15 Basic Profile, dicom-anonymizer"
    dataset.DeidentificationMethodCodeSequence = [method]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
