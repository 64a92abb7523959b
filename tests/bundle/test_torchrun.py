"""The command line of several processes, as a user types it, and what a killed process leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monai_sam2unet.distributed import LOSS
from tests.bundle.conftest import FAST, ROOT
from tests.bundle.finished import history, last

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="finds processes in /proc")


def torchrun(config, folder, *arguments):
    """Start two processes in a folder that stands for the bundle's; gives torchrun's process."""
    files = ",".join(f"'{ROOT / 'configs' / name}.json'" for name in config)
    options = {**FAST, "bundle_root": str(folder), "max_epochs": 3, "num_workers": 1}
    given = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "monai.bundle", "run", "training", "--config_file", f"[{files}]", *given, *arguments]
    logging = ["--logging_file", str(ROOT / "configs" / "logging.conf")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'bundle'}", "OMP_NUM_THREADS": "1"}
    with open(folder / "log.txt", "wb") as log:
        return subprocess.Popen(
            command + logging, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )


def process_of_rank(parent, rank):
    """Number of the process that torchrun has started with this rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, environment = (folder / "stat").read_text(), (folder / "environ").read_bytes()
        except OSError:
            continue  # gone meanwhile, or not ours
        if int(stat.rpartition(")")[2].split()[1]) == parent and f"\0RANK={rank}\0".encode() in environment:
            return int(folder.name)
    raise AssertionError(f"torchrun has no process of rank {rank}")


@pytest.mark.slow
def test_a_killed_process_under_torchrun(tmp_path):
    """The demonstration: its pictures are drawn once, and the run has one folder, named by the time."""
    started = torchrun(("train", "multi_gpu_train"), tmp_path)
    try:
        until = time.monotonic() + 240
        while not list(tmp_path.glob("runs/*/history.csv")):
            assert started.poll() is None and time.monotonic() < until, (tmp_path / "log.txt").read_text()
            time.sleep(0.2)
        os.kill(process_of_rank(started.pid, 1), signal.SIGKILL)
        assert started.wait(60) != 0
    finally:
        started.kill()
    log = (tmp_path / "log.txt").read_text()
    assert log.count(LOSS) == 1
    assert "exitcode: -9" in log or "exitcode  : -9" in log  # torchrun's report
    assert log.count("drew 240 training and 48 validation pictures") == 1
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("train-")
    done = last(tmp_path)["epoch"]
    assert 1 <= done < 3 and len(history(run)) == done
