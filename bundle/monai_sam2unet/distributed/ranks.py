"""Which of several processes this one is, as torchrun or the group that they have formed says."""

from __future__ import annotations

import os

import ignite.distributed as idist

__all__ = ["is_first", "launched", "local_rank", "processes", "rank"]


def launched() -> int:
    """How many processes torchrun has started, on all machines together; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int | None:
    """The number of this process on its machine, from 0; None if there is one process in all."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() > 1 else None


def processes() -> int:
    """How many processes compute together."""
    return int(idist.get_world_size())


def rank() -> int:
    """The number of this process among all, from 0."""
    return int(idist.get_rank())


def is_first() -> bool:
    """Whether this is the process that writes files and log lines."""
    return rank() == 0
