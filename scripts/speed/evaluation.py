"""From pictures to figures without the network: predict, save the map, score.

The plain way is that of the published programs: one writes all maps, another reads and scores them. Ours is
that of `python -m scripts.benchmark_table --save_maps`. Both are given the network's logits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from monai.bundle import ConfigParser
from PIL import Image
from torch import Tensor

from monai_sam2unet.benchmark import Run, load_sets
from monai_sam2unet.benchmark.evaluation import score_network
from monai_sam2unet.metrics import PROTOCOLS
from monai_sam2unet.metrics.levels import compare
from monai_sam2unet.metrics.protocols import paper_from_counts
from scripts.speed.examples import LOGITS_SIDE, example
from scripts.speed.metrics import ALLOWED, Scored, farthest
from scripts.speed.timing import Comparison, Figure
from tests.plain import library, scoring

__all__ = ["comparisons"]

PART = "evaluation"
ROOT = Path(__file__).resolve().parent.parent.parent
SIZE = (1200, 1000)  # width, height, pixels
PICTURES = 4
PICTURES_AHEAD = 16  # where threads work ahead of each other
THREADS = 2  # that read, and as many that score
GOAL = 8.0
NO_MODEL = {
    "model_settings": {
        "input_size": LOGITS_SIDE, "threshold": 0.5, "window": "", "contrast": "none", "tile": 0,
        "classes": [], "activation": "sigmoid",
    },
    "architecture": {
        "variant": "tiny", "in_channels": 3, "out_channels": 1, "adapter_dim": 32, "decoder_channels": 64,
    },
}  # fmt: skip
"""What configs/inference.json would read from a model, of which nothing is needed here."""

COUNTS_ALONE = PROTOCOLS["paper"]._replace(
    measure=lambda found, mask: {**paper_from_counts(compare(found, mask)), "wFmeasure": 0.0}
)
"""Protocol `paper` without the cost of weighted F."""


def comparisons(quick: bool) -> Iterator[Comparison | Figure]:
    """Take some pictures from their files to figures, in one thread and in several, as the command does.

    Args:
        quick: nothing is measured then.

    Yields:
        One comparison after the other; their files are there until the next.
    """
    if quick:
        return
    ways: list[tuple[str, Scored]] = [("threshold by threshold", scoring.figures)]
    if library.installed():
        ways.append(("PySODMetrics", library.figures))
    for count, threads in ((PICTURES, 0), (PICTURES_AHEAD, THREADS)):
        with tempfile.TemporaryDirectory() as folder:
            case = _Case(Path(folder), count, threads)
            for by, scored in ways:
                for weighted in (True, False):
                    yield case.comparison(by, scored, weighted)


class _Case:
    """A folder of pictures with masks, and both ways to take them to figures.

    Args:
        folder: where pictures, masks and maps go.
        count: of pictures.
        threads: that read ahead, and as many that score; 0 does everything one after the other.
    """

    def __init__(self, folder: Path, count: int, threads: int) -> None:
        self.folder, self.threads = folder, threads
        self.logits = _write_set(folder / "set", count)
        (self.found,) = load_sets([folder / "set"], "all")
        self.parts = _parts()
        (folder / "plain").mkdir()

    def plain(self, scored: Scored, weighted: bool) -> Mapping[str, float]:
        """As the published programs: all maps, then all figures."""
        maps, masks = [], []
        for item, logits in zip(self.found.items, self.logits, strict=True):
            maps.append(self.folder / "plain" / f"{Path(item['image']).stem}.png")
            masks.append(Path(item["label"]))
            scoring.segment_step(Path(item["image"]), masks[-1], maps[-1], _given([logits]))
        return scoring.evaluation_step(maps, masks, weighted, scored)

    def ours(self, weighted: bool) -> Mapping[str, float]:
        """As `scripts.benchmark_table`: one picture after the other."""
        run, parts = Run({}), {**self.parts, "network": _given(self.logits)}
        layout = PROTOCOLS["paper"] if weighted else COUNTS_ALONE
        with patch.dict(PROTOCOLS, paper=layout):
            score_network(
                run, self.found, ["paper"], 0.5, parts, num_workers=self.threads, maps=self.folder / "ours"
            )
        return run.scores[self.found.name]["paper"].figures

    def comparison(self, by: str, scored: Scored, weighted: bool) -> Comparison:
        """The two beside each other; maps must be equal, too."""
        difference = farthest(self.plain(scored, weighted), self.ours(weighted))
        kind = "all figures" if weighted else "all but weighted F"
        kind += f", {self.threads} threads reading, {self.threads} scoring" if self.threads else ""
        return Comparison(
            PART,
            f"predict, save, score, {SIZE[0]}x{SIZE[1]}, {kind}; plain: {by}",
            lambda: self.plain(scored, weighted),
            lambda: self.ours(weighted),
            max(difference, self._farthest_level()),
            ALLOWED,
            items=len(self.logits),
            goal=GOAL,
        )

    def _farthest_level(self) -> float:
        """Largest difference of both ways' maps, in levels."""
        plain, ours = (
            {
                path.stem: np.asarray(Image.open(path), np.int16)
                for path in (self.folder / name).rglob("*.png")
            }
            for name in ("plain", "ours")
        )
        return max(float(np.abs(levels - ours[stem]).max()) for stem, levels in plain.items())


def _write_set(folder: Path, count: int) -> list[Tensor]:
    """Write pictures as JPEG and masks as PNG; gives their logits, by name."""
    logits = []
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        made = example(number, SIZE)
        Image.fromarray(made.picture).save(folder / "images" / f"{number:04d}.jpg", quality=92)
        Image.fromarray(made.mask).save(folder / "masks" / f"{number:04d}.png")
        logits.append(made.logits)
    return logits


def _given(logits: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """Stands for the network: gives the logits, one after the other."""
    left = iter(logits)
    return lambda _: next(left)


def _parts() -> dict[str, Any]:
    """What configs/inference.json does to pictures before and after the network."""
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "inference.json")
    parser.read_meta(ROOT / "configs" / "metadata.json")
    parser.update({"bundle_root": str(ROOT), "device": "cpu", **NO_MODEL})
    parser.parse()
    return {name: parser.get_parsed_content(name) for name in ("preprocessing", "inferer", "torch_device")}
