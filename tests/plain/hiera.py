"""The encoder in its plain form: rows and columns of tokens, cut into padded windows before each attention.

Written from the description of Hiera and SAM 2 in docs/design.md, block by block, without a thought of speed:
what the shipped encoder is compared with, in its values and in its time. Its tensors have the same names.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_sam2unet.networks.hiera import HieraVariant


class PlainAttention(nn.Module):
    """Self-attention within windows (N, S, S, dim), with 2x2 max-pooling of the queries when asked."""

    def __init__(self, dim: int, dim_out: int, heads: int, pool: bool) -> None:
        super().__init__()
        self.heads, self.pool = heads, pool
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.proj = nn.Linear(dim_out, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.pool:
            q = halved(q)
        heads = [t.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v)]
        x = F.scaled_dot_product_attention(*heads)
        return self.proj(x.transpose(1, 2).reshape(q.shape))


class PlainAdapter(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, hidden)
        self.up = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.gelu(self.up(F.gelu(self.down(x))))


class PlainBlock(nn.Module):
    """(B, H, W, dim) -> (B, H, W, dim_out), or (B, H/2, W/2, dim_out) when a stage begins."""

    def __init__(self, dim: int, dim_out: int, heads: int, window: int, adapter_dim: int) -> None:
        super().__init__()
        self.window, self.pool = window, dim != dim_out
        self.adapter = PlainAdapter(dim, adapter_dim) if adapter_dim else nn.Identity()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = PlainAttention(dim, dim_out, heads, self.pool)
        self.norm2 = nn.LayerNorm(dim_out, eps=1e-6)
        self.mlp = nn.Module()
        self.mlp.layers = nn.ModuleList([nn.Linear(dim_out, 4 * dim_out), nn.Linear(4 * dim_out, dim_out)])
        if self.pool:
            self.proj = nn.Linear(dim, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.adapter(x)
        x = self.norm1(shortcut)
        if self.pool:
            shortcut = halved(self.proj(x))
        _, height, width, _ = x.shape
        side = (self.window, self.window) if self.window else (height, width)
        x = F.pad(x, (0, 0, 0, -width % side[1], 0, -height % side[0]))  # zero tokens, after the norm
        batch, rows, columns = x.shape[0], x.shape[1] // side[0], x.shape[2] // side[1]
        x = x.unflatten(2, (columns, side[1])).unflatten(1, (rows, side[0])).transpose(2, 3).flatten(0, 2)
        x = self.attn(x)
        x = x.unflatten(0, (batch, rows, columns)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        x = shortcut + x[:, : shortcut.shape[1], : shortcut.shape[2]]
        first, second = self.mlp.layers
        return x + second(F.gelu(first(self.norm2(x))))


class PlainHiera(nn.Module):
    """Pixels (B, in_channels, H, W) -> four maps (B, C, H / stride, W / stride), strides 4, 8, 16, 32."""

    def __init__(self, variant: HieraVariant, in_channels: int = 3, adapter_dim: int = 32) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(in_channels, variant.embed_dim, 7, stride=4, padding=3)
        side = variant.windows[0]
        self.pos_embed = nn.Parameter(torch.zeros(1, variant.embed_dim, *variant.grid))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, variant.embed_dim, side, side))
        self.blocks = nn.ModuleList()
        self.stage_ends = [sum(variant.depths[: stage + 1]) - 1 for stage in range(4)]
        for stage, depth in enumerate(variant.depths):
            for position in range(depth):
                dim_out, entering = variant.embed_dim * 2**stage, stage > 0 and position == 0
                window = variant.windows[stage - 1 if entering else stage]
                window = 0 if len(self.blocks) in variant.global_blocks else window
                dim = dim_out // 2 if entering else dim_out
                self.blocks.append(PlainBlock(dim, dim_out, variant.heads * 2**stage, window, adapter_dim))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.patch_embed.proj(x)
        height, width = x.shape[2:]
        side = self.pos_embed_window.shape[-1]
        x = x + F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        x = x + self.pos_embed_window.repeat(1, 1, height // side, width // side)
        x = x.permute(0, 2, 3, 1)
        stages = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.stage_ends:
                stages.append(x.permute(0, 3, 1, 2))
        return stages


def halved(x: Tensor) -> Tensor:
    """2x2 max-pooling: (N, H, W, C) -> (N, H/2, W/2, C)."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
