"""Properties that every split has."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_sam2unet.data import split_by_group
from monai_sam2unet.errors import InputError

GROUPS = st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=40).filter(lambda g: len(set(g)) > 1)
FRACTIONS = st.floats(0.01, 0.99)


@settings(max_examples=150)
@given(
    groups=GROUPS, fraction=FRACTIONS, seed=st.integers(0, 2**32 - 1), order=st.randoms(use_true_random=False)
)
def test_properties(groups: list[str], fraction: float, seed: int, order: random.Random) -> None:
    cases = [f"case{i:02d}" for i in range(len(groups))]
    group_of = dict(zip(cases, groups, strict=True))
    train, validation = split_by_group(cases, groups, fraction, seed)
    assert sorted(train + validation) == cases
    assert train and validation
    assert not {group_of[case] for case in train} & {group_of[case] for case in validation}
    shuffled = cases.copy()
    order.shuffle(shuffled)
    assert split_by_group(shuffled, [group_of[c] for c in shuffled], fraction, seed) == (train, validation)
    # Oracle: no other choice of whole groups comes nearer to the fraction.
    names = sorted(set(groups))
    sums = [sum(map(groups.count, some)) for n in range(1, len(names)) for some in combinations(names, n)]
    target = fraction * len(cases)
    assert abs(len(validation) - target) == min(abs(s - target) for s in sums)


def test_ungrouped_fraction_is_exact():
    cases = [f"{i}" for i in range(1000)]
    train, validation = split_by_group(cases, cases, 0.12, seed=3)
    assert (len(train), len(validation)) == (880, 120)
    assert split_by_group(cases, cases, 0.12, seed=4)[1] != validation


def test_golden():
    # The three smallest of PCG64(0).random_raw(10), whose values numpy keeps: a split must not move.
    cases = list("abcdefghij")
    assert split_by_group(cases, cases, 0.3, seed=0)[1] == ["b", "c", "d"]


def test_fraction_zero_is_all_training():
    assert split_by_group(["b", "a"], ["g", "g"], 0) == (["a", "b"], [])


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_fraction_out_of_range(fraction):
    with pytest.raises(InputError, match="val_fraction"):
        split_by_group(["a", "b"], ["a", "b"], fraction)


def test_too_few_one_group_bad_seed_repeated():
    with pytest.raises(InputError, match="too few"):
        split_by_group(["a"], ["a"], 0.1)
    with pytest.raises(InputError, match="one group"):
        split_by_group(["a", "b"], ["g", "g"], 0.1)
    with pytest.raises(InputError, match="seed"):
        split_by_group(["a", "b"], ["a", "b"], 0.1, seed=-1)
    with pytest.raises(ValueError, match="unique"):
        split_by_group(["a", "a"], ["a", "b"], 0.1)


def test_a_fraction_that_groups_forbid_is_told(caplog):
    groups = ["a"] * 5 + ["b"] * 5
    train, validation = split_by_group([f"{i}" for i in range(10)], groups, 0.1)
    assert len(train) == len(validation) == 5
    assert "val_fraction=0.100 is met as 0.500 only (2 groups)" in caplog.text
