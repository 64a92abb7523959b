"""The structure loss of three outputs, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from monai_sam2unet import StructureLoss
from scripts.speed.timing import Comparison, Figure
from tests.plain.loss import structure_loss

__all__ = ["comparisons", "of_mode"]

PART = "loss"
GOAL = 40.0
GUARD = 10.0
ALLOWED = 1e-6
"""Largest difference of the loss, of the loss."""


def comparisons(quick: bool) -> Iterator[Comparison | Figure]:
    """Both forms of the loss, at the batch and the size of the paper.

    Args:
        quick: only what guards against a regression.

    Yields:
        One comparison after the other.
    """
    if quick:
        yield of_mode("legacy", 4, 352, guard=GUARD)
        return
    for mode in ("weighted", "legacy"):
        yield of_mode(mode, 12, 352, goal=GOAL, guard=GUARD)


def of_mode(
    mode: str, batch: int, side: int, goal: float | None = None, guard: float | None = None
) -> Comparison:
    """One form of the loss.

    Args:
        mode: ``weighted`` or ``legacy``.
        batch: pictures at once.
        side: of the pictures, pixels.
        goal: ratio aimed at.
        guard: least ratio.
    """
    generator = torch.Generator().manual_seed(0)
    outputs = [torch.randn(batch, 1, side, side, generator=generator).requires_grad_() for _ in range(3)]
    mask = torch.zeros(batch, 1, side, side)
    mask[..., side // 4 : side // 2, side // 3 : side // 4 * 3] = 1

    def learn(loss: Callable[[], Tensor]) -> float:
        for output in outputs:
            output.grad = None
        value = loss()
        value.backward()
        return value.item()

    def plain() -> float:
        return learn(lambda: structure_loss(outputs, mask, mode))

    def ours() -> float:
        return learn(lambda: StructureLoss(mode)(outputs, mask))

    apart = abs(ours() - plain()) / plain()
    name = f"{mode}, forward and backward, {side}x{side}, batch {batch}"
    return Comparison(PART, name, plain, ours, apart, ALLOWED, items=batch, goal=goal, guard=guard)
