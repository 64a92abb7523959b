"""Weights that hold only what was trained, and the base file that the rest comes from.

With a frozen encoder a checkpoint repeats SAM 2's weights: 850 of 866 MB for ``large``. Saved without them it
names its base file by name, size and SHA-256 instead, and is made whole from it when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from monai_sam2unet.errors import InputError, listed
from monai_sam2unet.networks.weights.pretrained import PRETRAINED, sha256_of
from monai_sam2unet.networks.weights.reading import StateDict

__all__ = ["BaseFile", "find_base", "load_trained", "trained_only"]


@dataclass(frozen=True)
class BaseFile:
    """The file that a training started from.

    Attributes:
        name: the file's name, without its folder.
        sha256: of its content, hexadecimal.
        size: bytes.
        names: tensors of the network that were loaded from it.
    """

    name: str
    sha256: str
    size: int
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, path: Path, names: frozenset[str] = frozenset()) -> BaseFile:
        """Describe a file; reads it once for its checksum."""
        return cls(path.name, sha256_of(path), path.stat().st_size, names)

    def reference(self) -> dict[str, Any]:
        """What a checkpoint notes about it."""
        return {"name": self.name, "sha256": self.sha256, "size": self.size}


def trained_only(network: nn.Module, base: BaseFile) -> StateDict:
    """The tensors of a network that its base file does not give.

    Left out are the frozen parameters that came from the base file. Everything else is kept: trained
    parameters, running statistics, and parameters that are frozen but came from no file.

    Args:
        network: the network.
        base: where its training started from.

    Returns:
        The tensors (not copied) by name.
    """
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    left_out = frozen & base.names
    return {name: tensor for name, tensor in network.state_dict().items() if name not in left_out}


def load_trained(network: nn.Module, tensors: StateDict, base: BaseFile, source: str) -> None:
    """Load what `trained_only` gave into a network that holds the base file's weights already.

    Args:
        network: the network, with the same tuning.
        tensors: what was trained.
        base: the file that the network's other weights were loaded from.
        source: what the tensors come from, for the message.

    Raises:
        InputError: if other tensors were trained than this network trains.
    """
    own = trained_only(network, base)
    other = [
        n for n in {**own, **tensors} if n not in own or n not in tensors or own[n].shape != tensors[n].shape
    ]
    if other:
        raise InputError(
            f"{source}: holds other trained tensors than this network has, {listed(other)}; "
            "give the settings of the training that wrote it"
        )
    network.load_state_dict(tensors, strict=False)


def find_base(reference: Mapping[str, Any], folder: str | Path, wanted_by: str | Path) -> Path:
    """The base file of a checkpoint that holds only what was trained.

    Args:
        reference: what the checkpoint notes: ``name``, ``sha256``, ``size``.
        folder: where base files lie; one that was renamed is found by its size and checksum.
        wanted_by: the checkpoint, for the message.

    Returns:
        A file of exactly that content.

    Raises:
        InputError: if there is none; names the file needed and where it comes from, and says if one of that
            name has another content.
    """
    folder = Path(folder)
    name, sha256, size = reference["name"], reference["sha256"], reference["size"]
    named = folder / name
    others = sorted(path for path in folder.glob("*") if path != named) if folder.is_dir() else []
    for path in [named, *others]:
        if path.is_file() and path.stat().st_size == size and sha256_of(path) == sha256:
            return path
    known = {file.sha256: (sam, variant) for (sam, variant), file in PRETRAINED.items()}
    if sha256 in known:
        sam, variant = known[sha256]
        source = f"get it by: python -m scripts.download_weights {variant} --sam {sam}"
    else:
        source = "copy it there from where the training was run"
    found = ""
    if named.is_file():
        found = (
            f"; the {name} there is another file ({named.stat().st_size} bytes, SHA-256 {sha256_of(named)})"
        )
    raise InputError(
        f"{wanted_by}: holds only what was trained and needs its base file {name} ({size} bytes, SHA-256 "
        f"{sha256}), which is not in {folder}{found}; {source}, or name its folder: --pretrained_dir FOLDER"
    )
