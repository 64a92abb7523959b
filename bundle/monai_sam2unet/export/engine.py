"""Loading what MONAI's ``trt_export`` writes: TorchScript with an engine of TensorRT in it."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path

import torch
from torch import nn

from monai_sam2unet.errors import InputError

__all__ = ["load_engine"]


def load_engine(path: str | os.PathLike[str], device: str | torch.device) -> nn.Module:
    """A network from a TorchScript file, with an engine of TensorRT in it or without.

    Args:
        path: of the file; it is a program, and is run.
        device: where it is to compute; an engine needs the kind of GPU that it was made on.

    Returns:
        The network in evaluation mode: normalised pictures (B, C, H, W) of the size that it was made for
        in, logits (B, K, H, W) out.

    Raises:
        InputError: if the file is missing or no TorchScript, or if it needs a package that is not installed.
    """
    if not Path(path).is_file():
        raise InputError(
            f"{path}: no such file; make it by trt_export (docs/export.md), or give --engine FILE"
        )
    if importlib.util.find_spec("torch_tensorrt") is not None:
        importlib.import_module("torch_tensorrt")  # the file names classes that this makes known to PyTorch
    try:
        network: nn.Module = torch.jit.load(os.fspath(path), map_location=device)
    except RuntimeError as e:
        if "torch.classes.tensorrt" in str(e):
            raise InputError(
                f"{path}: its engine needs torch_tensorrt; install the version that it was made with"
            ) from e
        raise InputError(f"{path}: not a TorchScript file; make it by trt_export (docs/export.md)") from e
    return network.eval()
