"""Find pictures and patients that stand on both sides of a split, or in two data sets.

Fingerprints of all pictures are compared by their hashes, which is fast, and the candidates so found by
their thumbnails, which is sure. docs/leakage.md has the measurements behind the constants.

Shapes: N pictures, V = 4 orientations, S = 48 pixels of a thumbnail's side.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from monai_sam2unet.data.datalist import DataLists
from monai_sam2unet.data.fingerprints import (
    ORIENTATIONS,
    Fingerprint,
    aligned_correlation,
    correlations,
    fingerprint,
    turn,
)
from monai_sam2unet.errors import InputError
from monai_sam2unet.io import open_image

__all__ = ["Leakage", "Match", "Picture", "Portion", "SharedGroup", "find_leakage"]

MAX_DISTANCE = 14  # bits of 64 in which the hashes of candidates may differ
MIN_LIKENESS = 0.8  # correlation of candidates' thumbnails as they are; spares the slow check most work
MIN_CORRELATION = 0.85  # of aligned thumbnails, from which on two pictures are reported
BLOCK = 128  # pictures compared with all others at a time: bounds the memory
CHUNK = 1024  # candidates whose thumbnails are compared at a time: frames of a video are all candidates

# Folders that say where a group's pictures lie rather than whose they are.
PLACES = frozenset(
    ("train", "training", "val", "valid", "validation", "test", "testing", "traindataset", "testdataset",
     "image", "images", "img", "imgs")
)  # fmt: skip
Given = TypeVar("Given")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Portion:
    """One split ("train", "validation", "test") of one data set."""

    dataset: str
    split: str

    def __str__(self) -> str:
        return f"{self.dataset} {self.split}"


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that was read: its file, where it stands, and what it is compared by."""

    path: Path
    portion: Portion
    fingerprint: Fingerprint = field(repr=False)


@dataclass(frozen=True, eq=False)
class Match:
    """Two pictures that show the same.

    Attributes:
        first: one picture.
        second: the other.
        kind: "exact" (same pixels) or "near".
        orientation: what makes the second like the first, one of `ORIENTATIONS`.
        distance: bits of 64 in which their hashes differ.
        correlation: of the aligned thumbnails, at most 1.
    """

    first: Picture
    second: Picture
    kind: str
    orientation: str
    distance: int
    correlation: float

    @property
    def crosses(self) -> bool:
        """Whether the two stand in different splits or sets."""
        return self.first.portion != self.second.portion


@dataclass(frozen=True)
class SharedGroup:
    """A patient or sequence with pictures in two splits of a set."""

    name: str
    first: Portion
    second: Portion


@dataclass(frozen=True)
class Leakage:
    """What was found.

    Attributes:
        portions: number of pictures of each split of each set, unreadable ones included.
        matches: pairs of pictures: those that cross before others, exact before near, then by correlation.
        groups: patients or sequences on two sides.
        flat: uniform pictures, which were compared by their pixels alone.
        unreadable: file to the reason.
        seconds: how long it took.
    """

    portions: dict[Portion, int]
    matches: tuple[Match, ...]
    groups: tuple[SharedGroup, ...]
    flat: tuple[Path, ...]
    unreadable: dict[Path, str]
    seconds: float

    @property
    def crosses(self) -> bool:
        """Whether a picture or a group stands on two sides."""
        return bool(self.groups) or any(match.crosses for match in self.matches)

    def counts(self) -> dict[tuple[Portion, Portion], Counter[str]]:
        """Numbers of "exact", "near" and "group" of each two portions that share any, in the order given."""
        counted: defaultdict[tuple[Portion, Portion], Counter[str]] = defaultdict(Counter)
        for match in self.matches:
            counted[match.first.portion, match.second.portion][match.kind] += 1
        for group in self.groups:
            counted[group.first, group.second]["group"] += 1
        order = {portion: place for place, portion in enumerate(self.portions)}
        return dict(sorted(counted.items(), key=lambda pair: [order[portion] for portion in pair[0]]))


def find_leakage(
    lists: Mapping[str, DataLists],
    *,
    within: bool = False,
    workers: int | None = None,
    progress: bool = False,
) -> Leakage:
    """Compare the pictures of every split of every set with those of all others.

    Args:
        lists: name of each set to its cases.
        within: also compare the pictures of one split with each other.
        workers: threads, at least 1; None for one per processor, at most 8.
        progress: show bars on a terminal.

    Returns:
        What stands on two sides. A file that cannot be read is named there and ends nothing.

    Raises:
        InputError: workers is less than 1.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    start = time.perf_counter()
    items = [
        (Portion(name, split), item)
        for name, found in lists.items()
        for split, part in (("train", found.train), ("validation", found.validation), ("test", found.test))
        for item in part
    ]
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        files = [(portion, Path(item["image"])) for portion, item in items]
        read = _in_threads(pool, _read, files, "Reading", progress)
        pictures = [picture for picture in read if isinstance(picture, Picture)]
        candidates = list(_candidates(pictures, within))
        checked = _in_threads(pool, partial(_check, pictures), candidates, "Comparing", progress)
    return Leakage(
        portions=dict(Counter(portion for portion, _ in items)),
        matches=tuple(_best([*_exact(pictures, within), *filter(None, checked)])),
        groups=tuple(_shared_groups(items)),
        flat=tuple(picture.path for picture in pictures if picture.fingerprint.flat),
        unreadable=dict(failed for failed in read if not isinstance(failed, Picture)),
        seconds=time.perf_counter() - start,
    )


def _in_threads(
    pool: Executor, work: Callable[[Given], Found], given: Sequence[Given], title: str, progress: bool
) -> list[Found]:
    """Results in the order given."""
    return list(tqdm(pool.map(work, given), title, len(given), disable=None if progress else True))


def _read(file: tuple[Portion, Path]) -> Picture | tuple[Path, str]:
    """A picture, or its file and the reason why it cannot be read."""
    portion, path = file
    try:
        return Picture(path, portion, fingerprint(open_image(path)))
    except InputError as error:
        return path, str(error)


def _candidates(pictures: Sequence[Picture], within: bool) -> Iterator[tuple[int, int, int, int]]:
    """Two pictures' places, orientation and distance, where hashes and thumbnails are much alike."""
    places = [place for place, picture in enumerate(pictures) if not picture.fingerprint.flat]
    if not places:
        return
    prints = [pictures[place].fingerprint for place in places]
    # Of +1 and -1 the scalar product is 64 minus twice the distance: one matrix product for a whole block.
    signs = np.where([p.hashes for p in prints], 1, -1).astype(np.float32)  # (N, V, 64)
    thumbnails = np.stack([p.thumbnail for p in prints])  # (N, S, S)
    portions = _numbered(pictures[place].portion for place in places)
    for begin in range(0, len(places), BLOCK):
        rows = np.arange(begin, min(begin + BLOCK, len(places)))
        wanted = rows[:, None] < np.arange(len(places))
        if not within:
            wanted &= portions[rows, None] != portions
        for orientation in range(len(ORIENTATIONS)):
            distances = (64 - signs[rows, 0] @ signs[:, orientation].T) / 2  # (BLOCK, N)
            near = np.argwhere(wanted & (distances <= MAX_DISTANCE))
            for some in np.split(near, range(CHUNK, len(near), CHUNK)):
                alike = correlations(thumbnails[rows[some[:, 0]]], turn(thumbnails[some[:, 1]], orientation))
                for i, j in some[alike >= MIN_LIKENESS]:
                    yield places[rows[i]], places[j], orientation, int(distances[i, j])


def _numbered(portions: Iterator[Portion]) -> np.ndarray:
    """A number for each portion, the same for the same one."""
    numbers: dict[Portion, int] = {}
    return np.array([numbers.setdefault(portion, len(numbers)) for portion in portions])


def _check(pictures: Sequence[Picture], candidate: tuple[int, int, int, int]) -> Match | None:
    """The match of two candidates, None if they only look alike from afar."""
    first, second, orientation, distance = candidate
    one, other = pictures[first], pictures[second]
    turned = turn(other.fingerprint.thumbnail, orientation)
    correlation = aligned_correlation(one.fingerprint.thumbnail, turned)
    if correlation < MIN_CORRELATION:
        return None
    return Match(one, other, "near", ORIENTATIONS[orientation], distance, correlation)


def _exact(pictures: Sequence[Picture], within: bool) -> Iterator[Match]:
    """Pairs of pictures of the same pixels."""
    by_digest: defaultdict[bytes, list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_digest[picture.fingerprint.digest].append(picture)
    for alike in by_digest.values():
        for first, second in combinations(alike, 2):
            if within or first.portion != second.portion:
                yield Match(first, second, "exact", "", 0, 1.0)


def _best(matches: Sequence[Match]) -> list[Match]:
    """One match for each two pictures, sorted: a symmetric picture is found in several orientations."""
    seen: dict[tuple[int, int], Match] = {}
    for match in sorted(matches, key=lambda m: (not m.crosses, m.kind, -m.correlation, m.distance)):
        seen.setdefault((id(match.first), id(match.second)), match)
    return list(seen.values())


def _shared_groups(items: Sequence[tuple[Portion, Mapping[str, str]]]) -> Iterator[SharedGroup]:
    """Groups of a set that stand in two of its splits."""
    standing: defaultdict[tuple[str, str], dict[Portion, None]] = defaultdict(dict)
    for portion, item in items:
        standing[portion.dataset, _group_name(item["group"], item["case"])][portion] = None
    for (_, name), portions in standing.items():
        for first, second in combinations(portions, 2):
            yield SharedGroup(name, first, second)


def _group_name(group: str, case: str) -> str:
    """A group's name without the folders of its split, so that train/images/p1 and val/images/p1 are one."""
    if not case.startswith(f"{group}/"):
        return group
    return "/".join(part for part in group.split("/") if part.lower() not in PLACES) or group
