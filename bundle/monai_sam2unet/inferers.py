"""Inference of pictures whose size the network does not take as it is."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from monai.inferers import Inferer
from torch import Tensor, nn

from monai_sam2unet.networks import SIZE_DIVISOR

__all__ = ["AMP_TYPES", "PaddedInferer"]

AMP_TYPES = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Names of the precisions in which the network may compute."""


class PaddedInferer(Inferer):
    """Run the network on pictures of any size, in the precision asked for.

    A side that is no multiple of the divisor is padded at the bottom or right by zeros (the mean colour
    of a normalised picture); the outputs are cropped to the input's size again. MONAI's engines know
    autocast on CUDA alone; done here, it works on a CPU as well.

    Args:
        amp: ``none``, ``bf16`` or ``fp16``.
        divisor: what height and width must be multiples of.

    Raises:
        ValueError: if ``amp`` is unknown.
    """

    def __init__(self, amp: str = "none", divisor: int = SIZE_DIVISOR) -> None:
        super().__init__()
        if amp not in AMP_TYPES:
            raise ValueError(f"amp must be one of {', '.join(AMP_TYPES)}, got {amp!r}")
        self.amp = amp
        self.divisor = divisor

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Compute logits in float32.

        Args:
            inputs: normalised pictures, (B, C, H, W).
            network: gives one tensor, or a list of them in training, at its input's size.
            args: further arguments of the network.
            kwargs: further named arguments of the network.

        Returns:
            Logits (B, K, H, W), or the list of them.
        """
        h, w = inputs.shape[-2:]
        padded = F.pad(inputs, (0, -w % self.divisor, 0, -h % self.divisor))
        with torch.autocast(inputs.device.type, AMP_TYPES[self.amp], enabled=self.amp != "none"):
            outputs = network(padded, *args, **kwargs)
        if isinstance(outputs, Tensor):
            return outputs.float()[..., :h, :w]
        return [output.float()[..., :h, :w] for output in outputs]
