"""Compilation of the network by PyTorch, as an option: it costs minutes at the start."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from torch import nn

__all__ = ["COMPILE_MODES", "compile_network", "missing_compiler"]

COMPILE_MODES = ("none", "default", "reduce-overhead", "max-autotune")
"""Not at all, or a mode of ``torch.compile``; the last two use CUDA graphs where there is a GPU."""


def compile_network(network: nn.Module, mode: str) -> None:
    """Have a network compiled where it first meets a size of its input; its tensors keep their names.

    Every size of picture and of batch, in training and evaluation each, is compiled for itself: only where
    sizes are known does the encoder leave out the padding of windows (`monai_sam2unet.networks.windows`).

    Args:
        network: compiled in place.
        mode: one of `COMPILE_MODES`.

    Raises:
        ValueError: if the mode is unknown.
    """
    if mode not in COMPILE_MODES:
        raise ValueError(f"mode must be one of {', '.join(COMPILE_MODES)}, got {mode!r}")
    if mode != "none":
        network.compile(mode=mode, dynamic=False)


def missing_compiler(device: torch.device) -> str:
    """What compilation for a device needs and is not there; "" if nothing."""
    if device.type == "cuda":
        return "" if importlib.util.find_spec("triton") else "the package triton"
    wanted = os.environ.get("CXX", "g++")
    return "" if shutil.which(wanted) else f"a C++ compiler ({wanted})"
