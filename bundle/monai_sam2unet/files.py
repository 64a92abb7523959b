"""Writing files so that a reader sees the old one or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from monai_sam2unet.errors import InputError

__all__ = [
    "check_space",
    "copy_file",
    "make_folder",
    "move_file",
    "remove_leftovers",
    "write_atomically",
    "write_json",
]

logger = logging.getLogger(__name__)

PROBE = "probe"
"""Stands for a file's name in that of the empty file by which `make_folder` tries whether it can write."""

TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}\.tmp", re.DOTALL)


def write_atomically(
    path: str | os.PathLike[str],
    write: Callable[[BinaryIO], Any],
    once: bool = False,
    lasting: bool = True,
) -> None:
    """Write a file under a temporary name in the same folder, then rename it.

    A process that is killed leaves the old file, and perhaps the unfinished one beside it under its
    temporary name (see `remove_leftovers`).

    Args:
        path: where to; missing parent folders are made.
        write: is given the open binary file.
        once: leave a file that is there as it is; of processes that write at the same moment one succeeds.
        lasting: see that it outlasts a loss of power, which takes milliseconds; not needed for one file of
            many that are soon made again.

    Raises:
        InputError: if the disk is full or the place cannot be written; no part of the file stays.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            if lasting:
                os.fsync(file.fileno())  # a rename may reach the disk before the content does
        _place_once(temporary, path) if once else os.replace(temporary, path)
        if lasting:
            _sync_folder(path.parent)
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


def write_json(path: str | os.PathLike[str], content: Any, once: bool = False) -> None:
    """Write JSON, indented, atomically (see `write_atomically`); NaN is not allowed, give None."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()), once)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and see that it can be written.

    Raises:
        InputError: if it cannot be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = _temporary(path / PROBE)
        probe.touch()
        probe.unlink(missing_ok=True)  # another process that begins here may have taken it for a leftover
    except OSError as e:
        raise InputError(f"{path}: cannot write here ({e.strerror}); choose another folder") from e
    return path


def move_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Give a file another place on the same disk; several moves reach the disk in the order of the calls."""
    source, target = Path(source), Path(target)
    os.replace(source, target)
    _sync_folder(target.parent)
    _sync_folder(source.parent)


def copy_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Copy a file so that a reader of the target sees the old one or the whole new one, never a part.

    Raises:
        InputError: if writing fails (see `write_atomically`).
    """
    with open(source, "rb") as content:
        write_atomically(target, lambda file: shutil.copyfileobj(content, file))


def remove_leftovers(folder: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Remove what processes that were killed left unfinished of some files.

    Only temporary names of `write_atomically` and `make_folder` are looked at. Another process may be writing
    another file into the same folder at this moment, such as an evaluation its report. That is why the names
    must be given: name only files that no other process writes while this one runs.

    Args:
        folder: where to look; not below it.
        names: final names of the files, such as "model.pt".
    """
    known = {PROBE, *names}
    for path in sorted(Path(folder).glob(".*.tmp")):
        found = TEMPORARY.fullmatch(path.name)
        if found and found[1] in known and path.is_file():
            with contextlib.suppress(OSError):  # gone meanwhile, or not ours to delete: no reason to stop
                size = path.stat().st_size
                path.unlink()
                if size:
                    logger.info("Removed what a stopped run left: %s (%.1f MiB)", path, size / 2**20)


def check_space(folder: str | os.PathLike[str], needed: int, purpose: str) -> None:
    """Raise InputError unless ``needed`` bytes are free where ``folder`` lies."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: {purpose} need {needed / 2**20:.0f} MiB, free are {free / 2**20:.0f} MiB; "
            "free some space or choose another folder"
        )


def _place_once(temporary: Path, path: Path) -> None:
    """Give a file its final name unless that is taken."""
    try:
        os.link(temporary, path)  # unlike a rename it fails if the name is there, on network disks as well
    except FileExistsError:
        return
    except OSError:  # a disk without links, such as exFAT: nothing but a moment's overlap goes unnoticed
        if not path.exists():
            os.replace(temporary, path)


def _temporary(path: Path) -> Path:
    """A name beside a file that no other process chooses; `remove_leftovers` knows its form."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder outlast a loss of power, where the system can do so (Windows cannot)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _free(folder: Path) -> str:
    """How much space is left where a folder lies."""
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:.1f} MiB free"
    except OSError:
        return "free space unknown"
