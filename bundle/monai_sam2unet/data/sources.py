"""The pictures that a path means: a file, a folder with its subfolders, or a pattern."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from monai_sam2unet.data.listing import LISTED_SUFFIXES, is_picture, picture_names
from monai_sam2unet.errors import InputError

__all__ = ["PictureSet", "find_pictures", "picture_set", "source_root"]


@dataclass(frozen=True)
class PictureSet:
    """Pictures to predict; results keep each file's path relative to `root`.

    Attributes:
        root: the folder that results are laid out after.
        names: path of each picture below it, with ``/`` between names, sorted.
    """

    root: Path
    names: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The pictures' paths."""
        return tuple(self.root / name for name in self.names)

    def relative(self, file: Path) -> Path:
        """Where a result belongs below an output folder, still with the picture's suffix."""
        return file.relative_to(self.root)


def source_root(path: str | os.PathLike[str]) -> Path:
    """The folder that results are laid out after: the file's folder, the folder, or a pattern's fixed part.

    Args:
        path: a picture, a folder or a pattern; ``~`` is expanded. Nothing need be there.
    """
    place = Path(os.path.expanduser(path))
    if place.is_file():
        return place.parent
    if place.is_dir() or not glob.has_magic(str(place)):
        return place
    fixed = []
    for part in place.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def picture_set(path: str | os.PathLike[str]) -> PictureSet:
    """Find the pictures to predict, and the folder that results are laid out after.

    Args:
        path: a picture, a folder (searched with its subfolders), or a pattern such as
            ``frames/**/*.png``. A file is taken whatever its suffix is, so that reading it says what
            is wrong with it; in folders and patterns only picture suffixes are taken, and DICOM files
            without a suffix.

    Returns:
        The pictures, sorted, and their root (see `source_root`).

    Raises:
        InputError: nothing is there, or nothing that is a picture.
    """
    given = os.path.expanduser(path)
    place, root = Path(given), source_root(path)
    if place.is_file():
        return PictureSet(root, (place.name,))
    if place.is_dir():
        names = picture_names(place)
        if not names:
            raise InputError(f"{place} holds no picture ({', '.join(LISTED_SUFFIXES)})")
        return PictureSet(root, tuple(names))
    if not glob.has_magic(given):
        raise InputError(f"{place} is not there; give a picture, a folder or a pattern such as 'in/**/*.png'")
    matched = {Path(hit) for hit in glob.glob(given, recursive=True)}
    names = sorted(hit.relative_to(root).as_posix() for hit in matched if hit.is_file() and is_picture(hit))
    if not names:
        raise InputError(
            f"no picture matches the pattern {given} ({len(matched)} other files or folders do); "
            f"pictures are {', '.join(LISTED_SUFFIXES)}"
        )
    return PictureSet(root, tuple(names))


def find_pictures(path: str | os.PathLike[str]) -> list[Path]:
    """The files of `picture_set`, for callers that need no root."""
    return list(picture_set(path).files)
