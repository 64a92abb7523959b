"""Divide cases into training and validation, the same on every computer.

Frames of one video sequence, or pictures of one patient, are one group and stay on one side: a network
that has seen a neighbouring frame is not validated by the next.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np

from monai_sam2unet.data.naming import first_names
from monai_sam2unet.errors import InputError

logger = logging.getLogger(__name__)

NOTABLE_DIFFERENCE = 0.05  # of all cases; beyond it the log says that the groups forbid the fraction


def check_fraction(val_fraction: float) -> None:
    """Raise InputError unless 0 <= val_fraction < 1."""
    if not 0 <= val_fraction < 1:
        raise InputError(f"val_fraction must be in [0, 1), got {val_fraction}; 0.1 keeps a tenth")


def _shuffled(names: Sequence[str], seed: int) -> list[str]:
    # The raw stream of a bit generator is fixed by numpy's compatibility policy (NEP 19); that of
    # Generator.permutation is not, and a split must not move when numpy is updated.
    keys = np.random.PCG64(seed).random_raw(len(names))
    return [names[i] for i in np.argsort(keys, kind="stable")]


def _nearest_choice(sizes: Sequence[int], target: float) -> list[int]:
    """Positions whose sizes add up as near to `target` as any proper, non-empty choice does.

    Earlier positions are preferred, so that a shuffle of the groups decides which of many choices it is.
    """
    total = sum(sizes)
    reached = np.zeros(total + 1, dtype=bool)
    reached[0] = True
    last = np.zeros(total + 1, dtype=np.int64)  # the position that reached this sum first
    for i, size in enumerate(sizes):
        new = np.zeros_like(reached)
        new[size:] = reached[: total + 1 - size]
        new &= ~reached
        last[new] = i
        reached |= new
    sums = np.flatnonzero(reached[1:total]) + 1  # neither none nor all
    rest = int(sums[np.argmin(np.abs(sums - target))])
    chosen = []
    while rest:
        chosen.append(int(last[rest]))
        rest -= sizes[chosen[-1]]
    return chosen


def split_by_group(
    cases: Sequence[str], groups: Sequence[str], val_fraction: float, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Split cases into training and validation; a group is never on both sides.

    Args:
        cases: unique ids. Their order does not matter.
        groups: the group of each case.
        val_fraction: share of the cases for validation in [0, 1), met as nearly as the groups allow and
            at least one group; 0 leaves validation empty.
        seed: of the shuffle, at least 0.

    Returns:
        Ids for training and for validation, each sorted.

    Raises:
        InputError: the fraction is out of range, there are fewer than two cases, or only one group.

    Example:
        >>> split_by_group(["a1", "a2", "b1", "c1"], ["a", "a", "b", "c"], 0.5, seed=1)
        (['b1', 'c1'], ['a1', 'a2'])
    """
    check_fraction(val_fraction)
    if seed < 0:
        raise InputError(f"seed must be 0 or more, got {seed}")
    twice = [case for case, count in Counter(cases).items() if count > 1]
    if twice or len(cases) != len(groups):
        raise ValueError(f"cases must be unique, with one group each; repeated: {first_names(twice)}")
    if val_fraction == 0:
        return sorted(cases), []
    if len(cases) < 2:
        raise InputError(f"{len(cases)} pictures are too few to keep some for validation; set val_fraction=0")
    sizes = Counter(groups)
    if len(sizes) < 2:
        raise InputError(
            f"all {len(cases)} pictures are of one group ({groups[0]}): no part of it can be kept for "
            "validation without leaking; set val_fraction=0 or add pictures of other patients"
        )
    order = _shuffled(sorted(sizes), seed)
    target = val_fraction * len(cases)
    if len(sizes) == len(cases):
        kept = set(order[: min(max(round(target), 1), len(cases) - 1)])
    else:
        kept = {order[i] for i in _nearest_choice([sizes[name] for name in order], target)}
    validation = sorted(case for case, group in zip(cases, groups, strict=True) if group in kept)
    training = sorted(case for case, group in zip(cases, groups, strict=True) if group not in kept)
    met = len(validation) / len(cases)
    if abs(met - val_fraction) > NOTABLE_DIFFERENCE:
        logger.warning("val_fraction=%.3f is met as %.3f only (%d groups)", val_fraction, met, len(sizes))
    return training, validation
