"""Loading of volumes, and of the slices that were cut of them.

MONAI's ``LoadImaged`` needs a reader for each kind of file, reads DICOM series by name, and loses the reason
where a file cannot be read.

Shape legend: ``X Y Z`` the axes of a volume as stored; ``H`` rows, ``W`` columns and ``D`` slices, as a plane
cuts it; ``K`` classes, the background not counted.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey, MetaKeys, SpaceKeys, TransformBackends

from monai_sam2unet.errors import InputError
from monai_sam2unet.io import GivenWindow, Volume, find_window, read_values
from monai_sam2unet.labels import LabelReader

__all__ = [
    "PLANE_CODES",
    "ClassMasksd",
    "LoadSlicesd",
    "LoadVolumed",
    "label_values",
    "neighbours",
    "split_labels",
    "window_ends",
]

PLANE_CODES = {"axial": "PLS", "coronal": "ILP", "sagittal": "IPL"}
"""Where rows, columns and slices of a plane run, for MONAI's ``Orientationd``: as `monai_sam2unet.io.read`
shows slices, an axial one with the patient's right at the left and the front at the top."""


def neighbours(index: int, count: int, depth: int) -> list[int]:
    """The slices that are the channels of one slice: itself in the middle, as many on both sides.

    Args:
        index: the slice, from 0.
        count: channels, an odd number.
        depth: slices of the volume. Beyond its ends the last slice is repeated.

    Example:
        >>> neighbours(0, 5, 10)
        [0, 0, 0, 1, 2]
    """
    return [min(max(index + step, 0), depth - 1) for step in range(-(count // 2), count // 2 + 1)]


def window_ends(window: GivenWindow) -> tuple[float, float]:
    """The values of black and white of a window.

    Args:
        window: a name of `monai_sam2unet.io.WINDOWS`, or (centre, width).

    Example:
        >>> window_ends("brain")
        (0.0, 80.0)
    """
    found = find_window(window)
    return found.centre - found.width / 2, found.centre + found.width / 2


class LoadVolumed(MapTransform):
    """Load a volume, and the label map that belongs to it, by `monai_sam2unet.io.read_values`.

    The label map is laid out as the volume is, whatever order its file stores the axes in. What is no number
    in the volume becomes its smallest value.

    Args:
        image_key: key of the volume's path; a `monai_sam2unet.io.Volume` is taken, too.
        label_key: key of the path of its label map; None for none.
        allow_missing_keys: pass over keys that an item lacks.

    Example:
        >>> load = LoadVolumed()
        >>> load({"image": "a.nii.gz", "label": "a_seg.nrrd"})["image"].shape  # doctest: +SKIP
        torch.Size([1, 512, 512, 80])
    """

    backend = [TransformBackends.NUMPY]

    def __init__(
        self, image_key: str = "image", label_key: str | None = "label", allow_missing_keys: bool = False
    ) -> None:
        super().__init__([image_key] if label_key is None else [image_key, label_key], allow_missing_keys)
        self.image_key = image_key
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace paths by tensors: the volume (1, X, Y, Z), float32, the label map (1, X, Y, Z), uint8.

        Raises:
            InputError: If a file cannot be used, or the two are not of one place and size.
        """
        d = dict(data)
        given = d[self.image_key]
        image = given if isinstance(given, Volume) else read_values(given)
        for key in self.key_iterator(d):
            if key == self.image_key:
                d[key] = _tensor(_finite(image.values), image.affine, image.path)
            else:
                label = read_values(d[key]).laid_out_as(image)
                d[key] = _tensor(label_values(label), image.affine, label.path)
        return d


class ClassMasksd(MapTransform):
    """Make a mask of each class of a label map.

    Args:
        keys: label maps, (1, ...), whole numbers.
        labels: says which value is which class. Of one structure without a name everything but 0 is it.
        allow_missing_keys: pass over keys that an item lacks.

    Example:
        >>> masks = ClassMasksd("label", LabelReader(["liver", "tumour"]))
        >>> masks({"label": torch.tensor([[0, 1, 2]])})["label"].tolist()
        [[0, 1, 0], [0, 0, 1]]
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, keys: KeysCollection, labels: LabelReader, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.labels = labels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each label map by masks (K, ...) of 0 and 1, uint8; a mask of what is ignored comes last.

        Raises:
            InputError: If there is a value that means nothing.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            label = d[key]
            meta = label.meta if isinstance(label, MetaTensor) else {}
            source = str(meta.get(ImageMetaKey.FILENAME_OR_OBJ, key))
            masks = split_labels(np.asarray(label)[0], self.labels, source)
            d[key] = MetaTensor(torch.from_numpy(masks), meta=meta)
        return d


class LoadSlicesd(MapTransform):
    """Load one slice of a volume that was cut, with its neighbours as channels.

    Args:
        image_key: key of the file of the volume, ``.npy``, (D, H, W).
        label_key: key of the file of the label map, likewise.
        index_key: key of the slice's number, from 0.
        slices: channels of the picture, an odd number.
        labels: says which value of the label map is which class; None for one structure.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(
        self,
        image_key: str = "image",
        label_key: str = "label",
        index_key: str = "index",
        slices: int = 1,
        labels: LabelReader | None = None,
    ) -> None:
        super().__init__([image_key, label_key])
        self.image_key, self.label_key, self.index_key = image_key, label_key, index_key
        self.slices = slices
        self.labels = LabelReader() if labels is None else labels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the files by the picture (slices, H, W) and the masks (K, H, W), 0 or 1, both float32."""
        d = dict(data)
        image, label = (np.load(d[key], mmap_mode="r") for key in (self.image_key, self.label_key))
        index = d[self.index_key]
        channels = image[neighbours(index, self.slices, len(image))]
        d[self.image_key] = MetaTensor(torch.from_numpy(channels.astype(np.float32)))
        masks = split_labels(label[index], self.labels, str(d["case"]))
        d[self.label_key] = MetaTensor(torch.from_numpy(masks.astype(np.float32)))
        return d


def split_labels(label_map: np.ndarray, labels: LabelReader, source: str) -> np.ndarray:
    """The mask of each class of a label map.

    Args:
        label_map: whole numbers, of any shape.
        labels: says which value is which class.
        source: what it was read from, for messages.

    Returns:
        (K, ...), 0 or 1, uint8; (K + 1, ...) where pixels may be ignored, with the mask of those last.

    Raises:
        InputError: If there is a value that means nothing.
    """
    if labels.plain:
        return (label_map[None] > 0).astype(np.uint8)
    return (labels.split(label_map, source) > 0).astype(np.uint8)


def label_values(label: Volume) -> np.ndarray:
    """The values of a label map as uint8.

    Args:
        label: the label map.

    Returns:
        (X, Y, Z).

    Raises:
        InputError: If they are no whole numbers from 0 to 255; it names the file.
    """
    values = label.values.astype(np.uint8) if np.isfinite(label.values).all() else None
    if values is None or not np.array_equal(values, label.values):
        found = np.unique(label.values)
        raise InputError(
            f"{label.path}: a label map has whole numbers from 0 to 255, got {found.min():g} to "
            f"{found.max():g}, {len(found)} different values; is it the volume itself?"
        )
    return values


def _finite(values: np.ndarray) -> np.ndarray:
    """As float32; what is no number, or infinite, becomes the smallest that is."""
    array = np.array(values, np.float32, order="C")
    finite = np.isfinite(array)
    if not finite.all():
        array[~finite] = array[finite].min() if finite.any() else 0
    return array


def _tensor(values: np.ndarray, affine: np.ndarray, path: Path) -> MetaTensor:
    """(1, X, Y, Z) with the metadata that MONAI's transforms look for."""
    meta = {
        ImageMetaKey.FILENAME_OR_OBJ: str(path),
        MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
        MetaKeys.SPATIAL_SHAPE: np.asarray(values.shape),
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPACE: SpaceKeys.RAS,
    }
    tensor = torch.from_numpy(np.array(values[None], order="C"))
    return MetaTensor(tensor, affine=torch.from_numpy(affine.copy()), meta=meta)
