"""Weights: what a file holds, how published names map to ours, and loading that is strict.

Three layouts are known, told apart by their names alone:

===================  ==================================================================================
SAM 2                SAM 2's and SAM 2.1's own files; the encoder is ``image_encoder.trunk.*``
published SAM2-UNet  ``encoder.blocks.N.block.*`` and ``encoder.blocks.N.prompt_learn.*``; has a dead ``up4``
ours                 ``encoder.blocks.N.*`` and ``encoder.blocks.N.adapter.*``
===================  ==================================================================================

Every function takes and gives plain state dicts; nothing is loaded in part unless its name says so.
"""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks.hiera import VARIANTS
from monai_sam2unet.networks.sam2unet import SAM2UNet

__all__ = [
    "architecture",
    "fit_first_layer",
    "from_published",
    "from_sam2",
    "load_checked",
    "load_pretrained_encoder",
    "load_strict",
    "model_architecture",
    "read_checkpoint",
    "read_model",
    "read_state_dict",
]

logger = logging.getLogger(__name__)

StateDict = dict[str, Tensor]

PUBLISHED_TO_OURS = (
    (re.compile(r"^encoder\.blocks\.(\d+)\.block\."), r"encoder.blocks.\1."),
    (re.compile(r"^encoder\.blocks\.(\d+)\.prompt_learn\.0\."), r"encoder.blocks.\1.adapter.down."),
    (re.compile(r"^encoder\.blocks\.(\d+)\.prompt_learn\.2\."), r"encoder.blocks.\1.adapter.up."),
)
"""Names of the published SAM2-UNet checkpoint that differ from ours."""

PUBLISHED_UNUSED = "up4."
"""Decoder step that the published network holds and never runs."""

TRUNK = "image_encoder.trunk."
"""Where SAM 2's files hold the encoder."""

PRETRAINED_FILES = {variant: f"sam2_hiera_{variant}.pt" for variant in VARIANTS if variant != "nano"}
"""SAM 2's own file for each variant, as published; ``nano`` has none."""

PRETRAINED_SOURCE = "https://dl.fbaipublicfiles.com/segment_anything_2/072824/"
"""Folder of SAM 2's published files."""


def from_published(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Turn a state dict in the published SAM2-UNet layout into ours.

    Args:
        state_dict: tensors under the published names.

    Returns:
        The same tensors (not copied) under our names, without the unused ``up4``.

    Raises:
        ValueError: if the names are not those of a published SAM2-UNet checkpoint.
    """
    if "encoder.blocks.0.prompt_learn.0.weight" not in state_dict:
        raise ValueError(
            "not a published SAM2-UNet state dict: 'encoder.blocks.0.prompt_learn.0.weight' is missing; "
            f"{_listed(list(state_dict))}"
        )
    renamed: StateDict = {}
    for name, tensor in state_dict.items():
        if name.startswith(PUBLISHED_UNUSED):
            continue
        for pattern, replacement in PUBLISHED_TO_OURS:
            name = pattern.sub(replacement, name)
        renamed[name] = tensor
    return renamed


def from_sam2(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Take the image encoder out of SAM 2's state dict.

    Args:
        state_dict: content of ``model`` in a SAM 2 or SAM 2.1 file.

    Returns:
        Tensors (not copied) of the encoder, under the names of `Hiera`, without adapters.

    Raises:
        ValueError: if there is no ``image_encoder.trunk`` among the names.
    """
    trunk = {name[len(TRUNK) :]: tensor for name, tensor in state_dict.items() if name.startswith(TRUNK)}
    if not trunk:
        raise ValueError(f"not a SAM 2 state dict: no '{TRUNK}*'; {_listed(list(state_dict))}")
    return trunk


def architecture(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read from the shapes which `SAM2UNet` a state dict in our layout belongs to.

    Args:
        state_dict: tensors under our names.

    Returns:
        Arguments of `SAM2UNet`: variant, in_channels, out_channels, adapter_dim, decoder_channels.

    Raises:
        ValueError: if a tensor is missing that the answer needs, or no variant has these shapes.
    """
    try:
        embed_dim, in_channels = state_dict["encoder.patch_embed.proj.weight"].shape[:2]
        adapter_dim = state_dict["encoder.blocks.0.adapter.down.weight"].shape[0]
        decoder_channels = state_dict["up1.conv.double_conv.0.weight"].shape[0]
        out_channels = state_dict["head.weight"].shape[0]
    except KeyError as e:
        raise ValueError(f"not a SAM2UNet state dict: {e} is missing; {_listed(list(state_dict))}") from None
    return {
        "variant": _variant_of(embed_dim, [n.removeprefix("encoder.") for n in state_dict]),
        "in_channels": in_channels,
        "out_channels": out_channels,
        "adapter_dim": adapter_dim,
        "decoder_channels": decoder_channels,
    }


def fit_first_layer(weight: Tensor, in_channels: int) -> Tensor:
    """Fit the kernels of a first layer to another number of input channels.

    Every one of the ``n`` new channels gets the sum of the old kernels divided by ``n``, so that a
    picture that repeats one grey channel gives the same response whatever ``n`` is.

    Args:
        weight: kernels, (C, channels, 7, 7).
        in_channels: ``n``.

    Returns:
        Kernels, (C, n, 7, 7); ``weight`` itself where the number is the same.
    """
    if weight.shape[1] == in_channels:
        return weight
    return (weight.sum(1, keepdim=True) / in_channels).repeat(1, in_channels, 1, 1)


def read_checkpoint(path: str | Path) -> Any:
    """Read a file of ``torch.save`` without running any code from it.

    Args:
        path: the file.

    Returns:
        Its content: tensors (on the CPU) and plain values.

    Raises:
        InputError: if the file is missing, cannot be read or wants to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such weight file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        # torch's text begins by advising to run the code
        found = re.search(r"(GLOBAL [\w.]+|operand \d+)", str(e))
        raise InputError(
            f"{path}: refused, the file holds more than tensors or is damaged "
            f"({found[1] if found else type(e).__name__}); expected a state dict written by torch.save"
        ) from e
    except Exception as e:  # on a damaged file or a text torch's reader raises anything
        reason = next(iter(str(e).splitlines()), "")
        raise InputError(f"{path}: cannot be read as weights ({type(e).__name__}: {reason})") from e


def read_state_dict(path: str | Path) -> StateDict:
    """Read the tensors of a weight file without running any code from it.

    Args:
        path: a file written by ``torch.save``: a state dict, or a dictionary that holds one under
            ``model`` (SAM 2's files) or ``network`` (our training checkpoints).

    Returns:
        The tensors by name, on the CPU.

    Raises:
        InputError: if the file is missing, cannot be read, wants to run code or holds no tensors.
    """
    content = read_checkpoint(path)
    for key in ("model", "network"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(n, str) and isinstance(t, Tensor) for n, t in content.items()
    ):
        raise InputError(f"{path}: expected a state dict (names and tensors), got {type(content).__name__}")
    return dict(content)


def load_strict(module: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict only if every name and shape fits.

    Args:
        module: what to load into.
        state_dict: tensors under the module's names.
        source: what the tensors come from, for the message.

    Raises:
        ValueError: naming the missing, unknown and wrongly shaped tensors (first few and count).
    """
    own = module.state_dict()
    missing = [n for n in own if n not in state_dict]
    unknown = [n for n in state_dict if n not in own]
    shapes = [
        f"{n} {list(state_dict[n].shape)} instead of {list(own[n].shape)}"
        for n in own
        if n in state_dict and state_dict[n].shape != own[n].shape
    ]
    problems = [
        f"{label}: {_listed(names)}"
        for label, names in (("missing", missing), ("unknown", unknown), ("wrong shape", shapes))
        if names
    ]
    if problems:
        raise ValueError(f"{source} does not fit {type(module).__name__}. " + ". ".join(problems))
    module.load_state_dict(dict(state_dict))


def read_model(path: str | Path) -> StateDict:
    """Read the weights of a whole SAM2-UNet, in our layout or in the published one.

    Args:
        path: the file.

    Returns:
        The tensors under our names.

    Raises:
        InputError: if the file is missing or cannot be read.
    """
    if not Path(path).is_file():
        raise InputError(f"no model at {path}: train one first, or give another with --checkpoint FILE")
    state_dict = read_state_dict(path)
    if "encoder.blocks.0.prompt_learn.0.weight" in state_dict:
        return from_published(state_dict)
    return state_dict


def load_checked(network: SAM2UNet, path: str | Path) -> None:
    """Load a file into a network, all of it or nothing.

    Args:
        network: what to load into.
        path: weights in our layout or in the published SAM2-UNet layout.

    Raises:
        InputError: if the file cannot be read or does not fit; both architectures are named.
    """
    state_dict = read_model(path)
    try:
        found, expected = architecture(state_dict), architecture(network.state_dict())
        other = {name: (value, expected[name]) for name, value in found.items() if value != expected[name]}
        if other:
            names = ", ".join(
                f"{n} {value} where {asked} is asked for" for n, (value, asked) in other.items()
            )
            raise ValueError(f"the file holds {names}")
        load_strict(network, state_dict, str(path))
    except ValueError as e:
        raise InputError(f"{path}: {e}") from e
    logger.info("Model: %s, %d tensors from %s", found["variant"], len(state_dict), path)


def model_architecture(path: str | Path, **defaults: Any) -> dict[str, Any]:
    """Which `SAM2UNet` a file holds.

    Args:
        path: weights in our layout or in the published SAM2-UNet layout.
        defaults: what to answer if there is no such file.

    Returns:
        Arguments of `SAM2UNet` (see `architecture`).

    Raises:
        InputError: if the file is there and cannot be read or is no SAM2-UNet.
    """
    if not Path(path).is_file():
        return defaults
    try:
        return architecture(read_model(path))
    except ValueError as e:
        raise InputError(f"{path}: {e}") from e


def load_pretrained_encoder(network: SAM2UNet, variant: str, pretrained: str, folder: str | Path) -> None:
    """Give the encoder SAM 2's weights, or leave it as initialised.

    Args:
        network: what to load into; its adapters keep their initial values.
        variant: the network's variant, which names the file.
        pretrained: ``sam2`` (SAM 2's file for the variant in ``folder``), ``none``, or a file's path.
        folder: where SAM 2's own files lie, usually ``models/pretrained``.

    Raises:
        InputError: if the file is not there (the message says which, from where, into which folder),
            or does not fit.
    """
    if str(pretrained).lower() == "none":
        logger.info("Encoder: no pretrained weights, it starts from random values")
        return
    path = Path(pretrained)
    if pretrained == "sam2":
        path = Path(folder) / _pretrained_file(variant)
        if not path.is_file():
            raise InputError(
                f"SAM 2's weights for variant {variant!r} are not there: {path}. Download "
                f"{PRETRAINED_SOURCE}{path.name} into {path.parent}, "
                "or train without them: --pretrained none"
            )
    state_dict = read_state_dict(path)
    try:
        trunk = from_sam2(state_dict)
        if "patch_embed.proj.weight" not in trunk:
            raise ValueError(f"'{TRUNK}patch_embed.proj.weight' is missing; {_listed(list(trunk))}")
        found = _variant_of(trunk["patch_embed.proj.weight"].shape[0], list(trunk))
        if found != variant:
            raise ValueError(f"the file holds variant {found!r}, asked for {variant!r}")
        trunk["patch_embed.proj.weight"] = fit_first_layer(
            trunk["patch_embed.proj.weight"], network.in_channels
        )
        adapters = {n: t for n, t in network.encoder.state_dict().items() if ".adapter." in n}
        load_strict(network.encoder, {**trunk, **adapters}, str(path))
    except ValueError as e:
        raise InputError(f"{path}: {e}") from e
    logger.info("Encoder: %d tensors of SAM 2 (%s) from %s", len(trunk), variant, path)


def _pretrained_file(variant: str) -> str:
    """Name of SAM 2's file for a variant."""
    if variant not in PRETRAINED_FILES:
        raise InputError(
            f"variant {variant!r} has no weights of SAM 2 (there are: {', '.join(PRETRAINED_FILES)}); "
            "train it from scratch: --pretrained none"
        )
    return PRETRAINED_FILES[variant]


def _variant_of(embed_dim: int, names: list[str]) -> str:
    """The variant with this first width and this number of blocks among the encoder's names."""
    numbers = [int(m[1]) for m in (re.match(r"blocks\.(\d+)\.", n) for n in names) if m]
    depth = 1 + max(numbers, default=-1)
    for name, variant in VARIANTS.items():
        if (variant.embed_dim, sum(variant.depths)) == (embed_dim, depth):
            return name
    raise ValueError(f"no variant of Hiera has {embed_dim} channels and {depth} blocks")


def _listed(names: list[str], most: int = 5) -> str:
    """The first few names and how many there are."""
    return f"{len(names)} names ({', '.join(names[:most])}{', ...' if len(names) > most else ''})"
