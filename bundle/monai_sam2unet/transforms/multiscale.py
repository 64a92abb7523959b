"""Training at several scales, each batch once per scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.utils import ensure_tuple
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, DistributedSampler

from monai_sam2unet.errors import InputError

__all__ = ["MultiScaleLoader"]


class MultiScaleLoader:
    """Yield every batch of a loader once per scale, as the published training on polyps does.

    Each batch gives ``len(scales)`` steps of the optimiser. A side becomes
    ``round(side * scale / divisor) * divisor`` pixels, resized by bilinear interpolation with
    ``align_corners=True``; at scale 1 the batch passes untouched. Soft labels stay in their range.

    All attributes of the wrapped loader (``dataset``, ``batch_size``, ``sampler``, ...) can be read here.
    MONAI's engines announce epochs only to samplers of loaders of torch's own class, so a
    ``DistributedSampler`` is told the epoch here: the number of passes so far, counted from 0, unless
    `set_epoch` says which epoch comes next.

    Args:
        loader: Loader of batches that are dictionaries of tensors ``(B, C, H, W)``.
        scales: Factors, in this order, each above 0; the paper's are 1 and 1.25.
        keys: Keys of the batch to resize, floating point.
        divisor: Resized sides are multiples of this many pixels, at least one.

    Raises:
        InputError: If ``scales`` is empty or holds a number that is not positive, ``keys`` is empty, or
            ``divisor`` is below 1.

    Example:
        >>> loader = MultiScaleLoader([{"image": torch.zeros(2, 3, 352, 352)}], keys="image")
        >>> [tuple(batch["image"].shape[2:]) for batch in loader]
        [(352, 352), (448, 448)]
    """

    def __init__(
        self,
        loader: DataLoader,
        scales: Sequence[float] = (1.0, 1.25),
        keys: KeysCollection = ("image", "label"),
        divisor: int = 32,
    ) -> None:
        self.loader = loader
        self.scales = tuple(float(s) for s in ensure_tuple(scales))
        self.keys = ensure_tuple(keys)
        self.divisor = int(divisor)
        self.epoch = 0
        if not self.scales or not all(s > 0 and math.isfinite(s) for s in self.scales):
            raise InputError(f"scales must be one or more positive numbers, got {scales}; try [1, 1.25]")
        if not self.keys:
            raise InputError("keys must name at least one entry of the batch, got none")
        if self.divisor < 1:
            raise InputError(f"divisor must be at least 1 pixel, got {divisor}")

    def __len__(self) -> int:
        """Batches per epoch, all scales counted."""
        return len(self.loader) * len(self.scales)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass is, counted from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[Any, Any]]:
        """Yield the batches of one epoch.

        Raises:
            InputError: If a batch is no dictionary, lacks a key, or holds integers under one.
        """
        sampler = getattr(self.loader, "sampler", None)
        if isinstance(sampler, DistributedSampler):
            sampler.set_epoch(self.epoch)
        self.epoch += 1
        for batch in self.loader:
            for scale in self.scales:
                yield batch if scale == 1 else self._rescaled(batch, scale)

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not found here. Without the check, unpickling would recurse without end.
        if name == "loader":
            raise AttributeError(name)
        return getattr(self.loader, name)

    def _rescaled(self, batch: Mapping[Any, Any], scale: float) -> dict[Any, Any]:
        """A copy of the batch with the tensors under the keys resized."""
        missing = [key for key in self.keys if not isinstance(batch, Mapping) or key not in batch]
        if missing:
            raise InputError(f"the batch lacks {missing}; expected a dictionary with {list(self.keys)}")
        return {**batch, **{key: self._resize(key, batch[key], scale) for key in self.keys}}

    def _resize(self, key: Any, tensor: torch.Tensor, scale: float) -> torch.Tensor:
        """Resize ``(B, C, H, W)`` by ``scale``, to multiples of the divisor."""
        if tensor.ndim != 4 or not tensor.is_floating_point():
            raise InputError(
                f"{key!r} must be (B, C, H, W), floating point, got {tuple(tensor.shape)} {tensor.dtype}; "
                "scale intensities before batching"
            )
        size = [max(1, round(side * scale / self.divisor)) * self.divisor for side in tensor.shape[2:]]
        out = interpolate(tensor, size=size, mode="bilinear", align_corners=True)
        # The two weights of a pixel may add up to a last digit more than 1, and losses want labels in [0, 1].
        return out.clamp(float(tensor.min()), float(tensor.max()))
