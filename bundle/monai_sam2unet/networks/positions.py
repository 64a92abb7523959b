"""Where tokens lie, as SAM 2's encoder is told: a grid for the whole picture and one for each window.

Source: Bolya et al., "Window Attention is Bugged: How not to Interpolate Position Embeddings",
arXiv 2311.05613, section 3.

Shapes: ``H W`` rows and columns of tokens, ``S`` side of a window in tokens, ``C`` channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["KeptPositions", "position_embedding"]


def position_embedding(background: Tensor, window: Tensor, height: int, width: int) -> Tensor:
    """The background grid, resized bicubically, plus the tiled window embedding.

    Args:
        background: of the picture, (1, C, rows, columns), of any size.
        window: of a window, (1, C, S, S).
        height: rows ``H`` of tokens, a multiple of ``S``.
        width: columns ``W`` of tokens, a multiple of ``S``.

    Returns:
        (1, H, W, C).
    """
    side = window.shape[-1]
    grid = F.interpolate(background, size=(height, width), mode="bicubic")
    tiled = window.repeat(1, 1, height // side, width // side)
    return (grid + tiled).permute(0, 2, 3, 1)


class KeptPositions:
    """Position embedding of a network that learns no more: computed where the size has changed.

    Pictures to be segmented are nearly always of one size, so only the last one's is kept.
    """

    def __init__(self) -> None:
        self.last: tuple[object, Tensor] | None = None

    def __call__(self, background: Tensor, window: Tensor, height: int, width: int) -> Tensor:
        """As `position_embedding`."""
        key = (height, width, background.device, background.dtype)
        if self.last is None or self.last[0] != key:
            with torch.no_grad():
                self.last = (key, position_embedding(background, window, height, width).contiguous())
        return self.last[1]
