"""Pictures that are read and resized once, and kept as uint8 from then on.

Decoding and resizing take most of the time of a picture. They are the same in every epoch, and what they give
is small: 0.5 MB of a picture and its mask at 352x352.

MONAI's `CacheDataset` keeps what a single process reads. Its `PersistentDataset` is not used for the disk: it
names files by the paths of the pictures rather than their content, copies files into their place, which a
process that is killed leaves half done, and fails on such a half file ever after.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from monai.data import CacheDataset, Dataset, get_track_meta, set_track_meta
from monai.transforms import Compose, Lambda
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from monai_sam2unet import distributed
from monai_sam2unet.data.naming import counted
from monai_sam2unet.errors import InputError
from monai_sam2unet.files import make_folder, write_atomically

__all__ = ["CACHES", "PictureDataset"]

logger = logging.getLogger(__name__)

CACHES = ("auto", "none", "memory", "disk")

MOST = 2 * 2**30
"""Bytes that auto takes of the memory, of all processes together."""

VERSION = 1
"""Of the files on disk; to be raised when loading or resizing gives other values, which makes them anew."""


class PictureDataset(Dataset):
    """MONAI's `Dataset`, which may keep what the first steps of its transform make of each picture.

    What is kept makes no difference to the values, nor to what the random steps draw.

    Args:
        data: items with paths of files.
        transform: all steps.
        first: how many of them, from the beginning, give the same in every epoch.
        cache: "none" does all steps each time; "memory" does the first steps now and keeps what they make;
            "disk" keeps it in a folder, as pictures are asked for; "auto" is memory for up to `MOST` bytes,
            where processes that load pictures share it, else none.
        cache_dir: folder for "disk"; several processes may share it.
        one_size: whether all pictures leave the first steps with one size. Otherwise "auto" cannot tell how
            much memory they need, and is none.
        num_workers: processes that will load pictures; as many threads fill the memory.

    Raises:
        InputError: if a file cannot be read, or the folder cannot be written.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Compose,
        first: int,
        *,
        cache: str = "none",
        cache_dir: str | os.PathLike[str] = "cache",
        one_size: bool = True,
        num_workers: int = 0,
    ) -> None:
        super().__init__(data, transform)  # the transform foremost: workers seed what they find in this order
        self.first = first
        steps = Compose([*self.transform.transforms[:first], Lambda(_arrays)])
        if cache == "auto":
            cache = "memory" if one_size and _fits(data, steps, num_workers) else "none"
        self.loaded = Dataset(data, steps)
        if cache == "memory":
            self.loaded = _in_memory(data, steps, num_workers)
        elif cache == "disk":
            logger.info("Pictures as resized are kept in %s", cache_dir)
            self.loaded = _OnDisk(data, steps, make_folder(cache_dir))

    def _transform(self, index: int) -> Any:
        """All steps of one item, the first ones perhaps done before.

        MONAI would note each later step in metadata that no one asks for, which takes as long as the steps.
        """
        item = self.loaded[index]
        tracked = get_track_meta()
        set_track_meta(False)
        try:
            return self.transform(item, start=self.first)
        finally:
            set_track_meta(tracked)


class _OnDisk(Dataset):
    """A dataset whose transformed arrays are written to files on first use, named by content and steps.

    Args:
        data: items with paths of files.
        transform: gives the same each time, and can be pickled.
        folder: where the files lie.

    Raises:
        InputError: if the steps cannot be pickled.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], transform: Compose, folder: Path) -> None:
        super().__init__(data, transform)
        self.folder = folder
        try:
            told = pickle.dumps([VERSION, PIL.__version__, self.transform.transforms])
        except (AttributeError, TypeError, pickle.PicklingError) as e:
            raise InputError(
                f"cache disk needs steps that can be pickled, to know its files by them ({e}); take --cache "
                "memory, or functions of a module in train#loading"
            ) from e
        self.steps = hashlib.blake2b(told).digest()

    def _transform(self, index: int) -> dict[str, Any]:
        """What was kept of an item, or what is made and kept now."""
        item = self.data[index]
        path = self.folder / f"{self._key(item)}.safetensors"
        try:
            return {**item, **load_file(path)}
        except FileNotFoundError:
            pass
        except SafetensorError as e:  # a disk that lost power, or another program
            logger.warning("%s: is damaged (%s), made anew", path, e)
        made: dict[str, Any] = self.transform(item)
        arrays = {key: value for key, value in made.items() if isinstance(value, np.ndarray)}
        write_atomically(path, lambda file: file.write(save(arrays)))
        return made

    def _key(self, item: Mapping[str, Any]) -> str:
        """A name that changes with the content of the files of an item, with all else in it and the steps."""
        digest = hashlib.blake2b(self.steps, digest_size=16)
        for key, value in sorted(item.items()):
            paths = value if isinstance(value, (list, tuple)) else [value]
            told = [_content(path) if _is_file(path) else pickle.dumps(path) for path in paths]
            digest.update(pickle.dumps((key, told)))
        return digest.hexdigest()


def _is_file(value: Any) -> bool:
    """Whether a value of an item is the path of a file."""
    return isinstance(value, (str, os.PathLike)) and os.path.isfile(value)


def _content(path: str | os.PathLike[str]) -> bytes:
    """What the content of a file is recognised by."""
    return hashlib.blake2b(Path(path).read_bytes()).digest()


def _arrays(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item with NumPy's arrays in place of tensors, without metadata.

    Later steps would note themselves in the metadata of what is kept; and tensors would each take an open
    file to reach processes that are not forked.
    """
    return {
        key: np.ascontiguousarray(value.numpy(force=True)) if isinstance(value, torch.Tensor) else value
        for key, value in item.items()
    }


def _in_memory(data: Sequence[Mapping[str, Any]], steps: Compose, threads: int) -> CacheDataset:
    """MONAI's dataset in memory, filled; what it keeps is not copied, since later steps change none of it."""
    watched = distributed.is_first() and sys.stderr.isatty()
    kept = CacheDataset(data, steps, num_workers=max(1, threads), copy_cache=False, progress=watched)
    size = sum(_bytes(kept[index]) for index in range(len(data)))
    logger.info("%s kept in memory, %.2f GiB", counted(len(data), "picture"), size / 2**30)
    return kept


def _fits(
    data: Sequence[Mapping[str, Any]], steps: Callable[[Mapping[str, Any]], Mapping[str, Any]], workers: int
) -> bool:
    """Whether the memory may be taken for all items, which are as large as the first."""
    if not data or (workers and multiprocessing.get_start_method() != "fork"):
        return False  # processes that are not forked would each get a copy
    return _bytes(steps(data[0])) * len(data) * distributed.processes() <= MOST


def _bytes(item: Mapping[str, Any]) -> int:
    """Size of the arrays of an item."""
    return sum(value.nbytes for value in item.values() if isinstance(value, np.ndarray))
