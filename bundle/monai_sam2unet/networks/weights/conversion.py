"""Writing weights in another layout, precision or container, or without what a base file gives."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from monai_sam2unet.errors import InputError
from monai_sam2unet.files import check_space, make_folder, write_atomically, write_json
from monai_sam2unet.networks.weights.layouts import to_published
from monai_sam2unet.networks.weights.reading import METADATA_KEY, StateDict
from monai_sam2unet.networks.weights.recognition import WeightFile, fit_first_layer, read_weights
from monai_sam2unet.networks.weights.trained import BaseFile

__all__ = ["DTYPES", "TARGETS", "convert", "settings_file"]

logger = logging.getLogger(__name__)

TARGETS = ("ours", "published", "trained")
"""Forms that can be written: this bundle's layout, the published SAM2-UNet's, or what was trained alone."""

DTYPES = {
    "keep": None,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
"""Precisions that can be written; ``keep`` leaves that of the file."""

SUFFIXES = (".pt", ".pth", ".safetensors")


def convert(
    source: WeightFile,
    target: str | Path,
    *,
    to: str = "ours",
    dtype: str = "keep",
    base: str | Path | None = None,
    overwrite: bool = False,
) -> StateDict:
    """Write a weight file in another form, and the settings beside it.

    Args:
        source: what `read_weights` gave.
        target: file to write; its suffix says the container, ``.pt``, ``.pth`` or ``.safetensors``. Settings
            that lie beside the source (same stem, ``.json``) are copied to the target's stem.
        to: one of `TARGETS`. ``trained`` leaves out the tensors that ``base`` gives bit for bit.
        dtype: one of `DTYPES`, for floating-point tensors.
        base: file that the training started from, for ``trained``.
        overwrite: whether the target may exist already.

    Returns:
        The tensors written, under the target's names.

    Raises:
        InputError: if the target exists, has another suffix or is the source itself, a number does not fit
            into the precision, the layout needs tensors that are not there, or ``base`` gives nothing of it.
    """
    target = Path(target)
    _check_target(source, target, overwrite)
    extra: dict[str, Any] = {}
    tensors = _cast(source.tensors, DTYPES[dtype], source.path)
    if to == "published":
        _warn_of_other_architecture(source)
        try:
            tensors = to_published(tensors)
        except ValueError as e:
            raise InputError(f"{source.path}: {source.kind} has {e}") from e
    elif to == "trained":
        tensors, extra = _without_base(source, tensors, base)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    check_space(make_folder(target.parent), size + 2**20, "the weights")
    if target.suffix == ".safetensors":
        _write_safetensors(target, tensors, extra)
    else:
        content = {"network": tensors, **extra} if extra else tensors
        write_atomically(target, lambda file: torch.save(content, file))
    if settings_file(source.path).is_file() and source.content == "network":
        settings = json.loads(settings_file(source.path).read_text(encoding="utf-8"))
        write_json(settings_file(target), settings)
    return tensors


def settings_file(weights: Path) -> Path:
    """Where the settings of a model lie: beside it, with its stem."""
    return weights.with_suffix(".json")


def _check_target(source: WeightFile, target: Path, overwrite: bool) -> None:
    """Raise InputError unless the target can be written without harm."""
    if target.suffix not in SUFFIXES:
        raise InputError(f"{target}: the name must end in {', '.join(SUFFIXES)}, got {target.suffix!r}")
    if target.exists() and target.samefile(source.path):
        raise InputError(f"{target}: is the file to convert; write to another name")
    if target.exists() and not overwrite:
        raise InputError(f"{target}: exists already; delete it, or allow it by --force")


def _warn_of_other_architecture(source: WeightFile) -> None:
    """Say so if the published code, whose network has one form per variant, could not load the result."""
    found = source.architecture
    asked = {"in_channels": (3,), "out_channels": (1,), "decoder_channels": (64,), "adapter_dim": (0, 32)}
    other = [
        f"{name} {found[name]}" for name, fit in asked.items() if name in found and found[name] not in fit
    ]
    if other:
        logger.warning(
            "The published code cannot load this model, its network is another: %s", ", ".join(other)
        )


def _cast(tensors: Mapping[str, Tensor], dtype: torch.dtype | None, path: Path) -> StateDict:
    """Floating-point tensors in another precision; one that would become infinite is an error."""
    cast: StateDict = {}
    for name, tensor in tensors.items():
        floating = dtype is not None and tensor.is_floating_point()
        cast[name] = tensor.to(dtype) if floating else tensor
        if floating and not torch.isfinite(cast[name]).all():
            raise InputError(
                f"{path}: {name} has values up to {tensor.abs().max():.3g}, too large for {dtype}; "
                "take bfloat16 or float32"
            )
    return cast


def _without_base(
    source: WeightFile, tensors: StateDict, base: str | Path | None
) -> tuple[StateDict, dict[str, Any]]:
    """The tensors that the base file does not give, and what is noted about it."""
    if source.content != "network":
        raise InputError(f"{source.path}: {source.kind} was not trained; give a trained SAM2-UNet")
    base = base if base is not None else source.base
    if base is None:
        raise InputError("--to trained needs the file that the training started from: --base FILE")
    given = dict(read_weights(base).tensors)
    first = "encoder.patch_embed.proj.weight"
    given[first] = fit_first_layer(given[first], source.architecture["in_channels"])
    same = {
        name
        for name, tensor in tensors.items()
        if name in given
        and given[name].shape == tensor.shape
        and torch.equal(given[name].to(tensor.dtype), tensor)
    }
    if not any(name.startswith("encoder.") for name in same):
        raise InputError(
            f"{base}: gives nothing of {source.path}; that was trained from another file, or as a whole"
        )
    reference = BaseFile.of(Path(base)).reference()
    kept = {name: tensor for name, tensor in tensors.items() if name not in same}
    return kept, {"base": reference, "architecture": source.architecture}


def _write_safetensors(target: Path, tensors: Mapping[str, Tensor], extra: Mapping[str, Any]) -> None:
    """Write a safetensors file atomically, what does not fit into it as JSON in its metadata."""
    metadata = {"format": "pt", **({METADATA_KEY: json.dumps(extra)} if extra else {})}
    # the library's own file writer makes a new file that only its owner can read, past the atomic one
    content = save({name: _on_its_own(tensor) for name, tensor in tensors.items()}, metadata=metadata)
    write_atomically(target, lambda file: file.write(content))


def _on_its_own(tensor: Tensor) -> Tensor:
    """A contiguous tensor that shares its memory with no other, as safetensors want it."""
    tensor = tensor.contiguous()
    alone = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if alone else tensor.clone()
