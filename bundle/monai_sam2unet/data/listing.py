"""What lies in a folder: its pictures, and its names without regard to case."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from monai_sam2unet.io import DICOM_SUFFIXES, is_dicom
from monai_sam2unet.pictures import PICTURE_SUFFIXES

LISTED_SUFFIXES = PICTURE_SUFFIXES + DICOM_SUFFIXES
VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd")


def _is_picture_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in LISTED_SUFFIXES and not name.startswith(".")


def is_picture(path: Path) -> bool:
    """Whether the suffix is a picture's, or there is none and the content is DICOM.

    Hidden names (such as ``._a.jpg`` of a Mac) are no pictures.
    """
    return _is_picture_name(path.name) or _is_nameless_dicom(str(path.parent), path.name)


def _is_nameless_dicom(parent: str, name: str) -> bool:
    """Whether a file is DICOM that is called by a number or UID, as devices and archives do."""
    suffix = os.path.splitext(name)[1]
    nameless = (not suffix or suffix[1:].isdigit()) and not name.startswith(".")
    return nameless and is_dicom(os.path.join(parent, name))


def pictures_in(folder: Path) -> list[Path]:
    """All pictures of a folder and its subfolders, sorted by path, hidden ones left out."""
    return [folder / name for name in picture_names(folder)]


def picture_names(folder: Path) -> list[str]:
    """Paths of the same pictures below the folder, with ``/`` between names: what a million of them needs."""
    start = len(os.path.join(folder, ""))
    found = (f"{parent[start:]}{os.sep}{name}" if parent[start:] else name for parent, name in _walk(folder))
    return sorted(name.replace(os.sep, "/") for name in found)


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """(parent, name) of every picture of a folder and its subfolders, hidden ones left out."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if _is_picture_name(name) or _is_nameless_dicom(parent, name):
                yield parent, name


class Listing:
    """A folder that many questions are asked about; each directory is read once.

    Args:
        root: the folder. What is added to it later is not seen.

    Attributes:
        root: as given.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[Path, dict[str, list[str]]] = {}
        self._stems: dict[Path, list[str]] = {}

    def names(self, folder: Path) -> list[str]:
        """The names in a folder that are not hidden, sorted; none if it is not there or is a file."""
        return sorted(name for alike in self._read(folder).values() for name in alike if name[0] != ".")

    def find(self, relative: str) -> Path | None:
        """The file or folder at a path below the root.

        Args:
            relative: names with ``/`` between them, compared without regard to case; ``*`` stands for any
                part of a name. "" is the root.

        Returns:
            The path: of the very spelling if it is there, else the first in alphabetical order; None if
            there is none.
        """
        place = self.root
        for name in filter(None, relative.split("/")):
            alike = self._alike(place, name)
            if not alike:
                return None
            place = place / (name if name in alike else alike[0])
        return place

    def stems(self, folder: Path) -> list[str]:
        """Names, without suffix, of all pictures of a folder and its subfolders, in no order."""
        if folder not in self._stems:
            self._stems[folder] = [os.path.splitext(name)[0] for _, name in _walk(folder)]
        return self._stems[folder]

    def count_pictures(self, folder: Path) -> int:
        """How many pictures lie in the folder itself."""
        return sum(_is_picture_name(name) for alike in self._read(folder).values() for name in alike)

    def _alike(self, folder: Path, name: str) -> list[str]:
        names = self._read(folder)
        if "*" not in name:
            return sorted(names.get(name.lower(), []))
        return sorted(spelling for low in names if fnmatchcase(low, name.lower()) for spelling in names[low])

    def _read(self, folder: Path) -> dict[str, list[str]]:
        """Lower-case name to the spellings that are there."""
        if folder not in self._names:
            names: dict[str, list[str]] = {}
            for name in os.listdir(folder) if folder.is_dir() else ():
                names.setdefault(name.lower(), []).append(name)
            self._names[folder] = names
        return self._names[folder]
