"""Figures of the benchmarks from maps in memory: threshold by threshold, by PySODMetrics, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from monai_sam2unet.metrics import score
from monai_sam2unet.metrics.levels import compare
from monai_sam2unet.metrics.protocols import paper_from_counts
from scripts.speed.examples import example, stretched_map
from scripts.speed.timing import Comparison, Figure
from tests.plain import library, scoring

__all__ = ["comparisons", "farthest"]

PART = "metrics"
SMALL, LARGE = (352, 352), (1200, 1000)  # width, height, pixels
PICTURES = 3
ALLOWED = 1e-9  # sums in another order
GUARD = 5.0

Bytes = npt.NDArray[np.uint8]
Pairs = Sequence[tuple[Bytes, Bytes]]
Scored = Callable[[Pairs, bool], dict[str, float]]


def comparisons(quick: bool) -> Iterator[Comparison | Figure]:
    """Score a few maps.

    Args:
        quick: only what guards against a regression: figures of one pass at 352.

    Yields:
        One comparison after the other.
    """
    small = _pairs(SMALL)
    yield _comparison(scoring.figures, "threshold by threshold", small, weighted=False, guard=GUARD)
    if quick:
        return
    for pairs in (small, _pairs(LARGE)):
        if pairs is not small:
            yield _comparison(scoring.figures, "threshold by threshold", pairs, weighted=False)
        yield _comparison(scoring.figures, "threshold by threshold", pairs, weighted=True)
        if library.installed():
            yield _comparison(library.figures, "PySODMetrics", pairs, weighted=False)
            yield _comparison(library.figures, "PySODMetrics", pairs, weighted=True)


def farthest(plain: Mapping[str, float], ours: Mapping[str, float]) -> float:
    """Largest difference of the figures that the plain way gives."""
    return max(abs(value - ours[name]) for name, value in plain.items())


def ours_from_counts(pairs: Pairs) -> dict[str, float]:
    """All figures of protocol `paper` but weighted F."""
    return scoring.mean_figures([dict(paper_from_counts(compare(*pair))) for pair in pairs])


def ours_all(pairs: Pairs) -> dict[str, float]:
    """All figures of protocol `paper`."""
    return score([levels for levels, _ in pairs], [mask for _, mask in pairs])


def _pairs(size: tuple[int, int]) -> Pairs:
    """Maps and masks."""
    made = [example(number, size) for number in range(PICTURES)]
    return [(stretched_map(one), one.mask) for one in made]


def _comparison(
    scored: Scored, by: str, pairs: Pairs, weighted: bool, guard: float | None = None
) -> Comparison:
    """A plain way beside ours, for all figures or all but weighted F."""
    plain = partial(scored, pairs, weighted)
    ours = partial(ours_all if weighted else ours_from_counts, pairs)
    height, width = pairs[0][1].shape
    name = f"{'all figures' if weighted else 'all but weighted F'}, {width}x{height}; plain: {by}"
    return Comparison(
        PART, name, plain, ours, farthest(plain(), ours()), ALLOWED, items=len(pairs), guard=guard
    )
