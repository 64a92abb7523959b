"""Layouts of checkpoints: what each calls its tensors, and what those are called here.

======================  ===============================================================================
``sam2``                SAM 2's and SAM 2.1's own files; the encoder is ``image_encoder.trunk.*``
``trunk``               that encoder alone, saved without a prefix
``transformers``        Hugging Face transformers (``Sam2Model``, ``Sam2VideoModel``, their encoder alone)
``timm``                timm's ``sam2_hiera_*``
``published``           the published SAM2-UNet: ``encoder.blocks.N.block.*``, ``.prompt_learn.*``, ``up4.*``
``ours``                ``encoder.blocks.N.*`` and ``encoder.blocks.N.adapter.*``; with or without decoder
======================  ===============================================================================

The names of the tensors alone tell them apart. Dictionaries go in and come out; tensors are not copied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_sam2unet.errors import listed
from monai_sam2unet.networks.weights.reading import StateDict
from monai_sam2unet.networks.weights.unused import (
    PUBLISHED_UNUSED,
    SAM2_UNUSED,
    SAM21_ONLY,
    TIMM_UNUSED,
    TRANSFORMERS_UNUSED,
)

__all__ = ["LAYOUTS", "Layout", "Renamed", "recognise", "rename", "to_published"]

Rules = tuple[tuple[re.Pattern[str], str], ...]


def _rules(*pairs: tuple[str, str]) -> Rules:
    """Compiled patterns and what they are replaced by; the first that matches a name counts."""
    return tuple((re.compile(pattern), replacement) for pattern, replacement in pairs)


@dataclass(frozen=True)
class Layout:
    """How one kind of checkpoint names its tensors.

    Attributes:
        name: short name, as in the table at the head of this module.
        words: what a user calls such a file.
        signature: found in at least one name of such a file, and in no name of the others.
        rules: patterns of the names that are taken, and what they become.
        unused: names that are left out, exactly these.
    """

    name: str
    words: str
    signature: re.Pattern[str]
    rules: Rules
    unused: frozenset[str] = frozenset()


TRANSFORMERS_RULES = (
    (r"patch_embed\.projection\.", "encoder.patch_embed.proj."),
    (r"(pos_embed|pos_embed_window)$", r"encoder.\1"),
    (r"blocks\.(\d+)\.layer_norm([12])\.", r"encoder.blocks.\1.norm\2."),
    (r"blocks\.(\d+)\.mlp\.proj_in\.", r"encoder.blocks.\1.mlp.layers.0."),
    (r"blocks\.(\d+)\.mlp\.proj_out\.", r"encoder.blocks.\1.mlp.layers.1."),
    (r"blocks\.(\d+)\.(attn\.(?:qkv|proj)|proj)\.", r"encoder.blocks.\1.\2."),
)

# the order counts: a published SAM2-UNet has names that begin like ours
LAYOUTS = (
    Layout(
        "sam2",
        "SAM 2 checkpoint",
        re.compile(r"^image_encoder\.trunk\."),
        _rules((r"^image_encoder\.trunk\.", "encoder.")),
        SAM2_UNUSED,
    ),
    Layout(
        "transformers",
        "Hugging Face transformers checkpoint of SAM 2",
        re.compile(r"^vision_encoder\.backbone\."),
        _rules(*((rf"^vision_encoder\.backbone\.{old}", new) for old, new in TRANSFORMERS_RULES)),
        TRANSFORMERS_UNUSED,
    ),
    Layout(
        "transformers",
        "Hugging Face transformers checkpoint of SAM 2's encoder",
        re.compile(r"^(backbone\.)?blocks\.\d+\.layer_norm1\."),
        _rules(*((rf"^(?:backbone\.)?{old}", new) for old, new in TRANSFORMERS_RULES)),
        frozenset(
            name.removeprefix("vision_encoder.")
            for name in TRANSFORMERS_UNUSED
            if name.startswith("vision_encoder.")
        ),
    ),
    Layout(
        "timm",
        "timm checkpoint of SAM 2's encoder",
        re.compile(r"^blocks\.\d+\.mlp\.fc[12]\."),
        _rules(
            (r"^blocks\.(\d+)\.mlp\.fc1\.", r"encoder.blocks.\1.mlp.layers.0."),
            (r"^blocks\.(\d+)\.mlp\.fc2\.", r"encoder.blocks.\1.mlp.layers.1."),
            (r"^(blocks\.|patch_embed\.|pos_embed)", r"encoder.\1"),
        ),
        TIMM_UNUSED,
    ),
    Layout(
        "trunk",
        "encoder of SAM 2 alone",
        re.compile(r"^blocks\.\d+\.mlp\.layers\."),
        _rules((r"^(blocks\.|patch_embed\.|pos_embed)", r"encoder.\1")),
    ),
    Layout(
        "published",
        "published SAM2-UNet checkpoint",
        re.compile(r"^encoder\.blocks\.\d+\.(block|prompt_learn)\."),
        _rules(
            (r"^encoder\.blocks\.(\d+)\.block\.", r"encoder.blocks.\1."),
            (r"^encoder\.blocks\.(\d+)\.prompt_learn\.0\.", r"encoder.blocks.\1.adapter.down."),
            (r"^encoder\.blocks\.(\d+)\.prompt_learn\.2\.", r"encoder.blocks.\1.adapter.up."),
            (r"^(encoder\.p|rfb\d\.|up[123]\.|side\d\.|head\.)", r"\1"),
        ),
        PUBLISHED_UNUSED,
    ),
    Layout(
        "ours",
        "checkpoint of this bundle",
        re.compile(r"^encoder\.blocks\.\d+\.|^encoder\.pos_embed$|^rfb1\."),
        _rules((r"^(encoder\.|rfb\d\.|up[123]\.|side\d\.|head\.)", r"\1")),
    ),
)
"""All known layouts, in the order in which they are tried."""

STRANGERS = (
    (re.compile(r"attn\.rel_pos_[hw]$"), "a checkpoint of the first SAM (plain ViT), not of SAM 2"),
    (re.compile(r"^decoder_blocks\.\d+\."), "a masked-autoencoder checkpoint of Hiera, not of SAM 2"),
    (re.compile(r"^(detector|tracker)(_model)?\."), "a checkpoint of SAM 3, not of SAM 2"),
    (
        re.compile(r"^image_encoder\.|^sam_mask_decoder\."),
        "a part of a SAM checkpoint without SAM 2's encoder",
    ),
    (re.compile(r"^encoder\.stages\.\d+\."), "a checkpoint of nnU-Net"),
)
"""Signatures of checkpoints that users take for SAM 2's, and what they are."""


@dataclass(frozen=True)
class Renamed:
    """A state dict under our names.

    Attributes:
        layout: the layout it came in.
        tensors: tensors under the names of `SAM2UNet`.
        unused: names (of the file) that were left out because the layout's list says so.
        unknown: names (of the file) that the layout knows nothing of.
    """

    layout: Layout
    tensors: StateDict
    unused: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def words(self) -> str:
        """What a user calls the file; SAM 2 and SAM 2.1 are told apart."""
        if self.layout.name == "sam2" and SAM21_ONLY & set(self.unused):
            return self.layout.words.replace("SAM 2", "SAM 2.1")
        return self.layout.words


def recognise(names: Mapping[str, Tensor]) -> Layout:
    """Tell from the names which layout a state dict is in.

    Args:
        names: the state dict; only its names are looked at.

    Returns:
        The layout.

    Raises:
        ValueError: if it is none of `LAYOUTS`; says what it looks like.
    """
    for layout in LAYOUTS:
        if any(layout.signature.search(name) for name in names):
            return layout
    for pattern, words in STRANGERS:
        if any(pattern.search(name) for name in names):
            raise ValueError(f"this is {words}")
    known = "; ".join(dict.fromkeys(layout.words for layout in LAYOUTS))
    raise ValueError(f"no known checkpoint. Tensors: {listed(names)}. Known are: {known}")


def rename(state_dict: Mapping[str, Tensor], layout: Layout) -> Renamed:
    """Give the tensors our names.

    Args:
        state_dict: tensors under the layout's names.
        layout: their layout.

    Returns:
        Tensors under our names, in the order of the file, and the names that were not taken.
    """
    tensors: StateDict = {}
    unused, unknown = [], []
    for name, tensor in state_dict.items():
        if name in layout.unused:
            unused.append(name)
            continue
        for pattern, replacement in layout.rules:
            if pattern.search(name):
                tensors[pattern.sub(replacement, name)] = tensor
                break
        else:
            unknown.append(name)
    return Renamed(layout, tensors, tuple(unused), tuple(unknown))


def to_published(tensors: Mapping[str, Tensor]) -> StateDict:
    """Turn a whole network's tensors into the layout of the published SAM2-UNet.

    The published network asks for two things when it loads that ours may not have: a fourth decoder step,
    ``up4``, which it never runs and which is filled as one that was never trained; and adapters, which do
    nothing where all their weights are zero.

    Args:
        tensors: tensors of a `SAM2UNet`, under our names.

    Returns:
        The same tensors (not copied) under the published names, and what that network asks for besides.

    Raises:
        ValueError: if there is no decoder.
    """
    if not any(name.startswith("up3.") for name in tensors):
        raise ValueError("no decoder: the published SAM2-UNet is a whole network")
    if not any(".adapter." in name for name in tensors):
        tensors = {**tensors, **_idle_adapters(tensors)}
    renamed: StateDict = {}
    for name, tensor in tensors.items():
        name = re.sub(r"^(encoder\.blocks\.\d+\.)(?!adapter\.)", r"\1block.", name)
        name = re.sub(r"^(encoder\.blocks\.\d+\.)adapter\.down\.", r"\1prompt_learn.0.", name)
        name = re.sub(r"^(encoder\.blocks\.\d+\.)adapter\.up\.", r"\1prompt_learn.2.", name)
        renamed[name] = tensor
        if name.startswith("up3."):
            renamed[name.replace("up3.", "up4.")] = _untrained(name, tensor)
    return renamed


def _untrained(name: str, tensor: Tensor) -> Tensor:
    """A tensor of a decoder step that never learnt: scales and variances 1, all others 0."""
    ones = tensor.dim() == 1 and name.endswith((".weight", ".running_var"))
    return torch.ones_like(tensor) if ones else torch.zeros_like(tensor)


def _idle_adapters(tensors: Mapping[str, Tensor], hidden: int = 32) -> StateDict:
    """Adapters for every block that add nothing to its input."""
    idle: StateDict = {}
    for name, weight in tensors.items():
        if re.search(r"^encoder\.blocks\.\d+\.norm1\.weight$", name):
            block = name.removesuffix("norm1.weight") + "adapter."
            idle[block + "down.weight"] = weight.new_zeros(hidden, len(weight))
            idle[block + "down.bias"] = weight.new_zeros(hidden)
            idle[block + "up.weight"] = weight.new_zeros(len(weight), hidden)
            idle[block + "up.bias"] = weight.new_zeros(len(weight))
    return idle
