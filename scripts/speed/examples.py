"""Made-up cases to measure with: a picture, its mask, and logits as a network might give them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from monai_sam2unet.data.demo import draw_case

__all__ = ["LOGITS_SIDE", "Example", "example", "stretched_map"]

LOGITS_SIDE = 352
CELLS = 88  # a network's logits are computed at a quarter of their side, then made larger

Bytes = npt.NDArray[np.uint8]


class Example(NamedTuple):
    """One case.

    Attributes:
        picture: (H, W, 3).
        mask: (H, W), 0 or 255.
        logits: (1, 1, 352, 352).
    """

    picture: Bytes
    mask: Bytes
    logits: Tensor


def example(number: int, size: tuple[int, int]) -> Example:
    """Draw a case with a polyp; its logits are about right and not flat anywhere.

    Args:
        number: which one.
        size: width and height, pixels.
    """
    picture, mask = draw_case(number, size=size, negative=False)
    cells = np.asarray(Image.fromarray(mask).resize((CELLS, CELLS), Image.Resampling.BILINEAR))
    noise = torch.randn(CELLS, CELLS, generator=torch.Generator().manual_seed(number))
    coarse = 12 * (torch.from_numpy(cells / np.float32(255)) - 0.5) + 0.8 * noise
    side = (LOGITS_SIDE, LOGITS_SIDE)
    logits = F.interpolate(coarse[None, None], size=side, mode="bilinear", align_corners=False)
    return Example(picture, mask, logits)


def stretched_map(made: Example) -> Bytes:
    """The map of an example that the benchmarks score, of its mask's size: (H, W)."""
    shape = made.mask.shape
    found = F.interpolate(made.logits, size=shape, mode="bilinear", align_corners=False).sigmoid()[0, 0]
    span = found.max() - found.min()
    levels: Bytes = ((found - found.min()) / span * 255).to(torch.uint8).numpy()
    return levels
