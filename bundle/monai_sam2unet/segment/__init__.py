"""Segmenting whatever a user has: files, folders, series, volumes, each written in a form that suits it."""

from monai_sam2unet.segment.inputs import Found, Unit, find_units
from monai_sam2unet.segment.outcome import Outcome, document, summary
from monai_sam2unet.segment.running import Options, segment
from monai_sam2unet.segment.writers import FORMATS, Format

__all__ = [
    "FORMATS",
    "Format",
    "Found",
    "Options",
    "Outcome",
    "Unit",
    "document",
    "find_units",
    "segment",
    "summary",
]
