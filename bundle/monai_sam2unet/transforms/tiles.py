"""Random tiles of a picture at its own resolution, for training where details are finer than a resize leaves.

Shape legend: ``C`` channels, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandCropByPosNegLabel, Randomizable, SpatialPad
from monai.transforms.traits import MultiSampleTrait
from monai.transforms.utils import map_binary_to_indices
from monai.utils import Method

from monai_sam2unet.errors import InputError

__all__ = ["RandTilesd"]


class RandTilesd(Randomizable, MapTransform, MultiSampleTrait):
    """Cut several tiles of one size out of a picture and its masks, at the same places.

    On the average every second tile has a pixel of any class in its middle, the others one of none, so that
    small structures in large pictures are seen. MONAI's ``RandCropByPosNegLabeld`` does the same for one
    mask, but takes the first of several channels for the background. A picture that is smaller than a tile is
    padded by zeros at the bottom and right, as `monai_sam2unet.inferers.PaddedInferer` does.

    Args:
        keys: Keys of the picture and its masks.
        label_key: Key of the masks, ``(C, H, W)``, above 0 where a class is.
        classes: How many of the masks' channels are of classes, the first ones; None for all.
        tile: Height and width of the tiles, pixels.
        count: Tiles of a picture.

    Raises:
        InputError: If ``tile`` or ``count`` is below 1.

    Example:
        >>> tiles = RandTilesd(["image", "label"], "label", tile=32, count=3)
        >>> made = tiles({"image": torch.rand(3, 90, 40), "label": torch.ones(1, 90, 40)})
        >>> len(made), tuple(made[0]["image"].shape)
        (3, (3, 32, 32))
    """

    backend = RandCropByPosNegLabel.backend

    def __init__(
        self, keys: KeysCollection, label_key: str, tile: int, count: int = 1, classes: int | None = None
    ) -> None:
        MapTransform.__init__(self, keys)
        if tile < 1 or count < 1:
            raise InputError(f"tile and count must be at least 1, got {tile} and {count}")
        self.label_key = label_key
        self.classes = classes
        self.pad = SpatialPad((tile, tile), method=Method.END)
        self.cropper = RandCropByPosNegLabel((tile, tile), num_samples=count, pos=1, neg=1)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandTilesd:
        """Seed the choice of places."""
        super().set_random_state(seed, state)
        self.cropper.set_random_state(seed, state)
        return self

    def randomize(self, label: torch.Tensor) -> None:
        """Choose the places of the tiles, by the masks ``(C, H, W)``."""
        inside, outside = map_binary_to_indices(label[: self.classes].amax(0, keepdim=True))
        # a picture without the one or the other: all tiles come from what there is
        inside, outside = (inside if len(inside) else outside), (outside if len(outside) else inside)
        self.cropper.randomize(label, inside, outside)

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """Cut the tiles.

        Args:
            data: An item with tensors ``(C, H, W)`` under the keys.

        Returns:
            An item for each tile.

        Raises:
            KeyError: If a key is missing.
        """
        padded = {key: self.pad(data[key]) for key in self.key_iterator(dict(data))}
        self.randomize(padded[self.label_key])
        tiles = {key: self.cropper(value, randomize=False) for key, value in padded.items()}
        count = self.cropper.num_samples
        return [{**data, **{key: made[i] for key, made in tiles.items()}} for i in range(count)]
