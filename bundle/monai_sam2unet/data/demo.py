"""A synthetic polyp set to try everything with before real data are at hand.

Cartoons of endoscopy frames that a small network learns in minutes. They resemble colonoscopy enough to
show what goes wrong in a pipeline, and say nothing about how a model does on patients.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from monai_sam2unet.data.datasets import read_json
from monai_sam2unet.data.scenes import (
    Draws,
    Scene,
    add_distractors,
    add_folds,
    add_polyp,
    add_vessels,
    finish,
    make_patient,
    start_scene,
)
from monai_sam2unet.errors import InputError
from monai_sam2unet.files import write_json
from monai_sam2unet.pictures import write_png

logger = logging.getLogger(__name__)

SIZES = ((192, 160), (160, 176), (208, 144), (176, 176), (224, 168), (150, 190))  # width, height, pixels
FRAMES_PER_PATIENT = 4
FRAMES_PER_NEGATIVE = 8
_VERSION = 1  # of the drawing: to be raised when the pictures change, so that old folders are drawn anew

Picture = NDArray[np.uint8]


def _is_negative(index: int, seed: int) -> bool:
    """One frame of every eight, at a random place among them, shows no polyp."""
    block, place = divmod(index, FRAMES_PER_NEGATIVE)
    return int(Draws(seed, 2, block).uniform(0.0, FRAMES_PER_NEGATIVE)) == place


def _place_polyps(scene: Scene, number: int) -> list[tuple[tuple[float, float], float]]:
    """Centres and radii of polyps that lie mostly within view and do not touch."""
    u = scene.draws.uniform
    wide = float(scene.x.max())
    tall = float(scene.y.max())
    placed: list[tuple[tuple[float, float], float]] = []
    for _ in range(40):
        if len(placed) == number:
            break
        size = 0.17 + 0.38 * u() ** 1.3
        centre = (u(-0.68, 0.68) * wide, u(-0.68, 0.68) * tall)
        apart = all(np.hypot(centre[0] - c[0], centre[1] - c[1]) > 1.4 * (size + s) for c, s in placed)
        inside = np.hypot(centre[0] / wide, centre[1] / tall) + 0.4 * size < 0.9
        if apart and inside:
            placed.append((centre, size))
    return placed


def _to_bytes(picture: NDArray[np.float64]) -> Picture:
    # Rounding to six digits first: a difference in the last bit between two libm never decides a value.
    return np.floor(np.round(picture * 255.0, 6) + 0.5).astype(np.uint8)


def draw_case(
    seed_index: int, seed: int = 0, size: tuple[int, int] = (192, 160), *, negative: bool | None = None
) -> tuple[Picture, Picture]:
    """Draw one frame and its mask.

    Args:
        seed_index: number of the frame, at least 0; four in a row are of one patient.
        seed: of the set, at least 0.
        size: width and height, at least 32 pixels each.
        negative: whether to leave polyps out; None leaves them out of one frame of eight.

    Returns:
        Picture (H, W, 3) and mask (H, W; 0 or 255), uint8, the same on every computer.

    Raises:
        InputError: a number is negative or the size too small.

    Example:
        >>> picture, mask = draw_case(0, size=(96, 64))
        >>> picture.shape, mask.shape
        ((64, 96, 3), (64, 96))
    """
    if seed_index < 0 or seed < 0 or min(size) < 32:
        raise InputError(f"seed_index, seed must be at least 0, size 32x32; got {seed_index}, {seed}, {size}")
    draws = Draws(seed, 0, seed_index)
    scene = start_scene(draws, make_patient((seed, 1, seed_index // FRAMES_PER_PATIENT)), size)
    add_vessels(scene)
    add_folds(scene)
    without = _is_negative(seed_index, seed) if negative is None else negative
    number = 0 if without else 1 + draws.chance(0.15)
    covers = [add_polyp(scene, centre, radius) for centre, radius in _place_polyps(scene, number)]
    add_distractors(scene)
    picture, seen = finish(scene)
    mask = np.zeros(scene.shape, dtype=np.uint8)
    for cover in covers:
        mask[np.round(cover * seen, 6) >= 0.5] = 255
    return _to_bytes(picture), mask


def _document(train: int, validation: int, seed: int) -> dict[str, Any]:
    # Validation begins with a new patient, so that no patient stands on both sides.
    first = -(-train // FRAMES_PER_PATIENT) * FRAMES_PER_PATIENT
    numbers = {"training": range(train), "validation": range(first, first + validation)}
    listed = {
        split: [
            {
                "image": f"images/{i:04d}.png",
                "label": f"masks/{i:04d}.png",
                "group": f"patient-{i // FRAMES_PER_PATIENT:03d}",
            }
            for i in frames
        ]
        for split, frames in numbers.items()
    }
    about = {"version": _VERSION, "train": train, "validation": validation, "seed": seed}
    head = {"name": "Synthetic polyps", "dataset": "demo", "rule": "by patient, as drawn", "demo": about}
    return {**head, **listed}


def _is_complete(folder: Path, document: dict[str, Any]) -> bool:
    path = folder / "dataset.json"
    if not path.is_file() or read_json(path) != document:
        return False
    files = [folder / item[key] for split in ("training", "validation") for item in document[split]
             for key in ("image", "label")]  # fmt: skip
    return all(file.is_file() and file.stat().st_size > 0 for file in files)


def _is_ours(folder: Path) -> bool:
    """Whether a folder may be drawn over: empty, or a demonstration set of an earlier call."""
    if not folder.is_dir():
        return not folder.exists()
    path = folder / "dataset.json"
    if not path.is_file():
        return not any(folder.iterdir())
    document = read_json(path)
    return isinstance(document, dict) and "demo" in document


def _move_into_place(draft: Path, folder: Path) -> None:
    """Put the finished folder where the old one was; the old one goes only once the new one is ready."""
    old = folder.with_name(f".{folder.name}.{uuid4().hex}.old")
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_demo(folder: str | os.PathLike[str], train: int = 240, validation: int = 48, seed: int = 0) -> Path:
    """Draw the set anew.

    Args:
        folder: where to; gets images/, masks/ and dataset.json, all at once when all are drawn.
        train: frames to train on, at least 1.
        validation: frames of other patients, at least 0.
        seed: of the set, at least 0.

    Returns:
        The absolute folder.

    Raises:
        InputError: the folder holds something else than a set drawn earlier, or a number is too small.
    """
    target = Path(folder).expanduser().absolute()
    _draw_into(target, train, validation, seed, keep_complete=False)
    return target


def _draw_into(target: Path, train: int, validation: int, seed: int, keep_complete: bool) -> None:
    if train < 1 or validation < 0:
        raise InputError(f"train must be at least 1 and validation at least 0, got {train} and {validation}")
    if not _is_ours(target):
        raise InputError(f"{target} holds other files; give an empty or new folder for the demonstration set")
    document = _document(train, validation, seed)
    draft = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
    try:
        for split in ("training", "validation"):
            for item in document[split]:
                number = int(Path(item["image"]).stem)
                picture, mask = draw_case(number, seed, SIZES[number % len(SIZES)])
                write_png(draft / item["image"], picture)
                write_png(draft / item["label"], mask)
        write_json(draft / "dataset.json", document)
        # Several processes of one training may draw at once: the first to finish is kept.
        if not (keep_complete and _is_complete(target, document)):
            _move_into_place(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    logger.info("drew %d training and %d validation pictures into %s", train, validation, target)


def ensure_demo(
    folder: str | os.PathLike[str], train: int = 240, validation: int = 48, seed: int = 0
) -> Path:
    """Draw the set unless a complete one with the same numbers is there already.

    Args:
        folder: see `write_demo`.
        train: see `write_demo`.
        validation: see `write_demo`.
        seed: see `write_demo`.

    Returns:
        The absolute folder.

    Raises:
        InputError: see `write_demo`.
    """
    target = Path(folder).expanduser().absolute()
    if target.is_dir() and _is_ours(target) and _is_complete(target, _document(train, validation, seed)):
        logger.info("the demonstration set in %s is complete", target)
        return target
    _draw_into(target, train, validation, seed, keep_complete=True)
    return target
