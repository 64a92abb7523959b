"""Putting weights into a network: a trained model, or what a training starts from; whole parts or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks.sam2unet import SAM2UNet
from monai_sam2unet.networks.weights.layouts import recognise, rename
from monai_sam2unet.networks.weights.pretrained import pretrained_file
from monai_sam2unet.networks.weights.reading import read_checkpoint, tensors_of
from monai_sam2unet.networks.weights.recognition import (
    WeightFile,
    architecture,
    check_complete,
    fit_first_layer,
    problems_of,
    read_weights,
)
from monai_sam2unet.networks.weights.shipped import announce_shipped
from monai_sam2unet.networks.weights.trained import BaseFile, noted_base

__all__ = [
    "PARTS",
    "StartingWeights",
    "load_model",
    "load_network",
    "load_pretrained",
    "load_strict",
    "model_architecture",
]

logger = logging.getLogger(__name__)

PARTS: dict[str, Callable[[str], bool]] = {
    "auto": lambda name: True,
    "body": lambda name: not name.startswith(("head.", "side1.", "side2.")),
    "encoder": lambda name: name.startswith("encoder."),
    "trunk": lambda name: name.startswith("encoder.") and ".adapter." not in name,
}
"""Parts of a network by name: all that the file holds; without the three output layers; the encoder with its
adapters; SAM 2's encoder without adapters."""


def load_strict(module: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict only if every name and shape fits.

    Args:
        module: what to load into.
        state_dict: tensors under the module's names.
        source: what the tensors come from, for the message.

    Raises:
        ValueError: naming the missing, unknown and wrongly shaped tensors (first few and count).
    """
    problems = problems_of(state_dict, module.state_dict())
    if problems:
        raise ValueError(f"{source} does not fit {type(module).__name__}. " + ". ".join(problems))
    module.load_state_dict(dict(state_dict))


def load_model(
    network: SAM2UNet, path: str | Path, folder: str | Path | None = None, fuse: bool = False
) -> None:
    """Load a trained SAM2-UNet, all of it or nothing.

    Args:
        network: what to load into.
        path: weights of a whole SAM2-UNet: ours, published, or only what was trained.
        folder: where base files lie (see `read_weights`).
        fuse: make the network one for inference alone then (see `SAM2UNet.fuse`).

    Raises:
        InputError: if the file cannot be read or does not fit; both architectures are named.
        ValueError: if the network is fused already.
    """
    if network.fused:
        raise ValueError("the network is fused: it takes no weights any more; build another SAM2UNet")
    weights = _read_model(path, folder)
    expected = architecture(network.state_dict())
    _check_architecture(weights, expected, expected)
    network.load_state_dict(weights.tensors)
    if fuse:
        network.fuse()
    _announce(weights)


def load_network(path: str | Path, folder: str | Path | None = None, mapped: bool = True) -> SAM2UNet:
    """Build the network that a file holds, with all checks of `load_model`, and several times as fast.

    It is built without values, and the file's tensors become its own: none is drawn at random first, and none
    copied that has the network's type already.

    Args:
        path: weights of a whole SAM2-UNet, as `load_model` takes them.
        folder: where base files lie (see `read_weights`).
        mapped: leave tensors in the mapped file until they are read. Until the network is moved to another
            device or dropped, the file must then not be written into. (Another may take its name, as
            trainings do it.) If False, the network has memory of its own.

    Returns:
        The network in evaluation mode, on the CPU, in float32, LoRA merged.

    Raises:
        InputError: if the file cannot be read or is no whole model.
    """
    weights = _read_model(path, folder)
    with torch.device("meta"):
        network = SAM2UNet(**weights.architecture, tuning="full")
    expected = network.state_dict()
    tensors = {
        name: tensor.to(expected[name].dtype, copy=not mapped).contiguous()
        for name, tensor in weights.tensors.items()
    }
    network.load_state_dict(tensors, assign=True)
    _announce(weights)
    return network.eval()


def model_architecture(path: str | Path, **defaults: Any) -> dict[str, Any]:
    """Which `SAM2UNet` a file holds; its values are not looked at.

    Args:
        path: weights of a whole SAM2-UNet (see `load_model`).
        defaults: what to answer if there is no such file, or for what an encoder alone does not tell.

    Returns:
        Arguments of `SAM2UNet` (see `architecture`).

    Raises:
        InputError: if the file is there and cannot be read, is of no known kind, or not complete.
    """
    if not Path(path).is_file():
        return defaults
    content = read_checkpoint(path)
    noted = noted_base(content, path)
    if noted is not None:
        return noted[1]
    tensors = tensors_of(content, path)
    try:
        renamed = rename(tensors, recognise(tensors))
        found = architecture(renamed.tensors)
        # MONAI Label's stock app builds the network by this, and then loads whatever fits
        check_complete(renamed.tensors, found, renamed.unknown, renamed.words)
        return {**defaults, **found}
    except ValueError as e:
        raise InputError(f"{path}: {e}") from e


def load_pretrained(
    network: SAM2UNet, variant: str, pretrained: str, folder: str | Path, part: str = "auto"
) -> BaseFile | None:
    """Give a network that is to be trained the weights it starts from.

    Args:
        network: what to load into; what the file does not give keeps its initial values.
        variant: the network's variant.
        pretrained: ``sam2`` or ``sam2.1`` (SAM 2's file for the variant in ``folder``), ``none``, or the path
            of any file that `read_weights` knows.
        folder: where SAM 2's own files lie, usually ``models/pretrained``.
        part: one of `PARTS`. ``auto`` takes all that the file holds, which must then fit.

    Returns:
        The file and what was loaded from it; None for ``none``.

    Raises:
        InputError: if the file is not there (the message says which, and how to get it), or does not fit.
    """
    if str(pretrained).lower() == "none":
        logger.info("No pretrained weights: the network starts from random values")
        return None
    weights = read_weights(_pretrained_path(variant, str(pretrained), Path(folder)), folder)
    if weights.variant != variant:
        raise InputError(
            f"{weights.path}: {weights.kind}, variant {weights.variant!r}, where {variant!r} is asked for; "
            f"give --variant {weights.variant}, or another file"
        )
    own = {name: t for name, t in network.state_dict().items() if ".lora_" not in name}
    if weights.content == "network" and part == "auto":
        names = ("adapter_dim", "out_channels", "decoder_channels")
        advice = "; to take a part of it: --pretrained_part body, encoder or trunk"
        _check_architecture(weights, architecture(own), names, advice)
    wanted = {name for name in (weights.tensors if part == "auto" else own) if PARTS[part](name)}
    tensors = {name: tensor for name, tensor in weights.tensors.items() if name in wanted}
    first = "encoder.patch_embed.proj.weight"
    tensors[first] = fit_first_layer(tensors[first], network.in_channels)
    problems = problems_of(tensors, {name: own[name] for name in own if name in wanted})
    if problems:
        raise InputError(
            f"{weights.path}: {weights.kind}, does not give part {part!r}. " + ". ".join(problems)
        )
    network.load_state_dict(tensors, strict=False)
    logger.info("Start: %d of %d tensors from %s (%s)", len(tensors), len(own), weights.path, weights.kind)
    return BaseFile.of(weights.path, frozenset(tensors))


class StartingWeights:
    """What a training starts from, loaded when it begins and not when its parts are built.

    Args:
        network: see `load_pretrained`, as for the others.
        variant: the network's variant.
        pretrained: ``sam2``, ``sam2.1``, ``none`` or a file.
        folder: where SAM 2's own files lie.
        part: one of `PARTS`.

    Attributes:
        base: the file and what was loaded from it; None before that, and if there is no file.
    """

    def __init__(
        self, network: SAM2UNet, variant: str, pretrained: str, folder: str | Path, part: str = "auto"
    ) -> None:
        self.network = network
        self.variant = variant
        self.pretrained = pretrained
        self.folder = folder
        self.part = part
        self.base: BaseFile | None = None

    def load(self) -> None:
        """Load the weights into the network (see `load_pretrained`)."""
        self.base = load_pretrained(self.network, self.variant, self.pretrained, self.folder, self.part)


def _read_model(path: str | Path, folder: str | Path | None) -> WeightFile:
    """Weights of a whole network; InputError says what else the file is."""
    if not Path(path).is_file():
        raise InputError(f"no model at {path}: train one first, or give another with --checkpoint FILE")
    weights = read_weights(path, folder)
    if weights.content == "encoder":
        raise InputError(
            f"{path}: {weights.kind} ({weights.variant}), which has no decoder: train from it first "
            f"(--pretrained {path} --variant {weights.variant}), then give the trained model"
        )
    return weights


def _announce(weights: WeightFile) -> None:
    """Log what was loaded; warn if it is the model that comes with the bundle."""
    path, kind = weights.path, weights.kind
    logger.info("Model: %s, %d tensors of %s (%s)", path, len(weights.tensors), weights.variant, kind)
    announce_shipped(path)


def _pretrained_path(variant: str, pretrained: str, folder: Path) -> Path:
    """Where the file to start from lies; InputError says how to get one of SAM 2's."""
    if pretrained not in ("sam2", "sam2.1"):
        return Path(pretrained)
    sam = pretrained.removeprefix("sam") if pretrained == "sam2.1" else "2"
    path = folder / pretrained_file(sam, variant).name
    if not path.is_file():
        raise InputError(
            f"SAM {sam}'s weights for variant {variant!r} are not there: {path}. Get them by python -m "
            f"scripts.download_weights {variant} --sam {sam}, or train without them: --pretrained none"
        )
    return path


def _check_architecture(
    weights: WeightFile, expected: Mapping[str, Any], names: Iterable[str], advice: str = ""
) -> None:
    """Raise InputError unless the file's architecture is the expected one; names both."""
    found = weights.architecture
    other = [f"{n} {found[n]} where {expected[n]} is asked for" for n in names if found[n] != expected[n]]
    if other:
        raise InputError(f"{weights.path}: {weights.kind}; it holds {', '.join(other)}{advice}")
