"""The part of the pictures that one of several processes segments."""

from __future__ import annotations

import os
import re
import time
from typing import Any

import torch.distributed

from monai_sam2unet.errors import InputError

__all__ = ["FORM", "Shard", "is_shard", "wait_for_others"]

FORM = "auto, or K/N such as 3/8: shard K, counted from 1, of N"
POLL = 0.5  # seconds


def is_shard(value: Any) -> bool:
    """Whether a value is as `FORM` says."""
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", value) if isinstance(value, str) else None
    return value == "auto" or (found is not None and 1 <= int(found[1]) <= int(found[2]))


class Shard:
    """Which of several equal parts of the pictures is meant.

    Pictures are dealt like cards, in the order of their paths: each goes to exactly one shard, and those of
    one folder spread evenly. All processes must see the same pictures.

    Args:
        name: ``K/N``, K from 1; or ``auto``, which is one more than torchrun's ``RANK`` of ``WORLD_SIZE``,
            and 1/1 where torchrun has not started the process.

    Attributes:
        number: K, from 1.
        count: N.

    Raises:
        InputError: if the name, or what the environment says, is no shard.

    Example:
        >>> list(range(10))[Shard("2/4").part]
        [1, 5, 9]
    """

    def __init__(self, name: str = "auto") -> None:
        if not is_shard(name):
            raise InputError(f"shard must be {FORM}, got {name!r}")
        number, count = (_of_torchrun() if name == "auto" else name).split("/")
        self.number, self.count = int(number), int(count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def part(self) -> slice:
        """Takes this shard's pictures out of the sorted list of all."""
        return slice(self.number - 1, None, self.count)


def wait_for_others() -> None:
    """Under torchrun, come back when all its processes have come here; elsewhere at once.

    torchrun ends all processes as soon as one fails. One that has an error to report must not report it
    before the others have done their work.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    store = torch.distributed.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    # torchrun may start failed processes anew, all together: each round is counted by itself
    done = f"segmented/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    store.add(done, 1)
    while store.add(done, 0) < int(os.environ["WORLD_SIZE"]):
        time.sleep(POLL)


def _of_torchrun() -> str:
    """The shard that torchrun's variables stand for."""
    rank, size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None and size is None:
        return "1/1"
    name = f"{int(rank) + 1}/{size}" if rank is not None and rank.isdecimal() else ""
    if not is_shard(name):
        raise InputError(
            f"shard auto: the environment has RANK {rank} and WORLD_SIZE {size}, expected both, as torchrun "
            "sets them, RANK from 0 to below WORLD_SIZE; or name the shard, --shard 1/1 for all pictures"
        )
    return name
