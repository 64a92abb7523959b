"""What the benchmarks' figures start from: an 8-bit map and a binary mask, and how often each level occurs.

A map has 256 levels, so the pixels of one picture at all thresholds are known from two histograms, those of
the background and of the foreground. They are kept for each quarter about the object's centre of mass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from monai_sam2unet.errors import InputError

__all__ = [
    "EPSILON",
    "LEVELS",
    "Bools",
    "Bytes",
    "Comparison",
    "Floats",
    "as_map",
    "as_mask",
    "as_probabilities",
    "check_sizes",
    "compare",
    "level_values",
    "object_box",
    "quarters",
    "wider",
]

LEVELS = 256

EPSILON = float(np.spacing(1.0))
"""Keeps denominators from 0, as in the figures' first programs (MATLAB's eps)."""

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Box = tuple[slice, slice]

STRETCH_EPSILON = 1e-8
"""What the paper's test code adds to the range it divides by, so that a constant map divides by no zero."""

LOGITS = "apply the sigmoid to logits"


class Comparison(NamedTuple):
    """One prediction beside its mask, and their histograms.

    Attributes:
        levels: (H, W), the 8-bit map.
        mask: (H, W).
        values: (256,), what each level counts as, in [0, 1].
        cut: rows of the upper and columns of the left quarters, which hold the centre of mass.
        counts: (4, 2, 256) pixels: quarters in the order of reading, background and foreground, levels.
        total: (2, 256), the same of the whole picture.
    """

    levels: Bytes
    mask: Bools
    values: Floats
    cut: tuple[int, int]
    counts: npt.NDArray[np.int64]
    total: npt.NDArray[np.int64]


def compare(prediction: Any, mask: Any, *, stretch: bool = True) -> Comparison:
    """Bring one pair into the form that all figures are computed from.

    Args:
        prediction: (H, W), see `as_map`.
        mask: (H, W), see `as_mask`.
        stretch: whether the prediction's least value counts as 0 and its greatest as 1 (min-max), as the
            benchmarks have it. A constant map stays as it is.

    Returns:
        The pair and its histograms.

    Raises:
        InputError: for a wrong type, range or number of dimensions, or if the two sizes differ.
    """
    levels, truth = as_map(prediction, stretch=stretch), as_mask(mask)
    check_sizes(levels, truth)
    values = level_values(levels, stretch)
    box = object_box(truth) if truth.any() else None
    cut = truth.shape if box is None else _cut(truth[box], box)
    counts = _count(levels, truth, cut, box)
    return Comparison(levels, truth, values, cut, counts, counts.sum(axis=0))


def as_map(prediction: Any, *, stretch: bool = False) -> Bytes:
    """The prediction as an 8-bit map.

    Args:
        prediction: (H, W), array or tensor; uint8 of 0 to 255 is taken as it is, bool becomes 0 and 255.
        stretch: how floats in [0, 1] become 8 bit. False: rounded, so that 0.5 and more becomes 128 and more.
            True: as the paper's test code writes them, stretched to their own minimum and maximum and cut
            off to whole numbers.

    Returns:
        (H, W).

    Raises:
        InputError: for another type, range or number of dimensions, and for NaN.
    """
    array = _array("prediction", prediction)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    low, high = _range("prediction", array, LOGITS)
    if stretch:
        stretched = array - low
        stretched /= high - low + array.dtype.type(STRETCH_EPSILON)
        stretched *= 255  # in place: new memory costs more than the arithmetic
        return stretched.astype(np.uint8)
    return np.rint(array * 255).astype(np.uint8)


def as_probabilities(prediction: Any) -> npt.NDArray[Any]:
    """The prediction as floats in [0, 1]; a level of 8 bit counts as its 255th part.

    Args:
        prediction: (H, W), see `as_map`.

    Returns:
        (H, W), floats as they came.

    Raises:
        InputError: as `as_map` does.
    """
    array = _array("prediction", prediction)
    if array.dtype == np.uint8:
        return array / 255
    if array.dtype != bool:
        _range("prediction", array, LOGITS)
    return array


def as_mask(mask: Any, above: int = 128) -> Bools:
    """The mask as bool.

    Args:
        mask: (H, W), array or tensor; bool, uint8 of 0 to 255, or floats in [0, 1], which are rounded
            to 8 bit.
        above: foreground is what is greater than this, of 255.

    Returns:
        (H, W).

    Raises:
        InputError: for another type, range or number of dimensions, for NaN, and for uint8 of 0 and 1.
    """
    array = _array("mask", mask)
    if array.dtype == bool:
        return np.ascontiguousarray(array)
    if array.dtype == np.uint8:
        truth: Bools = np.ascontiguousarray(array) > above
        if not truth.any() and array.max() == 1:
            raise InputError("mask must be of 0 to 255 if uint8, got 0 and 1; give it as bool")
        return truth
    _range("mask", array, "divide by the greatest value")
    return np.ascontiguousarray(np.rint(array * 255) > above)


def level_values(levels: Bytes, stretch: bool) -> Floats:
    """What each level of a map counts as, in [0, 1]: (256,). Those beyond the map's own do not occur."""
    values: Floats = np.arange(LEVELS) / 255
    low, high = values[levels.min()], values[levels.max()]
    if stretch and high > low:
        values = np.minimum(np.maximum((values - low) / (high - low), 0), 1)  # np.clip takes twice as long
    return values


def check_sizes(prediction: npt.NDArray[Any], mask: npt.NDArray[Any]) -> None:
    """Refuse a prediction of another size than its mask."""
    if prediction.shape != mask.shape:
        (h, w), (height, width) = prediction.shape, mask.shape
        raise InputError(
            f"prediction must have the mask's size {height}x{width}, got {h}x{w}; "
            "resize the prediction to the mask, never the mask to the prediction"
        )


def object_box(mask: Bools) -> Box:
    """The smallest box around all that is True: rows and columns. The mask, (H, W), must not be empty."""
    rows = _extent(mask.any(axis=1))
    return rows, _extent(mask[rows].any(axis=0))


def wider(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    """A box with a margin of so many pixels, as far as the picture goes."""
    rows, columns = (
        slice(max(side.start - margin, 0), min(side.stop + margin, size))
        for side, size in zip(box, shape, strict=True)
    )
    return rows, columns


def _extent(line: Any) -> slice:
    """From the first to the last True of a line."""
    places = np.flatnonzero(line)
    return slice(int(places[0]), int(places[-1]) + 1)


def _array(name: str, values: Any) -> npt.NDArray[Any]:
    """The values as bool, uint8, float32 or float64 of two dimensions."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    array = np.asarray(values)
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{name} must have two dimensions (H, W), none of them 0, got {array.shape}")
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype not in (bool, np.uint8, np.float32, np.float64):
        raise InputError(
            f"{name} must be uint8 of 0 to 255, floats in [0, 1] or bool, got {array.dtype}; convert it"
        )
    return array


def _range(name: str, array: npt.NDArray[Any], advice: str) -> tuple[Any, Any]:
    """Least and greatest of floats that must lie in [0, 1]."""
    low, high = array.min(), array.max()
    if np.isnan(low):
        raise InputError(f"{name} must not hold NaN, got {np.count_nonzero(np.isnan(array))} of {array.size}")
    if low < 0 or high > 1:
        raise InputError(f"{name} must lie in [0, 1] if floats, got {low:g} to {high:g}; {advice}")
    return low, high


def _cut(inside: Bools, box: Box) -> tuple[int, int]:
    """Where the quarters meet: below and to the right of the pixel of the centre of mass."""
    cut = []
    for axis in (0, 1):
        pixels = inside.view(np.uint8).sum(axis=1 - axis, dtype=np.uint32)
        places = np.arange(box[axis].start, box[axis].start + pixels.size)
        cut.append(round(int(pixels @ places) / int(pixels.sum())) + 1)
    return cut[0], cut[1]


def _count(levels: Bytes, mask: Bools, cut: tuple[int, int], box: Box | None) -> npt.NDArray[np.int64]:
    """Histograms of each quarter: (4, 2, 256). The box is that of the object, if there is one."""
    side = np.zeros(levels.shape[1], dtype=np.int16)
    side[cut[1] :] = 2 * LEVELS
    code = levels + side  # position in (4, 2, 256)
    code[cut[0] :] += 4 * LEVELS
    if box is not None:
        code[box] += mask[box].view(np.uint8) * np.int16(LEVELS)
    # torch's bincount takes 16 bit as they are; NumPy's makes 64 bit of each first
    counts = torch.bincount(torch.from_numpy(code.reshape(-1)), minlength=8 * LEVELS)
    histograms: npt.NDArray[np.int64] = counts.numpy().reshape(4, 2, LEVELS)
    return histograms


def quarters(shape: tuple[int, ...], cut: tuple[int, int]) -> list[Box]:
    """The four quarters in the order of reading; some are empty if the cut is at the border."""
    rows = slice(0, cut[0]), slice(cut[0], shape[0])
    columns = slice(0, cut[1]), slice(cut[1], shape[1])
    return [(r, c) for r in rows for c in columns]
