"""Contrast of a picture as a whole, before it is resized or cut into tiles.

Shape legend: ``C`` channels, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, ScaleIntensityRangePercentiles, Transform
from monai.utils import TransformBackends, convert_to_numpy
from skimage.exposure import equalize_adapthist

from monai_sam2unet.errors import InputError

__all__ = ["CONTRASTS", "ImproveContrast", "ImproveContrastd"]

CONTRASTS = ("none", "percentiles", "clahe")

LOWER, UPPER = 0.5, 99.5
"""Percentiles that become black and white: burnt-in letters and dead pixels are fewer than those beyond."""

CLIP_LIMIT = 0.02  # of the local histograms: twice scikit-image's value, for faint vessels


class ImproveContrast(Transform):
    """Bring pictures of differing exposure to the same range of grey levels.

    * ``none`` leaves a picture as it is.
    * ``percentiles`` stretches the values between the 0.5th and the 99.5th percentile over the full range,
      all channels alike, so that hues stay (MONAI's ``ScaleIntensityRangePercentiles``).
    * ``clahe`` equalises contrast locally (scikit-image's ``equalize_adapthist``, an eighth of each side as
      neighbourhood; of colours the value of HSV): fine structures on an uneven background, such as vessels.

    The whole picture counts, so that tiles cut from it later have the shades of the whole. A picture of one
    shade stays as it is.

    Args:
        mode: one of `CONTRASTS`.

    Raises:
        InputError: If the mode is unknown.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, mode: str = "none") -> None:
        if mode not in CONTRASTS:
            raise InputError(f"contrast must be one of {', '.join(CONTRASTS)}, got {mode!r}")
        self.mode = mode

    def __call__(self, data: torch.Tensor) -> torch.Tensor:
        """Change the grey levels of one picture.

        Args:
            data: uint8, ``(C, H, W)``, ``C`` 1 or 3.

        Returns:
            uint8, of the same shape, with the same metadata.

        Raises:
            InputError: If the picture is not uint8.
        """
        if self.mode == "none":
            return data
        if data.dtype != torch.uint8:
            raise InputError(
                f"contrast is for pictures of uint8, got {data.dtype}; improve it before scaling"
            )
        array = convert_to_numpy(data)
        if array.min() == array.max():
            return data
        improved = _stretched(array) if self.mode == "percentiles" else _equalised(array)
        out = torch.from_numpy(improved).to(data.device)
        return MetaTensor(out).copy_meta_from(data) if isinstance(data, MetaTensor) else out


class ImproveContrastd(MapTransform):
    """Dictionary form of :class:`ImproveContrast`.

    Args:
        keys: Keys of pictures.
        mode: "none", "percentiles" or "clahe".
        allow_missing_keys: Pass over keys that an item lacks.

    Raises:
        InputError: If the mode is unknown.

    Example:
        >>> grey = torch.arange(100, 120, dtype=torch.uint8).reshape(1, 4, 5)
        >>> item = ImproveContrastd("image", "percentiles")({"image": grey})
        >>> item["image"].min().item(), item["image"].max().item()
        (0, 255)
    """

    backend = ImproveContrast.backend

    def __init__(self, keys: KeysCollection, mode: str = "none", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.improve = ImproveContrast(mode)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Change the pictures under the keys."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.improve(d[key])
        return d


def _stretched(array: np.ndarray) -> np.ndarray:
    """(C, H, W) from percentile to percentile; or from minimum to maximum where both are one."""
    low, high = np.percentile(array, (LOWER, UPPER))
    ends = (LOWER, UPPER) if low < high else (0, 100)
    stretch = ScaleIntensityRangePercentiles(*ends, b_min=0, b_max=255, clip=True)
    return np.rint(convert_to_numpy(stretch(array.astype(np.float32)))).astype(np.uint8)


def _equalised(array: np.ndarray) -> np.ndarray:
    """(C, H, W) by CLAHE."""
    picture = array[0] if len(array) == 1 else array.transpose(1, 2, 0)
    levels = np.rint(equalize_adapthist(picture, clip_limit=CLIP_LIMIT) * 255).astype(np.uint8)
    return np.ascontiguousarray(levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1))
