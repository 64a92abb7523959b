"""The order of the encoder's tokens: there and back, every window in one piece, pooling within it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_sam2unet.networks import VARIANTS
from monai_sam2unet.networks import windows as module
from monai_sam2unet.networks.windows import (
    max_pool,
    pad_windows,
    to_grid,
    to_windows,
    unpad_windows,
    window_groups,
)
from tests.plain.hiera import halved

cells = st.integers(1, 9)


def grid(batch, rows, columns, channels=1):
    """Numbered tokens of the first stage."""
    shape = (batch, 8 * rows, 8 * columns, channels)
    return torch.arange(float(math.prod(shape))).view(shape)


@settings(max_examples=60)
@given(batch=st.integers(1, 2), rows=cells, columns=cells, span=st.integers(2, 8))
def test_tokens_go_back_to_their_place_in_every_stage(batch, rows, columns, span):
    plain = grid(batch, rows, columns, 2)
    x = to_windows(plain, rows, columns, span)
    assert x.shape == (batch, 64 * rows * columns, 2)
    for levels in (3, 2, 1, 0):
        assert torch.equal(to_grid(x, rows, columns, span, levels), plain)
        if levels > 0:
            x, plain = max_pool(x, 4**levels * rows * columns), halved(plain)


def test_order_counted_by_hand():
    # 3x3 cells in windows of 2x2: four whole ones, two at the right edge, two at the bottom, the corner
    x = to_windows(grid(1, 3, 3), 3, 3, 2)[0, :, 0].view(9, 64)
    first = [(int(n) // 24 // 8, int(n) % 24 // 8) for n in x[:, 0]]
    assert first == [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2), (2, 0), (2, 1), (2, 2)]
    # the first cell: 2x2 tokens, 2x2 of these, 2x2 of those; a row of the grid has 24 tokens
    assert x[0, :8].tolist() == [0, 1, 24, 25, 2, 3, 26, 27]
    assert x[0, 16:20].tolist() == [4, 5, 28, 29]
    assert x[0, 32:36].tolist() == [96, 97, 120, 121]


@settings(max_examples=60)
@given(rows=cells, columns=cells, span=st.integers(1, 8), levels=st.integers(0, 3))
def test_every_window_is_one_piece(rows, columns, span, levels):
    """Number the windows of the padded grid row by row; in our order each number comes in one run."""
    side, order = 2**levels, max(span, 2)
    x = torch.arange(rows * columns * side**2).view(1, -1, 1)
    place = to_grid(x, rows, columns, order, levels)[0, :, :, 0]
    row, column = (torch.arange(n * side) // (span * side) for n in (rows, columns))
    number = (row[:, None] * 100 + column).flatten()[place.flatten().argsort()]
    sizes = [
        (tokens, padded)
        for count, tokens, padded in window_groups(rows, columns, span, side**2)
        for _ in range(count)
    ]
    runs = number.split([tokens for tokens, _ in sizes])
    assert all((run == run[0]).all() for run in runs)
    assert (
        len({int(run[0]) for run in runs}) == len(runs) == math.ceil(rows / span) * math.ceil(columns / span)
    )
    assert {tokens + padded for tokens, padded in sizes} == {(span * side) ** 2}


@pytest.mark.parametrize(
    ("arguments", "groups"),
    # counted by hand; 352x352 pixels are 11x11 cells, of four tokens each in stage 3
    [
        ((11, 11, 8, 4), [(1, 256, 0), (2, 96, 160), (1, 36, 220)]),  # large: 16 + 6 tokens a side
        ((11, 11, 7, 4), [(1, 196, 0), (2, 112, 84), (1, 64, 132)]),  # tiny: 14 + 8
        ((11, 7, 7, 1), [(1, 49, 0), (1, 28, 21)]),
        ((14, 7, 7, 1), [(2, 49, 0)]),
        ((3, 2, 7, 1), [(1, 6, 43)]),
        ((11, 9, 1, 64), [(99, 64, 0)]),
        ((11, 9, 0, 4), [(1, 396, 0)]),
    ],
)
def test_windows_of_a_picture(arguments, groups):
    assert window_groups(*arguments) == groups


@settings(max_examples=40)
@given(batch=st.integers(1, 3), rows=cells, columns=cells, span=st.integers(2, 8))
def test_padded_windows_go_back_to_their_place(batch, rows, columns, span):
    x = torch.arange(1.0, batch * rows * columns * 8 + 1).view(batch, rows * columns * 4, 2)
    windows = pad_windows(x, rows, columns, span)
    count = batch * math.ceil(rows / span) * math.ceil(columns / span)
    assert windows.shape == (count, span * span * 4, 2)
    assert (windows != 0).sum() == x.numel()  # padding is zero, and nothing comes twice
    assert torch.equal(unpad_windows(windows, batch, rows, columns, span), x)


def test_cells_of_unknown_number_lie_row_by_row(monkeypatch):
    monkeypatch.setattr(module, "is_symbol", lambda size: True)
    plain = grid(2, 3, 5)
    x = to_windows(plain, 3, 5, 2)
    assert x[0, ::64, 0].tolist() == [320.0 * row + 8 * column for row in range(3) for column in range(5)]
    assert torch.equal(to_grid(x, 3, 5, 2, 3), plain)


@pytest.mark.parametrize("variant", VARIANTS)
def test_windows_nest_in_every_variant(variant):
    *first, third, fourth = VARIANTS[variant].windows
    assert first == [8, 4] and third == 2 * fourth > 2
