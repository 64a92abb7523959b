"""Forms of the network that are exported in its place.

Shapes: ``B`` batch, ``H W`` rows and columns in pixels, ``K`` output channels.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from monai_sam2unet.errors import InputError
from monai_sam2unet.export.inputs import MEAN, STD
from monai_sam2unet.networks import SAM2UNet

__all__ = ["PackedNetwork", "for_torch_export"]


class PackedNetwork(nn.Module):
    """The network with normalisation before it and the sigmoid after it.

    Args:
        network: trained network of three input channels.

    Raises:
        InputError: if the network takes another number of channels.
    """

    def __init__(self, network: SAM2UNet) -> None:
        super().__init__()
        if network.in_channels != 3:
            raise InputError(
                f"pictures have 3 channels, the network takes {network.in_channels}; export it without "
                "--with_pre_post"
            )
        self.network = network
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """RGB pixels, uint8 (B, H, W, 3), sides multiples of 32 -> probabilities, (B, K, H, W)."""
        values = x.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        return torch.sigmoid(self.network((values - self.mean) / self.std))


def for_torch_export(network: nn.Module) -> nn.Module:
    """A copy whose first layer gives a number of tokens that `torch.export` can calculate with.

    With 3 pixels of padding on all sides the layer gives ``(n - 1) // 4 + 1`` tokens for ``n`` pixels.
    That is ``n / 4``, but the symbolic arithmetic keeps the long form, which then fills all that follows.
    The padding at the bottom and the right is never reached (kernel 7, stride 4, sides multiples of 4), so
    it is left out; the result is the same.
    """
    made = copy.deepcopy(network)
    for module in made.modules():
        if isinstance(module, SAM2UNet):
            convolution = module.encoder.patch_embed.proj
            convolution.padding = (0, 0)
            embed: nn.Module = module.encoder.patch_embed
            embed.proj = nn.Sequential(nn.ZeroPad2d((3, 0, 3, 0)), convolution)
    return made
