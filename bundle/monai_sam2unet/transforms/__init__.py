"""Transforms that MONAI lacks: loading and resizing as the published network was trained, several scales."""

from .load import LoadPicture, LoadPictured
from .multiscale import MultiScaleLoader
from .resize import ResizeLikePillow, ResizeLikePillowd

__all__ = ["LoadPicture", "LoadPictured", "MultiScaleLoader", "ResizeLikePillow", "ResizeLikePillowd"]
