"""Two ways of computing the same, timed in turns.

Each round times both, so that what else the machine does meets both alike, and every second round begins with
the other one. What counts is the ratio of each round, of which the median and the range are given.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Comparison", "Figure", "Measurement", "measure"]

Work = Callable[[], object]


@dataclass(frozen=True)
class Comparison:
    """A plain way and ours, ready to be called as often as wanted.

    Attributes:
        part: group of comparisons that it belongs to.
        name: what is computed, with its sizes.
        plain: as the published code does it.
        ours: as the package does it.
        difference: largest difference of what they give, measured before; in terms of the largest value.
        allowed: largest difference that counts as the same.
        items: how many things one call works on.
        unit: what these things are.
        goal: ratio of times that is aimed at; None where there is none.
        guard: ratio below which something is broken, whatever else the machine does; or None.
    """

    part: str
    name: str
    plain: Work
    ours: Work
    difference: float
    allowed: float
    items: int = 1
    unit: str = "pictures"
    goal: float | None = None
    guard: float | None = None


@dataclass(frozen=True)
class Figure:
    """Something else that was measured, such as memory.

    Attributes:
        part: group that it belongs to.
        name: what it is of.
        value: with its unit.
    """

    part: str
    name: str
    value: str


@dataclass(frozen=True)
class Measurement:
    """Times of one comparison.

    Attributes:
        of: what was compared.
        plain: seconds of each round.
        ours: seconds of each round.
    """

    of: Comparison
    plain: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Plain to ours, round by round: how many times as fast ours is."""
        return [plain / ours for plain, ours in zip(self.plain, self.ours, strict=True)]

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def plain_median(self) -> float:
        """Median of the plain way's times, seconds."""
        return statistics.median(self.plain)

    @property
    def ours_median(self) -> float:
        """Median of our way's times, seconds."""
        return statistics.median(self.ours)

    @property
    def rate(self) -> float:
        """Items a second of ours, by the median of its times."""
        return self.of.items / self.ours_median

    @property
    def agrees(self) -> bool:
        """Whether both ways gave the same."""
        return self.of.difference <= self.of.allowed

    @property
    def failed(self) -> bool:
        """Whether results differ, or ours is slower than its guard allows."""
        return not self.agrees or (self.of.guard is not None and self.ratio < self.of.guard)


def measure(
    comparison: Comparison, rounds: int = 7, clock: Callable[[], float] = time.perf_counter
) -> Measurement:
    """Time both ways in turns, after one call of each that does not count.

    Args:
        comparison: what to time.
        rounds: how often.
        clock: gives seconds; `time.process_time` leaves out what other programs take, and adds up threads.

    Returns:
        The times.
    """
    comparison.plain()
    comparison.ours()
    plain: list[float] = []
    ours: list[float] = []
    for turn in range(rounds):
        pairs = [(comparison.plain, plain), (comparison.ours, ours)]
        for work, times in pairs if turn % 2 == 0 else pairs[::-1]:
            start = clock()
            work()
            times.append(clock() - start)
    return Measurement(comparison, tuple(plain), tuple(ours))
