"""What each of several processes takes of the data, what all have found, and the mean of their gradients."""

from __future__ import annotations

import inspect
import itertools
from typing import Any, TypeVar

import ignite.distributed as idist
import torch
from monai.data import DistributedSampler
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset, Sampler, SequentialSampler

from monai_sam2unet.distributed.ranks import processes, rank
from monai_sam2unet.errors import InputError

__all__ = ["gathered", "parallel", "shares"]

T = TypeVar("T")


def shares(dataset: Dataset[Any]) -> Sampler[int]:
    """The items that this process evaluates: every one of the data set falls to just one process.

    Args:
        dataset: the same in all processes.

    Returns:
        A sampler for the loader: process ``r`` of ``n`` takes the items r, r + n, r + 2n, ...

    Raises:
        InputError: if there are fewer items than processes, but some.
    """
    size = len(dataset)  # type: ignore[arg-type]
    if size == 0:
        return SequentialSampler(dataset)  # type: ignore[arg-type]
    if size < processes():
        raise InputError(
            f"{size} pictures to evaluate or validate on cannot be shared by {processes()} processes; "
            f"start at most {size}, or give more pictures (of a training: --val_fraction)"
        )
    sampler: Sampler[int] = DistributedSampler(
        dataset, even_divisible=False, num_replicas=processes(), rank=rank(), shuffle=False
    )
    return sampler


def gathered(items: list[T]) -> list[T]:
    """What was found for the items of all processes.

    Args:
        items: what this process found, in the order of its `shares`.

    Returns:
        All, in the order of the data set.
    """
    if processes() == 1:
        return items
    nothing = object()
    rounds = itertools.zip_longest(*idist.all_gather(items), fillvalue=nothing)
    return [item for one_of_each in rounds for item in one_of_each if item is not nothing]


def parallel(network: nn.Module, device: torch.device, sync_batchnorm: bool | str) -> nn.Module:
    """What a trainer is to call so that all processes have the mean of their gradients.

    Args:
        network: the network on its device; stays the plain one for optimiser, checkpoints and evaluation.
        device: of this process.
        sync_batchnorm: whether batch normalisation takes the pictures of all processes as one batch (true,
            false, or ``auto``: on GPUs). Its layers are exchanged in the network itself.

    Returns:
        The network within DistributedDataParallel; as it is where there is one process.
    """
    if processes() == 1:
        return network
    on_gpu = device.type == "cuda"
    if on_gpu if sync_batchnorm == "auto" else str(sync_batchnorm).lower() == "true":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    # running statistics are exchanged once an epoch (SharedStatistics), not at every step
    devices = [device] if on_gpu else None
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters:
        return DistributedDataParallel(network, device_ids=devices, forward_sync_buffers=False)
    # what it is called before torch 2.13
    return DistributedDataParallel(network, device_ids=devices, broadcast_buffers=False)
