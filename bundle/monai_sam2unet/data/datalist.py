"""The one entry that configs load data through: a folder, or a JSON list, becomes lists of cases."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_sam2unet.data import datasets
from monai_sam2unet.data.datasets import SPLITS, Located, clinicdb_sequence, existing_folder, read_json
from monai_sam2unet.data.layouts import DATALIST, LAYOUTS, Layout, Part
from monai_sam2unet.data.listing import LISTED_SUFFIXES, Listing
from monai_sam2unet.data.naming import counted, first_names, label_files, warn_of_count
from monai_sam2unet.data.pairing import Pair, pair_among, pair_folders
from monai_sam2unet.data.splits import check_fraction, split_by_group
from monai_sam2unet.errors import InputError
from monai_sam2unet.files import write_json

logger = logging.getLogger(__name__)

# "image", "case", "group" are texts; "label" is one, too, or a list where a picture has several masks.
Item = dict[str, Any]


@dataclass(frozen=True)
class DataLists:
    """Cases to train, validate and test on.

    Attributes:
        dataset: name of the layout ("kvasir"), or what a datalist calls itself.
        root: absolute folder that written paths are relative to.
        train: items to train on: "image" and "label" are absolute paths; "label" is a list of them
            where a picture has several masks, whose union is meant; "case" is unique (the
            picture's path below root without its suffix, with forward slashes); "group" is the
            patient or sequence, the case itself where that is not known.
        validation: items to choose a model by.
        test: items to report figures on.
        rule: how the split came about.
        val_fraction: the share asked for.
        seed: of the split.
        title: of the data set, for messages.
        noun: what an item is, for messages.
    """

    dataset: str
    root: Path
    train: list[Item]
    validation: list[Item]
    test: list[Item]
    rule: str = ""
    val_fraction: float = 0.0
    seed: int = 0
    title: str = field(default="", compare=False)
    noun: str = field(default="picture", compare=False)

    def summary(self) -> str:
        """One line for the log."""
        train, validation, test = len(self.train), len(self.validation), len(self.test)
        counts = f"{train} training, {validation} validation, {test} test {self.noun}s"
        return f"{self.title or self.dataset}: {counts} ({self.rule})"

    def subset(self, name: str = "auto") -> list[Item]:
        """Items of one part.

        Args:
            name: "train", "validation", "test", "all" of them, or "auto": test if there is one, else
                validation.

        Raises:
            InputError: the name is another, or the part is empty.
        """
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        parts["all"] = [item for part in parts.values() for item in part]
        if name not in (*parts, "auto"):
            raise InputError(f"subset={name!r} is not known; known are auto, {', '.join(parts)}")
        items = parts[self.part(name)]
        if not items:
            raise InputError(f"subset={name!r} holds no {self.noun}; there are {self.summary()}")
        logger.info("Chosen part: %s, %s", self.part(name), counted(len(items), self.noun))
        return items

    def part(self, name: str) -> str:
        """The part that a name of `subset` means: "auto" is "test" or "validation", others are themselves."""
        if name != "auto":
            return name
        return "test" if self.test else "validation"

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the lists in MONAI's datalist form, with paths relative to `root`, atomically.

        Args:
            path: the JSON file; `load_datalists(root, datalist=path)` gives the same lists back.

        Returns:
            The path written.
        """
        document: dict[str, Any] = {
            "name": self.title or self.dataset, "dataset": self.dataset,
            "rule": self.rule, "val_fraction": self.val_fraction, "seed": self.seed,
        }  # fmt: skip
        for key, items in zip(SPLITS, (self.train, self.validation, self.test), strict=True):
            document[key] = [
                {
                    "image": _below(item["image"], self.root),
                    "label": _one_or_list([_below(file, self.root) for file in label_files(item)]),
                    "group": item["group"],
                }
                for item in items
            ]
        write_json(path, document)
        return Path(path)


def _below(path: str, root: Path) -> str:
    file = Path(path)
    return (file.relative_to(root) if file.is_relative_to(root) else file).as_posix()


def _one_or_list(files: list[str]) -> str | list[str]:
    return files[0] if len(files) == 1 else files


def _case(image: Path, root: Path) -> str:
    return Path(_below(str(image), root)).with_suffix("").as_posix()


def _group(pair: Pair, part: Part, case: str, by_folder: bool) -> str:
    stem = pair.key.rpartition("/")[2]
    if part.frames and stem.isdecimal() and (sequence := clinicdb_sequence(int(stem))):
        return f"CVC-ClinicDB-sequence-{sequence:02d}"
    return case.rpartition("/")[0] if by_folder else case


def _pairs_of(found: Located, others: Collection[str]) -> list[Pair]:
    if found.images == found.masks:
        return pair_among(found.images, found.part.mask_names)
    return pair_folders(found.images, found.masks, keep=found.part.keep, others=others)


def _items(layout: Layout, found: Located, root: Path, others: Collection[str]) -> list[Item]:
    part, pairs = found.part, _pairs_of(found, others)
    warn_of_count(f"{layout.title} {part.subset}".strip(), part.expected, len(pairs))
    # Several subfolders of pictures are most often one per patient or video: never divide one.
    by_folder = len({pair.key.rpartition("/")[0] for pair in pairs}) > 1
    items = []
    for pair in pairs:
        case = _case(pair.image, root)
        group = _group(pair, part, case, by_folder)
        label = _one_or_list([str(mask) for mask in (pair.mask, *pair.more_masks)])
        items.append({"image": str(pair.image), "label": label, "case": case, "group": group})
    return items


def _read_stems(path: Path) -> set[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    names = (Path(line) for line in lines if line)
    return {name.stem if name.suffix.lower() in LISTED_SUFFIXES else name.name for name in names}


def _by_stem_lists(items: Sequence[Item], files: Sequence[Path]) -> tuple[list[Item], list[Item]]:
    """Divide items by two text files of stems; both files name only what is there, once."""
    by_stem = {Path(item["image"]).stem: item for item in items}
    if len(by_stem) < len(items):
        raise InputError(f"{files[0]} goes by stem, but pictures in several subfolders share one")
    stems = [_read_stems(file) for file in files]
    for file, named in zip(files, stems, strict=True):
        if missing := sorted(named - by_stem.keys()):
            raise InputError(f"{file} names {len(missing)} pictures not there: {first_names(missing)}")
    if both := sorted(stems[0] & stems[1]):
        lists = f"{files[0]} and {files[1].name}"
        raise InputError(f"{len(both)} pictures stand in both {lists}: {first_names(both)}")
    if unlisted := sorted(by_stem.keys() - stems[0] - stems[1]):
        logger.warning("%d pictures are in no list and not used: %s", len(unlisted), first_names(unlisted))
    train, validation = ([item for stem, item in by_stem.items() if stem in named] for named in stems)
    return train, validation


def _divide(items: Sequence[Item], val_fraction: float, seed: int) -> tuple[list[Item], list[Item], str]:
    by_case = {item["case"]: item for item in items}
    train, validation = split_by_group(list(by_case), [item["group"] for item in items], val_fraction, seed)
    grouped = len({item["group"] for item in items}) < len(items)
    rule = f"random split{' by group' if grouped else ''}, seed {seed}" if validation else "no validation"
    return [by_case[case] for case in train], [by_case[case] for case in validation], rule


def _official_lists(layout: Layout, listing: Listing) -> list[Path]:
    for names in layout.stem_lists:
        found = [path for name in names if (path := listing.find(name))]
        if len(found) == len(names):
            return found
    return []


def _stems_elsewhere(found: Located, located: Sequence[Located], listing: Listing) -> set[str]:
    """Stems of the other parts' pictures that have their masks in the same folder, as those of CAMO."""
    sharing = [other for other in located if other is not found and other.masks == found.masks]
    return {stem for other in sharing for stem in listing.stems(other.images)}


def _from_layout(layout: Layout, root: Path, val_fraction: float, seed: int) -> DataLists:
    if layout.refused:
        raise InputError(f"{root} is {layout.title} ({layout.name}): {layout.refused}")
    listing = Listing(root)
    located = datasets.locate_all(layout, listing)
    if not located:
        there = datasets.describe_folder(listing)
        raise InputError(f"{root} is no {layout.title}: expected {layout.example}; found in it: {there}")
    by_split: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for found in located:
        by_split[found.part.split] += _items(layout, found, root, _stems_elsewhere(found, located, listing))
    train, validation, test = (by_split[split] for split in SPLITS)
    if files := _official_lists(layout, listing):
        train, validation = _by_stem_lists(train, files)
        official = files[0].name.lower().startswith("official")
        rule = "official lists" if official else f"lists {files[0].name} and {files[1].name}"
    elif not train and not validation:
        rule = "test pictures only"
    elif validation or not train:
        rule = "official split"
    else:
        train, validation, rule = _divide(train, val_fraction, seed)
    return DataLists(layout.name, root, train, validation, test, rule, val_fraction, seed, layout.title)


def _entry(entry: object, root: Path, place: str) -> Item:
    given = entry if isinstance(entry, dict) else {}
    files = label_files(given) if "label" in given else []
    if not isinstance(given.get("image"), str) or not files or not all(isinstance(f, str) for f in files):
        raise InputError(
            f'{place} must be {{"image": "path", "label": "path"}}, with a list of paths as "label" for '
            f"several masks of one picture, got {entry!r}"
        )
    image, *labels = (os.path.normpath(root / file) for file in (given["image"], *files))
    case = _case(Path(image), root)
    group = str(given.get("group") or case)
    return {"image": image, "label": _one_or_list(labels), "case": case, "group": group}


def _is_unlabelled(entry: object) -> bool:
    return isinstance(entry, str) or (isinstance(entry, dict) and "image" in entry and "label" not in entry)


def _read_split(document: Mapping[str, Any], split: str, root: Path, path: Path) -> list[Item]:
    key = "test" if split == "testing" and "testing" not in document else split
    entries = document.get(key, [])
    if not isinstance(entries, list):
        raise InputError(f"{path}: {key} must be a list, got {type(entries).__name__}")
    if split == "testing" and (bare := [entry for entry in entries if _is_unlabelled(entry)]):
        # Challenges publish test pictures without masks: nothing to score, and no reason not to train.
        logger.warning("%s: %d entries of %s have no label and are not used", path, len(bare), key)
        entries = [entry for entry in entries if not _is_unlabelled(entry)]
    return [_entry(entry, root, f"{path}: {key}[{i}]") for i, entry in enumerate(entries)]


def _check_entries(splits: Mapping[str, Sequence[Item]], path: Path, root: Path) -> None:
    items = [item for entries in splits.values() for item in entries]
    if not items:
        raise InputError(f"{path} lists no picture with its mask")
    counts = Counter(item["image"] for item in items)
    if twice := [image for image, count in counts.items() if count > 1]:
        raise InputError(f"{path} lists {len(twice)} pictures more than once: {first_names(twice)}")
    files = [file for item in items for file in (item["image"], *label_files(item))]
    if missing := [file for file in files if not os.path.exists(file)]:
        raise InputError(
            f"{path} lists {len(missing)} files that are not there: {first_names(missing)}; "
            f"its paths are taken relative to dataset_dir={root}"
        )
    # A .jpg and a .png of one stem are two cases: there the suffix stays.
    cases = Counter(item["case"] for item in items)
    for item in items:
        if cases[item["case"]] > 1:
            own_group = item["group"] != item["case"]
            item["case"] = _below(item["image"], root)
            item["group"] = item["group"] if own_group else item["case"]
    _warn_of_leaks(splits)


def _warn_of_leaks(splits: Mapping[str, Sequence[Item]]) -> None:
    groups = {split: {item["group"] for item in items} for split, items in splits.items()}
    for other in ("validation", "testing"):
        if shared := sorted(groups["training"] & groups[other]):
            logger.warning("%d groups are in training and in %s: %s", len(shared), other, first_names(shared))


def _from_json(path: Path, root: Path, val_fraction: float, seed: int) -> DataLists:
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError(f"{path} must hold an object; expected {DATALIST.example}")
    splits = {split: _read_split(document, split, root, path) for split in SPLITS}
    _check_entries(splits, path, root)
    train, validation, test = (splits[split] for split in SPLITS)
    name = str(document.get("dataset") or document.get("name") or DATALIST.name)
    if "validation" in document or not train:
        rule = str(document.get("rule") or f"listed in {path.name}")
        val_fraction = float(document.get("val_fraction", val_fraction))
        seed = int(document.get("seed", seed))
    else:
        train, validation, rule = _divide(train, val_fraction, seed)
    titles = {layout.name: layout.title for layout in LAYOUTS}
    title = str(document.get("name") or titles.get(name, name))
    return DataLists(name, root, train, validation, test, rule, val_fraction, seed, title)


def load_datalists(
    dataset_dir: str | os.PathLike[str],
    *,
    dataset: str = "auto",
    datalist: str | os.PathLike[str] | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
) -> DataLists:
    """Load the lists of pictures and masks of a folder.

    Args:
        dataset_dir: folder of the data set as unpacked; paths of a datalist are relative to it.
        dataset: "auto", or the name of a layout (see `layouts.LAYOUTS`) to force.
        datalist: JSON file in MONAI's form ("training", "validation", "testing"); looked for as given,
            then in `dataset_dir`. Goes before `dataset`.
        val_fraction: share of the training pictures kept for validation, in [0, 1), where the data set
            brings no split of its own; one that it brings goes first, whatever the fraction.
        seed: of that split.

    Returns:
        Lists whose files all exist.

    Raises:
        InputError: the folder or the list is not there or not understood, files do not pair, or no split
            can be made; says which and what to do.
    """
    check_fraction(val_fraction)
    root = existing_folder(dataset_dir)
    if datalist is not None:
        given = Path(os.path.expanduser(datalist))
        places = [place for place in (given, root / given) if place.is_file()]
        if not places:
            raise InputError(f"datalist={given} is not there, neither as given nor in {root}")
        return _from_json(places[0], root, val_fraction, seed)
    layout = datasets.detect(root) if dataset == "auto" else datasets.layout_named(dataset)
    if layout is not DATALIST:
        return _from_layout(layout, root, val_fraction, seed)
    found = datasets.find_datalist(Listing(root))
    if found is None:
        raise InputError(f"{root} holds no datalist: expected {layout.example}")
    return _from_json(found, root, val_fraction, seed)
