"""SAM2-UNet as a MONAI bundle: the network, its loss, data, transforms, handlers and metrics."""

# MONAI's configs find a bare class name in modules that are already loaded: load all that they name
from monai_sam2unet import (
    classes,
    commandline,
    data,
    distributed,
    handlers,
    inferers,
    io,
    labels,
    losses,
    metrics,
    networks,
    settings,
    transforms,
)
from monai_sam2unet.errors import InputError
from monai_sam2unet.losses import StructureLoss
from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.prediction import Segmenter, predict
from monai_sam2unet.volume_prediction import VolumeSegmenter, predict_volume

__version__ = "0.6.0"
__all__ = [
    "InputError",
    "SAM2UNet",
    "Segmenter",
    "StructureLoss",
    "VolumeSegmenter",
    "__version__",
    "classes",
    "commandline",
    "data",
    "distributed",
    "handlers",
    "inferers",
    "io",
    "labels",
    "losses",
    "metrics",
    "networks",
    "predict",
    "predict_volume",
    "settings",
    "transforms",
]
