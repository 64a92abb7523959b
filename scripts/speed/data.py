"""From files to batches of the training: the published pipeline beside the steps of configs/train.json."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader
from monai.transforms import Compose
from PIL import Image

from monai_sam2unet.data import PictureDataset, draw_case
from monai_sam2unet.pictures import write_png
from scripts.speed.timing import Comparison, Figure
from tests.plain.pipeline import PlainPictures

__all__ = ["comparisons", "comparisons_of"]

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "train.json"
KVASIR = (622, 529)
"""Width and height of Kvasir-SEG's first pictures, pixels; most others are about as large."""
QUALITY = 95  # of JPEG: 45 to 60 KB a picture, as Kvasir-SEG's
BATCH = 12
GOAL = 300
"""Pictures a second from the second epoch, on one core."""


def comparisons(quick: bool) -> Iterator[Comparison | Figure]:
    """Epochs over synthetic polyps of Kvasir-SEG's size, resized to 352x352, in one process.

    Args:
        quick: give nothing.

    Yields:
        The first epoch, in which ours fills the memory as well; later ones; and what these come to.
    """
    if not quick:
        with tempfile.TemporaryDirectory() as folder:
            yield from comparisons_of(drawn(Path(folder), 48, KVASIR), 352)


def drawn(folder: Path, count: int, size: tuple[int, int]) -> list[dict[str, str]]:
    """Draw polyps into a folder, pictures as JPEG and masks as PNG, ``size`` width and height in pixels."""
    items = []
    for number in range(count):
        picture, mask = draw_case(number, size=size)
        item = {"image": str(folder / f"{number}.jpg"), "label": str(folder / f"{number}.png")}
        Image.fromarray(picture).save(item["image"], quality=QUALITY)
        write_png(item["label"], mask)
        items.append(item)
    return items


def comparisons_of(items: list[dict[str, str]], side: int, rounds: int = 7) -> Iterator[Comparison | Figure]:
    """The same of any pictures.

    Args:
        items: paths of a picture, ``image``, and its mask of 0 and 255, ``label``.
        side: what they are resized to, pixels.
        rounds: of the figure of later epochs.

    Yields:
        As `comparisons`.
    """
    plain = batches(PlainPictures([(item["image"], item["label"]) for item in items], side))
    same: dict[str, Any] = {"difference": difference(items, side), "allowed": 1e-6, "items": len(items)}
    size = f"{side}x{side}"
    steps = recipe(side)
    yield Comparison(
        "data", f"first epoch, {size}", plain, lambda: batches(kept(items, *steps))(), **same, goal=1.5
    )
    later = batches(kept(items, *steps))
    yield Comparison("data", f"later epochs, {size}", plain, later, **same, guard=2)
    rates = [len(items) / seconds(later) for _ in range(rounds)]
    spread = f"{min(rates):.0f} to {max(rates):.0f}"
    value = f"{statistics.median(rates):.0f} pictures/s ({spread}), goal {GOAL}"
    yield Figure("data", f"later epochs, {size}, {torch.get_num_threads()} threads", value)


def recipe(side: int, flips: str = "both") -> tuple[Compose, int]:
    """The steps of a training by the paper's recipe, and how many of them come before what is kept."""
    parser = ConfigParser(ConfigParser.load_config_file(CONFIG))
    parser.update({"input_size": side, "flips": flips})
    return parser.get_parsed_content("train#preprocessing"), parser.get_parsed_content("train#dataset#first")


def kept(items: list[dict[str, str]], steps: Compose, first: int) -> PictureDataset:
    """The data set of a training, whose pictures are in memory when it is made."""
    return PictureDataset(items, steps, first, cache="memory")


def batches(dataset: torch.utils.data.Dataset) -> Callable[[], None]:
    """What takes all batches of one epoch."""
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=0)

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch


def difference(items: list[dict[str, str]], side: int) -> float:
    """Largest difference of what both make of the pictures without flips, in terms of the largest value."""
    plain = PlainPictures([(item["image"], item["label"]) for item in items], side, flip=0)
    ours = kept(items, *recipe(side, flips="none"))
    worst = 0.0
    for index in range(len(items)):
        for key, value in plain[index].items():
            worst = max(worst, float((ours[index][key] - value).abs().max() / value.abs().max().clamp(min=1)))
    return worst


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
