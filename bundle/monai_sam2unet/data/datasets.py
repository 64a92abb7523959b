"""How a folder is recognised as one of the known layouts."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_sam2unet.data.layouts import DATALIST, DECATHLON, FOLDERS, LAYOUTS, SPLIT_FOLDERS, Layout, Part
from monai_sam2unet.data.listing import Listing
from monai_sam2unet.data.naming import first_names
from monai_sam2unet.errors import InputError

logger = logging.getLogger(__name__)

DATALIST_NAMES = ("dataset.json", "datalist.json")
SPLITS = ("training", "validation", "testing")

# A complete download is told by its count from here on, unless the number is round (ECSSD's 1000): any
# folder may hold so many.
TELLING_COUNT = 300
ROUND_COUNT = 100

# Last frame of each video sequence of CVC-ClinicDB; frames are numbered from 1 without gaps.
CLINICDB_LAST_FRAMES = (
    25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317,
    342, 363, 383, 408, 428, 447, 466, 478, 503, 528, 546, 571, 591, 612,
)  # fmt: skip


@dataclass(frozen=True)
class Located:
    """A part with the folders of its pictures and its masks.

    Attributes:
        part: of the layout.
        images: folder of the pictures.
        masks: folder of the masks; the same one where they lie among the pictures.
        published: whether the folders are called as in the data set as published.
    """

    part: Part
    images: Path
    masks: Path
    published: bool


def clinicdb_sequence(frame: int) -> int | None:
    """The video sequence (1 to 29) that a frame (1 to 612) of CVC-ClinicDB is of; None outside.

    Example:
        >>> clinicdb_sequence(25), clinicdb_sequence(26), clinicdb_sequence(613)
        (1, 2, None)
    """
    if frame < 1:
        return None
    return next((i for i, last in enumerate(CLINICDB_LAST_FRAMES, 1) if frame <= last), None)


def locate(part: Part, listing: Listing) -> Located | None:
    """The folders of pictures and masks of a part, or None where it is not there."""
    for place, (image, mask) in enumerate((*part.folders, *part.other_folders)):
        images, masks = listing.find(image), listing.find(mask)
        if not (images and masks and images.is_dir() and masks.is_dir()):
            continue
        if images != masks or (part.mask_names and listing.count_pictures(images)):
            return Located(part, images, masks, place < len(part.folders))
    return None


def locate_all(layout: Layout, listing: Listing) -> list[Located]:
    """The parts of a layout that are there."""
    return [found for part in layout.parts if (found := locate(part, listing))]


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it cannot be read or is not JSON; names the file and the place.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error


def find_datalist(listing: Listing) -> Path | None:
    """The datalist lying in a folder; a dataset.json of another kind (no "training") is not one."""
    for name in DATALIST_NAMES:
        path = listing.root / name
        if path.is_file():
            document = read_json(path)
            if isinstance(document, dict) and any(key in document for key in (*SPLITS, "test")):
                return path
    return None


def _is_called(layout: Layout, root: Path) -> bool:
    squeezed = re.sub(r"[-_. ]", "", root.name.lower())
    return layout.folder_name != "" and re.fullmatch(layout.folder_name, squeezed) is not None


def _stems_fit(layout: Layout, located: Sequence[Located], listing: Listing) -> bool:
    stems = [stem for found in located for stem in listing.stems(found.images)]
    pattern = re.compile(layout.stems)
    unfit = 0
    for stem in stems:
        unfit += pattern.fullmatch(stem) is None
        if unfit > 0.1 * len(stems):
            return False
    return bool(stems)


def _is_complete(located: Sequence[Located], listing: Listing) -> bool:
    """Whether every part that is there holds as many pictures as published, and their number is telling."""
    counts = [len(listing.stems(found.images)) for found in located]
    total = sum(counts)
    exact = counts == [found.part.expected for found in located]
    return exact and total >= TELLING_COUNT and total % ROUND_COUNT != 0


def _masks_among_pictures(located: Sequence[Located], listing: Listing) -> bool:
    """Whether pictures and their masks lie in one folder, which no general layout takes."""
    return all(
        found.images == found.masks
        and any(re.fullmatch(found.part.mask_names, stem) for stem in listing.stems(found.images))
        and len(listing.stems(found.images)) <= 2 * (found.part.expected or 0)
        for found in located
    )


def _is_decathlon(layout: Layout, listing: Listing) -> bool:
    folder = listing.find("imagesTr")
    volumes = [name for name in listing.names(folder) if ".nii" in name.lower()] if folder else []
    if not volumes:
        return False
    if _is_called(layout, listing.root):
        return True
    return re.fullmatch(layout.stems or ".*", re.split(r"(?i)\.nii", volumes[0])[0]) is not None


def is_layout(layout: Layout, listing: Listing) -> bool:
    """Whether a folder looks like a layout: its folders are there and its file names fit."""
    if layout is DATALIST:
        return find_datalist(listing) is not None and not _is_decathlon(DECATHLON[-1], listing)
    if layout.refused:
        return _is_decathlon(layout, listing)
    located = locate_all(layout, listing)
    if not located:
        return False
    if any(listing.find(name) for name in layout.distinct):
        return True
    if not layout.stems:
        return not layout.distinct and located[0].part.split == "training"
    return _stems_fit(layout, located, listing) and (
        (layout.telling and all(found.published for found in located))
        or _is_called(layout, listing.root)
        or (layout.marker != "" and listing.find(layout.marker) is not None)
        or _is_complete(located, listing)
        or _masks_among_pictures(located, listing)
    )


def may_be(layout: Layout, listing: Listing) -> bool:
    """Whether a folder that is like no particular layout could be an incomplete or renamed one of this."""
    located = locate_all(layout, listing)
    return (
        layout.stems != ""
        and bool(located)
        # Telling stems lack only the published folders; mere numbers in any folders would fit too much.
        and all(found.published or layout.telling for found in located)
        and all(len(listing.stems(found.images)) <= (found.part.expected or 0) for found in located)
        and _stems_fit(layout, located, listing)
    )


def known_names() -> str:
    """What `dataset=` takes, for messages."""
    particular = [layout.name for layout in LAYOUTS if not layout.refused]
    return ", ".join(["auto", *particular, "decathlon_*"])


def layout_named(name: str) -> Layout:
    """The layout of a name.

    Raises:
        InputError: no layout is called so; lists those that are.
    """
    for layout in LAYOUTS:
        if layout.name == name.lower():
            return layout
    hint = ""
    if name.lower() == "msd":
        hint = ": two sets are called MSD, mirror_msd (mirrors) and the Medical Segmentation Decathlon"
    raise InputError(f"dataset={name!r} is not known{hint}; known are {known_names()}")


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


def describe_folder(listing: Listing) -> str:
    """What lies in a folder, for a message: its subfolders with their counts of pictures, its files."""
    told = []
    for name in listing.names(listing.root):
        path = listing.root / name
        told.append(f"{name}/ ({listing.count_pictures(path)} pictures)" if path.is_dir() else name)
    return first_names(told) if told else "nothing"


def detect(dataset_dir: str | os.PathLike[str]) -> Layout:
    """Recognise the layout of a folder.

    Args:
        dataset_dir: folder as downloaded and unpacked.

    Returns:
        The first layout of the table that fits. Where that is a general one, and the folder could be a set
        that is told from others by its folder's name or its count alone, the log says so.

    Raises:
        InputError: the folder is not there or is like no layout; the message lists what was found in it
            and every layout with an example.
    """
    root = existing_folder(dataset_dir)
    listing = Listing(root)
    for layout in LAYOUTS:
        if is_layout(layout, listing):
            if layout in (SPLIT_FOLDERS, FOLDERS):
                _tell_of_others(layout, listing)
            return layout
    message = f"{root} is like no layout that is known. Found in it: {describe_folder(listing)}."
    inner = [root / name for name in listing.names(root) if (root / name).is_dir()]
    deeper = [folder for folder in inner[:20] if _is_any(Listing(folder))]
    if deeper:
        message += f" Data lie one level down: give dataset_dir={first_names(deeper)}."
    examples = {layout.example: layout.name for layout in LAYOUTS if not layout.refused}
    examples[DECATHLON[0].example] = "decathlon_*"
    known = "".join(f"\n  {name}: {example}" for example, name in examples.items())
    raise InputError(f"{message} Known layouts:{known}")


def _is_any(listing: Listing) -> bool:
    return any(is_layout(layout, listing) for layout in LAYOUTS)


def _tell_of_others(layout: Layout, listing: Listing) -> None:
    others = [f"{other.name} ({other.title})" for other in LAYOUTS if may_be(other, listing)]
    if others:
        logger.info(
            "%s is read as %s. Its names fit %s as well: --dataset NAME forces one of them",
            listing.root, layout.name, first_names(others, separator=" or "),
        )  # fmt: skip
