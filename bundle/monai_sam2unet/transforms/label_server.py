"""What MONAI Label needs at the end of an inference: a mask as its writer takes it.

Shape legend: ``K`` channels, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import MetaKeys, TransformBackends
from torch import Tensor

__all__ = ["LabelServerMaskd"]


class LabelServerMaskd(MapTransform):
    """Make one map of label numbers of binary masks, columns first, as MONAI Label writes 2D results.

    MONAI Label's writer transposes what it is given, since MONAI's readers give columns first; with a channel
    in front the file would be one pixel high. Its own last transform compares the result with the size that
    the picture's metadata state, which are therefore turned round, too. 0 is background, channel ``k``
    becomes ``k + 1``; where channels overlap the last one counts.

    Args:
        keys: binary masks, (K, H, W), 0 or 1.
        ref_image: key of the picture with the metadata.
        allow_missing_keys: pass over keys that an item lacks.

    Example:
        >>> mask = torch.tensor([[[0, 1, 1], [0, 0, 0]]])
        >>> LabelServerMaskd("pred")({"pred": mask})["pred"].tolist()
        [[0, 0], [1, 0], [1, 0]]
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self, keys: KeysCollection, ref_image: str = "image", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.ref_image = ref_image

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each mask by (W, H) label numbers, uint8, without metadata."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = _labels(d[key]).T.contiguous()
        image = d.get(self.ref_image)
        if isinstance(image, MetaTensor) and MetaKeys.SPATIAL_SHAPE in image.meta:
            image.meta[MetaKeys.SPATIAL_SHAPE] = image.meta[MetaKeys.SPATIAL_SHAPE][::-1].copy()
        return d


def _labels(mask: Tensor) -> Tensor:
    """Label numbers (H, W), uint8, of binary masks (K, H, W)."""
    mask = mask.as_tensor() if isinstance(mask, MetaTensor) else mask
    numbers = torch.arange(1, len(mask) + 1, device=mask.device)[:, None, None]
    return ((mask > 0) * numbers).amax(dim=0).to(torch.uint8)
