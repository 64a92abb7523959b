"""Starting and ending the work of several processes, and what they must have in common."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import ignite.distributed as idist
import torch
import torch.distributed as dist

from monai_sam2unet.distributed.ending import ProcessLostError, end_when_told
from monai_sam2unet.distributed.ranks import is_first, launched, processes
from monai_sam2unet.errors import InputError

__all__ = ["agree", "check_started", "from_first", "start", "stop"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = timedelta(hours=2)
"""How long a process waits for another; reading every file of a large set takes the first one so long.

One that has ended is noticed at once, whatever this is: torchrun then stops the others.
"""


def start(device: torch.device) -> None:
    """Join the processes that torchrun has started.

    They exchange tensors by NCCL on GPUs and by gloo on CPUs. All but the first one log nothing from here on.

    Args:
        device: where this process computes.

    Raises:
        InputError: if several processes cannot work together on such a device.
    """
    if launched() == 1:
        logger.warning("One process. For several: torchrun --nproc_per_node N -m monai.bundle run ...")
        return
    if dist.is_initialized():
        return
    _check_device(device)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    show = sys.excepthook  # torch puts its own around it, which would swallow what is said last
    device_id = device if on_gpu else None
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE, device_id=device_id)
    sys.excepthook = show
    with _without_slurm():
        idist.sync()
    end_when_told()
    if not is_first():
        logging.disable(logging.ERROR)  # errors that end a process are shown all the same
    logger.info("%d processes by %s, this one on %s", processes(), dist.get_backend(), device)


def stop() -> None:
    """Wait for the other processes, then part from them."""
    if processes() > 1:
        idist.barrier()
        idist.finalize()


def check_started() -> None:
    """See that a config for one process is not run by several.

    Raises:
        InputError: if they were started.
    """
    if launched() > 1 and not dist.is_initialized():
        raise InputError(
            f"{launched()} processes were started, but the configs are for one, and all would write the same "
            "files; give 'configs/multi_gpu_train.json', or for an evaluation "
            "'configs/multi_gpu_evaluate.json', as the last of --config_file, or start without torchrun"
        )


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, in all of them; the others wait for it.

    Args:
        make: called in the first process alone; its result must be picklable.

    Returns:
        The result.

    Raises:
        InputError: with the message of the first process, if it raised one.
        ProcessLostError: if the first process failed in another way.
    """
    if processes() == 1:
        return make()
    outcome: list[Any] = [None, None]  # result, error
    try:
        if is_first():
            outcome[0] = make()
    except BaseException as e:
        outcome[1] = e if isinstance(e, InputError) else ProcessLostError(f"process 0 failed: {e}")
        raise
    finally:
        dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    result: T = outcome[0]
    return result


def agree(value: float, what: str, advice: str) -> None:
    """See that all processes have the same number.

    Args:
        value: of this process.
        what: name of it, for the message.
        advice: what to do if they differ.

    Raises:
        InputError: in all processes, naming the values in the order of the processes.
    """
    if processes() > 1:
        values = idist.all_gather(value)
        if len(set(values)) > 1:
            raise InputError(f"{what} differs among the processes, got {values}; {advice}")


def _check_device(device: torch.device) -> None:
    """Raise InputError if processes cannot work together there."""
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"several processes need device auto, cuda or cpu, got {str(device)!r}")
    if device.type == "cpu" and torch.cuda.is_available():
        # Ignite would send by the GPU what gloo is to send
        raise InputError(
            "several processes with device 'cpu' must not see a GPU; hide it: "
            "CUDA_VISIBLE_DEVICES= torchrun ..."
        )


@contextlib.contextmanager
def _without_slurm() -> Iterator[None]:
    """Hide from Ignite that this is a job of Slurm.

    It would take Slurm's number of the process on its machine for ours, and Slurm's process is torchrun.
    """
    job = os.environ.pop("SLURM_JOB_ID", None)
    try:
        yield
    finally:
        if job is not None:
            os.environ["SLURM_JOB_ID"] = job
