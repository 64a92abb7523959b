"""Work on one item after the other by several threads, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """What work makes of items, in their order, made by threads ahead of its use.

    Pillow, SciPy and PyTorch let other threads run while they decode, encode or calculate, and nothing needs
    to be sent from one process to another.

    Args:
        work: called once for each item; its first error ends everything.
        items: taken at most two for each thread before the first result is.
        threads: 0 works where the results are taken.

    Yields:
        One result after the other.
    """
    if threads == 0:
        yield from map(work, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) == 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
