"""Forms of the network that are exported in its place.

Shapes: ``B`` batch, ``H W`` rows and columns in pixels, ``K`` output channels.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from monai_sam2unet.errors import InputError
from monai_sam2unet.export.inputs import MEAN, STD
from monai_sam2unet.networks import SIZE_DIVISOR, Hiera, SAM2UNet

__all__ = ["FixedEncoder", "PackedNetwork", "for_inference", "for_torch_export"]

N = TypeVar("N", bound=nn.Module)


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


class FixedEncoder(nn.Module):
    """An encoder for pictures of one size, whose sizes are plain numbers even where it is traced.

    So its graph has no padding and no calculation on shapes; the position embedding is a constant. The batch
    stays free.

    Args:
        encoder: whose weights are used.
        height: of the pictures, pixels.
        width: of the pictures, pixels.
    """

    def __init__(self, encoder: Hiera, height: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.rows, self.columns = height // SIZE_DIVISOR, width // SIZE_DIVISOR
        self.position: Tensor
        with torch.no_grad():
            self.register_buffer("position", encoder.position_embedding(height // 4, width // 4).contiguous())

    def forward(self, x: Tensor) -> list[Tensor]:
        """As `Hiera.forward`."""
        return self.encoder.encode(self.encoder.patch_embed(x) + self.position, self.rows, self.columns)


def for_inference(network: N, size: int | None) -> N:
    """A copy in the form that files hold.

    Args:
        network: to copy.
        size: side of the pictures, pixels; None for any height and width divisible by 32.

    Returns:
        The same function, but for rounding, in evaluation mode.
    """
    made = copy.deepcopy(network).eval()
    for module in list(made.modules()):
        if isinstance(module, SAM2UNet):
            module.fuse()
            if size is not None:
                fixed: Any = FixedEncoder(module.encoder, size, size)
                module.encoder = fixed
    return made


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
