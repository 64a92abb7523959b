"""Transforms that MONAI lacks: loading and resizing as the published network was trained, several scales."""

from monai_sam2unet.transforms.contrast import CONTRASTS, ImproveContrast, ImproveContrastd
from monai_sam2unet.transforms.ignored import LeaveOutIgnoredd
from monai_sam2unet.transforms.label_server import LabelServerMaskd
from monai_sam2unet.transforms.load import LoadPicture, LoadPictured
from monai_sam2unet.transforms.multiscale import MultiScaleLoader
from monai_sam2unet.transforms.resize import ResizeLikePillow, ResizeLikePillowd
from monai_sam2unet.transforms.tiles import RandTilesd

__all__ = [
    "CONTRASTS",
    "ImproveContrast",
    "ImproveContrastd",
    "LabelServerMaskd",
    "LeaveOutIgnoredd",
    "LoadPicture",
    "LoadPictured",
    "MultiScaleLoader",
    "RandTilesd",
    "ResizeLikePillow",
    "ResizeLikePillowd",
]
