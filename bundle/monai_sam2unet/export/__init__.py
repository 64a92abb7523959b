"""The network in other runtimes: TorchScript, torch.export, ONNX, OpenVINO, and a comparison with PyTorch."""

from monai_sam2unet.export.check import Comparison, compare
from monai_sam2unet.export.engine import load_engine
from monai_sam2unet.export.formats import FORMATS, Format, export, runner
from monai_sam2unet.export.inputs import Case, network_pixels, normalised
from monai_sam2unet.export.packed import PackedNetwork

__all__ = [
    "FORMATS",
    "Case",
    "Comparison",
    "Format",
    "PackedNetwork",
    "compare",
    "export",
    "load_engine",
    "network_pixels",
    "normalised",
    "runner",
]
