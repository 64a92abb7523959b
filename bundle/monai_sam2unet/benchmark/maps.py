"""Ready-made maps: found by the case's name, read as they are; and masks with their grey values.

Shapes: ``H`` rows, ``W`` columns of one picture.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from monai_sam2unet.benchmark.sets import EvaluationSet
from monai_sam2unet.data.listing import pictures_in
from monai_sam2unet.data.naming import counted
from monai_sam2unet.errors import InputError, listed
from monai_sam2unet.networks.weights.pretrained import sha256_of
from monai_sam2unet.pictures import open_mask_and_grey

__all__ = ["Masks", "find_maps", "fitted", "maps_sha256", "read_grey", "read_masks"]

Bytes = npt.NDArray[np.uint8]
Masks = tuple[Bytes, Bytes]


def find_maps(folder: str | os.PathLike[str], found: EvaluationSet, alone: bool) -> list[Path]:
    """The map of each case of a set.

    Args:
        folder: where the maps lie, or their subfolders, one for each set.
        found: the set.
        alone: whether it is the only set, whose maps may lie in the folder itself.

    Returns:
        Files, in the order of the set's items.

    Raises:
        InputError: if the folder is not there, a case has no map, or a map no case; the first are named.
    """
    root = Path(os.path.expanduser(folder))
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder of the maps, --predictions DIR")
    place = _subfolder(root, found, alone)
    files: dict[str, list[Path]] = {}
    for file in pictures_in(place):
        files.setdefault(file.relative_to(place).with_suffix("").as_posix(), []).append(file)
    if twice := [names for names in files.values() if len(names) > 1]:
        names = listed(" = ".join(file.name for file in same) for same in twice)
        raise InputError(f"{place}: {names} are maps of one case; keep one of each")
    keys = {item["case"]: _key(item["case"], files) for item in found.items}
    missing = [case for case, key in keys.items() if not key]
    extra = sorted(files.keys() - set(keys.values()))
    problems = []
    if missing:
        problems.append(f"{counted(len(missing), 'case')} without a map: {listed(missing)}")
    if extra:
        problems.append(f"{counted(len(extra), 'map')} without a case: {listed(extra)}")
    if problems:
        raise InputError(
            f"{place} for {found.name}, {found.part}: {'; '.join(problems)}; every picture needs one map of "
            "its name, and nothing else may lie there"
        )
    _check_unshared(place, keys)
    return [files[key][0] for key in keys.values()]


def _subfolder(root: Path, found: EvaluationSet, alone: bool) -> Path:
    """The subfolder that is called like the set, or the folder itself if there is but one set."""
    inner = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    for name in (*found.folder_names, found.file_name):
        if name.lower() in inner:
            return inner[name.lower()]
    if alone:
        return root
    raise InputError(
        f"{root}: no subfolder for {found.name}, expected one called {' or '.join(found.folder_names)}; with "
        "several sets each has its own"
    )


def _key(case: str, files: dict[str, list[Path]]) -> str:
    """The map's path without suffix: that of the case, or as much of its end as is there."""
    parts = case.split("/")
    tails = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((tail for tail in tails if tail in files), "")


def _check_unshared(place: Path, keys: dict[str, str]) -> None:
    """See that no map stands for two cases."""
    seen: dict[str, str] = {}
    for case, key in keys.items():
        if key in seen:
            raise InputError(
                f"{place}: map {key} could be of {seen[key]} and of {case}; put the maps into the pictures' "
                "subfolders"
            )
        seen[key] = case


def maps_sha256(found: EvaluationSet, files: Sequence[Path]) -> str:
    """SHA-256 over one line for each case: case and SHA-256 of its map's file, with a tab between them."""
    digest = hashlib.sha256()
    for item, file in zip(found.items, files, strict=True):
        digest.update(f"{item['case']}\t{sha256_of(file)}\n".encode())
    return digest.hexdigest()


def read_grey(path: str | os.PathLike[str]) -> Bytes:
    """The grey values of a picture of 8 bits, unchanged.

    Args:
        path: the file. Of colour, the luminance is taken, as the benchmarks' programs do.

    Returns:
        (H, W), uint8.

    Raises:
        InputError: if it cannot be read, or has more than 8 bits.
    """
    try:
        with Image.open(path) as image:
            deep = image.mode == "F" or image.mode.startswith("I")
            grey = None if deep else np.array(ImageOps.exif_transpose(image).convert("L"))
    except Exception as e:  # Pillow's plug-ins raise OSError, SyntaxError, ValueError, ...
        raise InputError(f"{path}: cannot be decoded ({e}); replace the file") from e
    if grey is None:
        raise InputError(f"{path}: more than 8 bits a pixel; write maps as 8-bit grey, 0 to 255")
    return grey


def read_masks(paths: Sequence[str | os.PathLike[str]]) -> Masks:
    """A picture's mask in two forms; of several masks the union.

    Args:
        paths: its files.

    Returns:
        (H, W) each. The grey values as stored, which the benchmarks' protocols put their own thresholds to;
        and 0 and 255 as the whole bundle reads masks. Where the values are not those of an 8-bit mask
        (0 and 1, 16 bits, a dark colour), both are the latter.

    Raises:
        InputError: if a file cannot be read, or their sizes differ.
    """
    masks: Masks | None = None
    for path in paths:
        grey, binary = _mask_forms(path)
        if masks is None:
            masks = grey, binary
        elif masks[1].shape != binary.shape:
            raise InputError(f"{path}: other size than {paths[0]}; masks of one picture must be of its size")
        else:
            masks = np.maximum(masks[0], grey), np.maximum(masks[1], binary)
    if masks is None:
        raise InputError("a picture without a mask cannot be scored; give every picture a mask")
    return masks


def _mask_forms(path: str | os.PathLike[str]) -> Masks:
    """Grey values of a mask, if what they say above half is what the bundle sees at all; and 0 and 255."""
    mask, levels = open_mask_and_grey(path)
    binary = np.asarray(mask)
    grey = binary if levels is None else np.asarray(levels)
    return grey if grey.max() > 127 or not binary.any() else binary, binary


def fitted(levels: Bytes, shape: tuple[int, ...], path: Any, resize: bool) -> Bytes:
    """A map of its mask's size.

    Args:
        levels: (H, W), the map.
        shape: of the mask.
        path: file of the map, for the message.
        resize: whether to resize it if it has another size: bilinearly, without antialiasing, then rounded.

    Raises:
        InputError: if the sizes differ and it is not to be resized.
    """
    if levels.shape == shape:
        return levels
    if not resize:
        (h, w), (height, width) = levels.shape, shape
        raise InputError(
            f"{path}: the map is {h}x{w} (height x width), its mask {height}x{width}; resize the prediction "
            "to the mask, or give --resize to have that done bilinearly"
        )
    floats = torch.from_numpy(levels).float()[None, None]
    larger = F.interpolate(floats, size=shape, mode="bilinear", align_corners=False)
    return larger[0, 0].round().to(torch.uint8).numpy()
