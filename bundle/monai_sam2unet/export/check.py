"""Exported files beside PyTorch on the same pictures.

Shapes: ``H W`` rows and columns of the network's input, ``h w`` of the picture, ``K`` output channels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from monai_sam2unet.export.inputs import Case, network_pixels, normalised
from monai_sam2unet.export.packed import PackedNetwork
from monai_sam2unet.networks import SAM2UNet

__all__ = ["EAGER", "Comparison", "compare"]

Array = NDArray[Any]

EAGER = "pytorch"
"""Name of the row of PyTorch itself, with which the others are compared."""


@dataclass
class Comparison:
    """How far one format is from PyTorch.

    Attributes:
        difference: largest absolute difference of probabilities, over all pictures and pixels.
        dices: Dice of its mask and PyTorch's at the network's size, by picture; 1 where both are empty.
        reference: Dice with the reference mask at the picture's size, by picture that has one; 1 where both
            are empty.
        seconds: of the network alone, all pictures together.
    """

    difference: float = 0.0
    dices: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def dice(self) -> float:
        """Mean Dice with PyTorch's masks."""
        return float(np.mean(self.dices)) if self.dices else math.nan

    @property
    def reference_dice(self) -> float:
        """Mean Dice with the reference masks; NaN without any."""
        return float(np.mean(self.reference)) if self.reference else math.nan


def compare(
    network: SAM2UNet | PackedNetwork,
    runners: Mapping[str, Callable[[Array], Array]],
    cases: Iterable[Case],
    size: tuple[int, int],
    threshold: float = 0.5,
) -> dict[str, Comparison]:
    """Run formats and PyTorch, one picture at a time.

    Args:
        network: what the files were exported from.
        runners: name to function, as `monai_sam2unet.export.runner` gives.
        cases: pictures.
        size: ``(H, W)``, pixels, to which they are resized.
        threshold: of the probability.

    Returns:
        By name, `EAGER` first.
    """
    packed = isinstance(network, PackedNetwork)
    network.eval()

    def eager(x: Array) -> Array:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(x)).numpy())

    ways: dict[str, Callable[[Array], Array]] = {EAGER: eager, **runners}
    found = {name: Comparison() for name in ways}
    for number, case in enumerate(cases):
        picture, mask = case.pixels(), case.mask()
        pixels = network_pixels(picture, size)
        x: Array = pixels if packed else normalised(pixels)
        expected: Array = np.empty(0)
        for name, way in ways.items():
            if number == 0:
                way(x)  # the first call prepares, and is not timed
            start = time.perf_counter()
            output = way(x)
            found[name].seconds += time.perf_counter() - start
            probability = output if packed else _sigmoid(output)
            expected = probability if name == EAGER else expected
            _note(found[name], probability, expected, threshold)
            if mask is not None and output.shape[1] == 1:
                restored = _restored(output, mask.shape, packed)
                found[name].reference.append(_dice(restored >= threshold, mask))
    return found


def _note(found: Comparison, probability: Array, expected: Array, threshold: float) -> None:
    """Take one picture into account."""
    found.difference = max(found.difference, float(np.abs(probability - expected).max()))
    found.dices.append(_dice(probability >= threshold, expected >= threshold))


def _sigmoid(logits: Array) -> Array:
    return np.asarray(torch.from_numpy(logits).sigmoid().numpy())


def _restored(output: Array, size: tuple[int, ...], packed: bool) -> Array:
    """Probabilities of the picture's size, (1, 1, H, W) -> (h, w): logits are resized before the sigmoid."""
    values = F.interpolate(torch.from_numpy(output), size=list(size), mode="bilinear", align_corners=False)
    return np.asarray((values if packed else values.sigmoid()).numpy())[0, 0]


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice of two masks; 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0
