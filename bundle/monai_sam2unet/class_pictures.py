"""Pictures of several classes: label maps that a viewer shows in colours, and overlays.

Shape legend: ``K`` classes, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from monai_sam2unet.classes import Classes
from monai_sam2unet.overlays import overlay

__all__ = ["class_overlay", "label_map_picture"]

TINT = 0.45
"""Strength of a prediction that is tinted alone, so that its colour can be told from another class's."""

Masks = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.uint8]


def label_map_picture(masks: Masks, classes: Classes) -> Image.Image:
    """A label map as a picture with a palette: programs read 0 to K, viewers show the classes' colours.

    Args:
        masks: of the classes, (K, H, W); where they overlap, the later class counts.
        classes: which they are.

    Returns:
        Mode "P", (H, W), black where there is no class.
    """
    picture = Image.fromarray(classes.label_map(masks))
    picture.putpalette([0, 0, 0, *(value for colour in classes.colours for value in colour)])
    return picture


def class_overlay(image: Picture, masks: Masks, classes: Classes, references: Masks | None = None) -> Picture:
    """Draw masks of several classes over a picture, each in the colour of its class.

    Without references every mask is tinted and outlined. With them the prediction is tinted alone, and the
    reference outlined just outside its edge: a tint that fills the outline of its own colour is right.

    Args:
        image: (H, W, 3), uint8.
        masks: predictions, (K, H, W).
        classes: which they are; their ``colours`` are used.
        references: as ``masks``.

    Returns:
        A new picture, (H, W, 3), uint8.
    """
    out = image
    for mask, colour in zip(masks, classes.colours, strict=True):
        alone = references is None
        out = (
            overlay(out, mask, colour=colour)
            if alone
            else overlay(out, mask, colour=colour, alpha=TINT, width=0)
        )
    if references is not None:
        nothing = np.zeros(image.shape[:2], bool)
        for reference, colour in zip(references, classes.colours, strict=True):
            out = overlay(out, nothing, reference, reference_colour=colour)
    return out
