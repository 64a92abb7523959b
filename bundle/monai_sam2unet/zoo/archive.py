"""An entry as one file, the same bytes from the same content."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import BinaryIO

from monai_sam2unet.files import write_atomically

__all__ = ["write_archive"]

MOMENT = (1980, 1, 1, 0, 0, 0)
"""Date of every file in the archive: the earliest that the format knows."""

MODE = 0o100644
"""A plain file that its owner may write and all may read."""


def write_archive(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> list[str]:
    """Pack a folder under its own name; a reader sees the old archive or the whole new one.

    Args:
        folder: what is packed.
        path: of the archive.

    Returns:
        Names within the archive, sorted.

    Raises:
        InputError: if the disk is full or the place cannot be written.
    """
    folder = Path(folder)
    files = {f"{folder.name}/{p.relative_to(folder).as_posix()}": p for p in folder.rglob("*") if p.is_file()}
    names = sorted(files)

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                info = zipfile.ZipInfo(name, MOMENT)
                info.create_system = 3  # Unix, also where it is written on Windows
                info.external_attr = MODE << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, files[name].read_bytes(), compresslevel=9)

    write_atomically(path, write)
    return names
