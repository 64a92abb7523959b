"""A mask, and a reference beside it, drawn over a picture.

Only NumPy is needed here, so that this module also serves programs without torch.
"""

from __future__ import annotations

import numpy as np

__all__ = ["PREDICTION_COLOUR", "REFERENCE_COLOUR", "overlay"]

# Two hues of Okabe and Ito's palette that all forms of colour blindness tell apart, and that tissue lacks.
PREDICTION_COLOUR = (86, 180, 233)
REFERENCE_COLOUR = (240, 228, 66)


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    reference: np.ndarray | None = None,
    *,
    alpha: float = 0.3,
    width: int | None = None,
    colour: tuple[int, int, int] = PREDICTION_COLOUR,
    reference_colour: tuple[int, int, int] = REFERENCE_COLOUR,
) -> np.ndarray:
    """Draw a predicted mask, and a reference mask if there is one, over a picture.

    The prediction is tinted and outlined just inside its edge (sky blue), the reference outlined just outside
    its edge (yellow): where the two agree the lines run side by side and neither hides the other.

    Args:
        image: ``(H, W, 3)``, uint8.
        mask: Prediction, ``(H, W)``, bool or non-zero where object.
        reference: Reference, as ``mask``.
        alpha: Strength of the tint, in [0, 1]; 0 draws the outline only.
        width: Width of the outlines, pixels; None for a 150th of the shorter side, at least 2.
        colour: Colour of the prediction, RGB in 0..255.
        reference_colour: Colour of the reference, RGB in 0..255.

    Returns:
        A new array ``(H, W, 3)``, uint8.

    Raises:
        ValueError: If shapes differ, the picture is not uint8 RGB, or ``alpha`` or ``width`` is out of range.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    if width is None:
        width = max(2, min(image.shape[:2]) // 150)
    if not 0 <= alpha <= 1 or width < 0:
        raise ValueError(f"alpha must be in [0, 1] and width at least 0, got {alpha} and {width}")
    predicted = _as_bool("mask", mask, image.shape[:2])
    tint = np.arange(256)[:, None] * (1 - alpha) + np.asarray(colour) * alpha  # (256, 3), what levels become
    table = np.rint(tint).astype(np.uint8)
    out = image.copy()
    for channel in range(3):
        np.copyto(out[..., channel], table[:, channel].take(image[..., channel]), where=predicted)
    out[predicted & ~_erode(predicted, width)] = colour
    if reference is not None:
        truth = _as_bool("reference", reference, image.shape[:2])
        frame = ~_erode(np.ones_like(truth), width)  # closes the outline of what touches the picture's edge
        out[(~_erode(~truth, width, outside=True) & ~truth) | (truth & frame)] = reference_colour
    return out


def _as_bool(name: str, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Check the shape of a mask and make it bool."""
    if mask.shape != shape:
        raise ValueError(f"{name} must have the picture's height and width {shape}, got {mask.shape}")
    return mask.astype(bool)


def _erode(mask: np.ndarray, width: int, outside: bool = False) -> np.ndarray:
    """Take ``width`` pixels (4 neighbours) off a mask; ``outside`` is the value beyond the picture."""
    for _ in range(width):
        p = np.pad(mask, 1, constant_values=outside)
        mask = mask & p[:-2, 1:-1] & p[2:, 1:-1] & p[1:-1, :-2] & p[1:-1, 2:]
    return mask
