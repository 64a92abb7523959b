"""Weights: what a file holds, and loading that is complete or fails with a reason.

A file goes through `reading` (its container), `layouts` (its names), and here: its variant is read from the
shapes, every tensor of that network must be there with its shape, a floating-point type and finite values.
Nothing is loaded in part unless a part is asked for by name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_sam2unet.errors import InputError, listed
from monai_sam2unet.networks.hiera import VARIANTS, Hiera
from monai_sam2unet.networks.sam2unet import SAM2UNet
from monai_sam2unet.networks.tuning import merge_lora
from monai_sam2unet.networks.weights.layouts import recognise, rename
from monai_sam2unet.networks.weights.reading import StateDict, read_checkpoint, tensors_of
from monai_sam2unet.networks.weights.trained import find_base, noted_base

__all__ = ["WeightFile", "architecture", "fit_first_layer", "problems_of", "read_weights"]

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""Types of weights that are taken; they become those of the network."""

LARGEST = torch.finfo(torch.float32).max
"""A greater number would be infinite in the network."""


@dataclass(frozen=True)
class WeightFile:
    """A weight file that is complete: every tensor of its network or encoder is there and fits.

    Attributes:
        path: the file.
        kind: what it is, in words.
        layout: name of its layout (see `monai_sam2unet.networks.weights.layouts`).
        content: ``network`` (a whole SAM2-UNet) or ``encoder`` (SAM 2's encoder, or ours with adapters).
        architecture: arguments of `SAM2UNet` that the shapes tell: all five for a network; variant,
            in_channels and adapter_dim for an encoder.
        tensors: by the names of `SAM2UNet`, LoRA merged, mapped from the file where its format allows.
        unused: names that its layout's exact list leaves out.
        base: the file it was completed from, if it holds only what was trained.
    """

    path: Path
    kind: str
    layout: str
    content: str
    architecture: dict[str, Any]
    tensors: StateDict
    unused: tuple[str, ...] = ()
    base: Path | None = None

    @property
    def variant(self) -> str:
        """Size of the encoder."""
        return str(self.architecture["variant"])


def read_weights(path: str | Path, folder: str | Path | None = None) -> WeightFile:
    """Read any weight file that this bundle knows, and see that it is complete.

    Args:
        path: the file.
        folder: where base files lie, for a file that holds only what was trained; its own folder if None.

    Returns:
        What it is, and its tensors under our names.

    Raises:
        InputError: if the file cannot be read, is of no known kind, lacks tensors, has unknown ones or such
            of a wrong shape or type, or holds values that are not finite; the message names them.
    """
    path = Path(path)
    content = read_checkpoint(path)
    tensors, noted = tensors_of(content, path), noted_base(content, path)
    try:
        renamed = rename(tensors, recognise(tensors))
        kind, tensors, base = renamed.words, renamed.tensors, None
        if noted is not None:
            base = find_base(noted[0], path.parent if folder is None else folder, path)
            tensors = _completed(tensors, read_weights(base), noted[1])
            kind = f"{kind}, only what was trained from {base.name}"
        if any(name.endswith(".lora_down") for name in tensors):
            tensors, kind = merge_lora(tensors), f"{kind}, LoRA merged"
        found = architecture(tensors)
        _check(tensors, _expected(found), renamed.unknown, kind)
    except InputError:
        raise
    except ValueError as e:
        raise InputError(f"{path}: {e}") from e
    whole = "decoder_channels" in found
    return WeightFile(
        path,
        kind,
        renamed.layout.name,
        "network" if whole else "encoder",
        found,
        tensors,
        renamed.unused,
        base,
    )


def architecture(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read from the shapes which network the tensors belong to.

    Args:
        tensors: tensors under our names, of a whole network or of an encoder.

    Returns:
        Arguments of `SAM2UNet`: variant, in_channels, adapter_dim, and for a whole network out_channels and
        decoder_channels.

    Raises:
        ValueError: if no variant has these shapes.
    """
    found = {
        "variant": _variant_of(tensors),
        "in_channels": _size(tensors, r"^encoder\.patch_embed\.proj\.weight$", 1, 3),
        "adapter_dim": _size(tensors, r"^encoder\.blocks\.\d+\.adapter\.down\.weight$", 0, 0),
    }
    if any(not name.startswith("encoder.") for name in tensors):
        found["out_channels"] = _size(tensors, r"^(head|side\d)\.weight$", 0, 1)
        found["decoder_channels"] = _size(tensors, r"^up\d\.conv\.double_conv\.[03]\.weight$", 0, 64)
    return found


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


def _completed(tensors: StateDict, base: WeightFile, found: Mapping[str, Any]) -> StateDict:
    """What was trained, and the rest from its base file, in the network's order."""
    first = "encoder.patch_embed.proj.weight"
    given = {**base.tensors, first: fit_first_layer(base.tensors[first], found["in_channels"])}
    missing = {name: given[name] for name in _expected(found) if name in given and name not in tensors}
    return {**missing, **tensors}


def _expected(found: Mapping[str, Any]) -> StateDict:
    """Tensors of the network, or of the encoder, of this architecture: shapes without storage."""
    return _hollow(**found)


@functools.lru_cache(maxsize=4)  # a file is looked at more than once, and the modules take most of the time
def _hollow(**found: Any) -> StateDict:
    """What `_expected` gives; not to be changed."""
    with torch.device("meta"):
        if "decoder_channels" in found:
            return SAM2UNet(**found, tuning="full").state_dict()
        return {f"encoder.{name}": tensor for name, tensor in Hiera(**found).state_dict().items()}


def check_complete(
    tensors: Mapping[str, Tensor], found: Mapping[str, Any], unknown: tuple[str, ...], kind: str
) -> None:
    """See by names and shapes alone that nothing is missing, and nothing there that does not belong.

    Args:
        tensors: under our names, of a whole network or of an encoder; those of LoRA are passed over.
        found: their `architecture`.
        unknown: names of the file that its layout does not know.
        kind: what the file is, for the message.

    Raises:
        ValueError: naming what is missing, unknown or of a wrong shape.
    """
    plain = {name: tensor for name, tensor in tensors.items() if ".lora_" not in name}
    if problems := problems_of(plain, _expected(found), unknown):
        raise ValueError(f"{kind}, but not complete and sound. " + ". ".join(problems))


def _check(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], unknown: tuple[str, ...], kind: str
) -> None:
    """Raise ValueError unless the tensors are those expected, of a known type and finite."""
    problems = problems_of(tensors, expected, unknown)
    if not problems:
        types = [f"{n} {_type(t)}" for n, t in tensors.items() if not _right_type(t, expected[n])]
        if types:
            problems.append(f"wrong type: {listed(types)}; expected float32, float16, bfloat16 or float64")
    if not problems:
        bad = [name for name, tensor in tensors.items() if not _finite(tensor)]
        if bad:
            problems.append(f"NaN or infinite values: {listed(bad)}; this training or file is broken")
    if problems:
        raise ValueError(f"{kind}, but not complete and sound. " + ". ".join(problems))


def problems_of(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], unknown: tuple[str, ...] = ()
) -> list[str]:
    """Missing, unknown and wrongly shaped tensors, each kind with its first few and their number."""
    shapes = [
        f"{name} {list(tensors[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    kinds = (
        ("missing", [name for name in expected if name not in tensors]),
        ("unknown", [*unknown, *(name for name in tensors if name not in expected)]),
        ("wrong shape", shapes),
    )
    return [f"{label}: {listed(names)}" for label, names in kinds if names]


def _right_type(tensor: Tensor, expected: Tensor) -> bool:
    """Whether a tensor's type can become the expected one.

    Counters of batches may be of any real type: a file made by ``tensor.half()`` for each tensor has them so.
    """
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        return False
    return tensor.dtype in FLOATS or not expected.is_floating_point()


def _type(tensor: Tensor) -> str:
    """A tensor's type for a message, with how it is stored where that is out of the ordinary."""
    stored = "" if tensor.layout == torch.strided else f" {str(tensor.layout).removeprefix('torch.')}"
    return f"{tensor.dtype}{stored}"


def _finite(tensor: Tensor) -> bool:
    """Whether all values are finite in float32; extremes carry NaN along, and need no second tensor."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor)
    return float(low) >= -LARGEST and float(high) <= LARGEST  # neither holds for NaN


def _size(tensors: Mapping[str, Tensor], pattern: str, axis: int, default: int) -> int:
    """Length of the first tensor of this name along an axis; the default where there is none."""
    for name, tensor in tensors.items():
        if re.search(pattern, name) and tensor.dim() > axis:
            return int(tensor.shape[axis])
    return default


def _variant_of(tensors: Mapping[str, Tensor]) -> str:
    """The variant with this first width and this number of blocks."""
    numbers = [int(m[1]) for m in (re.match(r"encoder\.blocks\.(\d+)\.", name) for name in tensors) if m]
    depth = 1 + max(numbers, default=-1)
    width = _size(tensors, r"^encoder\.(patch_embed\.proj\.bias|blocks\.0\.norm1\.weight)$", 0, 0)
    for name, variant in VARIANTS.items():
        if (variant.embed_dim, sum(variant.depths)) == (width, depth):
            return name
    known = ", ".join(f"{n} {v.embed_dim} and {sum(v.depths)}" for n, v in VARIANTS.items())
    raise ValueError(f"no variant of Hiera has {width} channels and {depth} blocks; there are: {known}")
