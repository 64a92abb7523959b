"""Ignite handlers: what happens around the loops of training, evaluation and inference."""

from monai_sam2unet.handlers.averaging import SharedStatistics, WeightAverage
from monai_sam2unet.handlers.cases import CaseReport, SegmentationWriter
from monai_sam2unet.handlers.checkpoints import TrainingCheckpoints
from monai_sam2unet.handlers.key_metric import key_metric
from monai_sam2unet.handlers.model_settings import model_settings
from monai_sam2unet.handlers.progress import CaseProgress, TensorBoardOverlays, TrainingProgress
from monai_sam2unet.handlers.tracking import complete_tracking
from monai_sam2unet.handlers.training import EarlyStop, EpochSeed, GradientClip, NumericalGuard
from monai_sam2unet.handlers.volumes import VolumeReport, VolumeWriter

__all__ = [
    "CaseProgress",
    "CaseReport",
    "EarlyStop",
    "EpochSeed",
    "GradientClip",
    "NumericalGuard",
    "SegmentationWriter",
    "SharedStatistics",
    "TensorBoardOverlays",
    "TrainingCheckpoints",
    "TrainingProgress",
    "VolumeReport",
    "VolumeWriter",
    "WeightAverage",
    "complete_tracking",
    "key_metric",
    "model_settings",
]
