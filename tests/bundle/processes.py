"""Runs of the bundle's configs in several processes, which are told of each other as torchrun tells them.

They are forked by a server that has imported MONAI once, so that each takes about a second.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from monai.bundle import ConfigWorkflow
from monai.engines.utils import IterationEvents

from tests.bundle.conftest import ROOT

CONFIGS = {
    "training": ("train", "multi_gpu_train"),
    "evaluation": ("train", "evaluate", "multi_gpu_evaluate"),
}
SECONDS = 120


def work(
    run_id: str, configs: Sequence[str], settings: dict[str, Any], killed: tuple[int, int] | None = None
) -> None:
    """Run configs as the command line does.

    Args:
        run_id: what to run.
        configs: names of config files.
        settings: as on the command line.
        killed: rank of the process that sends itself SIGKILL, and in which iteration: the gradients are
            computed then, and the weights not yet changed.
    """
    made = ConfigWorkflow(
        config_file=[str(ROOT / "configs" / f"{name}.json") for name in configs],
        workflow_type="train",
        run_id=run_id,
        logging_file=str(ROOT / "configs" / "logging.conf"),
        **settings,
    )
    made.initialize()
    if killed is not None and int(os.environ["RANK"]) == killed[0]:
        made.parser.get_parsed_content("train#trainer").add_event_handler(
            IterationEvents.BACKWARD_COMPLETED,
            lambda engine: engine.state.iteration == killed[1] and os.kill(os.getpid(), signal.SIGKILL),
        )
    made.run()
    made.finalize()


def enter(environment: dict[str, str], log: Path, target: Callable[..., Any], arguments: Any) -> None:
    """What a process does: it shows errors, and ends, as one that Python was started for."""
    with open(log, "ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
        os.dup2(file.fileno(), sys.stdout.fileno())
    os.environ.update(environment)
    multiprocessing.set_start_method("fork", force=True)  # for loader processes, as in a program of its own
    torch.set_num_threads(1)
    try:
        target(*arguments)
    except BaseException as e:
        sys.excepthook(type(e), e, e.__traceback__)
        sys.exit(1)


def together(
    folder: Path, target: Callable[..., Any], *arguments: Any, processes: int = 2, **environment: str
) -> tuple[list[int | None], list[str]]:
    """Call a function of a module in several processes at once.

    Args:
        folder: where their logs go.
        target: the function.
        arguments: its arguments.
        processes: how many.
        environment: further variables of their environment.

    Returns:
        Exit code of each (negative: the signal that ended it; None: it hung and was ended), and its log.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["monai_sam2unet", __name__])
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True", **environment}
    logs = [folder / f"process-{rank}.log" for rank in range(processes)]
    for log in logs:
        log.unlink(missing_ok=True)
    children = [
        context.Process(
            target=enter,
            args=({**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, log, target, arguments),
        )
        for rank, log in enumerate(logs)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(SECONDS)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
    return codes, [log.read_text() for log in logs]


def run_together(
    folder: Path,
    run_id: str,
    configs: Sequence[str] | None = None,
    killed: tuple[int, int] | None = None,
    **settings: Any,
) -> tuple[list[int | None], list[str]]:
    """Run the bundle's configs in two processes: exit codes and logs, see `work` and `together`."""
    folder.mkdir(exist_ok=True)
    return together(folder, work, run_id, configs or CONFIGS[run_id], settings, killed)
