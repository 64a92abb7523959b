"""Inferences in child processes that send themselves SIGKILL at a stated moment (see `killing`)."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from tests.bundle.conftest import ROOT
from tests.bundle.killing import Job, Moment, Trap, watch_files


def infer(moment: Moment | None, sizes: dict[str, int], settings: dict[str, Any]) -> None:
    """What a child does."""
    torch.set_num_threads(1)
    trap = Trap(moment)
    watch_files(Job({}, sizes=sizes), trap)
    made = ConfigWorkflow(
        config_file=str(ROOT / "configs" / "inference.json"),
        workflow_type="infer",
        run_id="inference",
        logging_file=False,
        **settings,
    )
    made.initialize()
    made.run()


def run_child(moment: Moment, sizes: dict[str, int], **settings: Any) -> int | None:
    """Segment in a process of its own.

    Args:
        moment: when it is to kill itself.
        sizes: bytes of each result by name, when it is whole.
        settings: of inference.json.

    Returns:
        Its exit code.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["monai_sam2unet", __name__])
    process = context.Process(target=infer, args=(moment, sizes, settings))
    process.start()
    process.join(120)
    process.kill()  # if it hangs
    return process.exitcode


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones as well."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
