"""Bootstrap intervals of a mean over cases, and of the difference of two runs on the same cases.

Cases of one patient or sequence are alike. Where such groups are given, whole groups are drawn (a cluster
bootstrap): otherwise many frames of few patients would pass for much evidence. Percentile method: Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

__all__ = ["Difference", "Interval", "bootstrap_class_mean", "bootstrap_interval", "paired_bootstrap"]

Array = npt.NDArray[np.float64]


class Interval(TypedDict):
    """Mean of some cases and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    cases: int


class Difference(TypedDict):
    """Mean of two runs on the same cases, and their difference (the second minus the first)."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    cases: int
    groups: int


def bootstrap_interval(
    values: Sequence[float],
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    weights: Sequence[float] | None = None,
) -> Interval:
    """Mean over cases with its 95 % percentile bootstrap interval.

    Args:
        values: one figure a case; NaN (undefined) is left out.
        groups: patient or sequence of each case; whole groups are drawn where it is given, since cases of
            one group are alike.
        resamples: number of bootstrap samples.
        seed: seed of the draws.
        weights: how much each case counts, above 0; equally if None. With the share of a picture's lesions
            that were found as value, and their number as weight, the mean is pooled over lesions.

    Returns:
        Mean, lower and upper bound (2.5 and 97.5 %), and the number of cases that count. NaN without cases.
    """
    array = np.asarray(values, dtype=np.float64)
    kept = ~np.isnan(array)
    counts = _weights(weights, array.size)
    array, labels, counts = array[kept], _labels(groups, array.size)[kept], counts[kept]
    if array.size == 0:
        return Interval(mean=float("nan"), low=float("nan"), high=float("nan"), cases=0)
    low, high = np.percentile(_means(array, labels, counts, resamples, seed), [2.5, 97.5])
    mean = array.mean() if weights is None else np.average(array, weights=counts)
    return Interval(mean=float(mean), low=float(low), high=float(high), cases=int(array.size))


def bootstrap_class_mean(
    values: Sequence[Sequence[float]],
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean over classes of each class's mean over its cases, with its 95 % percentile bootstrap interval.

    Args:
        values: one sequence a class, with one figure a case, all in one order; NaN (undefined) is left out.
        groups: patient or sequence of each case, drawn whole with all its classes.
        resamples: number of bootstrap samples.
        seed: seed of the draws.

    Returns:
        As `bootstrap_interval`; ``cases`` are those that count in any class. A class of which a sample has no
        case is no part of that sample's mean.

    Example:
        >>> bootstrap_class_mean([[1.0, 1.0, 1.0], [0.0, float("nan"), float("nan")]])["mean"]
        0.5
    """
    array = np.asarray(values, dtype=np.float64)
    means = [float(own[~np.isnan(own)].mean()) for own in array if not np.isnan(own).all()]
    if not means:
        return Interval(mean=float("nan"), low=float("nan"), high=float("nan"), cases=0)
    kept = ~np.isnan(array).all(axis=0)
    labels = _labels(groups, array.shape[1])[kept]
    samples = np.stack(
        [
            _means(np.nan_to_num(own), labels, (~np.isnan(own)).astype(float), resamples, seed)
            for own in array[:, kept]
        ]
    )
    low, high = np.percentile(np.nanmean(samples[:, ~np.isnan(samples).all(axis=0)], axis=0), [2.5, 97.5])
    return Interval(mean=float(np.mean(means)), low=float(low), high=float(high), cases=int(kept.sum()))


def paired_bootstrap(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    weights: Sequence[float] | None = None,
) -> Difference:
    """Difference of the means of two runs over the same cases, with interval and p value.

    The differences of the cases are drawn, so what makes a case hard for both runs cancels: the interval is
    far narrower than the intervals of the two means suggest.

    Args:
        first: one figure a case of the first run.
        second: the same cases of the second run, in the same order.
        groups: patient or sequence of each case, drawn whole.
        resamples: number of bootstrap samples.
        seed: seed of the draws.
        weights: how much each case counts, as in `bootstrap_interval`.

    Returns:
        Means of the cases that are defined in both runs, ``second - first`` with its 95 % percentile
        interval, the two-sided p value, and the numbers of those cases and of their groups; NaN without any.
        The p value, in (0, 1], is twice the smaller share of samples on one side of 0, so it goes with the
        interval. It is never below ``2 / (resamples + 1)``, nor below ``2 / 2**groups``, the least that a
        sign test of so few groups can give. Intervals of fewer than about ten groups are too narrow.

    Raises:
        ValueError: if the runs have different numbers of cases.

    Example:
        >>> paired_bootstrap([0.5, 0.6, 0.7], [0.6, 0.7, 0.8])["low"]
        0.1
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(
            f"both runs must have the same cases, got {a.size} and {b.size} values; pair them by their names"
        )
    kept = ~np.isnan(a) & ~np.isnan(b)
    labels, counts = _labels(groups, a.size)[kept], _weights(weights, a.size)[kept]
    a, b = a[kept], b[kept]
    if a.size == 0:
        nan = float("nan")
        return Difference(first=nan, second=nan, difference=nan, low=nan, high=nan, p=nan, cases=0, groups=0)
    # rounded, so that equal differences are equal: 0.6 - 0.5 is not 0.7 - 0.6 in binary
    means = np.round(_means(b - a, labels, counts, resamples, seed), 12)
    low, high = np.percentile(means, [2.5, 97.5])
    # the sample at hand counts as one more, so that p is never 0
    tail = (1 + min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))) / (resamples + 1)
    number = int(np.unique(labels).size)
    mean_a, mean_b = np.average(a, weights=counts), np.average(b, weights=counts)
    return Difference(
        first=float(mean_a),
        second=float(mean_b),
        difference=float(mean_b - mean_a),
        low=float(low),
        high=float(high),
        p=min(1.0, 2 * max(float(tail), 0.5**number)),
        cases=int(a.size),
        groups=number,
    )


def _labels(groups: Sequence[str] | None, size: int) -> npt.NDArray[np.int64]:
    """Number of each case's group; every case is its own if there are none."""
    if groups is None:
        return np.arange(size)
    if len(groups) != size:
        raise ValueError(f"groups must name one group a case, got {len(groups)} for {size} cases")
    return np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)


def _weights(weights: Sequence[float] | None, size: int) -> Array:
    """Weight of each case; 1 if there are none."""
    if weights is None:
        return np.ones(size)
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (size,):
        raise ValueError(f"weights must hold one number a case, got {array.size} for {size} cases")
    return array


def _means(values: Array, labels: npt.NDArray[np.int64], weights: Array, resamples: int, seed: int) -> Array:
    """Weighted mean of each bootstrap sample, (resamples,); draws as many groups as there are."""
    _, labels = np.unique(labels, return_inverse=True)
    sums, counts = np.bincount(labels, weights=values * weights), np.bincount(labels, weights=weights)
    rng = np.random.Generator(np.random.PCG64(seed))
    # how often each group is drawn, per resample
    draws = rng.multinomial(sums.size, np.full(sums.size, 1 / sums.size), size=resamples)
    with np.errstate(invalid="ignore"):  # a class that a sample has no case of has no mean there
        means: Array = (draws @ sums) / (draws @ counts)
    return means
