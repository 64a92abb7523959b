"""Pair each picture with its mask by name.

Pairing is by stem, never by the order of a sort: one missing file would otherwise shift every mask
after it by one, which trains without an error. A stem is the name without its suffix, after a prefix
and a suffix of the kind ``_mask`` or ``p`` are taken off. Pictures in subfolders pair with masks in the
subfolders of the same name. Where masks lie among the pictures, a pattern tells them apart, and a picture
may have several masks, whose union is meant.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from monai_sam2unet.data.listing import LISTED_SUFFIXES, VOLUME_SUFFIXES, pictures_in
from monai_sam2unet.data.naming import counted, first_names, log_all
from monai_sam2unet.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Affix:
    """What to take off both ends of a stem before it is compared."""

    prefix: str = ""
    suffix: str = ""

    def strip(self, stem: str) -> str:
        """Take the prefix and the suffix off where they are there; never empties a stem.

        Example:
            >>> Affix(suffix="_segmentation").strip("ISIC_0000001_segmentation")
            'ISIC_0000001'
        """
        rest = stem.removeprefix(self.prefix)
        rest = rest.removesuffix(self.suffix)
        return rest or stem


# (of the picture, of the mask). One choice holds for a whole folder: the one that pairs most files.
KNOWN_AFFIXES: tuple[tuple[Affix, Affix], ...] = (
    (Affix(), Affix()),
    (Affix(), Affix(suffix="_mask")),
    (Affix(), Affix(suffix="-mask")),
    (Affix(), Affix(prefix="mask_")),
    (Affix(), Affix(suffix="_segmentation")),  # ISIC
    (Affix(), Affix(suffix="_seg")),
    (Affix(), Affix(suffix="_gt")),
    (Affix(), Affix(prefix="gt_")),
    (Affix(), Affix(suffix="_label")),
    (Affix(), Affix(prefix="p")),  # ETIS-Larib: ground truth p12.tif beside 12.tif
    (Affix(prefix="image_"), Affix(prefix="mask_")),
    (Affix(prefix="img_"), Affix(prefix="mask_")),
    (Affix(suffix="_image"), Affix(suffix="_mask")),
    (Affix(suffix="_training"), Affix(suffix="_manual1")),  # DRIVE: 21_training.tif and 21_manual1.gif
    (Affix(suffix="_test"), Affix(suffix="_manual1")),
)


@dataclass(frozen=True)
class Pair:
    """One picture and its mask.

    Attributes:
        key: what both have in common (``subfolder/stem``).
        image: file of the picture.
        mask: file of the mask.
        more_masks: further masks of the same picture; the union of all is meant.
    """

    key: str
    image: Path
    mask: Path
    more_masks: tuple[Path, ...] = ()


class PairingError(InputError):
    """Pictures and masks do not pair one to one.

    Attributes:
        unmatched_images: pictures without a mask.
        unmatched_masks: masks without a picture.
        duplicates: key to the files of one folder that share it.
    """

    def __init__(
        self,
        message: str,
        unmatched_images: Sequence[Path] = (),
        unmatched_masks: Sequence[Path] = (),
        duplicates: Mapping[str, Sequence[Path]] | None = None,
    ) -> None:
        super().__init__(message)
        self.unmatched_images = list(unmatched_images)
        self.unmatched_masks = list(unmatched_masks)
        self.duplicates = {key: list(files) for key, files in (duplicates or {}).items()}


def _by_key(files: Iterable[Path], folder: Path, affix: Affix) -> dict[str, list[Path]]:
    keyed: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        inner = file.relative_to(folder)
        keyed[inner.with_name(affix.strip(inner.stem)).as_posix()].append(file)
    return keyed


def choose_affixes(
    images: Sequence[Path],
    masks: Sequence[Path],
    image_dir: Path,
    mask_dir: Path,
    candidates: Sequence[tuple[Affix, Affix]] = KNOWN_AFFIXES,
) -> tuple[Affix, Affix]:
    """Choose the prefixes and suffixes under which most pictures find a mask; the first of equals."""
    best, most = candidates[0], -1
    for image_affix, mask_affix in candidates:
        by_image, by_mask = _by_key(images, image_dir, image_affix), _by_key(masks, mask_dir, mask_affix)
        if (matches := len(by_image.keys() & by_mask.keys())) > most:
            best, most = (image_affix, mask_affix), matches
        if most == len(images):  # nothing is better, and each candidate takes a while on a large set
            break
    return best


def _explain(
    images: Sequence[Path], masks: Sequence[Path], duplicates: Mapping[str, Sequence[Path]], folder: str
) -> str:
    parts = []
    if images:
        names = first_names(file.name for file in images)
        parts.append(f"{counted(len(images), 'picture')} without a mask: {names}")
    if masks:
        names = first_names(file.name for file in masks)
        parts.append(f"{counted(len(masks), 'mask')} without a picture: {names}")
    if duplicates:
        names = first_names(" = ".join(file.name for file in files) for files in duplicates.values())
        parts.append(f"{counted(len(duplicates), 'name')} there more than once: {names}")
    return f"{folder}: " + "; ".join(parts)


def _tell_unmatched(
    images: Sequence[Path],
    masks: Sequence[Path],
    duplicates: Mapping[str, Sequence[Path]],
    where: str,
    may_go_on: bool = False,
) -> None:
    """Raise PairingError if a file has no partner; where the work may go on without it, log it."""
    if not (duplicates or images or masks):
        return
    message = _explain(images, masks, duplicates, where)
    if may_go_on and not duplicates:
        logger.warning("left out: %s", message)
        return
    hint = "; give every picture one mask of the same name, or take the files named out of the folder"
    log_all("pictures without a mask", images)
    log_all("masks without a picture", masks)
    raise PairingError(message + hint, images, masks, duplicates)


def pair_files(
    images: Sequence[Path],
    masks: Sequence[Path],
    image_dir: Path,
    mask_dir: Path,
    *,
    image_affix: Affix = Affix(),
    mask_affix: Affix = Affix(),
    unmatched: str = "error",
) -> list[Pair]:
    """Pair pictures with masks by stem.

    Args:
        images: pictures below `image_dir`.
        masks: masks below `mask_dir`.
        image_dir: folder that the pictures' subfolders are relative to.
        mask_dir: folder that the masks' subfolders are relative to.
        image_affix: what to take off a picture's stem.
        mask_affix: what to take off a mask's stem.
        unmatched: "error", or "warn" to log the unmatched files and go on without them.

    Returns:
        Pairs sorted by key.

    Raises:
        PairingError: files are unmatched (unless "warn"), or two files of one folder share a key.
    """
    if unmatched not in ("error", "warn"):
        raise ValueError(f'unmatched must be "error" or "warn", got {unmatched!r}')
    by_image = _by_key(images, image_dir, image_affix)
    by_mask = _by_key(masks, mask_dir, mask_affix)
    duplicates = {
        key: files for keyed in (by_image, by_mask) for key, files in sorted(keyed.items()) if len(files) > 1
    }
    lone_images = [by_image[key][0] for key in sorted(by_image.keys() - by_mask.keys())]
    lone_masks = [by_mask[key][0] for key in sorted(by_mask.keys() - by_image.keys())]
    where = f"{image_dir} with {mask_dir.name}"
    _tell_unmatched(lone_images, lone_masks, duplicates, where, may_go_on=unmatched == "warn")
    return [Pair(key, by_image[key][0], by_mask[key][0]) for key in sorted(by_image.keys() & by_mask.keys())]


def pair_folders(
    image_dir: Path,
    mask_dir: Path,
    *,
    affixes: Sequence[tuple[Affix, Affix]] = KNOWN_AFFIXES,
    unmatched: str = "error",
    keep: str = "",
    others: Collection[str] = (),
) -> list[Pair]:
    """Pair the pictures of one folder with the masks of another.

    Args:
        image_dir: folder of pictures, searched with its subfolders.
        mask_dir: folder of masks, likewise.
        affixes: (picture, mask) affixes to choose from; the choice holds for the whole folder.
        unmatched: "error" or "warn", see `pair_files`.
        keep: what the stems that are used look like (``*`` stands for anything, "" is all); pictures and
            masks of other names are left out, and the log says how many.
        others: stems of pictures elsewhere, whose masks lie in `mask_dir`, too.

    Returns:
        Pairs sorted by key, at least one.

    Raises:
        PairingError: see `pair_files`.
        InputError: one of the folders holds no picture.
    """
    images = _kept(image_dir, keep)
    masks = [mask for mask in _kept(mask_dir, keep, "masks") if mask.stem not in others]
    of_image, of_mask = choose_affixes(images, masks, image_dir, mask_dir, affixes)
    pairs = pair_files(
        images, masks, image_dir, mask_dir, image_affix=of_image, mask_affix=of_mask, unmatched=unmatched
    )
    if not pairs:
        raise PairingError(f"no picture of {image_dir} has a mask in {mask_dir}", images, masks)
    return pairs


def _kept(folder: Path, keep: str, what: str = "pictures") -> list[Path]:
    """The pictures of a folder whose stem matches, at least one."""
    files = pictures_in(folder)
    kept = [file for file in files if fnmatchcase(file.stem.lower(), keep.lower() or "*")]
    if not kept:
        named = f"called {keep}" if files else f"({', '.join(LISTED_SUFFIXES)})"
        volumes = any(path.name.lower().endswith(VOLUME_SUFFIXES) for path in folder.rglob("*"))
        hint = "; it holds volumes, for which configs/volume.json is laid over train.json" if volumes else ""
        raise InputError(f"{folder} holds no picture {named}{hint}")
    if len(kept) < len(files):
        logger.info("%s: %d %s not called %s are left out", folder, len(files) - len(kept), what, keep)
    return kept


def pair_among(folder: Path, mask_names: str) -> list[Pair]:
    """Pair pictures with masks that lie in the same folder.

    Args:
        folder: searched with its subfolders.
        mask_names: pattern of a mask's stem; its first group is the picture's stem. Files whose stem it
            does not match are pictures.

    Returns:
        Pairs sorted by key, at least one, each with all masks of its picture.

    Raises:
        PairingError: a picture has no mask, a mask no picture, or two pictures share a stem.
        InputError: the folder holds no picture.
    """
    images: dict[str, list[Path]] = defaultdict(list)
    masks: dict[str, list[Path]] = defaultdict(list)
    for file in _kept(folder, ""):
        inner = file.relative_to(folder)
        found = re.fullmatch(mask_names, inner.stem)
        key = inner.with_name(found[1] if found else inner.stem).as_posix()
        (masks if found else images)[key].append(file)
    _tell_unmatched(
        [images[key][0] for key in sorted(images.keys() - masks.keys())],
        [file for key in sorted(masks.keys() - images.keys()) for file in masks[key]],
        {key: files for key, files in sorted(images.items()) if len(files) > 1},
        str(folder),
    )
    return [Pair(key, images[key][0], masks[key][0], tuple(masks[key][1:])) for key in sorted(images)]
