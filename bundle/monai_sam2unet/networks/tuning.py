"""Fine-tuning: which of the network's parameters learn, low-rank updates, learning rates by layer.

The paper (arXiv 2408.08870) freezes the encoder but for its adapters; that is the tuning ``adapters``. LoRA:
Hu et al., arXiv 2106.09685, section 4. BitFit: Zaken et al., arXiv 2106.10199. Layer-wise decay of the
learning rate: BEiT, arXiv 2106.08254, after ELECTRA, arXiv 2003.10555.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from monai.optimizers import generate_param_groups
from torch import Tensor, nn

from monai_sam2unet.networks.hiera import Attention

if TYPE_CHECKING:
    from monai_sam2unet.networks.sam2unet import SAM2UNet

__all__ = ["TUNINGS", "LoRALinear", "apply_tuning", "merge_lora", "parameter_groups"]

LEARNS: dict[str, tuple[str, ...]] = {
    "adapters": (".adapter.",),
    "full": ("",),
    "frozen": (),
    "lora": (".adapter.", ".lora_"),
    "bitfit": (".adapter.", ".bias"),
}
"""For each tuning: what the names of those parameters of the encoder contain that learn."""

TUNINGS = tuple(LEARNS)
"""All ways of tuning; in each of them everything outside the encoder learns."""

LORA_TENSORS = ("lora_down", "lora_up", "lora_scale")
"""What a `LoRALinear` has beside ``weight`` and ``bias``."""


class LoRALinear(nn.Linear):
    """Linear layer plus a low-rank update of its weight: ``W x + b + (alpha / rank) up down x``.

    ``weight`` and ``bias`` keep their names, so that weights made without LoRA fit the base part. ``up``
    starts at zero: at first the layer is what it was. The scale is a buffer, so that a file alone
    says how its update is to be merged.

    Args:
        linear: layer to take over; its parameters are used, not copied.
        rank: rank of the update.
        alpha: the update is multiplied by ``alpha / rank``.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.lora_down = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        self.lora_up = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))
        self.lora_scale: Tensor
        self.register_buffer("lora_scale", linear.weight.new_tensor(alpha / rank, dtype=torch.float32))
        # normal, as in the paper's section 4.1; this deviation keeps the magnitude of the input
        nn.init.normal_(self.lora_down, std=linear.in_features**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        update = F.linear(F.linear(x, self.lora_down), self.lora_up)
        return F.linear(x, self.weight, self.bias) + self.lora_scale * update


def apply_tuning(network: SAM2UNet, tuning: str, lora_rank: int = 8, lora_alpha: float = 16.0) -> None:
    """Set which parameters learn; `SAM2UNet` calls this once, when all its parts are there.

    Args:
        network: what to tune. ``lora`` exchanges the linear layers of its attention for `LoRALinear`;
            ``frozen`` sets the adapters, if there are any, to do nothing until weights are loaded.
        tuning: one of `TUNINGS`.
        lora_rank: rank of the updates of ``lora``.
        lora_alpha: the updates of ``lora`` are multiplied by ``lora_alpha / lora_rank``.

    Raises:
        ValueError: if the tuning is unknown or a number is not positive.
    """
    if tuning not in TUNINGS:
        raise ValueError(f"tuning must be one of {', '.join(TUNINGS)}, got {tuning!r}")
    if lora_rank < 1:
        raise ValueError(f"lora_rank must be at least 1, got {lora_rank}")
    if not lora_alpha > 0:
        raise ValueError(f"lora_alpha must be above 0, got {lora_alpha}")
    if tuning == "lora":
        for attention in [m for m in network.encoder.modules() if isinstance(m, Attention)]:
            attention.qkv = LoRALinear(attention.qkv, lora_rank, lora_alpha)
            attention.proj = LoRALinear(attention.proj, lora_rank, lora_alpha)
    for name, parameter in network.encoder.named_parameters():
        parameter.requires_grad_(any(part in name for part in LEARNS[tuning]))
        if tuning == "frozen" and ".adapter.up." in name:
            nn.init.zeros_(parameter)  # GELU(0) is 0: the block's input passes unchanged


def merge_lora(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add low-rank updates to the weights that they belong to.

    Args:
        state_dict: tensors by name, of a network with or without LoRA.

    Returns:
        The tensors of the same network without LoRA: merged weights (computed in float32, of the weight's
        own type), all other tensors as they are (not copied).

    Raises:
        ValueError: if a tensor of an update is missing or has a shape that does not fit, by its name.
    """
    lora = [n for n in state_dict if n.rpartition(".")[2] in LORA_TENSORS]
    merged = {n: t for n, t in state_dict.items() if n not in lora}
    for layer in dict.fromkeys(n.removesuffix(n.rpartition(".")[2]) for n in lora):
        names = [layer + part for part in ("weight", *LORA_TENSORS)]
        missing = [n for n in names if n not in state_dict]
        if missing:
            there = [n for n in names if n in state_dict]
            raise ValueError(f"incomplete LoRA: {', '.join(missing)} missing, {', '.join(there)} there")
        weight, down, up, scale = (state_dict[n] for n in names)
        fits = (*up.shape[:1], *down.shape[1:]) == weight.shape and up.shape[1:] == down.shape[:1]
        if not fits or scale.dim() > 0:
            shapes = ", ".join(f"{n} {list(state_dict[n].shape)}" for n in names)
            raise ValueError(f"LoRA does not fit: {shapes}; up times down must have the weight's shape")
        update = scale.float() * (up.float() @ down.float())
        merged[layer + "weight"] = (weight.float() + update).to(weight.dtype)
    return merged


def parameter_groups(
    network: SAM2UNet, learning_rate: float, layer_decay: float, min_learning_rate: float
) -> list[dict[str, Any]]:
    """Parameters that learn, grouped by learning rate, for an optimiser.

    With ``layer_decay`` 1 there is one group. Below 1, everything outside the encoder and the adapters have
    the full rate (first group); block ``i`` (from 0) of ``n`` has ``learning_rate * layer_decay**(n - i)``
    and the embeddings ``learning_rate * layer_decay**(n + 1)``.

    Args:
        network: whose parameters.
        learning_rate: full rate.
        layer_decay: factor from a layer to the one below it, above 0 and at most 1.
        min_learning_rate: no layer's rate is lower: the schedule ends there, and a lower one would rise.

    Returns:
        Groups with ``params`` and ``lr``, the highest rate first.

    Raises:
        ValueError: if ``layer_decay`` is out of its range.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must be above 0 and at most 1, got {layer_decay}")
    if layer_decay == 1:
        return [{"params": [p for p in network.parameters() if p.requires_grad], "lr": learning_rate}]
    blocks = len(network.encoder.blocks)
    steps = range(blocks + 2)
    rates = [max(learning_rate * layer_decay**step, min_learning_rate) for step in steps]
    filters = [_learns_at(step, blocks) for step in steps]
    groups = generate_param_groups(network, filters, ["filter"] * len(filters), rates, include_others=False)
    return [{**group, "params": list(group["params"])} for group in groups]


def _learns_at(step: int, blocks: int) -> Callable[[tuple[str, nn.Parameter]], bool]:
    """A filter of ``named_parameters()``: those that learn and lie this many steps below the decoder."""
    return lambda item: item[1].requires_grad and _steps(item[0], blocks) == step


def _steps(name: str, blocks: int) -> int:
    """How many times the learning rate of a parameter decays, in an encoder of so many blocks."""
    if not name.startswith("encoder.") or ".adapter." in name:
        return 0
    block = re.match(r"encoder\.blocks\.(\d+)\.", name)
    return blocks - int(block[1]) if block else blocks + 1
