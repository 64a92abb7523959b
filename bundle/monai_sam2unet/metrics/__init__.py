"""Figures of merit, one module per protocol family."""

from monai_sam2unet.metrics.fixed import OVERLAP_NAMES, Interval, Overlap, bootstrap_interval, overlap

__all__ = ["OVERLAP_NAMES", "Interval", "Overlap", "bootstrap_interval", "overlap"]
