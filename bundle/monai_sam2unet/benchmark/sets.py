"""The sets of an evaluation, each with its pictures, masks, and the protocols that are usual for it."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai_sam2unet.benchmark.published import TASKS
from monai_sam2unet.data.datalist import DataLists, Item, load_datalists
from monai_sam2unet.data.layouts import DATALIST, FOLDERS, PRANET, SPLIT_FOLDERS
from monai_sam2unet.data.naming import label_files
from monai_sam2unet.errors import InputError
from monai_sam2unet.metrics import PROTOCOLS
from monai_sam2unet.networks.weights.pretrained import sha256_of

__all__ = ["PROTOCOL_CHOICES", "EvaluationSet", "check_file_names", "load_sets", "protocols_for"]

PROTOCOL_CHOICES = ("auto", *PROTOCOLS)

OF_TASK = {
    "polyp": ("paper",),
    "camouflaged": ("paper",),
    "salient": ("paper",),
    "marine": ("masnet", "paper"),
    "mirror": ("hetnet",),
    "": ("paper", "fixed"),
}
"""Protocols that `auto` stands for; those of "" where the paper has no such task."""

GENERAL = (DATALIST.name, SPLIT_FOLDERS.name, FOLDERS.name)
TESTS = "testdataset"  # the folder of PraNet's five test sets, in lower case


@dataclass(frozen=True)
class EvaluationSet:
    """One row of the table.

    Attributes:
        name: what the table calls it; no two are alike.
        key: layout, with the test set's name where it has several (see `published.PAPER`).
        root: folder of the data set.
        part: part of it: "test", "validation", "train" or "all".
        items: its pictures and masks (see `DataLists`), sorted by case.
        tests_only: whether all of them are test pictures.
        drawn: whether they are one side of a random split, which depends on fraction and seed.
        folder_names: what a subfolder of ready-made maps may be called.
    """

    name: str
    key: str
    root: Path
    part: str
    items: tuple[Item, ...]
    tests_only: bool
    drawn: bool
    folder_names: tuple[str, ...]

    @property
    def layout(self) -> str:
        """Name of the layout."""
        return self.key.split("/")[0]

    @property
    def groups(self) -> list[str]:
        """Patient or sequence of each item, the case itself where it is not known."""
        return [item["group"] for item in self.items]

    @property
    def file_name(self) -> str:
        """The name with nothing but letters, digits, dots and hyphens: of its files and folders."""
        return re.sub(r"[^\w.-]+", "-", self.name).strip("-")

    def sha256(self) -> str:
        """Checksum of what is measured against.

        Returns:
            SHA-256 over one line for each case, sorted by case: case, bytes of the picture's file, SHA-256 of
            each mask's file, with tabs between them. The same wherever the folder lies.
        """
        digest = hashlib.sha256()
        for item in self.items:
            masks = (sha256_of(file) for file in label_files(item))
            line = "\t".join((item["case"], str(os.path.getsize(item["image"])), *masks))
            digest.update(f"{line}\n".encode())
        return digest.hexdigest()


def check_file_names(sets: Sequence[EvaluationSet]) -> None:
    """See that files of different sets get different names.

    Raises:
        InputError: if two sets would share them.
    """
    if len({found.file_name for found in sets}) < len(sets):
        raise InputError(f"sets must differ in letters and digits, got {', '.join(s.name for s in sets)}")


def protocols_for(found: EvaluationSet, chosen: Sequence[str]) -> tuple[str, ...]:
    """The protocols to evaluate a set in.

    Args:
        found: the set.
        chosen: of `PROTOCOL_CHOICES`; ``auto`` stands for those that are usual for the set.

    Returns:
        Names, each once.
    """
    usual = OF_TASK[TASKS.get(found.layout, "")]
    names = [name for choice in chosen for name in (usual if choice == "auto" else (choice,))]
    return tuple(dict.fromkeys(names))


def load_sets(
    folders: Iterable[str | os.PathLike[str]],
    subset: str = "auto",
    *,
    val_fraction: float = 0.1,
    seed: int = 0,
) -> list[EvaluationSet]:
    """Find the sets of some folders.

    Args:
        folders: each of a known layout; PraNet's benchmark, its ``TestDataset`` or one set of that will do.
        subset: part of each, as `DataLists.subset` takes it.
        val_fraction: share that is drawn for validation where a folder has no split; that of the training.
        seed: of that draw; that of the training.

    Returns:
        One set for each folder, and for PraNet's benchmark one for each of its test sets.

    Raises:
        InputError: if a folder cannot be read as a data set, holds no such part, or is given twice.
    """
    divided = subset in ("auto", "train", "validation")
    split = {"val_fraction": val_fraction if divided else 0, "seed": seed}
    paths = [Path(os.path.abspath(os.path.expanduser(folder))) for folder in folders]
    found = [one for path in paths for one in _sets_of(path, subset, split)]
    if not found:
        raise InputError("no data given: name at least one folder, --data DIR")
    counts = Counter(one.name for one in found)
    sets = [one if counts[one.name] == 1 else replace(one, name=_longer(one)) for one in found]
    twice = [name for name, count in Counter(one.name for one in sets).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]} is given twice; give each set once, and folders of different names")
    return sets


def _longer(found: EvaluationSet) -> str:
    """A name that tells sets of the same kind apart."""
    return f"{found.name} ({found.root.parent.name}/{found.root.name})"


def _sets_of(folder: Path, subset: str, split: Mapping[str, Any]) -> list[EvaluationSet]:
    """The sets of one folder."""
    only = ""
    if folder.name.lower() == TESTS:
        folder = folder.parent
    elif folder.parent.name.lower() == TESTS:
        folder, only = folder.parent.parent, folder.name
    lists = load_datalists(folder, **split)
    items = lists.subset(subset)
    part = lists.part(subset)
    if lists.dataset != PRANET.name:
        name = lists.root.name if lists.dataset in GENERAL else lists.title
        return [_set(lists, items, name, part, lists.dataset, (lists.root.name, lists.dataset))]
    titles = {part.subset.lower(): part.subset for part in PRANET.parts}
    by_name: dict[str, list[Item]] = {}
    for item in items:
        by_name.setdefault(_pranet_name(item, titles), []).append(item)
    if only:
        by_name = {name: own for name, own in by_name.items() if name.lower() == only.lower()}
        if not by_name:
            raise InputError(f"{folder}: {part} of {lists.title} holds no set {only}; give {folder} itself")
    return [_set(lists, own, name, part, f"{lists.dataset}/{name}", (name,)) for name, own in by_name.items()]


def _pranet_name(item: Item, titles: dict[str, str]) -> str:
    """Which set of PraNet's benchmark a picture is of, by its folder."""
    first, *rest = item["case"].split("/")
    name = rest[0] if first.lower() == TESTS and rest else first
    return titles.get(name.lower(), name)


def _set(
    lists: DataLists, items: Sequence[Item], name: str, part: str, key: str, names: tuple[str, ...]
) -> EvaluationSet:
    tests = {item["case"] for item in lists.test}
    tests_only = all(item["case"] in tests for item in items)
    ordered = tuple(sorted(items, key=lambda item: str(item["case"])))
    return EvaluationSet(
        name=name,
        key=key,
        root=lists.root,
        part=part,
        items=ordered,
        tests_only=tests_only,
        drawn=part in ("train", "validation") and lists.rule.startswith("random split"),
        folder_names=tuple(dict.fromkeys((name, *names))),
    )
