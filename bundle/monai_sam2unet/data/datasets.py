"""The layouts that are known, as a table, and how a folder is recognised as one of them.

A layout says where pictures and masks lie, how many pairs a complete download holds, and under which
terms it may be used. Folder names are compared without regard to case.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from monai_sam2unet.data.naming import first_names
from monai_sam2unet.data.pairing import is_picture, pictures_in
from monai_sam2unet.errors import InputError

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "gt", "gts", "ground truth", "ground_truth", "ground_truth_mask",
                "labels", "label")  # fmt: skip
DATALIST_NAMES = ("dataset.json", "datalist.json")
SPLITS = ("training", "validation", "testing")

# Last frame of each video sequence of CVC-ClinicDB; frames are numbered from 1 without gaps.
CLINICDB_LAST_FRAMES = (
    25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317,
    342, 363, 383, 408, 428, 447, 466, 478, 503, 528, 546, 571, 591, 612,
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One folder of pictures with its folder of masks.

    Attributes:
        split: "training" (divided further where no part is "validation"), "validation" or "testing".
        folders: (pictures, masks) relative to the data set's folder, every spelling that is known;
            the first that is there counts.
        expected: pairs of a complete download; None where any number is right.
        subset: name of the part within its split, for messages.
        frames: numeric stems are frames of CVC-ClinicDB.
    """

    split: str
    folders: tuple[tuple[str, str], ...]
    expected: int | None = None
    subset: str = ""
    frames: bool = False


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk.

    Attributes:
        name: what `dataset=` takes.
        title: what messages say.
        terms: terms of use in a word.
        example: the layout in a line, for messages.
        parts: where pairs lie.
        distinct: picture folders whose presence alone tells the data set.
        stems: pattern that nearly all picture stems match; "" where stems tell nothing.
        marker: file that has to be there along with the stems, unless the count is as expected.
        stem_lists: (training, validation) text files of stems that make an official split.
    """

    name: str
    title: str
    terms: str
    example: str
    parts: tuple[Part, ...] = ()
    distinct: tuple[str, ...] = ()
    stems: str = ""
    marker: str = ""
    stem_lists: tuple[tuple[str, str], ...] = ()

    @property
    def expected(self) -> int | None:
        """Pairs of a complete download; None where any number is right."""
        counts = [part.expected for part in self.parts]
        return sum(count for count in counts if count is not None) if any(counts) else None


def _pairs(parent: str = "") -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"{parent}{image}", f"{parent}{mask}") for image, mask in product(IMAGE_FOLDERS, MASK_FOLDERS)
    )


def _split_parts(
    train: int | None = None, val: int | None = None, test: int | None = None
) -> tuple[Part, ...]:
    spellings = {
        "training": (("train/", "training/"), train),
        "validation": (("val/", "valid/", "validation/"), val),
        "testing": (("test/", "testing/"), test),
    }
    return tuple(
        Part(split, tuple(pair for parent in parents for pair in _pairs(parent)), count, split)
        for split, (parents, count) in spellings.items()
    )


_PLAIN = Part("training", _pairs())
_LISTS = (("official_train.txt", "official_val.txt"), ("train.txt", "val.txt"))
_PRANET_TESTS = {
    "CVC-300": 60,
    "CVC-ClinicDB": 62,
    "CVC-ColonDB": 380,
    "ETIS-LaribPolypDB": 196,
    "Kvasir": 100,
}
_CLINICDB_FOLDERS = tuple((f"{parent}Original", f"{parent}Ground Truth") for parent in ("", "PNG/", "TIF/"))

DATALIST = Layout(
    "datalist", "JSON datalist", "those of its pictures",
    'dataset.json or datalist.json: {"training": [{"image": "images/a.png", "label": "masks/a.png"}, ...]}',
)  # fmt: skip
PRANET = Layout(
    "pranet", "PraNet polyp benchmark", "research only",
    "TrainDataset/{images,masks}/*.png and TestDataset/{CVC-300,CVC-ClinicDB,...}/{images,masks}/*.png",
    (
        Part("training", _pairs("TrainDataset/"), 1450, "TrainDataset", frames=True),
        *(
            Part("testing", _pairs(f"TestDataset/{name}/"), count, name, frames=name == "CVC-ClinicDB")
            for name, count in _PRANET_TESTS.items()
        ),
    ),
    distinct=("TrainDataset", "TestDataset"),
)  # fmt: skip
CLINICDB = Layout(
    "clinicdb", "CVC-ClinicDB", "research and education only",
    "Original/N.tif and Ground Truth/N.tif (also below PNG/), or images/N.jpg, masks/N.png, sequences.json",
    (Part("training", _CLINICDB_FOLDERS + _pairs(), 612, frames=True),),
    distinct=("Original", "PNG/Original", "TIF/Original"), stems=r"\d{1,3}", marker="sequences.json",
)  # fmt: skip
KVASIR = Layout(
    "kvasir", "Kvasir-SEG", "research and education only",
    "images/cju*.jpg and masks/cju*.jpg, with or without train.txt and val.txt",
    (Part("training", _pairs(), 1000),), stems=r"(?i)cju[0-9a-z]{20,}", stem_lists=_LISTS,
)  # fmt: skip
POLYPGEN = Layout(
    "polypgen", "PolypGen", "CC BY 4.0",
    "{train,val,test}/images/*.jpg and {train,val,test}/masks/*.png",
    _split_parts(1237, 150, 150), stems=r"(?i).*(endocv2021|olcv1_\d+[hs]).*",
)  # fmt: skip
SPLIT_FOLDERS = Layout(
    "split_folders", "Train and test folders", "those of its pictures",
    "train/{images,masks}, and val/{images,masks} or test/{images,masks} beside it",
    _split_parts(),
)  # fmt: skip
FOLDERS = Layout(
    "folders", "Folder pair", "those of its pictures",
    "images/a.jpg and masks/a.png (also image/mask, imgs/gt, Images/GT, masks named a_mask.png)",
    (_PLAIN,), stem_lists=_LISTS,
)  # fmt: skip

# In the order in which a folder is compared with them: the particular before the general.
LAYOUTS = (DATALIST, PRANET, CLINICDB, KVASIR, POLYPGEN, SPLIT_FOLDERS, FOLDERS)


def clinicdb_sequence(frame: int) -> int | None:
    """The video sequence (1 to 29) that a frame (1 to 612) of CVC-ClinicDB is of; None outside.

    Example:
        >>> clinicdb_sequence(25), clinicdb_sequence(26), clinicdb_sequence(613)
        (1, 2, None)
    """
    if frame < 1:
        return None
    return next((i for i, last in enumerate(CLINICDB_LAST_FRAMES, 1) if frame <= last), None)


def find_inside(root: Path, relative: str) -> Path | None:
    """The file or folder at `relative`, its names compared without regard to case; None if not there."""
    place = root
    for name in relative.split("/"):
        if not place.is_dir():
            return None
        alike = sorted(entry.name for entry in place.iterdir() if entry.name.lower() == name.lower())
        if not alike:
            return None
        place = place / (name if name in alike else alike[0])
    return place


def locate(part: Part, root: Path) -> tuple[Path, Path] | None:
    """The folders of pictures and masks of a part, or None where it is not there."""
    for image, mask in part.folders:
        image_dir, mask_dir = find_inside(root, image), find_inside(root, mask)
        if image_dir and mask_dir and image_dir.is_dir() and mask_dir.is_dir():
            return image_dir, mask_dir
    return None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it cannot be read or is not JSON; names the file and the place.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error


def find_datalist(root: Path) -> Path | None:
    """The datalist lying in a folder; a dataset.json of another kind (no "training") is not one."""
    for name in DATALIST_NAMES:
        path = root / name
        if path.is_file():
            document = read_json(path)
            if isinstance(document, dict) and any(key in document for key in (*SPLITS, "test")):
                return path
    return None


def _stems_fit(layout: Layout, image_dirs: list[Path], root: Path) -> bool:
    stems = [file.stem for folder in image_dirs for file in pictures_in(folder)]
    fitting = sum(re.fullmatch(layout.stems, stem) is not None for stem in stems)
    if not stems or fitting < 0.9 * len(stems):
        return False
    return not layout.marker or find_inside(root, layout.marker) is not None or len(stems) == layout.expected


def is_layout(layout: Layout, root: Path) -> bool:
    """Whether a folder looks like a layout: its folders are there and its file names fit."""
    if layout is DATALIST:
        return find_datalist(root) is not None
    located = [(part, found) for part in layout.parts if (found := locate(part, root))]
    if not located:
        return False
    if any(find_inside(root, name) for name in layout.distinct):
        return True
    if layout.distinct and not layout.stems:
        return False
    if len(layout.parts) > 1 and located[0][0].split != "training":
        return False
    return not layout.stems or _stems_fit(layout, [found[0] for _, found in located], root)


def layout_named(name: str) -> Layout:
    """The layout of a name.

    Raises:
        InputError: no layout is called so; lists those that are.
    """
    for layout in LAYOUTS:
        if layout.name == name.lower():
            return layout
    known = ", ".join(layout.name for layout in LAYOUTS)
    raise InputError(f"dataset={name!r} is not known; known are auto, {known}")


def existing_folder(folder: str | os.PathLike[str]) -> Path:
    """The absolute path of a folder, `~` expanded, links kept.

    Raises:
        InputError: it is not there, or is a file.
    """
    path = Path(os.path.abspath(os.path.expanduser(folder)))
    if not path.exists():
        raise InputError(f"dataset_dir={path} is not there; give the folder of the pictures and masks")
    if not path.is_dir():
        raise InputError(f"dataset_dir={path} is a file; give the folder of the pictures and masks")
    return path


def describe_folder(root: Path) -> str:
    """What lies in a folder, for a message: its subfolders with their counts of pictures, its files."""
    told = []
    for entry in sorted(root.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            told.append(f"{entry.name}/ ({sum(map(is_picture, entry.iterdir()))} pictures)")
        elif entry.is_file() and not entry.name.startswith("."):
            told.append(entry.name)
    return first_names(told) if told else "nothing"


def detect(dataset_dir: str | os.PathLike[str]) -> Layout:
    """Recognise the layout of a folder.

    Args:
        dataset_dir: folder as downloaded and unpacked.

    Returns:
        The first layout of the table that fits.

    Raises:
        InputError: the folder is not there or is like no layout; the message lists what was found in it
            and every layout with an example.
    """
    root = existing_folder(dataset_dir)
    for layout in LAYOUTS:
        if is_layout(layout, root):
            return layout
    message = f"{root} is like no layout that is known. Found in it: {describe_folder(root)}."
    inner = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    deeper = [folder for folder in inner[:20] if any(is_layout(layout, folder) for layout in LAYOUTS)]
    if deeper:
        message += f" Data lie one level down: give dataset_dir={first_names(deeper)}."
    known = "".join(f"\n  {layout.name}: {layout.example}" for layout in LAYOUTS)
    raise InputError(f"{message} Known layouts:{known}")
