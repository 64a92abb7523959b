"""The encoder: attention against a plain oracle, position embedding, stages, initial values."""

import functools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from monai_sam2unet.networks import VARIANTS, Hiera
from monai_sam2unet.networks.hiera import Adapter, Attention, Block
from monai_sam2unet.networks.windows import to_grid

# Channels of the first stage: SAM 2's configs (sam2_hiera_t, s, b+, l: embed_dim); nano is ours.
WIDTHS = {"nano": 24, "tiny": 96, "small": 96, "base_plus": 112, "large": 144}


@functools.cache
def meta(variant):
    """Shapes without values; one encoder for all tests that only look at those."""
    with torch.device("meta"):
        return Hiera(variant)


# --- a block against a plain oracle: NumPy in float64, loops over windows and heads, explicit softmax


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def linear(layer, x):
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def norm(layer, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def halve(x):
    """2x2 max-pooling of (H, W, C); a last odd row or column is dropped."""
    h, w = x.shape[0] // 2, x.shape[1] // 2
    return np.stack([x[i : 2 * h : 2, j : 2 * w : 2] for i in (0, 1) for j in (0, 1)]).max(0)


def attend(attention, x, dim_out):
    """Attention among all tokens of one window, (S, S, dim) -> (S', S', dim_out)."""
    qkv = linear(attention.qkv, x)
    q, k, v = (qkv[..., i * dim_out : (i + 1) * dim_out] for i in range(3))
    if attention.pool:
        q = halve(q)
    size = dim_out // attention.heads
    result = np.zeros((*q.shape[:2], dim_out))
    for head in range(attention.heads):
        part = slice(head * size, (head + 1) * size)
        keys, values = k[..., part].reshape(-1, size), v[..., part].reshape(-1, size)
        for row in range(q.shape[0]):
            for column in range(q.shape[1]):
                scores = keys @ q[row, column, part] / math.sqrt(size)
                weights = np.exp(scores - scores.max())
                result[row, column, part] = weights / weights.sum() @ values
    return linear(attention.proj, result)


def plain_block(block, x, dim_out, window):
    """One picture through a block, (H, W, dim) -> (H', W', dim_out)."""
    x = x + gelu(linear(block.adapter.up, gelu(linear(block.adapter.down, x))))
    normed = norm(block.norm1, x)
    shortcut = halve(linear(block.proj, normed)) if block.pool else x
    side = window or max(x.shape[:2])
    rows = [window] * math.ceil(x.shape[0] / side) if window else [x.shape[0]]
    columns = [window] * math.ceil(x.shape[1] / side) if window else [x.shape[1]]
    padded = np.zeros((sum(rows), sum(columns), x.shape[2]))  # zero tokens after the norm
    padded[: x.shape[0], : x.shape[1]] = normed
    attended = np.concatenate(
        [
            np.concatenate(
                [
                    attend(
                        block.attn,
                        padded[i * rows[0] :][: rows[0], j * columns[0] :][:, : columns[0]],
                        dim_out,
                    )
                    for j in range(len(columns))
                ],
                axis=1,
            )
            for i in range(len(rows))
        ]
    )
    x = shortcut + attended[: shortcut.shape[0], : shortcut.shape[1]]
    first, second = block.mlp.layers
    return x + linear(second, gelu(linear(first, norm(block.norm2, x))))


@pytest.mark.parametrize(
    ("dim_out", "heads", "span", "levels", "rows", "columns"),
    [
        (8, 1, 1, 2, 2, 3),  # each cell a window of 4x4 tokens
        (8, 2, 3, 0, 5, 7),  # windows of 3x3 tokens, padded at both sides
        (8, 2, 2, 1, 3, 4),  # windows of 4x4 tokens, padded below
        (8, 2, 2, 1, 4, 6),  # windows divide the grid
        (8, 4, 3, 0, 2, 2),  # grid smaller than the window
        (8, 2, 0, 0, 5, 3),  # the whole picture, not square
        (16, 2, 1, 2, 2, 1),  # pooled, each cell a window
        (16, 4, 2, 1, 3, 5),  # pooled and padded
        (16, 2, 7, 1, 4, 3),  # pooled, window of 14 larger than the grid and odd when halved, as in stage 4
        (16, 2, 0, 1, 3, 2),  # pooled over the whole picture
    ],
)
def test_block_equals_plain_attention(dim_out, heads, span, levels, rows, columns):
    torch.manual_seed(0)
    side, order = 2**levels, max(span, 2)
    block = Block(8, dim_out, heads, span, side**2, adapter_dim=4).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, rows * columns * side**2, 8, dtype=torch.float64)
    with torch.no_grad():
        result = to_grid(block(x, rows, columns), rows, columns, order, levels - block.pool).numpy()
        x = to_grid(x, rows, columns, order, levels).numpy()
    for picture, given in zip(result, x, strict=True):
        expected = plain_block(block, given, dim_out, span * side)
        np.testing.assert_allclose(picture, expected, rtol=1e-9, atol=1e-9)


def test_tokens_see_their_window_and_no_further():
    torch.manual_seed(0)
    block = Block(8, 8, 2, span=1, cell=16, adapter_dim=4).eval()
    x = torch.randn(1, 64, 8)  # 2x2 cells of 4x4 tokens
    changed = x.clone()
    changed[0, 0] += 1
    differs = (block(x, 2, 2) != block(changed, 2, 2)).any(-1)[0]
    assert differs[:16].all()
    assert differs.sum() == 16


def test_zero_up_projection_makes_an_adapter_the_identity():
    adapter = Adapter(6, 3)
    nn.init.zeros_(adapter.up.weight)
    nn.init.zeros_(adapter.up.bias)
    x = torch.randn(1, 2, 3, 6)
    assert torch.equal(adapter(x), x)


def test_pooling_attention_halves_the_queries_only():
    attention = Attention(4, 8, heads=2, pool=True)
    assert attention(torch.randn(3, 24, 4), [(1, 24, 0)]).shape == (3, 6, 8)


# --- position embedding


def test_position_embedding_is_the_resized_grid_plus_the_tiled_window():
    encoder = Hiera("nano")
    result = encoder.position_embedding(16, 24)
    assert result.shape == (1, 16, 24, 24)
    grid = F.interpolate(encoder.pos_embed, size=(16, 24), mode="bicubic")[0]
    window = encoder.pos_embed_window[0]
    for row, column in ((0, 0), (9, 3), (15, 23)):
        expected = grid[:, row, column] + window[:, row % 8, column % 8]
        torch.testing.assert_close(result[0, row, column], expected)


def test_position_embedding_is_not_transposed():
    encoder = Hiera("nano")
    with torch.no_grad():
        encoder.pos_embed_window.zero_()
        encoder.pos_embed.copy_(torch.arange(7.0)[:, None].expand(1, 24, 7, 7))  # grows down the rows
        result = encoder.position_embedding(24, 16)[0, :, :, 0]
    assert (result[1:] > result[:-1]).all()
    torch.testing.assert_close(result, result[:, :1].expand_as(result))


# --- stages


@pytest.mark.parametrize(("height", "width"), [(352, 352), (96, 160)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_stages(variant, height, width):
    encoder = meta(variant)
    stages = encoder(torch.empty(2, 3, height, width, device="meta"))
    width0 = WIDTHS[variant]
    assert encoder.channels == (width0, 2 * width0, 4 * width0, 8 * width0)
    # Strides 4, 8, 16, 32: arXiv 2408.00714, appendix D.1.
    assert [tuple(s.shape) for s in stages] == [
        (2, width0 * 2**i, height // stride, width // stride) for i, stride in enumerate((4, 8, 16, 32))
    ]


@pytest.mark.parametrize(
    ("variant", "depths", "global_blocks"),
    # SAM 2's configs sam2_hiera_{t,s,b+,l}.yaml: stages, global_att_blocks.
    [
        ("tiny", (1, 2, 7, 2), (5, 7, 9)),
        ("small", (1, 2, 11, 2), (7, 10, 13)),
        ("base_plus", (2, 3, 16, 3), (12, 16, 20)),
        ("large", (2, 6, 36, 4), (23, 33, 43)),
    ],
)
def test_layout_of_the_blocks(variant, depths, global_blocks):
    blocks = meta(variant).blocks
    assert len(blocks) == sum(depths)
    assert tuple(i for i, b in enumerate(blocks) if b.span == 0) == global_blocks
    starts = [sum(depths[:stage]) for stage in (1, 2, 3)]
    assert [i for i, b in enumerate(blocks) if b.pool] == starts
    # The first block of a stage still uses the window of the stage before: 8, 4, 14 (16 for large).
    # Cells have 8, 4 and 2 tokens a side there.
    windows = [blocks[i].span * side for i, side in zip(starts, (8, 4, 2), strict=True)]
    assert windows == [8, 4, 16 if variant == "large" else 14]


def test_nano_has_the_structure_of_the_others():
    def structure(variant):
        encoder = meta(variant)
        names = {
            ".".join("N" if part.isdigit() else part for part in n.split(".")) for n in encoder.state_dict()
        }
        kinds = {(b.pool, b.span > 0) for b in encoder.blocks}
        return names, kinds, len(encoder.channels)

    assert structure("nano") == structure("tiny")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "huge"}, "variant must be one of nano, tiny, small, base_plus, large, got 'huge'"),
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"adapter_dim": -1}, "adapter_dim must be at least 0, got -1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        Hiera(**{"variant": "nano", **arguments})


# --- initial values


def test_initial_values():
    torch.manual_seed(0)
    encoder = Hiera("tiny")
    adapters = [p for n, p in encoder.named_parameters() if ".adapter." in n and n.endswith("weight")]
    values = torch.cat([p.detach().flatten() for p in adapters])
    # trunc_normal_(std=0.02) cuts at -2 and 2, that is at 100 deviations: a plain normal of 0.02.
    assert values.std().item() == pytest.approx(0.02, rel=0.01)
    assert values.mean().item() == pytest.approx(0, abs=1e-4)
    for name, parameter in encoder.named_parameters():
        if isinstance(encoder.get_submodule(name.rpartition(".")[0]), nn.Linear) and name.endswith("bias"):
            assert not parameter.any(), name
    assert encoder.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)


def test_adapters_start_near_the_identity():
    """A frozen encoder is hardly disturbed at the start of training."""
    torch.manual_seed(0)
    adapter = Hiera("tiny").blocks[-1].adapter
    x = torch.randn(1, 4, 4, 768)
    assert ((adapter(x) - x).norm() / x.norm()).item() < 0.05
