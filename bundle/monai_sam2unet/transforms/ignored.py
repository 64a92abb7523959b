"""Pixels that count nowhere, left out of what is compared."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import TransformBackends, convert_to_tensor

__all__ = ["IGNORED", "LeaveOutIgnoredd"]

IGNORED = "ignored"
"""Under this key an item has the mask of its pixels that do not count."""


class LeaveOutIgnoredd(MapTransform):
    """Take the mask of ignored pixels out of a label, and clear these pixels in what it is compared with.

    The label is (K + 1, *S), its last channel above 0 where a pixel is to count nowhere, as
    :class:`monai_sam2unet.labels.LabelReader` gives it. It becomes (K, *S); the channel is kept under
    ``ignored`` as (*S), bool. Overlap and outlines do not depend on pixels that are background in both.

    Args:
        keys: masks, (K, *S), to clear there.
        label_key: the label.
        allow_missing_keys: Pass over keys that an item lacks.

    Example:
        >>> item = {"pred": torch.ones(1, 1, 2), "label": torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])}
        >>> item = LeaveOutIgnoredd("pred", "label")(item)
        >>> item["pred"].tolist(), item["label"].tolist(), item["ignored"].tolist()
        ([[[1.0, 0.0]]], [[[1.0, 0.0]]], [[False, True]])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, keys: KeysCollection, label_key: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Clear the ignored pixels of one item."""
        d = dict(data)
        label = d[self.label_key]
        ignored = convert_to_tensor(label, track_meta=False)[-1] > 0
        d[self.label_key] = label[:-1] * ~ignored
        for key in self.key_iterator(d):
            d[key] = d[key] * ~ignored.to(d[key].device)
        return {**d, IGNORED: ignored}
