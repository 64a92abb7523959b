"""What `tests/test_distributed.py` lets several processes do; each leaves what it saw in a file."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
import torch.distributed as dist
from ignite.engine import Engine
from torch import nn

from monai_sam2unet import distributed
from monai_sam2unet.commandline import short_errors
from monai_sam2unet.errors import InputError
from monai_sam2unet.handlers import SharedStatistics, WeightAverage

CPU = torch.device("cpu")


def failing(error: BaseException) -> Any:
    """A function that raises."""
    raise error


def raised(*arguments: Any) -> str:
    """Kind and message of the error that `from_first` or `agree` raises."""
    try:
        (distributed.agree if len(arguments) > 1 else distributed.from_first)(*arguments)
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    return "nothing"


def statistics() -> list[list[float]]:
    """Running statistics, of a network and of an average of it, before and after they are shared."""
    network = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))
    average = WeightAverage(network, torch.optim.SGD(network.parameters()), 0.5)
    for layer, mean in ((network[0], 1.0), (average.network.get_submodule("0"), 10.0)):
        layer.running_mean.fill_(mean + distributed.rank())
        layer.running_var.fill_(1 + 2 * distributed.rank())
    SharedStatistics(network, average)(Engine(lambda *_: None))
    layers = (network[0], average.network.get_submodule("0"))
    return [[float(layer.running_mean), float(layer.running_var)] for layer in layers]


def exchange(folder: str) -> None:
    """All that processes ask each other."""
    os.environ |= {"SLURM_JOB_ID": "7", "SLURM_LOCALID": "0"}  # as torchrun has them within a job of Slurm
    distributed.start(CPU)
    rank = distributed.rank()
    seen = {
        "group": [distributed.processes(), dist.get_backend(), distributed.is_first()],
        "local": [os.environ["LOCAL_RANK"], os.environ["SLURM_JOB_ID"], distributed.local_rank()],
        "logs": logging.getLogger("monai_sam2unet").isEnabledFor(logging.ERROR),
        "made": distributed.from_first(lambda: f"by {rank}"),
        "input_error": raised(lambda: failing(InputError("no such folder"))),
        "other_error": raised(lambda: failing(KeyError("x"))),
        "same": raised(3, "the epoch", "look"),
        "different": raised(rank, "the epoch", "look"),
        "gathered": distributed.gathered([rank, rank + 2, rank + 4][: 3 - rank]),
        "statistics": statistics(),
    }
    network = nn.Sequential(nn.Linear(2, 1))
    wrapped = distributed.parallel(network, CPU, "auto")
    wrapped(torch.full((1, 2), 1.0 + rank)).sum().backward()
    seen["gradient"] = network[0].weight.grad.tolist()
    # before the group ends: PyTorch may hang where a wrapped network is what lets go of the group last
    del wrapped
    (Path(folder) / f"{rank}.json").write_text(json.dumps(seen))
    distributed.stop()
    assert not dist.is_initialized() and idist.get_world_size() == 1


def stopped_while_waiting() -> None:
    """Process 1 is told to stop while it waits for process 0, which does not come."""
    short_errors()
    distributed.start(CPU)
    if distributed.rank() == 1:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        dist.barrier()
    else:
        threading.Event().wait(3)
        os._exit(0)
