"""Volumes cut into slices once, and kept in files that are mapped into memory, to be trained on by slices.

A slice with its neighbours is a small part of a volume that takes seconds to read and to scale. NumPy's files
give it without the rest, and several processes share what is in memory of them.

Shape legend: ``H`` rows, ``W`` columns, ``D`` slices.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_sam2unet.data.datalist import Item
from monai_sam2unet.data.naming import counted
from monai_sam2unet.distributed import from_first
from monai_sam2unet.files import make_folder, write_atomically

__all__ = ["cut_slices"]

logger = logging.getLogger(__name__)

VERSION = 1
"""Of the files; another one makes them anew."""


def cut_slices(
    items: Sequence[Item],
    transform: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    folder: str | os.PathLike[str],
    settings: Mapping[str, Any],
    empty_share: float = 0.2,
    seed: int = 0,
) -> list[Item]:
    """The slices of volumes to train on, cut first where that was not done before.

    All slices with a structure are taken. Of those without, which are most of many volumes, as many are drawn
    (once, by the seed) as make up the share, or all if they are fewer.

    Args:
        items: volumes: ``image``, ``label``, ``case`` and ``group``.
        transform: makes of an item the volume and its label map, (1, H, W, D).
        folder: where the files lie; what is there of the same files and settings is used again.
        settings: plain JSON values that the files depend on.
        empty_share: share of slices without any structure among those taken, from 0 to below 1.
        seed: of the draw.

    Returns:
        An item a slice: files of its volume ``image`` and ``label``, its ``index``, ``case`` (of the volume,
        with the slice's number), ``group``. Of several processes the first one cuts.

    Raises:
        InputError: if a file cannot be read or the folder cannot be written.
    """

    def cut() -> list[Item]:
        logger.info("Slices of %s are kept in %s", counted(len(items), "volume"), folder)
        slices, filled = [], []
        for item in items:
            stem, flags = _cut(item, transform, make_folder(folder), settings)
            slices += [_item(item, stem, index) for index in range(len(flags))]
            filled += flags.tolist()
        taken = _chosen(filled, empty_share, seed)
        logger.info(
            "%s to train on: %d with a structure, %d of %d without",
            counted(len(taken), "slice"), sum(filled), len(taken) - sum(filled), len(filled) - sum(filled),
        )  # fmt: skip
        return [slices[place] for place in taken]

    return from_first(cut)


def _chosen(filled: Sequence[bool], empty_share: float, seed: int) -> list[int]:
    """Places of all slices with a structure, and of as many without as make up their share."""
    empty = [place for place, inside in enumerate(filled) if not inside]
    wanted = min(len(empty), round(sum(filled) * empty_share / (1 - empty_share)))
    # the raw stream, which NumPy does not change, as for splits
    order = np.argsort(np.random.PCG64(seed).random_raw(len(empty)), kind="stable").tolist()
    return sorted(
        [place for place, inside in enumerate(filled) if inside] + [empty[i] for i in order[:wanted]]
    )


def _item(volume: Item, stem: Path, index: int) -> Item:
    """The item of one slice."""
    return {
        "image": f"{stem}.image.npy",
        "label": f"{stem}.label.npy",
        "index": index,
        "case": f"{volume['case']}/{index + 1:03d}",
        "group": volume["group"],
    }


def _cut(
    item: Item,
    transform: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    folder: Path,
    settings: Mapping[str, Any],
) -> tuple[Path, np.ndarray]:
    """Cut one volume unless its files are there: how they begin, and which slices hold a structure, (D,)."""
    stem = folder / _key(item, settings)
    flags = Path(f"{stem}.filled.npy")  # written last: where it is, the others are whole
    if not flags.is_file():
        cut = transform(item)
        image = np.asarray(cut["image"])[0].transpose(2, 0, 1).astype(np.float16)
        label = np.asarray(cut["label"])[0].transpose(2, 0, 1).astype(np.uint8)
        _save(Path(f"{stem}.image.npy"), image)
        _save(Path(f"{stem}.label.npy"), label)
        _save(flags, label.any(axis=(1, 2)))
    return stem, np.load(flags)


def _save(path: Path, array: np.ndarray) -> None:
    """Write an array whole or not at all."""
    write_atomically(path, lambda file: np.save(file, np.ascontiguousarray(array)))


def _key(item: Item, settings: Mapping[str, Any]) -> str:
    """A name that changes with the volume's files and the settings."""
    stamps = [(name, *_stamp(Path(item[name]))) for name in ("image", "label")]
    told = json.dumps([VERSION, stamps, [item["image"], item["label"]], dict(settings)], default=str)
    return f"{Path(item['case']).name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file, or of all files of a series' folder."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    stats = [file.stat() for file in files]
    return sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)
