"""OpenVINO and ONNX Runtime beside PyTorch with the plain encoder, and PyTorch with ours beside it, too.

One picture a call, files for one size, random weights, as many threads as PyTorch has.
"""

from __future__ import annotations

import copy
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from monai_sam2unet.export import FORMATS, export, runner
from monai_sam2unet.networks import SAM2UNet
from scripts.speed.timing import Comparison, Figure
from tests.plain.network import PlainSAM2UNet

__all__ = ["comparisons", "of_variant"]

PART = "runtimes"
SIZE = 352
GOALS = {"large": 1.5, "tiny": 1.3}
NAMES = {"openvino": "OpenVINO", "onnx": "ONNX Runtime"}
ALLOWED = 2e-5
"""Largest difference of logits in float32, of the largest logit."""


def comparisons(quick: bool) -> Iterator[Comparison | Figure]:
    """Build one comparison after another.

    Args:
        quick: give none; making the files takes longer than a quick run.

    Yields:
        For each network PyTorch and the runtimes; a figure that says so where a runtime is not installed.
    """
    if not quick:
        for variant, goal in GOALS.items():
            yield from of_variant(variant, SIZE, goal)


def of_variant(variant: str, size: int, goal: float | None = None) -> Iterator[Comparison | Figure]:
    """Compare one network in all runtimes.

    Args:
        variant: of the encoder.
        size: side of the picture, pixels.
        goal: ratio of times that the runtimes aim at.

    Yields:
        As `comparisons`.
    """
    torch.manual_seed(0)
    network = SAM2UNet(variant).eval()
    x: NDArray[Any] = torch.randn(1, 3, size, size).numpy()
    plain = _eager(PlainSAM2UNet(network, variant).eval())
    expected = plain(x)

    def beside(name: str, ours: Callable[[NDArray[Any]], NDArray[Any]], aim: float | None) -> Comparison:
        apart = float(np.abs(ours(x) - expected).max() / np.abs(expected).max())
        what = f"{name}, {variant}, {size}x{size}"
        return Comparison(PART, what, lambda: plain(x), lambda: ours(x), apart, ALLOWED, goal=aim)

    yield beside("PyTorch, fused", _eager(copy.deepcopy(network).fuse()), None)
    for kind, name in NAMES.items():
        missing = [package for package in FORMATS[kind].packages if importlib.util.find_spec(package) is None]
        if missing:
            yield Figure(PART, f"{name}, {variant}, {size}x{size}", _not_installed(missing))
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = export(network, Path(folder, FORMATS[kind].file), kind, size=size)
            yield beside(name, runner(path, kind), goal)


def _not_installed(packages: list[str]) -> str:
    """Why there is no number."""
    return f"{' and '.join(packages)} not installed; run `make exports`"


def _eager(network: nn.Module) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """PyTorch as a function of arrays, of which the main logits count."""

    def run(x: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            logits = network(torch.from_numpy(x))
        return np.asarray((logits[0] if isinstance(logits, list) else logits).numpy())

    return run
