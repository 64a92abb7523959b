"""Read every file once before hours of training depend on it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from monai_sam2unet.data.naming import counted, first_names, label_files, log_all
from monai_sam2unet.errors import InputError
from monai_sam2unet.io import GivenWindow, open_image
from monai_sam2unet.labels import LabelReader

logger = logging.getLogger(__name__)

NEXT_LINE = "\n  "  # reasons are long: one a line

Given = TypeVar("Given")
Found = TypeVar("Found")


@dataclass(frozen=True)
class PairCheck:
    """What reading all pairs found.

    Attributes:
        pairs: how many were read.
        empty: cases whose mask holds no foreground, sorted.
        seconds: how long it took.
        cases: by name of the class the cases in which it occurs, sorted.
    """

    pairs: int
    empty: tuple[str, ...]
    seconds: float
    cases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class CheckError(InputError):
    """Some files cannot be trained on.

    Attributes:
        unreadable: file to the reason.
        mismatched: case to the (width, height) of its picture and of its mask, in pixels.
    """

    def __init__(
        self,
        message: str,
        unreadable: Mapping[Path, str],
        mismatched: Mapping[str, tuple[tuple[int, int], tuple[int, int]]],
    ) -> None:
        super().__init__(message)
        self.unreadable = dict(unreadable)
        self.mismatched = dict(mismatched)


@dataclass(frozen=True)
class _Read:
    """One pair: what cannot be read, sizes of picture and mask, pixels of each class and in all."""

    case: str
    failed: dict[Path, str]
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None
    pixels: tuple[int, ...] = ()
    area: int = 0


def _read_pair(item: Mapping[str, Any], labels: LabelReader, window: GivenWindow | None) -> _Read:
    failed: dict[Path, str] = {}
    image = Path(item["image"])
    size = None
    masks = []
    try:
        size = open_image(image, window).size
    except InputError as error:
        failed[image] = str(error)
    files = [Path(file) for file in label_files(item)]
    # masks of one structure are read one by one, so that each that cannot be is named
    for given in [[file] for file in files] if labels.plain else [files]:
        try:
            masks.append(labels.read(given))
        except InputError as error:
            failed[given[0]] = str(error)
    case = item.get("case", str(image))
    if size is None or failed:
        return _Read(case, failed)
    found = [(mask.shape[2], mask.shape[1]) for mask in masks]
    other = next((own for own in found if own != size), size)
    pixels = sum(np.count_nonzero(mask[: len(labels.names)], axis=(1, 2)) for mask in masks)
    return _Read(case, failed, (size, other), tuple(np.atleast_1d(pixels).tolist()), size[0] * size[1])


def _in_threads(read: Callable[[Given], Found], given: Sequence[Given], workers: int | None) -> list[Found]:
    """Results in the order given, so that messages do not depend on which thread was first."""
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    # Decoding leaves Python's lock; beyond eight threads the disk decides.
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(read, given))


def _warn_of_empty(empty: Sequence[str], pairs: int) -> None:
    if pairs and len(empty) == pairs:
        logger.warning("all %d masks are empty: nothing to learn; are they the right files?", pairs)
    elif empty:
        logger.warning("%d of %d masks are empty (no lesion): %s", len(empty), pairs, first_names(empty))


def _occurrences(results: Sequence[_Read], labels: LabelReader) -> dict[str, tuple[str, ...]]:
    """The cases of each class; the log says how many, and what part of all pixels each class has."""
    area = sum(result.area for result in results)
    cases = {}
    for k, name in enumerate(labels.names):
        cases[name] = tuple(sorted(result.case for result in results if result.pixels[k]))
        if not labels.plain:
            share = 100 * sum(result.pixels[k] for result in results) / max(area, 1)
            told = (name, len(cases[name]), len(results), share)
            logger.info("class %s: in %d of %d pictures, %.2f %% of all pixels", *told)
    return cases


def check_pairs(
    items: Sequence[Mapping[str, Any]],
    workers: int | None = None,
    labels: LabelReader | None = None,
    window: GivenWindow | None = None,
) -> PairCheck:
    """Decode every picture and mask fully.

    Args:
        items: dictionaries with "image", "label" (one mask or label map, or a list of the masks of one
            picture) and "case".
        workers: threads, at least 1; None for one per processor, at most 8.
        labels: what reads masks; None for those of one structure.
        window: grey levels of pictures, see `monai_sam2unet.io.open_image`.

    Returns:
        Counts, the cases with empty masks, and those of each class. Empty masks are logged as a warning: they
        are right for frames without a lesion and wrong nearly everywhere else.

    Raises:
        CheckError: files cannot be read (a label map also if it holds values or colours that mean nothing),
            or a mask's size is not its picture's; names all of them in its attributes and the first ten in
            its message.
    """
    labels = LabelReader() if labels is None else labels
    start = time.perf_counter()
    results = _in_threads(partial(_read_pair, labels=labels, window=window), items, workers)
    failed = {file: reason for result in results for file, reason in result.failed.items()}
    mismatched = {r.case: r.sizes for r in results if r.sizes is not None and r.sizes[0] != r.sizes[1]}
    problems = []
    if failed:
        named = first_names(failed.values(), separator=NEXT_LINE)
        problems.append(f"{counted(len(failed), 'file')} cannot be read:\n  {named}")
    if mismatched:
        told = (
            f"{case} (picture {image[0]}x{image[1]}, mask {mask[0]}x{mask[1]})"
            for case, (image, mask) in mismatched.items()
        )
        named = first_names(told, separator=NEXT_LINE)
        problems.append(f"{len(mismatched)} masks have another size than their picture:\n  {named}")
    if problems:
        log_all("files that cannot be read", failed.values())
        log_all("cases whose mask has another size", mismatched)
        raise CheckError("\n".join(problems), failed, mismatched)
    empty = tuple(sorted(result.case for result in results if not any(result.pixels)))
    seconds = time.perf_counter() - start
    logger.info("read %d pairs of picture and mask in %.1f s", len(results), seconds)
    _warn_of_empty(empty, len(results))
    return PairCheck(len(results), empty, seconds, _occurrences(results, labels))


def _reason(path: Path, window: GivenWindow | None) -> str:
    try:
        open_image(path, window)
    except InputError as error:
        return str(error)
    return ""


def unreadable(
    paths: Iterable[str | os.PathLike[str]], workers: int | None = None, window: GivenWindow | None = None
) -> dict[Path, str]:
    """Tell which pictures cannot be read.

    Args:
        paths: pictures.
        workers: threads, see `check_pairs`.
        window: likewise.

    Returns:
        The reason of each that cannot; empty if all can.
    """
    files = [Path(path) for path in paths]
    reasons = _in_threads(partial(_reason, window=window), files, workers)
    return {file: reason for file, reason in zip(files, reasons, strict=True) if reason}
