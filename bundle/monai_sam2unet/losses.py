"""Structure loss: boundary-weighted cross entropy plus boundary-weighted IoU, deeply supervised.

Source: arXiv 2408.08870, section 2 (equations of the loss), after Wei et al., F3Net, arXiv 1911.11445.

Shapes: ``B`` batch, ``K`` output channels, ``H W`` height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["StructureLoss", "boundary_weight"]

WINDOW = 31
"""Side of the box, in pixels, within which a boundary makes a pixel count for more."""


def boundary_weight(target: Tensor) -> Tensor:
    """Weight of each pixel: 1 far from boundaries, up to 6 beside them.

    Args:
        target: mask in [0, 1], (B, K, H, W).

    Returns:
        ``1 + 5 |box mean of target - target|`` over 31x31 pixels, zeros beyond the edge, (B, K, H, W).
    """
    pad = WINDOW // 2
    # the box mean is separable: 31 + 31 additions a pixel instead of 961
    mean = F.avg_pool2d(target, (WINDOW, 1), stride=1, padding=(pad, 0))
    mean = F.avg_pool2d(mean, (1, WINDOW), stride=1, padding=(0, pad))
    return 1 + 5 * (mean - target).abs()


class StructureLoss(nn.Module):
    """Weighted binary cross entropy plus weighted IoU, summed over the network's outputs.

    Args:
        mode: ``weighted`` is the paper's formula. ``legacy`` is what the published code computes: its
            cross entropy is averaged before the boundary weight is applied, so that the weight cancels.
        weights: factor of each output, main first; further outputs are an error, fewer are not. The
            published sum has 1 for all three.

    Raises:
        ValueError: if the mode is unknown, or (in `forward`) shapes or the number of outputs do not fit.

    Example:
        >>> loss = StructureLoss()
        >>> round(loss(torch.full((1, 1, 32, 32), 20.0), torch.ones(1, 1, 32, 32)).item(), 4)
        0.0
    """

    def __init__(self, mode: str = "weighted", weights: Sequence[float] = (1.0, 1.0, 1.0)) -> None:
        super().__init__()
        if mode not in ("weighted", "legacy"):
            raise ValueError(f"mode must be 'weighted' or 'legacy', got {mode!r}")
        self.mode = mode
        self.weights = tuple(float(w) for w in weights)

    def forward(self, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            outputs: logits, (B, K, H, W), or the list of them that the network gives in training.
            target: mask in [0, 1], soft values allowed, (B, K, H, W).

        Returns:
            Scalar, mean over batch and channels, in float32 whatever the precision of the logits.
        """
        outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        if not 0 < len(outputs) <= len(self.weights):
            raise ValueError(f"expected 1 to {len(self.weights)} outputs, got {len(outputs)}")
        for logits in outputs:
            if logits.shape != target.shape:
                raise ValueError(
                    f"logits and target must have one shape, got {list(logits.shape)} and "
                    f"{list(target.shape)}; give the mask as (batch, channels, height, width)"
                )
        target = target.float()
        boundary = boundary_weight(target)  # the same for all outputs
        losses = [
            w * self._one(logits.float(), target, boundary)
            for w, logits in zip(self.weights, outputs, strict=False)
        ]
        return torch.stack(losses).sum()

    def _one(self, logits: Tensor, target: Tensor, boundary: Tensor) -> Tensor:
        """Loss of one output."""
        area = (2, 3)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if self.mode == "weighted":
            bce = (boundary * cross_entropy).sum(area) / boundary.sum(area)
        else:
            bce = cross_entropy.mean()
        p = logits.sigmoid()
        intersection = (p * target * boundary).sum(area)
        union = ((p + target) * boundary).sum(area) - intersection
        # the ones keep the ratio defined where both are empty
        iou = (intersection + 1) / (union + 1)
        return (bce + 1 - iou).mean()
