"""Pictures as an exported network takes them; docs/export.md says the same in words.

Shapes: ``B`` batch, ``H W`` rows and columns of the network's input, ``h w`` of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from monai_sam2unet.transforms.load import LoadPicture
from monai_sam2unet.transforms.resize import ResizeLikePillow

__all__ = ["MEAN", "STD", "Case", "network_pixels", "normalised"]

MEAN = (0.485, 0.456, 0.406)
"""Subtracted from red, green, blue in [0, 1]; as in ``configs/inference.json``, by a test."""

STD = (0.229, 0.224, 0.225)
"""What red, green and blue are divided by then."""


@dataclass(frozen=True)
class Case:
    """A picture to compare formats on.

    Attributes:
        picture: path of its file, or uint8 (h, w, 3).
        masks: paths of its masks, whose union counts; or uint8 (h, w), not 0 where the object is; or None.
    """

    picture: str | Path | NDArray[np.uint8]
    masks: list[str] | NDArray[np.uint8] | None = None

    def pixels(self) -> NDArray[np.uint8]:
        """The picture, uint8 (h, w, 3)."""
        loaded: torch.Tensor = LoadPicture()(self.picture)
        return np.asarray(loaded.numpy(), dtype=np.uint8).transpose(1, 2, 0)

    def mask(self) -> NDArray[np.bool_] | None:
        """Where the object is, (h, w)."""
        if self.masks is None:
            return None
        if isinstance(self.masks, list):
            return np.asarray(LoadPicture(mask=True)(self.masks).numpy())[0] > 0
        return self.masks > 0


def network_pixels(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a picture as Pillow does: (h, w, 3) -> (1, H, W, 3), both uint8.

    Args:
        picture: uint8 (h, w, 3).
        size: ``(H, W)``, pixels, both multiples of 32.
    """
    channels = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
    resized = ResizeLikePillow(size)(channels).numpy()
    return np.ascontiguousarray(resized.transpose(1, 2, 0)[None])


def normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale to [0, 1], subtract the mean, divide by the deviation: (B, H, W, 3) -> (B, 3, H, W)."""
    values = pixels.astype(np.float32) / np.float32(255)
    values = (values - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
