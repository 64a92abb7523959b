"""Reading weight files that may come from anywhere: nothing in them is run, and what is wrong is said.

Two containers are read: the zip archives (and the older pickles) of ``torch.save``, and safetensors. Both are
mapped into memory, so that tensors are read from the disk only where they are copied. Everything else that
users mistake for weights (web pages, pointers of Git LFS, TorchScript programs, archives) is told apart by
its content, never by its name.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from monai_sam2unet.errors import InputError, listed

__all__ = ["METADATA_KEY", "StateDict", "read_checkpoint", "tensors_of"]

StateDict = dict[str, Tensor]

METADATA_KEY = "monai_sam2unet"
"""Entry in the metadata of a safetensors file: as JSON, what a ``.pt`` file holds beside its tensors."""

NOT_WEIGHTS = (
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS, not the file: fetch it by git lfs pull"),
    (re.compile(rb"\s*<"), "a web page or XML, not weights: download the file itself, not the page about it"),
    (re.compile(rb"\x1f\x8b|BZh|7z\xbc\xaf|\xfd7zXZ|\x28\xb5\x2f\xfd"), "compressed: unpack it first"),
    (re.compile(rb"\x89HDF"), "an HDF5 file (Keras, MATLAB), not PyTorch weights"),
)  # fmt: skip
"""How files begin that are no weights, and what to tell about them."""

WRAPPERS = ("model", "network", "state_dict", "model_state_dict")
"""Under which names training checkpoints hold a state dict: SAM 2's, ours, and common ones."""


def read_checkpoint(path: str | Path) -> Any:
    """Read a weight file without running any code from it.

    Args:
        path: a file of ``torch.save`` or a safetensors file.

    Returns:
        Its content: tensors (on the CPU, mapped from the file where its format allows) and plain values. A
        safetensors file with an entry `METADATA_KEY` comes back as the dictionary that the entry holds, with
        the tensors under ``network``; one without it as a dictionary of its tensors.

    Raises:
        InputError: if the file is missing, empty, damaged or incomplete, wants to run code, would unpack to
            more than its size, or is no weight file; the message says which.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such weight file")
    with open(path, "rb") as file:
        start = file.read(64)
    if not start:
        raise InputError(f"{path}: empty (0 bytes); copy or download it again")
    found = next((words for pattern, words in NOT_WEIGHTS if pattern.match(start)), None)
    if found is None and re.fullmatch(rb"[\t\n\r -~]+", start):
        found = f"a text file, not weights; it begins with {start.decode().splitlines()[0][:40]!r}"
    if found:
        raise InputError(f"{path}: {found}")
    if start.startswith(b"PK"):
        _check_archive(path)
        return _load(path, mmap=True)
    if _is_safetensors(path, start):
        return _load_safetensors(path)
    return _load(path, mmap=False)


def tensors_of(content: Any, path: str | Path) -> StateDict:
    """The state dict within a checkpoint's content.

    Args:
        content: what `read_checkpoint` gave: a state dict, or a dictionary that holds one under one of
            `WRAPPERS`.
        path: the file, for the message.

    Returns:
        The tensors by name, without the prefixes of DistributedDataParallel and torch.compile.

    Raises:
        InputError: if there is no state dict.
    """
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(n, str) and isinstance(t, Tensor) for n, t in content.items())
    ):
        raise InputError(f"{path}: expected a state dict (names and tensors), got {_described(content)}")
    tensors = dict(content)
    for prefix in ("module.", "_orig_mod.", "module."):  # either may enclose the other
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    return tensors


def _check_archive(path: Path) -> None:
    """Raise InputError unless a zip archive is one of ``torch.save``, whole and no larger than it says."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_kind(path, {name.partition("/")[2] for name in archive.namelist()}, archive.namelist())
            size, unpacked = path.stat().st_size, sum(entry.file_size for entry in entries)
            # torch.save never compresses; entries that overlap or unpack to more would fill the memory
            if unpacked > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise InputError(
                    f"{path}: refused, {size} bytes would unpack to {unpacked}; "
                    "torch.save writes tensors uncompressed, so this file comes from something else"
                )
            summed = [entry for entry in entries if entry.CRC]  # 0 where torch was told to leave sums out
            with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
                list(pool.map(partial(_check_sum, archive), summed))
    except zipfile.BadZipFile as e:
        reason = "its checksums do not fit" if "CRC" in str(e) else "its end is missing"
        raise InputError(f"{path}: damaged or incomplete ({reason}); copy or download it again") from e
    except (OSError, NotImplementedError, RuntimeError) as e:
        raise InputError(f"{path}: cannot be read as an archive of torch.save ({e})") from e


def _check_kind(path: Path, members: set[str], names: list[str]) -> None:
    """Raise InputError for archives that hold something else than a checkpoint."""
    if "constants.pkl" in members or any(member.startswith("code/") for member in members):
        raise InputError(
            f"{path}: a TorchScript program (of torch.jit.save or ckpt_export), not weights; "
            "give the .pt file that it was exported from"
        )
    if "data.pkl" not in members:
        raise InputError(
            f"{path}: a zip archive, not weights; unpack it first. Files in it: {listed(names, 3)}"
        )


def _check_sum(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Read an entry through; zipfile raises BadZipFile at its end where the checksum is another.

    PyTorch itself does not compare checksums: a flipped bit would become a wrong weight.
    """
    with archive.open(entry) as file:
        while file.read(1 << 20):
            pass


def _load(path: Path, mmap: bool) -> Any:
    """Read a file of ``torch.save`` by the unpickler that knows tensors and plain values alone."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as e:
        # torch's text begins by advising to run the code
        wanted = re.search(r"GLOBAL ([\w.]+)", str(e))
        if wanted:
            raise InputError(
                f"{path}: refused, reading it would run code (it asks for {wanted[1]}). Weights are tensors "
                "and plain values. If you trust where it comes from, have it saved there again by "
                "torch.save(network.state_dict(), FILE)"
            ) from e
        raise InputError(
            f"{path}: refused, damaged or no file of torch.save ({_first_line(e)}); expected a state dict"
        ) from e
    except Exception as e:  # on a damaged file or a text torch's reader raises anything
        raise InputError(
            f"{path}: cannot be read as weights, damaged or of another kind ({_first_line(e)}); "
            "copy or download it again"
        ) from e


def _is_safetensors(path: Path, start: bytes) -> bool:
    """Whether a file begins with a header's length and a JSON header, as safetensors do."""
    return (len(start) > 8 and start[8:9] == b"{") or path.suffix == ".safetensors"


def _load_safetensors(path: Path) -> Any:
    """Read a safetensors file, with what its metadata holds for us."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, MemoryError) as e:
        raise InputError(
            f"{path}: damaged or incomplete safetensors file ({_first_line(e)}; {_promised(path)}); "
            "copy or download it again"
        ) from e
    if METADATA_KEY not in metadata:
        return tensors
    try:
        return {**json.loads(metadata[METADATA_KEY]), "network": tensors}
    except (ValueError, TypeError) as e:
        raise InputError(f"{path}: its metadata {METADATA_KEY!r} cannot be read ({e})") from e


def _promised(path: Path) -> str:
    """How many bytes a safetensors header asks for, and how many there are."""
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(min(length, size)))
        end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
        return f"its header asks for {8 + length + end} bytes, the file has {size}"
    except (struct.error, ValueError, TypeError, KeyError, IndexError):
        return f"{size} bytes"


def _described(content: Any) -> str:
    """What a file holds instead of a state dict, in a few words."""
    if isinstance(content, Mapping):
        return f"a dictionary with the entries {listed(map(str, content))}"
    return type(content).__name__


def _first_line(error: Exception) -> str:
    """Kind and first line of an error, without torch's advice."""
    line = next(iter(str(error).splitlines()), "")
    line = re.sub(r"^Weights only load failed.*?(?=Unsupported|$)", "", line).strip()
    return f"{type(error).__name__}{': ' if line else ''}{line}"
