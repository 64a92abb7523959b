"""Inference of pictures whose size the network does not take as it is."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
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
        # without its metadata, which MONAI would otherwise copy along with the result of every layer
        plain = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        padded = F.pad(plain, (0, -w % self.divisor, 0, -h % self.divisor))
        with torch.autocast(inputs.device.type, AMP_TYPES[self.amp], enabled=self.amp != "none"):
            outputs = network(padded, *args, **kwargs)
        if isinstance(outputs, Tensor):
            return _with_meta(outputs.float()[..., :h, :w], inputs)
        return [_with_meta(output.float()[..., :h, :w], inputs) for output in outputs]


def _with_meta(output: Tensor, inputs: Tensor) -> Tensor:
    """The output with the metadata of the input, by which MONAI's ``Invertd`` finds its way back."""
    if not isinstance(inputs, MetaTensor):
        return output
    wrapped = MetaTensor(output).copy_meta_from(inputs)
    wrapped.is_batch = inputs.is_batch
    return wrapped
