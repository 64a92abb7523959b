"""Writing files so that a reader sees the old one or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from monai_sam2unet.errors import InputError

__all__ = ["check_space", "make_folder", "write_atomically", "write_json"]


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], Any]) -> None:
    """Write a file under a temporary name in the same folder, then rename it.

    Args:
        path: where to; missing parent folders are made.
        write: is given the open binary file.

    Raises:
        InputError: if the disk is full or the place cannot be written; no part of the file stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before the content does
        os.replace(temporary, path)
    # torch.save hides the system's error behind a RuntimeError of its archive writer
    except (OSError, RuntimeError) as e:
        reason = getattr(e, "strerror", None) or next(iter(str(e).splitlines()), type(e).__name__)
        raise InputError(
            f"{path}: cannot be written ({reason}; {_free(path.parent)}); "
            "free some space or choose another folder"
        ) from e
    finally:
        with contextlib.suppress(OSError):  # must not hide the error before it
            temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON, indented, atomically (see `write_atomically`); NaN is not allowed, give None."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and see that it can be written.

    Raises:
        InputError: if it cannot be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{uuid.uuid4().hex}.tmp"
        probe.touch()
        probe.unlink()
    except OSError as e:
        raise InputError(f"{path}: cannot write here ({e.strerror}); choose another folder") from e
    return path


def check_space(folder: str | os.PathLike[str], needed: int, purpose: str) -> None:
    """Raise InputError unless ``needed`` bytes are free where ``folder`` lies."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: {purpose} need {needed / 2**20:.0f} MiB, free are {free / 2**20:.0f} MiB; "
            "free some space or choose another folder"
        )


def _free(folder: Path) -> str:
    """How much space is left where a folder lies."""
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:.1f} MiB free"
    except OSError:
        return "free space unknown"
