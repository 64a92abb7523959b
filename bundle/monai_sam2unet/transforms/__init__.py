"""Transforms that MONAI lacks: loading and resizing as the published network was trained, several scales."""

from monai_sam2unet.transforms.contrast import CONTRASTS, ImproveContrast, ImproveContrastd
from monai_sam2unet.transforms.ignored import LeaveOutIgnoredd
from monai_sam2unet.transforms.label_server import LabelServerMaskd
from monai_sam2unet.transforms.load import LoadPicture, LoadPictured
from monai_sam2unet.transforms.multiscale import MultiScaleLoader
from monai_sam2unet.transforms.resize import ResizeLikePillow, ResizeLikePillowd
from monai_sam2unet.transforms.tiles import RandTilesd
from monai_sam2unet.transforms.volumes import (
    PLANE_CODES,
    ClassMasksd,
    LoadSlicesd,
    LoadVolumed,
    label_values,
    neighbours,
    split_labels,
    window_ends,
)

__all__ = [
    "CONTRASTS",
    "PLANE_CODES",
    "ClassMasksd",
    "ImproveContrast",
    "ImproveContrastd",
    "LabelServerMaskd",
    "LeaveOutIgnoredd",
    "LoadPicture",
    "LoadPictured",
    "LoadSlicesd",
    "LoadVolumed",
    "MultiScaleLoader",
    "RandTilesd",
    "ResizeLikePillow",
    "ResizeLikePillowd",
    "label_values",
    "neighbours",
    "split_labels",
    "window_ends",
]
