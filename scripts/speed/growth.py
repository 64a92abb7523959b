"""How the cost of segmentation grows: with size, batch and threads, and with the number of pictures."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from monai_sam2unet.data import draw_case
from monai_sam2unet.networks import SAM2UNet
from scripts.speed.timing import Comparison, Figure

__all__ = ["comparisons", "of_network", "of_pictures"]

PART = "growth"
ROOT = Path(__file__).resolve().parent.parent.parent
SIDES = (224, 352, 512, 704, 1024)
BATCHES = (1, 4, 16)
NUMBERS = (1, 50, 200)
ROUNDS = 5


def comparisons(quick: bool) -> Iterator[Comparison | Figure]:
    """Figures alone: there is no plain form beside them.

    Args:
        quick: nothing is measured then.

    Yields:
        One figure after the other.
    """
    if quick:
        return
    threads = torch.get_num_threads()
    yield from of_network("tiny", SIDES, BATCHES, sorted({1, threads}))
    yield from of_network("large", SIDES[:3], BATCHES[:1], sorted({1, threads}))
    yield from of_pictures(NUMBERS)


def of_network(
    variant: str, sides: tuple[int, ...], batches: tuple[int, ...], threads: list[int]
) -> Iterator[Figure]:
    """Time of the form for inference: size, batch and threads each changed alone.

    Args:
        variant: of the encoder.
        sides: of the pictures, pixels, with one picture a batch and all threads.
        batches: pictures at once, at 352 pixels with all threads.
        threads: for one picture of 352 pixels.
    """
    torch.manual_seed(0)
    network = SAM2UNet(variant).fuse()
    before = torch.get_num_threads()
    cases = [(side, 1, before) for side in sides]
    cases += [(352, batch, before) for batch in batches if batch > 1]
    cases += [(352, 1, count) for count in threads if count != before]
    try:
        for side, batch, count in cases:
            torch.set_num_threads(count)
            x = torch.zeros(batch, 3, side, side)
            with torch.inference_mode():
                seconds = _median(partial(network, x)) / batch
            name = f"{variant}, {side}x{side}, batch {batch}, {_counted(count, 'thread')}"
            yield Figure(PART, name, f"{1000 * seconds:.0f} ms a picture")
    finally:
        torch.set_num_threads(before)


def of_pictures(numbers: tuple[int, ...]) -> Iterator[Figure]:
    """The whole command, with the model in the box, on so many pictures of 622x529 pixels.

    Args:
        numbers: of pictures.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            pictures = Path(folder, f"of{number}")
            pictures.mkdir()
            for case in range(number):
                Image.fromarray(draw_case(case, size=(622, 529))[0]).save(
                    pictures / f"{case}.jpg", quality=92
                )
            start = time.perf_counter()
            _inference(pictures, Path(folder, f"masks{number}"))
            taken = time.perf_counter() - start
            yield Figure(PART, f"run inference, nano, {_counted(number, 'picture')}", f"{taken:.1f} s in all")


def _inference(pictures: Path, masks: Path) -> None:
    """The command that every user types."""
    command = [sys.executable, "-m", "monai.bundle", "run", "inference"]
    command += ["--config_file", "configs/inference.json", "--input", str(pictures)]
    command += ["--output_dir", str(masks), "--checkpoint", "models/polypgen_nano.pt"]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run(command, cwd=ROOT, env={**os.environ, **threads}, check=True, capture_output=True)


def _median(work: Callable[[], object]) -> float:
    """Seconds of one call, after one that does not count."""
    work()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _counted(number: int, thing: str) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
