"""Bootstrap intervals of one run, and the difference of two."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_sam2unet.metrics import bootstrap_interval, paired_bootstrap
from monai_sam2unet.metrics.bootstrap import bootstrap_class_mean

NAN = float("nan")


def sample(size=60, seed=1):
    return np.random.default_rng(seed).beta(8, 2, size)


@pytest.mark.parametrize("size", [10, 60, 300])
def test_interval_equals_scipys(size):
    values = sample(size)
    ours = bootstrap_interval(values, resamples=20000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert ours["mean"] == pytest.approx(values.mean())
    assert ours["cases"] == size
    # Two sets of draws: a bound's own deviation is about 1.2 % of the interval's width at 20000 draws.
    tolerance = 0.05 * (theirs.high - theirs.low)
    assert ours["low"] == pytest.approx(theirs.low, abs=tolerance)
    assert ours["high"] == pytest.approx(theirs.high, abs=tolerance)


def test_interval_equals_the_normal_one_for_many_cases():
    values = np.random.default_rng(0).normal(0.8, 0.1, 2000)
    half = scipy.stats.norm.ppf(0.975) * values.std() / math.sqrt(2000)
    ours = bootstrap_interval(values, resamples=10000)
    assert ours["low"] == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert ours["high"] == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_copies_within_a_group_bring_no_certainty():
    values = sample(20)
    groups = [f"patient{i:02d}" for i in range(20)]
    one = bootstrap_interval(values, groups)
    copies = bootstrap_interval(np.repeat(values, 5), np.repeat(groups, 5))
    for key in ("mean", "low", "high"):
        assert copies[key] == pytest.approx(one[key])
    assert copies["cases"] == 100
    ignored = bootstrap_interval(np.repeat(values, 5))
    assert ignored["high"] - ignored["low"] < 0.6 * (one["high"] - one["low"])  # sqrt(1/5) is 0.45


def test_whole_groups_are_drawn():
    """Of two groups, one of 0 and one of 1 only, samples have the means 0, 0.75 and 1."""
    interval = bootstrap_interval([0, 1, 1, 1], ["a", "b", "b", "b"])
    assert interval == {"mean": 0.75, "low": 0, "high": 1, "cases": 4}


def test_the_order_of_groups_does_not_matter():
    values, groups = sample(30), [f"p{i % 7}" for i in range(30)]
    order = np.random.default_rng(0).permutation(30)
    one = bootstrap_interval(values, groups)
    other = bootstrap_interval(values[order], [groups[i] for i in order])
    assert tuple(other.values()) == pytest.approx(tuple(one.values()))


def test_one_group_alone_has_no_spread():
    interval = bootstrap_interval([0.2, 0.4], ["a", "a"])
    assert tuple(interval.values()) == pytest.approx((0.3, 0.3, 0.3, 2))


def test_undefined_cases_are_left_out():
    values = sample(20)
    for groups in (None, [f"p{i:02d}" for i in range(20)]):
        expected = bootstrap_interval(values, groups)
        more = [*values, NAN]
        assert bootstrap_interval(more, groups and [*groups, "z"]) == expected
        assert bootstrap_interval([NAN, *values], groups and ["a", *groups]) == expected


@pytest.mark.parametrize(("values", "groups"), [([], None), ([NAN, NAN], None), ([NAN], ["a"]), ([], [])])
def test_no_cases_are_nan(values, groups):
    interval = bootstrap_interval(values, groups)
    assert interval["cases"] == 0
    assert all(math.isnan(interval[key]) for key in ("mean", "low", "high"))


def test_repeatable_by_seed():
    values = sample()
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 99))
def test_interval_lies_within_the_values(values, seed):
    interval = bootstrap_interval(values, resamples=200, seed=seed)
    low, high = min(values) - 1e-9, max(values) + 1e-9
    assert low <= interval["low"] <= interval["high"] <= high
    assert low <= interval["mean"] <= high


def test_weights_pool_over_lesions():
    """Shares weighted by their number: the mean is that of all lesions, the draws are of pictures."""
    found, lesions = np.array([1, 0, 3, 2]), np.array([2, 1, 3, 4])
    pooled = bootstrap_interval(found / lesions, weights=lesions)
    assert pooled["mean"] == pytest.approx(6 / 10)  # counted by hand
    draws = scipy.stats.bootstrap(
        (found, lesions), lambda f, n, axis: f.sum(axis) / n.sum(axis), paired=True, method="percentile",
        n_resamples=20000, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    ours = bootstrap_interval(found / lesions, weights=lesions, resamples=20000)
    # few distinct means are possible with four pictures, so the bounds are the same or one step apart
    assert ours["low"] == pytest.approx(draws.low, abs=0.02)
    assert ours["high"] == pytest.approx(draws.high, abs=0.02)


def test_equal_weights_change_nothing():
    values, groups = sample(30), [f"p{i % 7}" for i in range(30)]
    weighted = bootstrap_interval(values, groups, weights=[2.0] * 30)
    assert tuple(weighted.values()) == pytest.approx(tuple(bootstrap_interval(values, groups).values()))


@pytest.mark.parametrize("clusters", [None, 4])
def test_coverage(clusters):
    """Of 95 % intervals of a known mean, about 95 % hold it; with clusters only if whole ones are drawn.

    300 sets: the deviation of the share is sqrt(0.95 * 0.05 / 300) = 1.3 %. A percentile bootstrap of 40
    groups is known to fall short by one or two points, so 95 % is not to be exceeded by chance alone.
    """
    rng = np.random.default_rng(0)
    held = alone = 0
    for seed in range(300):
        patients = rng.normal(0.8, 0.1, 40)
        values = np.repeat(patients, clusters or 1) + rng.normal(0, 0.02, 40 * (clusters or 1))
        groups = np.repeat([f"p{i:02d}" for i in range(40)], clusters or 1).tolist()
        interval = bootstrap_interval(values, groups, resamples=500, seed=seed)
        held += interval["low"] <= 0.8 <= interval["high"]
        ungrouped = bootstrap_interval(values, resamples=500, seed=seed)
        alone += ungrouped["low"] <= 0.8 <= ungrouped["high"]
    assert 0.90 <= held / 300 <= 0.985
    if clusters:
        assert alone / 300 < 0.8  # half the width that is due: about 67 % for four alike


@pytest.mark.parametrize(
    ("groups", "weights", "words"),
    [(["a"], None, "groups must name one group a case, got 1 for 2"), (None, [1.0], "got 1 for 2 cases")],
)
def test_lengths_must_agree(groups, weights, words):
    with pytest.raises(ValueError, match=words):
        bootstrap_interval([0.1, 0.2], groups, weights=weights)
    with pytest.raises(ValueError, match=words):
        paired_bootstrap([0.1, 0.2], [0.1, 0.3], groups, weights=weights)


# --- two runs


def test_difference_is_that_of_the_cases():
    """The interval of the difference is the interval of the cases' differences."""
    first, groups = sample(40), [f"p{i % 9}" for i in range(40)]
    second = first + np.random.default_rng(5).normal(0.02, 0.05, 40)
    pair = paired_bootstrap(first, second, groups)
    alone = bootstrap_interval(second - first, groups)
    assert (pair["first"], pair["second"]) == pytest.approx((first.mean(), second.mean()))
    assert pair["difference"] == pytest.approx(second.mean() - first.mean())
    assert (pair["low"], pair["high"]) == pytest.approx((alone["low"], alone["high"]))
    assert pair["cases"] == 40


def test_pairing_makes_a_small_constant_gain_certain():
    """What makes cases hard is the same for both: unpaired intervals overlap, the paired one is narrow."""
    first = sample(40)
    second = first + 0.01 + np.random.default_rng(5).normal(0, 0.005, 40)
    pair = paired_bootstrap(first, second)
    assert 0 < pair["low"] < pair["high"] < 0.02 and pair["p"] == pytest.approx(2 / 2001)
    assert bootstrap_interval(first)["high"] > bootstrap_interval(second)["low"]


def test_p_value_is_near_that_of_the_t_test():
    """For many cases of normal differences both say the same."""
    rng = np.random.default_rng(3)
    first = rng.normal(0.8, 0.1, 400)
    for gain in (0.004, 0.007, 0.010):
        second = first + rng.normal(gain, 0.08, 400)
        expected = scipy.stats.ttest_rel(first, second).pvalue
        ours = paired_bootstrap(first, second, resamples=20000)["p"]
        # deviation of a share of 20000 draws is below 0.004, and twice that share is the p value
        assert ours == pytest.approx(expected, abs=0.015)


def test_p_values_of_equal_models_are_uniform():
    """Of 200 comparisons of models that are equally good, about 5 % come out below 0.05."""
    rng = np.random.default_rng(0)
    ps = [
        paired_bootstrap(rng.normal(0.8, 0.1, 60), rng.normal(0.8, 0.1, 60), resamples=400)["p"]
        for _ in range(200)
    ]
    assert 0.01 <= np.mean(np.array(ps) < 0.05) <= 0.10  # deviation of the share: 1.5 %
    assert 0.4 <= np.mean(np.array(ps) < 0.5) <= 0.6  # 3.5 %


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_swapping_the_runs_turns_the_sign(pairs):
    first, second = map(list, zip(*pairs, strict=True))
    one, other = (
        paired_bootstrap(first, second, resamples=200),
        paired_bootstrap(second, first, resamples=200),
    )
    assert other["difference"] == pytest.approx(-one["difference"])
    assert (other["low"], other["high"]) == pytest.approx((-one["high"], -one["low"]), abs=1e-9)
    assert other["p"] == one["p"] and 0 < one["p"] <= 1


def test_equal_runs_do_not_differ():
    pair = paired_bootstrap(sample(), sample())
    assert (pair["difference"], pair["low"], pair["high"], pair["p"]) == (0, 0, 0, 1)


def test_cases_undefined_in_one_run_are_left_out_of_both():
    pair = paired_bootstrap([0.5, NAN, 0.7, 0.1], [0.6, 0.9, 0.8, NAN], ["a", "b", "c", "d"])
    assert pair == pytest.approx(
        {
            "first": 0.6,
            "second": 0.7,
            "difference": 0.1,
            "low": 0.1,
            "high": 0.1,
            "p": 0.5,
            "cases": 2,
            "groups": 2,
        }
    )


@pytest.mark.parametrize(("number", "p"), [(1, 1), (2, 0.5), (3, 0.25), (6, 2 / 64), (30, 2 / 2001)])
def test_few_groups_prove_little(number, p):
    """All groups gain 0.1: the p value is that of a sign test, however many cases each has."""
    groups = [f"p{i % number:02d}" for i in range(60)]
    assert scipy.stats.binomtest(number, number).pvalue <= p + 1e-12
    pair = paired_bootstrap([0.5] * 60, [0.6] * 60, groups)
    assert pair["p"] == pytest.approx(p) and pair["groups"] == number


def test_nothing_to_compare_is_nan():
    pair = paired_bootstrap([NAN, 0.5], [0.5, NAN])
    assert pair["cases"] == 0
    assert all(math.isnan(pair[name]) for name in ("first", "second", "difference", "low", "high", "p"))


def test_weighted_difference():
    """1 of 2 and 4 of 4 lesions against 2 of 2 and 3 of 4: both runs found 5 of 6."""
    pair = paired_bootstrap([0.5, 1.0], [1.0, 0.75], weights=[2, 4])
    assert pair["first"] == pair["second"] == pytest.approx(5 / 6)
    assert (pair["low"], pair["high"]) == pytest.approx((-0.25, 0.5))


def test_runs_of_different_length_are_refused():
    with pytest.raises(ValueError, match="the same cases, got 2 and 3 values; pair them by their names"):
        paired_bootstrap([0.1, 0.2], [0.1, 0.2, 0.3])


# --- several classes


def test_the_class_mean_of_one_class_is_the_mean():
    values, groups = [0.1, 0.9, float("nan"), 0.4, 0.7], ["a", "a", "b", "b", "c"]
    for own in (None, groups):
        assert bootstrap_class_mean([values], own) == bootstrap_interval(values, own)
        assert bootstrap_class_mean([values, values], own) == pytest.approx(bootstrap_interval(values, own))


def test_the_class_mean_against_a_plain_bootstrap():
    """Classes occur in some cases; NumPy draws whole cases, another generator, 4000 times."""
    drawn = np.random.default_rng(1)
    values = drawn.random((2, 30))
    values[0, 12:], values[1, ::4] = np.nan, np.nan
    found = bootstrap_class_mean(values.tolist())
    means = [np.nanmean(np.nanmean(values[:, drawn.integers(0, 30, 30)], axis=1)) for _ in range(4000)]
    assert found["mean"] == pytest.approx(np.mean([values[0, :12].mean(), np.nanmean(values[1])]))
    # the bounds of 2000 and 4000 draws differ by chance: standard error below 0.004, see their density
    assert [found["low"], found["high"]] == pytest.approx(
        np.percentile(means, [2.5, 97.5]).tolist(), abs=0.015
    )
    assert found["cases"] == np.isfinite(values).any(axis=0).sum()


def test_classes_that_never_occur_have_no_part_in_the_mean():
    nothing = [float("nan")] * 3
    assert bootstrap_class_mean([[0.5, 0.7, 0.6], nothing])["mean"] == pytest.approx(0.6)
    empty = bootstrap_class_mean([nothing, nothing])
    assert empty["cases"] == 0 and np.isnan(empty["mean"])
