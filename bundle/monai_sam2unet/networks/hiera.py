"""Hiera, the image encoder of SAM 2, with an adapter (or none) before every block.

Hiera (arXiv 2306.00989) is a hierarchical vision transformer: attention within windows, a few blocks of
global attention, and max-pooling of the queries where a new stage begins. SAM 2 (arXiv 2408.00714,
section 4 and appendix D.1) adds the windowed position embedding (arXiv 2311.05613). SAM2-UNet
(arXiv 2408.08870, section 2) adds an adapter to the input of every block and trains only those.

Shapes: ``B`` batch, ``H W`` rows and columns of tokens (of pixels where said), ``C`` channels, ``N``
windows of all pictures, ``S`` window side, ``L`` tokens of one window, ``h`` heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["VARIANTS", "Hiera", "HieraVariant"]


@dataclass(frozen=True)
class HieraVariant:
    """What distinguishes one size of Hiera from another.

    Attributes:
        embed_dim: channels of the first stage; they double with every stage.
        heads: attention heads of the first stage; they double with every stage.
        depths: blocks of each of the four stages.
        global_blocks: indices (over all blocks) of those that attend to the whole picture.
        windows: side of the attention window in tokens, per stage.
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


def partition(x: Tensor, window: int) -> Tensor:
    """Cut tokens into windows; a grid that the window does not divide is padded with zero tokens.

    Args:
        x: tokens, (B, H, W, C).
        window: side ``S`` of the window, in tokens.

    Returns:
        Windows, (N, S, S, C), row by row, picture by picture.
    """
    b, h, w, c = x.shape
    rows, columns = (h + window - 1) // window, (w + window - 1) // window
    x = F.pad(x, (0, 0, 0, columns * window - w, 0, rows * window - h))
    x = x.view(b, rows, window, columns, window, c)
    return x.transpose(2, 3).reshape(b * rows * columns, window, window, c)  # B H/S W/S S S C -> N S S C


def unpartition(x: Tensor, batch: int, height: int, width: int) -> Tensor:
    """Put windows back together and drop the padding: the inverse of `partition`.

    Args:
        x: windows, (N, S, S, C).
        batch: number ``B`` of pictures.
        height: rows ``H`` of the unpadded grid.
        width: columns ``W`` of the unpadded grid.

    Returns:
        Tokens, (B, H, W, C).
    """
    s, c = x.shape[1], x.shape[3]
    rows, columns = (height + s - 1) // s, (width + s - 1) // s
    x = x.view(batch, rows, columns, s, s, c).transpose(2, 3)  # B H/S S W/S S C
    return x.reshape(batch, rows * s, columns * s, c)[:, :height, :width]


def max_pool(x: Tensor) -> Tensor:
    """Halve the token grid by 2x2 max-pooling: (B, H, W, C) -> (B, H/2, W/2, C)."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


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

    def forward(self, x: Tensor) -> Tensor:
        """(N, S, S, dim) -> (N, S, S, dim_out), or (N, S/2, S/2, dim_out) when pooling."""
        n, rows, columns, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)  # each N S S dim_out
        k = k.reshape(n, rows * columns, self.heads, k.shape[-1] // self.heads).transpose(1, 2)  # N h L C/h
        v = v.reshape(n, rows * columns, self.heads, v.shape[-1] // self.heads).transpose(1, 2)
        if self.pool:
            q = max_pool(q)
            rows, columns = q.shape[1], q.shape[2]
        q = q.reshape(n, rows * columns, self.heads, q.shape[-1] // self.heads).transpose(1, 2)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(n, rows, columns, -1))


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
        """(B, H, W, dim) -> (B, H, W, dim)."""
        return x + F.gelu(self.up(F.gelu(self.down(x))))


class Block(nn.Module):
    """Adapter, windowed attention, feed-forward; the first block of a stage also pools and widens.

    Args:
        dim: channels of the input.
        dim_out: channels of the output; ``2 * dim`` at the first block of stages 2 to 4, else ``dim``.
        heads: attention heads.
        window: side of the attention window in tokens of the *input* grid; 0 attends to the whole picture.
        adapter_dim: channels of the adapter's bottleneck; 0 leaves the adapter out.

    Attributes:
        checkpointing: keep the input alone for the backward pass of a training, and compute the rest again
            there (see `Hiera.set_checkpointing`).
    """

    def __init__(self, dim: int, dim_out: int, heads: int, window: int, adapter_dim: int) -> None:
        super().__init__()
        self.checkpointing = False
        self.window = window
        self.pool = dim != dim_out
        self.adapter = Adapter(dim, adapter_dim) if adapter_dim > 0 else nn.Identity()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, dim_out, heads, self.pool)
        self.norm2 = nn.LayerNorm(dim_out, eps=1e-6)
        self.mlp = FeedForward(dim_out)
        self.proj = nn.Linear(dim, dim_out) if self.pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim) -> (B, H, W, dim_out), or (B, H/2, W/2, dim_out) when pooling."""
        if self.checkpointing and self.training and not torch.jit.is_scripting():
            # nothing in a block is random; the state that autocast had is restored
            return checkpoint(self.compute, x, use_reentrant=False, preserve_rng_state=False)
        return self.compute(x)

    def compute(self, x: Tensor) -> Tensor:
        """What `forward` does, in whichever way the backward pass gets what it needs; same shapes."""
        shortcut = self.adapter(x)
        x = self.norm1(shortcut)
        if self.pool:
            shortcut = max_pool(self.proj(x))
        if self.window > 0:
            # zero tokens pad the grid after the norm and take part as keys and values, as in SAM 2
            x = self.attn(partition(x, self.window))
            x = unpartition(x, shortcut.shape[0], shortcut.shape[1], shortcut.shape[2])
        else:
            x = self.attn(x)
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
        """Background grid resized bicubically plus the tiled window embedding: (1, H, W, C)."""
        side = self.pos_embed_window.shape[-1]
        background = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        window = self.pos_embed_window.repeat(1, 1, height // side, width // side)
        return (background + window).permute(0, 2, 3, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode a picture.

        Args:
            x: pixels, (B, in_channels, H, W), both sides multiples of 32.

        Returns:
            Four feature maps of strides 4, 8, 16, 32: (B, channels[i], H / stride, W / stride).
        """
        x = self.patch_embed(x)
        x = x + self.position_embedding(x.shape[1], x.shape[2])
        stages: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.stage_ends:
                stages.append(x.permute(0, 3, 1, 2))
        return stages


def _blocks(variant: HieraVariant, adapter_dim: int) -> list[Block]:
    """All blocks of a variant; a stage's first block still uses the window of the stage before."""
    blocks: list[Block] = []
    for stage, depth in enumerate(variant.depths):
        dim_out = variant.embed_dim * 2**stage
        for position in range(depth):
            entering = stage > 0 and position == 0
            window = variant.windows[stage - 1 if entering else stage]
            if len(blocks) in variant.global_blocks:
                window = 0
            dim = dim_out // 2 if entering else dim_out
            blocks.append(Block(dim, dim_out, variant.heads * 2**stage, window, adapter_dim))
    return blocks


def _initialise(module: nn.Module) -> None:
    """Truncated normal of deviation 0.02 and zero bias, as vision transformers (and adapters) start."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
