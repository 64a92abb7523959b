"""Weights: every file that a user may hold, read completely and safely, into the network or a reason why not.

A file goes through `reading` (its container), `layouts` (its names) and `recognition` (complete, and of which
network), then by `loading` into a network or by `conversion` into another file. `trained` knows checkpoints
that hold only what was trained, `pretrained` SAM 2's own files, `unused` what is left out of them, `shipped`
the model that comes with the bundle.
"""

from monai_sam2unet.networks.weights.conversion import convert
from monai_sam2unet.networks.weights.loading import (
    PARTS,
    StartingWeights,
    load_model,
    load_network,
    load_pretrained,
    load_strict,
    model_architecture,
)
from monai_sam2unet.networks.weights.reading import read_checkpoint
from monai_sam2unet.networks.weights.recognition import (
    WeightFile,
    architecture,
    fit_first_layer,
    read_weights,
)
from monai_sam2unet.networks.weights.shipped import SHIPPED_NAME, model_to_use
from monai_sam2unet.networks.weights.trained import BaseFile, load_trained, trained_only

__all__ = [
    "PARTS",
    "SHIPPED_NAME",
    "BaseFile",
    "StartingWeights",
    "WeightFile",
    "architecture",
    "convert",
    "fit_first_layer",
    "load_model",
    "load_network",
    "load_pretrained",
    "load_strict",
    "load_trained",
    "model_architecture",
    "model_to_use",
    "read_checkpoint",
    "read_weights",
    "trained_only",
]
