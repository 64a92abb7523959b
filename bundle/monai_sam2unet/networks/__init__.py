"""The network: SAM 2's encoder, SAM2-UNet, and their weights."""

from monai_sam2unet.networks.compiling import compile_network
from monai_sam2unet.networks.hiera import VARIANTS, Hiera
from monai_sam2unet.networks.sam2unet import SIZE_DIVISOR, SAM2UNet

__all__ = ["SIZE_DIVISOR", "VARIANTS", "Hiera", "SAM2UNet", "compile_network"]
