"""Loading of pictures and their masks.

MONAI's ``LoadImaged`` with ``converter=to_rgb`` gives the same tensors, but a file that cannot be decoded is
handed to every other reader it knows: the reason is lost among their tracebacks, and a reader that does
accept the file returns it without the conversion.

Shape legend: ``C`` channels, ``K`` classes, ``H`` rows, ``W`` columns (not MONAI's ``W, H`` order of 2D
readers).
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import ImageMetaKey, MetaKeys, TransformBackends, ensure_tuple
from PIL import Image

from monai_sam2unet.errors import InputError
from monai_sam2unet.io import GivenWindow, open_image
from monai_sam2unet.labels import LabelReader
from monai_sam2unet.pictures import to_rgb

__all__ = ["LoadPicture", "LoadPictured"]

PathLike = str | os.PathLike[str]
Loadable = PathLike | Image.Image | np.ndarray


class LoadPicture(Transform):
    """Load a picture file as a uint8 tensor, rows first.

    Pictures are converted by :func:`monai_sam2unet.pictures.to_rgb`, DICOM files of one frame as
    :func:`monai_sam2unet.io.read` says, masks and label maps as :class:`monai_sam2unet.labels.LabelReader`
    says. The metadata holds ``filename_or_obj``, ``spatial_shape`` (H, W) and the position of the channels
    (first).

    Args:
        mask: Load masks (K, H, W) of 0 and 255 instead of a picture (3, H, W) in 0..255.
        labels: What reads masks; None for those of one structure.
        window: Grey levels of pictures, which then must be grey DICOM files; "" or None for what files say.
        track_meta: Whether to give metadata; None for MONAI's own setting.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(
        self,
        mask: bool = False,
        labels: LabelReader | None = None,
        window: GivenWindow | None = None,
        track_meta: bool | None = None,
    ) -> None:
        self.mask = mask
        self.track_meta = track_meta
        self.window = window or None
        self.labels = LabelReader() if labels is None else labels

    def __call__(self, data: Loadable | Sequence[PathLike]) -> torch.Tensor:
        """Load one file; of masks also several, see `LabelReader`.

        Args:
            data: Path of the file; for masks also a sequence of paths of masks of the same picture. A
                picture may also be given as one of Pillow's or as a uint8 array, (H, W) or (H, W, 3).

        Returns:
            uint8, ``(3, H, W)`` for pictures, ``(K, H, W)`` for masks, with one channel more if pixels may be
            ignored; a ``MetaTensor`` unless metadata tracking is off.

        Raises:
            InputError: If a file cannot be used, several are given where one is expected, or sizes differ.
        """
        if not self.mask and isinstance(data, (Image.Image, np.ndarray)):
            image = data if isinstance(data, Image.Image) else _from_array(data)
            return self._tensor(np.asarray(to_rgb(image)).transpose(2, 0, 1), {})
        paths = [os.fspath(path) for path in ensure_tuple(data)]
        if not paths or (len(paths) > 1 and not self.mask):
            raise InputError(f"expected the path of one picture, got {len(paths)}: {paths}; give one path")
        meta = {ImageMetaKey.FILENAME_OR_OBJ: paths[0]}
        if self.mask:
            return self._tensor(self.labels.read(paths), meta)
        return self._tensor(np.asarray(open_image(paths[0], self.window)).transpose(2, 0, 1), meta)

    def _tensor(self, array: np.ndarray, meta: dict[str, Any]) -> torch.Tensor:
        """``(C, H, W)`` as a tensor, with the metadata that MONAI's transforms look for."""
        tensor = torch.from_numpy(np.array(array, order="C"))
        if not (get_track_meta() if self.track_meta is None else self.track_meta):
            return tensor
        shape = {MetaKeys.SPATIAL_SHAPE: np.asarray(tensor.shape[1:]), MetaKeys.ORIGINAL_CHANNEL_DIM: 0}
        return MetaTensor(tensor, meta={**meta, **shape})


class LoadPictured(MapTransform):
    """Dictionary form of :class:`LoadPicture`, for pictures and their masks together.

    Args:
        keys: Keys of pictures.
        mask_keys: Keys of masks; ``()`` for none.
        allow_missing_keys: Pass over keys that an item lacks, as at inference without masks.
        labels: What reads masks; None for those of one structure.
        window: Grey levels of pictures, as `LoadPicture` takes it; those given as arrays have them already.
        track_meta: Whether to give metadata; None for MONAI's own setting.

    Example:
        >>> load = LoadPictured(keys="image", mask_keys="label")
        >>> item = load({"image": "a.png", "label": "a_mask.png"})  # doctest: +SKIP
        >>> item["image"].shape, item["label"].shape  # doctest: +SKIP
        (torch.Size([3, 530, 621]), torch.Size([1, 530, 621]))
    """

    backend = LoadPicture.backend

    def __init__(
        self,
        keys: KeysCollection = ("image",),
        mask_keys: KeysCollection = ("label",),
        allow_missing_keys: bool = False,
        labels: LabelReader | None = None,
        window: GivenWindow | None = None,
        track_meta: bool | None = None,
    ) -> None:
        pictures, masks = ensure_tuple(keys), ensure_tuple(mask_keys)
        super().__init__(pictures + masks, allow_missing_keys)
        readers = [LoadPicture(window=window, track_meta=track_meta)] * len(pictures)
        self.loaders = readers + [LoadPicture(True, labels, track_meta=track_meta)] * len(masks)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the paths under the keys by tensors.

        Raises:
            InputError: If a file cannot be used.
            KeyError: If a key is missing and missing keys are not allowed.
        """
        d = dict(data)
        for key, load in self.key_iterator(d, self.loaders):
            d[key] = load(d[key])
        return d


def _from_array(array: np.ndarray) -> Image.Image:
    """A picture of Pillow's from uint8 (H, W) or (H, W, 3)."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise InputError(
            f"picture must be uint8 (height, width) or (height, width, 3), got {array.dtype} {array.shape}; "
            "convert it, or give the file's path"
        )
    return Image.fromarray(np.ascontiguousarray(array))
