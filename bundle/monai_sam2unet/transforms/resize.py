"""Resizing as Pillow does it, which MONAI's ``Resize`` does not.

MONAI's bilinear mode takes four source pixels whatever the scale, so that a picture made smaller aliases; the
published training and test pictures went through Pillow, whose filters widen with the scale.

Shape legend: ``C`` channels, ``H`` rows, ``W`` columns.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.transforms import InvertibleTransform, MapTransform
from monai.transforms.utils import scale_affine
from monai.utils import TraceKeys, TransformBackends, convert_to_tensor, ensure_tuple_rep
from PIL import Image
from torch.nn.functional import interpolate

from monai_sam2unet.errors import InputError

__all__ = ["ResizeLikePillow", "ResizeLikePillowd"]

_MODES = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}


class ResizeLikePillow(InvertibleTransform):
    """Resize a picture with Pillow's antialiased filters.

    uint8 stays uint8 and equals ``PIL.Image.resize``, which does it; floating point keeps its dtype, goes
    through torch's filters of the same widths and is neither rounded nor cut off, so that bicubic may
    overshoot the range of the input.

    The inverse brings a prediction of any number of channels back to the size before, by bilinear
    interpolation with ``align_corners=False`` and without antialiasing, as the published evaluation resizes
    logits (https://github.com/WZH0120/SAM2-UNet, test.py); after mode "nearest", or where MONAI's ``Invertd``
    asks for nearest neighbours, it takes these.

    Args:
        spatial_size: Height and width of the result, pixels; one number for a square; None leaves the size.
        mode: "bilinear" (published for pictures), "bicubic" (published for masks: edges come out soft) or
            "nearest".
        track_meta: Whether to note the step in metadata, for its inverse; None for MONAI's own setting.

    Raises:
        InputError: If ``spatial_size`` or ``mode`` is none of these.
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        spatial_size: Sequence[int] | int | None,
        mode: str = "bilinear",
        track_meta: bool | None = None,
    ) -> None:
        self.spatial_size = _check_size(spatial_size)
        self.track_meta = track_meta
        self.mode = _check_mode(mode)

    def __call__(self, data: torch.Tensor, mode: str | None = None) -> torch.Tensor:
        """Resize one picture.

        Args:
            data: ``(C, H, W)``, uint8 or floating point.
            mode: Mode to use instead of the one of the constructor.

        Returns:
            ``(C, *spatial_size)``, same dtype; the metadata records size and affine.

        Raises:
            InputError: If the tensor is not ``(C, H, W)`` of uint8 or floating point.
        """
        mode = self.mode if mode is None else _check_mode(mode)
        img = convert_to_tensor(
            data, track_meta=get_track_meta() if self.track_meta is None else self.track_meta
        )
        if img.ndim != 3 or not (img.dtype == torch.uint8 or img.is_floating_point()):
            raise InputError(
                f"data must be (C, H, W), uint8 or floating point, got {tuple(img.shape)} {img.dtype}; "
                "load pictures with LoadPictured"
            )
        out = _resize(_plain(img), self.spatial_size or tuple(img.shape[1:]), mode)
        return self._track(img, out, "nearest" if mode == "nearest" else "bilinear")

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Bring a prediction back to the size the picture had.

        Args:
            data: ``(C, H, W)``, logits or probabilities (or integers, which are rounded to), with the trace
                of this transform.

        Returns:
            ``(C, H_before, W_before)``; half precision comes back as float32.
        """
        info = self.pop_transform(data)
        size = tuple(int(s) for s in info[TraceKeys.ORIG_SIZE])
        mode = info[TraceKeys.EXTRA_INFO]["mode"]
        with self.trace_transform(False):
            return self._track(data, _restore(_plain(data), size, mode), mode)

    def _track(self, img: torch.Tensor, out: torch.Tensor, inverse_mode: str) -> torch.Tensor:
        """Give ``out`` the metadata of ``img``, its affine scaled and this step on the trace."""
        if not isinstance(img, MetaTensor):
            return out
        meta = self.track_transform_meta(
            img,
            sp_size=tuple(out.shape[1:]),
            affine=scale_affine(tuple(img.shape[1:]), tuple(out.shape[1:])),
            extra_info={"mode": inverse_mode},  # the name under which Invertd looks for a mode to replace
            orig_size=tuple(img.shape[1:]),
            transform_info=self.get_transform_info(),
        )
        return MetaTensor(out).copy_meta_from(meta)


class ResizeLikePillowd(MapTransform, InvertibleTransform):
    """Dictionary form of :class:`ResizeLikePillow`.

    Args:
        keys: Keys to resize.
        spatial_size: Height and width of the result, pixels; one number for a square; None leaves the size.
        mode: "bilinear", "bicubic" or "nearest"; one for all keys or one per key.
        allow_missing_keys: Pass over keys that an item lacks.
        track_meta: Whether to note the step in metadata, for its inverse; None for MONAI's own setting.

    Raises:
        InputError: If ``spatial_size`` or a mode is unknown.

    Example:
        >>> resize = ResizeLikePillowd(["image", "label"], 352, mode=["bilinear", "bicubic"])
        >>> item = resize({"image": torch.zeros(3, 100, 80), "label": torch.zeros(1, 100, 80)})
        >>> tuple(item["image"].shape)
        (3, 352, 352)
    """

    backend = ResizeLikePillow.backend

    def __init__(
        self,
        keys: KeysCollection,
        spatial_size: Sequence[int] | int | None,
        mode: Sequence[str] | str = "bilinear",
        allow_missing_keys: bool = False,
        track_meta: bool | None = None,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mode = tuple(_check_mode(m) for m in ensure_tuple_rep(mode, len(self.keys)))
        self.resizer = ResizeLikePillow(spatial_size, track_meta=track_meta)

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Resize the tensors under the keys, each with its own mode."""
        d = dict(data)
        for key, mode in self.key_iterator(d, self.mode):
            d[key] = self.resizer(d[key], mode=mode)
        return d

    def inverse(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Bring the tensors under the keys back to their size before."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.resizer.inverse(d[key])
        return d


def _resize(img: torch.Tensor, size: tuple[int, ...], mode: str) -> torch.Tensor:
    """Pillow's resize of ``(C, H, W)`` to ``size``; uint8 or floating point, dtype kept."""
    if tuple(img.shape[1:]) == size:
        return img.clone()
    if img.dtype == torch.uint8:
        # Pillow itself: torch's integer filters differ by up to 30 grey levels where bicubic overshoots.
        planes = [Image.fromarray(plane) for plane in img.cpu().numpy()]
        resized = [np.asarray(plane.resize((size[1], size[0]), _MODES[mode])) for plane in planes]
        return torch.from_numpy(np.stack(resized)).to(img.device)
    if mode == "nearest":  # "nearest-exact" takes pixel centres as Pillow does, torch's "nearest" corners
        return interpolate(img[None], size=size, mode="nearest-exact")[0]
    return interpolate(img[None], size=size, mode=mode, antialias=True, align_corners=False)[0]


def _restore(data: torch.Tensor, size: tuple[int, ...], mode: str) -> torch.Tensor:
    """Bring a prediction ``(C, H, W)`` to ``size`` without antialiasing."""
    if tuple(data.shape[1:]) == size:
        return data.clone()
    if mode == "nearest":
        return interpolate(data[None].double(), size=size, mode="nearest-exact")[0].to(data.dtype)
    exact = data if data.dtype == torch.float64 else data.float()
    out = interpolate(exact[None], size=size, mode="bilinear", align_corners=False)[0]
    return out if data.is_floating_point() else out.round().to(data.dtype)


def _plain(img: torch.Tensor) -> torch.Tensor:
    """The tensor without its metadata, so that torch's functions do not copy that along."""
    return img.as_tensor() if isinstance(img, MetaTensor) else img


def _check_mode(mode: str) -> str:
    """Return ``mode`` if it is known."""
    if mode not in _MODES:
        raise InputError(f"mode must be one of {list(_MODES)}, got {mode!r}")
    return mode


def _check_size(spatial_size: Sequence[int] | int | None) -> tuple[int, ...] | None:
    """Height and width as a tuple, or None."""
    if spatial_size is None:
        return None
    size = ensure_tuple_rep(spatial_size, 2) if isinstance(spatial_size, int) else tuple(spatial_size)
    if len(size) != 2 or any(int(s) != s or s < 1 for s in size):
        raise InputError(
            f"spatial_size must be one positive whole number, [height, width] or null, got {spatial_size}"
        )
    return tuple(int(s) for s in size)
