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

__all__ = ["BaseFile", "find_base", "load_trained", "noted_base", "trained_only"]

NUMBERS = ("in_channels", "out_channels", "adapter_dim", "decoder_channels")
"""Arguments of `SAM2UNet`, besides the variant, that a checkpoint notes."""

MOST = 4096
"""More channels than this no network has: a number that would fill the memory is not believed."""


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


def noted_base(content: Any, path: str | Path) -> tuple[BaseFile, dict[str, Any]] | None:
    """What a checkpoint that holds only what was trained notes about the rest.

    Args:
        content: content of the checkpoint.
        path: the checkpoint, for the message.

    Returns:
        Its base file and the arguments of `SAM2UNet`; None for a checkpoint that is whole.

    Raises:
        InputError: if the notes are damaged.
    """
    if not isinstance(content, Mapping) or "base" not in content:
        return None
    try:
        base, found = content["base"], content["architecture"]
        # the name alone: a file must not lead the reader out of the folder
        reference = BaseFile(Path(base["name"]).name, str(base["sha256"]), int(base["size"]))
        numbers = {name: int(found[name]) for name in NUMBERS}
        if not all(0 <= number <= MOST for number in numbers.values()):
            raise ValueError(f"expected channels of 0 to {MOST}, got {numbers}")
        return reference, {"variant": str(found["variant"]), **numbers}
    except (KeyError, TypeError, ValueError) as e:
        raise InputError(
            f"{path}: what it notes about its base file is damaged ({type(e).__name__}: {e}); copy it again"
        ) from e


def find_base(base: BaseFile, folder: str | Path, wanted_by: str | Path) -> Path:
    """The base file of a checkpoint that holds only what was trained.

    Args:
        base: what the checkpoint notes.
        folder: where base files lie; one that was renamed is found by its size and checksum.
        wanted_by: the checkpoint, for the message.

    Returns:
        A file of exactly that content.

    Raises:
        InputError: if there is none; names the file needed and where it comes from, and says if one of that
            name has another content.
    """
    folder = Path(folder)
    named = folder / base.name
    others = sorted(path for path in folder.glob("*") if path != named) if folder.is_dir() else []
    for path in [named, *others]:
        if path.is_file() and path.stat().st_size == base.size and sha256_of(path) == base.sha256:
            return path
    known = {file.sha256: (sam, variant) for (sam, variant), file in PRETRAINED.items()}
    if base.sha256 in known:
        sam, variant = known[base.sha256]
        source = f"get it by: python -m scripts.download_weights {variant} --sam {sam}"
    else:
        source = "copy it there from where the training was run"
    found = ""
    if named.is_file():
        size, sha256 = named.stat().st_size, sha256_of(named)
        found = f"; the {base.name} there is another file ({size} bytes, SHA-256 {sha256})"
    raise InputError(
        f"{wanted_by}: holds only what was trained and needs its base file {base.name} ({base.size} bytes, "
        f"SHA-256 {base.sha256}), which is not in {folder}{found}; {source}, or name its folder: "
        "--pretrained_dir FOLDER"
    )
