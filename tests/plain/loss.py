"""The structure loss as published, for each output anew: one square box of 31x31 by pooling."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def structure_loss(outputs: Sequence[Tensor], mask: Tensor, mode: str = "weighted") -> Tensor:
    """Sum over outputs, logits of (B, 1, H, W); `legacy` averages the cross entropy before it is weighted."""
    total = torch.zeros((), dtype=mask.dtype)
    for logits in outputs:
        weight = 1 + 5 * (F.avg_pool2d(mask, 31, stride=1, padding=15) - mask).abs()
        entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
        if mode == "legacy":
            entropy = entropy.mean()
        entropy = (weight * entropy).sum((2, 3)) / weight.sum((2, 3))
        p = logits.sigmoid()
        inter = (weight * p * mask).sum((2, 3))
        union = (weight * (p + mask)).sum((2, 3))
        total = total + (entropy + 1 - (inter + 1) / (union - inter + 1)).mean()
    return total
