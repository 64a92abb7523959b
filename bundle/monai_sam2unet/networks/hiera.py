"""Hiera, the image encoder of SAM 2, with an adapter (or none) before every block.

Hiera (arXiv 2306.00989) is a hierarchical vision transformer: attention within windows, a few blocks of
global attention, and max-pooling of the queries where a new stage begins. SAM 2 (arXiv 2408.00714,
section 4 and appendix D.1) adds the windowed position embedding (arXiv 2311.05613). SAM2-UNet
(arXiv 2408.08870, section 2) adds an adapter to the input of every block and trains only those.

Windows that do not divide the grid are padded with zero tokens in SAM 2. Here they keep the tokens that they
have, in an order in which each window is one piece (see `monai_sam2unet.networks.windows`).

Shapes: ``B`` batch, ``H W`` rows and columns of tokens (of pixels where said), ``T`` tokens of a picture in
the order of windows, ``R Q`` rows and columns of cells (32x32 pixels), ``C`` channels, ``N`` windows of all
pictures, ``L`` tokens of one window, ``h`` heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from monai_sam2unet.networks.positions import KeptPositions, position_embedding
from monai_sam2unet.networks.windows import (
    is_symbol,
    max_pool,
    pad_windows,
    to_grid,
    to_windows,
    unpad_windows,
    window_groups,
)

__all__ = ["VARIANTS", "Hiera", "HieraVariant"]


@dataclass(frozen=True)
class HieraVariant:
    """What distinguishes one size of Hiera from another.

    Attributes:
        embed_dim: channels of the first stage; they double with every stage.
        heads: attention heads of the first stage; they double with every stage.
        depths: blocks of each of the four stages.
        global_blocks: indices (over all blocks) of those that attend to the whole picture.
        windows: side of the attention window in tokens, per stage; they nest: 8, 4, 2 n, n.
        grid: rows and columns of the background position embedding.
    """

    embed_dim: int
    heads: int
    depths: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    windows: tuple[int, int, int, int]
    grid: tuple[int, int] = (7, 7)


VARIANTS: dict[str, HieraVariant] = {
    # ours, for demonstrations and tests; the other four are SAM 2's
    "nano": HieraVariant(24, 1, (1, 1, 3, 1), (4,), (8, 4, 8, 4)),
    "tiny": HieraVariant(96, 1, (1, 2, 7, 2), (5, 7, 9), (8, 4, 14, 7)),
    "small": HieraVariant(96, 1, (1, 2, 11, 2), (7, 10, 13), (8, 4, 14, 7)),
    "base_plus": HieraVariant(112, 2, (2, 3, 16, 3), (12, 16, 20), (8, 4, 14, 7), (14, 14)),
    "large": HieraVariant(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8)),
}


class Attention(nn.Module):
    """Multi-head self-attention among the tokens of each window, with optional pooling of the queries.

    Args:
        dim: channels of the input.
        dim_out: channels of the output.
        heads: attention heads; they share ``dim_out``.
        pool: halve the grid of queries, and so of the output.
    """

    def __init__(self, dim: int, dim_out: int, heads: int, pool: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pool = pool
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.proj = nn.Linear(dim_out, dim_out)

    def forward(self, x: Tensor, groups: list[tuple[int, int, int]]) -> Tensor:
        """Attend within windows.

        Args:
            x: normalised tokens, (B, T, dim), the windows one after another.
            groups: how many windows there are of each size, their real and their padded tokens (see
                `monai_sam2unet.networks.windows.window_groups`).

        Returns:
            Tokens, (B, T, dim_out), or (B, T/4, dim_out) when pooling.
        """
        dim_out = self.proj.in_features
        q, kv = self.qkv(x).split([dim_out, 2 * dim_out], dim=-1)
        kept = 1
        if self.pool:  # the four tokens that become one query lie side by side
            q, kept = max_pool(q, sum([count * tokens for count, tokens, _ in groups])), 4
        if len(groups) == 1:
            return self.proj(self.attend(q, kv, groups[0], kept))
        queries = q.split([count * tokens // kept for count, tokens, _ in groups], dim=1)
        keys = kv.split([count * tokens for count, tokens, _ in groups], dim=1)
        parts: list[Tensor] = []
        for i, group in enumerate(groups):
            parts.append(self.attend(queries[i], keys[i], group, kept))
        return self.proj(torch.cat(parts, dim=1))

    def attend(self, q: Tensor, kv: Tensor, group: tuple[int, int, int], kept: int) -> Tensor:
        """Attention of windows of one size, each to itself and to the zero tokens that pad it.

        SAM 2 pads after the norm, so that the key and the value of each padded token are the bias of ``qkv``:
        ``padded`` equal keys weigh as one whose score is larger by ``log(padded)``.

        Args:
            q: queries, (B, count * tokens / kept, dim_out).
            kv: keys and values, (B, count * tokens, 2 dim_out).
            group: windows of a picture ``count``, real ``tokens`` and ``padded`` tokens of each.
            kept: tokens that each query was pooled from.

        Returns:
            Tokens, shape of ``q``.
        """
        count, tokens, padded = group
        dim_out, dim = self.proj.in_features, self.proj.in_features // self.heads
        weight: Tensor | None = None
        if padded > 0:
            kv = kv.reshape(-1, tokens, 2 * dim_out)
            bias = self.qkv.bias[dim_out:].to(kv.dtype).expand(kv.shape[0], 1, 2 * dim_out)
            weight = torch.zeros(1, 1, 1, tokens, dtype=q.dtype, device=q.device)
            weight = F.pad(weight, (0, 1), value=math.log(padded))
            kv = torch.cat([kv, bias], dim=1)
            tokens += 1
        q = q.reshape(-1, group[1] // kept, self.heads, dim).transpose(1, 2)  # N h L C/h
        k, v = kv.reshape(-1, tokens, 2, self.heads, dim).permute(2, 0, 3, 1, 4).unbind(0)
        # the default scale, as a plain number: a trace would calculate it anew from a shape
        x = F.scaled_dot_product_attention(q, k, v, weight, scale=1 / math.sqrt(dim))
        return x.transpose(1, 2).reshape(-1, count * (group[1] // kept), dim_out)


class FeedForward(nn.Module):
    """Two linear layers with GELU between them, four times as wide inside (names as in SAM 2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., dim)."""
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i == 0:
                x = F.gelu(x)
        return x


class Adapter(nn.Module):
    """Bottleneck that is added to a block's input: down, GELU, up, GELU (arXiv 2408.08870, section 2).

    Args:
        dim: channels of the block's input.
        hidden: channels of the bottleneck.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, hidden)
        self.up = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., dim)."""
        return x + F.gelu(self.up(F.gelu(self.down(x))))


class Block(nn.Module):
    """Adapter, windowed attention, feed-forward; the first block of a stage also pools and widens.

    Args:
        dim: channels of the input.
        dim_out: channels of the output; ``2 * dim`` at the first block of stages 2 to 4, else ``dim``.
        heads: attention heads.
        span: side of the attention window in cells (see `monai_sam2unet.networks.windows`); 0 attends to the
            whole picture.
        cell: tokens of a cell in the input.
        adapter_dim: channels of the adapter's bottleneck; 0 leaves the adapter out.

    Attributes:
        checkpointing: keep the input alone for the backward pass of a training, and compute the rest again
            there (see `Hiera.set_checkpointing`).
    """

    def __init__(self, dim: int, dim_out: int, heads: int, span: int, cell: int, adapter_dim: int) -> None:
        super().__init__()
        self.checkpointing = False
        self.span = span
        self.cell = cell
        self.pool = dim != dim_out
        self.adapter = Adapter(dim, adapter_dim) if adapter_dim > 0 else nn.Identity()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, dim_out, heads, self.pool)
        self.norm2 = nn.LayerNorm(dim_out, eps=1e-6)
        self.mlp = FeedForward(dim_out)
        self.proj = nn.Linear(dim, dim_out) if self.pool else nn.Identity()

    def forward(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Compute a block.

        Args:
            x: tokens in the order of windows, (B, T, dim).
            rows: rows ``R`` of cells.
            columns: columns ``Q`` of cells.

        Returns:
            Tokens in the same order, (B, T, dim_out), or (B, T/4, dim_out) when pooling.
        """
        if self.checkpointing and self.training and not torch.jit.is_scripting():
            # nothing in a block is random; the state that autocast had is restored
            return checkpoint(self.compute, x, rows, columns, use_reentrant=False, preserve_rng_state=False)
        return self.compute(x, rows, columns)

    def compute(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """What `forward` does, in whichever way the backward pass gets what it needs; same shapes."""
        shortcut = self.adapter(x)
        x = self.norm1(shortcut)
        if self.pool:
            shortcut = max_pool(self.proj(x), rows * columns * self.cell)
        if self.span > 1 and (is_symbol(rows) or is_symbol(columns)):
            x = pad_windows(x, rows, columns, self.span)
            x = self.attn(x, [(1, x.shape[1], 0)])
            x = unpad_windows(x, shortcut.shape[0], rows, columns, self.span)
        else:
            x = self.attn(x, window_groups(rows, columns, self.span, self.cell))
        x = shortcut + x
        return x + self.mlp(self.norm2(x))


class PatchEmbedding(nn.Module):
    """7x7 convolution of stride 4 that turns pixels into tokens (name of the layer as in SAM 2)."""

    def __init__(self, in_channels: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dim, kernel_size=7, stride=4, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels (B, in_channels, 4H, 4W) -> tokens (B, H, W, embed_dim)."""
        return self.proj(x).permute(0, 2, 3, 1)


class Hiera(nn.Module):
    """Hierarchical image encoder of SAM 2 with adapters: a picture in, four feature maps out.

    Args:
        variant: one of `VARIANTS`: ``nano`` (ours, for demonstrations and tests), ``tiny``, ``small``,
            ``base_plus``, ``large``.
        in_channels: channels of the picture.
        adapter_dim: channels of each adapter's bottleneck; 0 leaves the adapters out.

    Attributes:
        channels: channels of the four stages.
        kept_positions: keeps the position embedding from picture to picture, in the form for inference.

    Raises:
        ValueError: if the variant is unknown or a number is too small.
    """

    def __init__(self, variant: str = "large", in_channels: int = 3, adapter_dim: int = 32) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        for name, value, low in (("in_channels", in_channels, 1), ("adapter_dim", adapter_dim, 0)):
            if value < low:
                raise ValueError(f"{name} must be at least {low}, got {value}")
        v = VARIANTS[variant]
        self.patch_embed = PatchEmbedding(in_channels, v.embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, v.embed_dim, *v.grid))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, v.embed_dim, v.windows[0], v.windows[0]))
        self.channels = tuple(v.embed_dim * 2**stage for stage in range(4))
        self.stage_ends = [sum(v.depths[: stage + 1]) - 1 for stage in range(4)]
        self.span = v.windows[3]
        self.kept_positions: KeptPositions | None = None
        self.blocks = nn.ModuleList(_blocks(v, adapter_dim))
        self.apply(_initialise)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.pos_embed_window, std=0.02)

    def set_checkpointing(self, enabled: bool) -> None:
        """Choose between memory and time in training; results and evaluation are the same either way.

        Args:
            enabled: keep of every block its input alone (activation checkpointing, arXiv 1604.06174), and
                compute the block a second time in the backward pass. At first it is off.
        """
        for block in self.blocks:
            assert isinstance(block, Block)
            block.checkpointing = enabled

    def position_embedding(self, height: int, width: int) -> Tensor:
        """What is added to the tokens of the first stage: (1, H, W, C)."""
        if not torch.jit.is_scripting():
            kept = self.kept_positions
            if kept is not None and not torch.compiler.is_compiling() and not is_symbol(height):
                return kept(self.pos_embed, self.pos_embed_window, height, width)
        return position_embedding(self.pos_embed, self.pos_embed_window, height, width)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode a picture.

        Args:
            x: pixels, (B, in_channels, H, W), both sides multiples of 32.

        Returns:
            Four feature maps of strides 4, 8, 16, 32: (B, channels[i], H / stride, W / stride).
        """
        x = self.patch_embed(x)
        height, width = x.shape[1], x.shape[2]
        return self.encode(x + self.position_embedding(height, width), height // 8, width // 8)

    def encode(self, x: Tensor, rows: int, columns: int) -> list[Tensor]:
        """What follows the embeddings, of (B, H, W, C) tokens in rows and columns; as `forward`."""
        x = to_windows(x, rows, columns, self.span)
        stages: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            x = block(x, rows, columns)
            if i in self.stage_ends:
                stage = to_grid(x, rows, columns, self.span, 3 - len(stages))
                stages.append(stage.permute(0, 3, 1, 2))
        return stages


def _blocks(variant: HieraVariant, adapter_dim: int) -> list[Block]:
    """All blocks of a variant; a stage's first block still uses the window of the stage before."""
    blocks: list[Block] = []
    for stage, depth in enumerate(variant.depths):
        dim_out = variant.embed_dim * 2**stage
        for position in range(depth):
            entering = stage > 0 and position == 0
            # cells have 8, 4, 2, 1 tokens a side; a pooling block gets those of the stage before
            given = stage - 1 if entering else stage
            side = 8 >> given
            span = 0 if len(blocks) in variant.global_blocks else variant.windows[given] // side
            dim = dim_out // 2 if entering else dim_out
            blocks.append(Block(dim, dim_out, variant.heads * 2**stage, span, side * side, adapter_dim))
    return blocks


def _initialise(module: nn.Module) -> None:
    """Truncated normal of deviation 0.02 and zero bias, as vision transformers (and adapters) start."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
