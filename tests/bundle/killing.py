"""Trainings in child processes that send themselves SIGKILL at a stated moment.

Children are forked by a server that has imported MONAI once, so that each takes about two seconds.
"""

from __future__ import annotations

import builtins
import contextlib
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from shutil import copyfile
from typing import Any, BinaryIO, NamedTuple

import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.engines.utils import IterationEvents

from monai_sam2unet import files
from monai_sam2unet.handlers import checkpoints
from tests.bundle.conftest import ROOT

KILLED = -9  # exit code of a process that SIGKILL ended


class Moment(NamedTuple):
    """When a child ends itself: at the nth time that something happens in its life.

    What happens is ``iteration`` (gradients are computed, weights not yet changed), ``validation`` (of a
    picture), or with a file: ``open``, ``write`` (half of its bytes are written), ``rename`` (it is whole and
    on the disk), ``renamed``, ``moved`` (into ``replaced/``).
    """

    what: str
    nth: int = 1


@dataclass
class Job:
    """What a child is to do: train with these settings, end at that moment."""

    settings: dict[str, Any]
    moment: Moment | None = None
    sizes: dict[str, int] = field(default_factory=dict)  # bytes of each file when it is whole
    keep: Path | None = None  # where to copy the state after each epoch
    careless: bool = False  # whether checkpoints are written straight to their final names


class Trap:
    """Kills the process at the moment of a job; whatever may be that moment is told to it."""

    def __init__(self, moment: Moment | None) -> None:
        self.what, self.left = moment or ("", 0)

    def __call__(self, what: str) -> None:
        """Count what happens."""
        self.left -= what == self.what
        if what == self.what and self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class WatchedFile:
    """A file being written, that tells the trap when it holds half of its bytes."""

    def __init__(self, file: BinaryIO, name: str, size: int, trap: Trap) -> None:
        self.file, self.name, self.trap = file, name, trap
        self.half = size // 2
        self.fileno, self.flush = file.fileno, file.flush

    def __enter__(self) -> WatchedFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, data: Any) -> int:
        """Write, in two parts where the middle of the file is reached."""
        before = self.half - self.file.tell()
        if 0 < before <= len(data):
            self.file.write(data[:before])
            self.file.flush()
            self.trap(f"write {self.name}")
            data = data[before:]
        return self.file.write(data)


def watch_files(job: Job, trap: Trap) -> None:
    """Let the trap know of every file that `monai_sam2unet.files` writes or moves."""
    plain_replace = os.replace

    def watched_open(path: Path, mode: str) -> WatchedFile:
        name = re.sub(r"^\.(.+)\.[0-9a-f]{32}\.tmp$", r"\1", path.name)
        trap(f"open {name}")
        return WatchedFile(builtins.open(path, mode), name, job.sizes.get(name, 0), trap)

    def watched_replace(source: Path, target: Path) -> None:
        moves = source.name == target.name
        trap(f"{'move' if moves else 'rename'} {target.name}")
        plain_replace(source, target)
        trap(f"{'moved' if moves else 'renamed'} {target.name}")

    def careless_write(path: Path, write: Callable[[Any], Any]) -> None:
        with watched_open(path, "wb") as file:
            write(file)

    files.open = watched_open  # type: ignore[attr-defined]
    os.replace = watched_replace  # type: ignore[assignment]
    if job.careless:
        checkpoints.write_atomically = careless_write  # type: ignore[assignment]


def train(job: Job, pipe: Connection, log: Path) -> None:
    """What a child does. The pipe gets a word at the first iteration, and is open while any process lives."""
    with open(log, "ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    multiprocessing.set_start_method("fork", force=True)  # for loader processes, as in a program of its own
    torch.set_num_threads(1)  # forking after threads have computed hangs
    trap = Trap(job.moment)
    watch_files(job, trap)
    made = ConfigWorkflow(
        config_file=str(ROOT / "configs" / "train.json"),
        workflow_type="train",
        run_id="training",
        logging_file=False,
        **job.settings,
    )
    made.initialize()
    trainer = made.parser.get_parsed_content("train#trainer")
    evaluator = made.parser.get_parsed_content("validate#evaluator")
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda: pipe.send("started"))
    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, lambda: trap("iteration"))
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda: trap("validation"))
    if job.keep is not None:
        last, keep = Path(job.settings["ckpt_dir"]) / "checkpoint_last.pt", job.keep
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda engine: copyfile(last, keep / f"epoch-{engine.state.epoch}.pt")
        )
    made.run()


class Child:
    """A training in a process of its own."""

    context = multiprocessing.get_context("forkserver") if sys.platform != "win32" else None

    def __init__(self, job: Job, log: Path) -> None:
        assert self.context is not None
        self.context.set_forkserver_preload(["monai_sam2unet", __name__])
        self.log = log
        self.pipe, end = self.context.Pipe(duplex=False)
        self.process = self.context.Process(target=train, args=(job, end, log))
        self.process.start()
        end.close()

    def kill_after(self, seconds: float) -> None:
        """Kill it some time after its first iteration, unless it ends before."""
        with contextlib.suppress(EOFError):  # a resumed training that had come to its end has no iteration
            assert self.pipe.poll(60) and self.pipe.recv() == "started", self.log.read_text()
            time.sleep(seconds)
            self.process.kill()

    def end(self, *codes: int) -> None:
        """Wait for its end, with one of these exit codes, and for that of all processes it has started."""
        self.process.join(120)
        code = self.process.exitcode
        self.process.kill()  # if it hangs
        assert code in codes, self.log.read_text()
        while self.pipe.poll(30):  # torch's loader processes look for their parent every five seconds
            try:
                self.pipe.recv()
            except EOFError:
                return
        raise AssertionError("a process of a killed training is still running")
