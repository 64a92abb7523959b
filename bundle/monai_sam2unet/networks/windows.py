"""The order in which the encoder keeps its tokens: window by window, so that none is ever cut out or padded.

The windows of Hiera nest. What is one token of the last stage (32x32 pixels, a *cell*) is a whole window in
stages 1 (8x8 tokens) and 2 (4x4), and the windows of stages 3 and 4 are both made of ``span x span`` cells.
Attention takes no notice of the order within a window, so one order of the tokens serves all stages:

- the tokens of a cell follow one another, and in it the four that are pooled into one, level by level;
- the cells of a window follow one another;
- first the whole windows, then those cut off at the right edge, at the bottom edge, and in the corner.

Where height or width are symbols (tracing, export for any size) nothing may depend on which of these there
are: the cells then lie row by row, and windows are padded, which gives the same values in more time. Where
rows and columns are given as plain numbers, nothing here asks a tensor for a size that a trace would keep
as a calculation, and the batch is what is left.

Shapes: ``B`` batch, ``H W`` rows and columns of tokens, ``R Q`` rows and columns of cells, ``T`` tokens of a
picture, ``C`` channels, ``N`` windows of all pictures, ``S`` window side in cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["is_symbol", "max_pool", "pad_windows", "to_grid", "to_windows", "unpad_windows", "window_groups"]


def is_symbol(size: int) -> bool:
    """Whether a size is no plain number: it is being traced, or exported to be of any value."""
    return not isinstance(size, int)


def to_windows(x: Tensor, rows: int, columns: int, span: int) -> Tensor:
    """Bring the tokens of the first stage from rows and columns into the order of windows.

    Args:
        x: tokens, (B, H, W, C), both sides multiples of 8.
        rows: rows ``R`` of cells, H / 8.
        columns: columns ``Q`` of cells, W / 8.
        span: side of the windows of the last stage, in cells.

    Returns:
        Tokens, (B, T, C).
    """
    c = _channels(x, rows)
    x = x.reshape(-1, rows, 2, 2, 2, columns, 2, 2, 2, c)
    x = x.permute(0, 1, 5, 2, 6, 3, 7, 4, 8, 9)  # B R Q, then rows and columns of 4, 2 and 1 tokens, C
    x = x.reshape(-1, rows, columns, 64 * c)
    if not is_symbol(rows) and not is_symbol(columns):
        heights, widths = _parts(rows, span), _parts(columns, span)
        parts: list[Tensor] = []
        for i, strip in enumerate(x.split(heights, dim=1)):
            for j, part in enumerate(strip.split(widths, dim=2)):
                parts.append(_cut(part, heights[i], widths[j], span))
        x = torch.cat(parts, dim=1)
    return x.reshape(-1, rows * columns * 64, c)


def to_grid(x: Tensor, rows: int, columns: int, span: int, levels: int) -> Tensor:
    """Bring tokens back into rows and columns: the inverse of `to_windows`, for every stage.

    Args:
        x: tokens, (B, T, C).
        rows: rows ``R`` of cells.
        columns: columns ``Q`` of cells.
        span: side of the windows of the last stage, in cells.
        levels: poolings between this stage and the last one: 3, 2, 1 or 0.

    Returns:
        Tokens, (B, H, W, C).
    """
    c = _channels(x, rows)
    side = 1 << levels  # of a cell, in tokens
    x = x.reshape(-1, rows * columns, side * side * c)
    if not is_symbol(rows) and not is_symbol(columns):
        heights, widths = _parts(rows, span), _parts(columns, span)
        strips: list[Tensor] = []
        for i, strip in enumerate(x.split([n * columns for n in heights], dim=1)):
            parts: list[Tensor] = []
            for j, part in enumerate(strip.split([n * heights[i] for n in widths], dim=1)):
                parts.append(_join(part, heights[i], widths[j], span))
            strips.append(torch.cat(parts, dim=2))
        x = torch.cat(strips, dim=1)
    order = [0, 1]  # then the rows of each level, the columns of cells, the columns of each level
    order += [3 + 2 * i for i in range(levels)]
    order.append(2)
    order += [4 + 2 * i for i in range(levels)]
    order.append(3 + 2 * levels)
    x = x.reshape([-1, rows, columns] + [2] * (2 * levels) + [c]).permute(order)
    return x.reshape(-1, rows * side, columns * side, c)  # B R 2 .. Q 2 .. C -> B H W C


def window_groups(rows: int, columns: int, span: int, cell: int) -> list[tuple[int, int, int]]:
    """Windows of one size after another, as `to_windows` orders them.

    Args:
        rows: rows ``R`` of cells.
        columns: columns ``Q`` of cells.
        span: side of the windows, in cells; 0 makes one window of the whole picture.
        cell: tokens of a cell.

    Returns:
        For each size (at most four): windows of a picture, real tokens of each, padded tokens of each.
    """
    if span == 0:
        return [(1, rows * columns * cell, 0)]
    if span == 1:
        return [(rows * columns, cell, 0)]
    groups: list[tuple[int, int, int]] = []
    for height in _parts(rows, span):
        for width in _parts(columns, span):
            size = min(height, span) * min(width, span)
            count = height * width // size
            if len(groups) > 0 and groups[-1][1] == size * cell:
                count += groups.pop()[0]  # the right and the bottom edge of a square
            groups.append((count, size * cell, (span * span - size) * cell))
    return groups


def pad_windows(x: Tensor, rows: int, columns: int, span: int) -> Tensor:
    """Cut cells that lie row by row into windows; zero tokens pad those that are cut off.

    Args:
        x: tokens, (B, T, C).
        rows: rows ``R`` of cells.
        columns: columns ``Q`` of cells.
        span: side of the windows, in cells.

    Returns:
        Windows, (N, tokens of a whole window, C), row by row, picture by picture.
    """
    b, t, c = x.shape
    x = x.reshape(b, rows, columns, t // (rows * columns) * c)
    down, right = (rows + span - 1) // span, (columns + span - 1) // span
    x = F.pad(x, (0, 0, 0, right * span - columns, 0, down * span - rows))
    x = x.view(b, down, span, right, span, x.shape[3]).transpose(2, 3)  # B R/S Q/S S S C
    return x.reshape(b * down * right, span * span * x.shape[5] // c, c)


def unpad_windows(x: Tensor, batch: int, rows: int, columns: int, span: int) -> Tensor:
    """Put windows back together and drop the padding: the inverse of `pad_windows`.

    Args:
        x: windows, (N, tokens of a whole window, C).
        batch: number ``B`` of pictures.
        rows: rows ``R`` of cells.
        columns: columns ``Q`` of cells.
        span: side of the windows, in cells.

    Returns:
        Tokens, (B, T, C).
    """
    cell, c = x.shape[1] // (span * span), x.shape[2]
    down, right = (rows + span - 1) // span, (columns + span - 1) // span
    x = x.reshape(batch, down, right, span, span, cell * c).transpose(2, 3)  # B R/S S Q/S S C
    x = x.reshape(batch, down * span, right * span, cell * c)[:, :rows, :columns]
    return x.reshape(batch, rows * columns * cell, c)


def max_pool(x: Tensor, tokens: int) -> Tensor:
    """Pool each four tokens, 2x2 of the grid, into their maximum.

    Args:
        x: tokens, (B, T, C).
        tokens: number ``T`` of them.

    Returns:
        Tokens, (B, T/4, C).
    """
    c = _channels(x, tokens)
    x = x.reshape(-1, tokens // 2, 2, c).permute(0, 3, 1, 2)  # B C T/2 2: a picture two pixels wide
    return F.max_pool2d(x, 2).permute(0, 2, 3, 1).reshape(-1, tokens // 4, c)


def _channels(x: Tensor, size: int) -> int:
    """Channels, as a plain number where ``size`` is one; a trace of symbols would warn of the conversion."""
    return x.shape[-1] if is_symbol(size) else int(x.shape[-1])


def _parts(cells: int, span: int) -> list[int]:
    """Rows (or columns) of cells in whole windows, and those in windows that are cut off, if any."""
    parts: list[int] = []
    for part in [cells // span * span, cells % span]:
        if part > 0:
            parts.append(part)
    return parts


def _cut(x: Tensor, rows: int, columns: int, span: int) -> Tensor:
    """Cut cells (B, R, Q, C) into windows of one size, one after the other: (B, R * Q, C)."""
    c = _channels(x, rows)
    height, width = min(rows, span), min(columns, span)
    x = x.reshape(-1, rows // height, height, columns // width, width, c).transpose(2, 3)
    return x.reshape(-1, rows * columns, c)


def _join(x: Tensor, rows: int, columns: int, span: int) -> Tensor:
    """Put windows of one size, (B, R * Q, C), together to rows and columns of cells, (B, R, Q, C)."""
    c = _channels(x, rows)
    height, width = min(rows, span), min(columns, span)
    x = x.reshape(-1, rows // height, columns // width, height, width, c).transpose(2, 3)
    return x.reshape(-1, rows, columns, c)
