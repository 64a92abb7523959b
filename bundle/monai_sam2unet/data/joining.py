"""Several data sets as one, such as COD10K and CAMO, which the paper trains on together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from monai_sam2unet.data.datalist import DataLists, Item, load_datalists
from monai_sam2unet.data.datasets import existing_folder
from monai_sam2unet.errors import InputError

__all__ = ["Folders", "folders_of", "join_datalists", "load_joined"]

Folders = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def folders_of(dataset_dir: Folders) -> list[Path]:
    """The folders that a setting names: one, or a list of several.

    Args:
        dataset_dir: folder, or a list of folders.

    Returns:
        Absolute paths.

    Raises:
        InputError: if one is not there, or lies within another.
    """
    named = [dataset_dir] if isinstance(dataset_dir, (str, os.PathLike)) else list(dataset_dir)
    folders = [existing_folder(folder) for folder in named]
    for one, other in combinations(folders, 2):
        if one == other or one in other.parents or other in one.parents:
            raise InputError(
                f"dataset_dir names {one} and {other}: pictures would count twice; leave one out"
            )
    return folders


def load_joined(dataset_dir: Folders, **options: Any) -> DataLists:
    """Load the lists of one folder, or of several as if they were one.

    Args:
        dataset_dir: folder, or a list of folders.
        options: those of `load_datalists`, for each folder; a ``datalist`` goes with one folder alone.

    Returns:
        The lists.

    Raises:
        InputError: as `folders_of` and `load_datalists`, or if a datalist is given with several folders.
    """
    folders = folders_of(dataset_dir)
    if len(folders) == 1:
        return load_datalists(folders[0], **options)
    if options.get("datalist"):
        raise InputError(
            f"datalist={options['datalist']} goes with one dataset_dir, got {len(folders)}; list the "
            "pictures of all in it, and give the folder that its paths are relative to"
        )
    return join_datalists([load_datalists(folder, **options) for folder in folders])


def join_datalists(sets: Sequence[DataLists]) -> DataLists:
    """Put the lists of several sets together, part by part.

    Args:
        sets: lists of at least two folders, none within another.

    Returns:
        Lists below the folder that holds all of theirs. Each set keeps its own split; its cases and groups
        get the name of its folder before theirs, so that patients of the same name stay two.
    """
    root = Path(os.path.commonpath([lists.root for lists in sets]))
    return replace(
        sets[0],
        dataset="+".join(lists.dataset for lists in sets),
        root=root,
        train=[item for lists in sets for item in _renamed(lists.train, lists.root, root)],
        validation=[item for lists in sets for item in _renamed(lists.validation, lists.root, root)],
        test=[item for lists in sets for item in _renamed(lists.test, lists.root, root)],
        rule="; ".join(f"{lists.root.name}: {lists.rule}" for lists in sets),
        title=" + ".join(lists.title or lists.dataset for lists in sets),
    )


def _renamed(items: Sequence[Item], own: Path, root: Path) -> list[Item]:
    """Items of one set with its folder before their cases and groups."""
    folder = own.relative_to(root).as_posix()
    return [
        {**item, "case": f"{folder}/{item['case']}", "group": f"{folder}/{item['group']}"} for item in items
    ]
