"""Volumes with label maps from a folder: found, paired, their classes named, divided, checked.

A volume is a NIfTI or NRRD file, or a folder with a DICOM series. All slices of a volume stay on one side of
a split, and so do the volumes of a subfolder, which most often is a patient.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_sam2unet.data.datalist import DataLists, Item, load_datalists
from monai_sam2unet.data.datasets import is_layout, locate, read_json
from monai_sam2unet.data.joining import Folders, folders_of, join_datalists
from monai_sam2unet.data.layouts import DECATHLON, FOLDERS, SPLIT_FOLDERS, Part
from monai_sam2unet.data.listing import VOLUME_SUFFIXES, Listing
from monai_sam2unet.data.naming import counted, first_names, label_files
from monai_sam2unet.data.pairing import KNOWN_AFFIXES, PairingError
from monai_sam2unet.data.splits import check_fraction, split_by_group
from monai_sam2unet.distributed import from_first
from monai_sam2unet.errors import InputError
from monai_sam2unet.files import make_folder
from monai_sam2unet.io import is_dicom, read_values
from monai_sam2unet.labels import LabelReader
from monai_sam2unet.transforms import label_values, split_labels

__all__ = ["check_volumes", "class_names", "load_volumes", "prepare_volumes", "volumes_in"]

logger = logging.getLogger(__name__)

EXAMPLE = (
    "imagesTr/a.nii.gz and labelsTr/a.nii.gz, or images/a.nii.gz and labels/a.nii.gz (also .nii, .nrrd, and "
    "as a volume a folder with a DICOM series), also below train/, val/ and test/"
)
PARTS = (
    Part("training", (("imagesTr", "labelsTr"), *FOLDERS.parts[0].folders, *SPLIT_FOLDERS.parts[0].folders)),
    Part("validation", SPLIT_FOLDERS.parts[1].folders),
    Part("testing", (("imagesTs", "labelsTs"), *SPLIT_FOLDERS.parts[2].folders)),
)

DECATHLON_CLASSES = {
    "brain_tumour": ("edema", "non-enhancing tumor", "enhancing tumour"),
    "heart": ("left atrium",),
    "liver": ("liver", "cancer"),
    "hippocampus": ("Anterior", "Posterior"),
    "prostate": ("PZ", "TZ"),
    "lung": ("cancer",),
    "pancreas": ("pancreas", "cancer"),
    "hepatic_vessel": ("Vessel", "Tumour"),
    "spleen": ("spleen",),
    "colon": ("colon cancer primaries",),
}
"""Names of the labels 1, 2, ... in each task's dataset.json (medicaldecathlon.com), for copies without it."""


def prepare_volumes(
    dataset_dir: Folders | None,
    *,
    labels: LabelReader,
    output_dir: str | os.PathLike[str],
    datalist: str | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    check: bool = True,
    to_learn_from: bool = True,
) -> DataLists:
    """Lists of volumes for a run; the split is written to ``datalist.json`` beside the run.

    Args:
        dataset_dir: folder of the data set, or a list of several that are taken as one.
        labels: says which value of the label maps is which class.
        output_dir: folder of the run.
        datalist: JSON list in MONAI's form; empty for none.
        val_fraction: share kept for validation, in [0, 1), where the set brings no split.
        seed: seed of the split.
        check: whether every file is read once before work begins.
        to_learn_from: whether a set without training volumes is an error.

    Returns:
        The lists. Of several processes the first one reads and writes, and the others get its lists.

    Raises:
        InputError: if folder, files or split cannot be used; the message names them.
    """
    if not dataset_dir:
        raise InputError("dataset_dir is empty: volumes have no demonstration; give --dataset_dir DIR")

    def prepare() -> DataLists:
        folders = folders_of(dataset_dir)
        if datalist and len(folders) > 1:
            raise InputError(f"datalist={datalist} goes with one dataset_dir, got {len(folders)}")
        sets = [load_volumes(folder, datalist or None, val_fraction, seed) for folder in folders]
        lists = sets[0] if len(sets) == 1 else join_datalists(sets)
        logger.info("%s", lists.summary())
        if to_learn_from and not lists.train:
            raise InputError(f"{lists.root} has test volumes only: nothing to train on")
        if check:
            check_volumes([*lists.train, *lists.validation, *lists.test], labels)
        lists.write(make_folder(output_dir) / "datalist.json")
        return lists

    return from_first(prepare)


def load_volumes(
    root: Path, datalist: str | os.PathLike[str] | None = None, val_fraction: float = 0.1, seed: int = 0
) -> DataLists:
    """Load the lists of volumes of a folder.

    Args:
        root: the folder.
        datalist: JSON list in MONAI's form, as `load_datalists` takes it.
        val_fraction: share of the training volumes kept for validation, where there is no split.
        seed: of that split.

    Returns:
        The lists; volumes without a label map, such as those of the Decathlon's ``imagesTs``, are left out.

    Raises:
        InputError: if there are none, or they do not pair.
    """
    check_fraction(val_fraction)
    if datalist:
        lists = load_datalists(root, datalist=datalist, val_fraction=val_fraction, seed=seed)
        train, validation, test = (_renamed(part) for part in (lists.train, lists.validation, lists.test))
        return replace(lists, train=train, validation=validation, test=test, noun="volume")
    listing = Listing(root)
    located = [found for part in PARTS if (found := locate(part, listing))]
    by_split: dict[str, list[Item]] = {part.split: [] for part in PARTS}
    for found in located:
        by_split[found.part.split] = _items(found.images, found.masks, root)
    train, validation, test = by_split.values()
    if not (train or validation or test):
        raise InputError(f"{root} holds no volumes with label maps; expected {EXAMPLE}")
    rule = "given folders" if validation or not train else f"random split, seed {seed}"
    if train and not validation:
        cases = {item["case"]: item for item in train}
        kept = split_by_group(list(cases), [item["group"] for item in train], val_fraction, seed)
        train, validation = ([cases[case] for case in part] for part in kept)
    return DataLists(
        "volumes", root, train, validation, test, rule, val_fraction, seed, root.name, noun="volume"
    )


def volumes_in(folder: Path) -> dict[str, Path]:
    """All volumes of a folder and its subfolders.

    Args:
        folder: searched for NIfTI and NRRD files, and for folders that hold DICOM files.

    Returns:
        Path of each by its name below the folder, without suffix, with ``/`` between names.

    Raises:
        InputError: if two files have one name but for the suffix.
    """
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = sorted(name for name in names if not name.startswith("."))
        files = [Path(parent, name) for name in visible]
        volumes = [file for file in files if file.name.lower().endswith(VOLUME_SUFFIXES)]
        if not volumes and Path(parent) != folder and any(map(is_dicom, files)):
            volumes, folders[:] = [Path(parent)], []
        for path in volumes:
            name = volume_name(path.relative_to(folder).as_posix())
            if name in found:
                raise InputError(f"{found[name]} and {path.name} have one name: take one of them out")
            found[name] = path
    return found


def class_names(dataset_dir: Folders | None) -> list[str]:
    """The names of the label map's values 1 to K, as far as the data say them.

    Args:
        dataset_dir: folder of the data set, or several; the first counts.

    Returns:
        Those of ``dataset.json`` (``labels``, in the form of the Medical Segmentation Decathlon or of
        nnU-Net), else those of the task of the Decathlon that the files' names tell; empty if nothing says
        them.

    Raises:
        InputError: if ``dataset.json`` names labels in a way that is not understood.
    """
    if not dataset_dir:
        return []
    root = folders_of(dataset_dir)[0]
    document = read_json(root / "dataset.json") if (root / "dataset.json").is_file() else {}
    labels = document.get("labels") if isinstance(document, dict) else None
    if isinstance(labels, dict):
        return _from_labels(labels, root / "dataset.json")
    listing = Listing(root)
    layout = next((layout for layout in DECATHLON if is_layout(layout, listing)), None)
    return list(DECATHLON_CLASSES.get(layout.name.removeprefix("decathlon_"), ())) if layout else []


def check_volumes(items: Sequence[Mapping[str, Any]], labels: LabelReader) -> None:
    """Read every volume and label map fully.

    Args:
        items: with ``image``, ``label`` and ``case``.
        labels: says which values there may be; of one structure without a name any one value.

    Raises:
        InputError: naming each file that cannot be read, is not of its volume's size and place, or has values
            that are no class; or if no label map holds any structure.
    """
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        results = list(pool.map(lambda item: _check(item, labels), items))
    problems = [problem for problem, _ in results if problem]
    if problems:
        told = first_names(problems, separator="\n  ")
        raise InputError(f"{counted(len(problems), 'volume')} cannot be used:\n  {told}")
    empty = [item["case"] for item, (_, filled) in zip(items, results, strict=True) if not filled]
    if items and len(empty) == len(items):
        raise InputError(
            f"{counted(len(items), 'label map')}: none holds a structure; are they the right files?"
        )
    if empty:
        logger.warning("%d of %d label maps are empty: %s", len(empty), len(items), first_names(empty))


def _check(item: Mapping[str, Any], labels: LabelReader) -> tuple[str, bool]:
    """What is wrong with a volume and its label map, "" if nothing; whether there is any structure."""
    try:
        image = read_values(item["image"])
        values = np.unique(label_values(read_values(_one_label(item)).laid_out_as(image)))
        masks = split_labels(values, labels, item["label"])
    except InputError as error:
        return str(error), False
    found = values[values > 0].tolist()
    if labels.plain and len(found) > 1:
        return f"{item['label']}: has the values {found}; name them, --classes \"['a','b']\"", True
    return "", bool(masks[: len(labels.names)].any())


def _one_label(item: Mapping[str, Any]) -> str:
    """The label map of an item."""
    files = label_files(item)
    if len(files) > 1:
        raise InputError(f"{item['case']}: has {len(files)} label maps, expected one with a value a class")
    return str(files[0])


def _items(images: Path, labels: Path, root: Path) -> list[Item]:
    """Items of one folder of volumes and its folder of label maps."""
    volumes, maps = _without_channel(volumes_in(images), images), volumes_in(labels)
    affixes = [own for _, own in KNOWN_AFFIXES]
    stripped = [{_strip(name, affix): path for name, path in maps.items()} for affix in affixes]
    paired = max(stripped, key=lambda named: len(named.keys() & volumes.keys()))
    lone, unused = sorted(volumes.keys() - paired.keys()), sorted(paired.keys() - volumes.keys())
    if not volumes and not maps:
        raise InputError(
            f"{images} and {labels}: hold no volume; expected NIfTI, NRRD or folders with DICOM series. "
            "Pictures are trained on without volume.json"
        )
    if lone or unused:
        raise PairingError(
            f"{images} with {labels.name}: {counted(len(volumes), 'volume')}, without a label map: "
            f"{first_names(lone) or 'none'}; label maps without a volume: {first_names(unused) or 'none'}; "
            "give each volume one label map of the same name"
        )
    by_folder = len({name.rpartition("/")[0] for name in volumes}) > 1
    items = []
    for name, path in sorted(volumes.items()):
        case = f"{images.relative_to(root).as_posix()}/{name}"
        group = case.rpartition("/")[0] if by_folder else case
        items.append({"image": str(path), "label": str(paired[name]), "case": case, "group": group})
    return items


def _renamed(items: Sequence[Item]) -> list[Item]:
    """Items whose cases and groups end without the suffix of a volume."""
    return [
        {**item, "case": volume_name(item["case"]), "group": volume_name(item["group"])} for item in items
    ]


def volume_name(path: str) -> str:
    """A path without the suffix of a volume."""
    suffix = next((end for end in VOLUME_SUFFIXES if path.lower().endswith(end)), "")
    return path[: len(path) - len(suffix)]


def _strip(name: str, affix: Any) -> str:
    """A name without what label maps have around it, in its last part."""
    parent, slash, last = name.rpartition("/")
    return f"{parent}{slash}{affix.strip(last)}"


def _without_channel(volumes: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Names without the number of the channel that nnU-Net writes at their end, where all have it."""
    if not volumes or not all(name.endswith("_0000") for name in volumes):
        if any(name.endswith("_0001") for name in volumes):
            raise InputError(f"{folder}: has several channels a case (_0000, _0001); give a folder with one")
        return volumes
    return {name.removesuffix("_0000"): path for name, path in volumes.items()}


def _from_labels(labels: Mapping[str, Any], path: Path) -> list[str]:
    """Names by value, of {"1": name} (Decathlon) or {name: 1} (nnU-Net)."""
    pairs = [(k, v) if str(k).isdigit() else (v, k) for k, v in labels.items()]
    try:
        named = {int(value): str(name) for value, name in pairs}
    except (TypeError, ValueError):
        named = {}
    if sorted(named) != list(range(len(named))) or len(named) < 2:
        raise InputError(
            f"{path}: labels must name the values 0 (background), 1, 2, ..., got {dict(labels)}; name them, "
            "--classes \"['a','b']\""
        )
    return [named[value] for value in range(1, len(named))]
