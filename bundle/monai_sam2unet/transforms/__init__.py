"""Transforms that MONAI lacks: loading and resizing as the published network was trained, several scales."""

from monai_sam2unet.transforms.label_server import LabelServerMaskd
from monai_sam2unet.transforms.load import LoadPicture, LoadPictured
from monai_sam2unet.transforms.multiscale import MultiScaleLoader
from monai_sam2unet.transforms.resize import ResizeLikePillow, ResizeLikePillowd

__all__ = [
    "LabelServerMaskd",
    "LoadPicture",
    "LoadPictured",
    "MultiScaleLoader",
    "ResizeLikePillow",
    "ResizeLikePillowd",
]
