"""Inference of pictures whose size the network does not take as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.inferers import Inferer, SlidingWindowInferer
from torch import Tensor, nn

from monai_sam2unet.networks import SIZE_DIVISOR
from monai_sam2unet.transforms import neighbours

__all__ = ["AMP_TYPES", "PaddedInferer", "TiledInferer", "VolumeInferer"]

AMP_TYPES = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Names of the precisions in which the network may compute."""


class PaddedInferer(Inferer):
    """Run the network on pictures of any size, in the precision asked for.

    A side that is no multiple of the divisor is padded at the bottom or right by zeros (the mean colour
    of a normalised picture); the outputs are cropped to the input's size again. MONAI's engines know
    autocast on CUDA alone; done here, it works on a CPU as well.

    Args:
        amp: ``none``, ``bf16`` or ``fp16``.
        divisor: what height and width must be multiples of.

    Raises:
        ValueError: if ``amp`` is unknown.
    """

    def __init__(self, amp: str = "none", divisor: int = SIZE_DIVISOR) -> None:
        super().__init__()
        if amp not in AMP_TYPES:
            raise ValueError(f"amp must be one of {', '.join(AMP_TYPES)}, got {amp!r}")
        self.amp = amp
        self.divisor = divisor

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Compute logits in float32.

        Args:
            inputs: normalised pictures, (B, C, H, W).
            network: gives one tensor, or a list of them in training, at its input's size.
            args: further arguments of the network.
            kwargs: further named arguments of the network.

        Returns:
            Logits (B, K, H, W), or the list of them.
        """
        h, w = inputs.shape[-2:]
        padded = F.pad(_plain(inputs), (0, -w % self.divisor, 0, -h % self.divisor))
        with torch.autocast(inputs.device.type, AMP_TYPES[self.amp], enabled=self.amp != "none"):
            outputs = network(padded, *args, **kwargs)
        if isinstance(outputs, Tensor):
            return _with_meta(outputs.float()[..., :h, :w], inputs)
        return [_with_meta(output.float()[..., :h, :w], inputs) for output in outputs]


class TiledInferer(PaddedInferer):
    """Run the network on windows of a picture, at the picture's own resolution, and join their logits.

    MONAI's ``SlidingWindowInferer`` lays the windows, which overlap, and averages their logits, weighted by
    a Gaussian around each window's centre. It is given a canvas without memory of its own; the windows are
    cut out of the picture and normalised one batch of them at a time. So the whole picture may stay uint8,
    and what grows with it are the logits and the sum of weights alone, 4 bytes a pixel each.

    A picture that is not larger than the tile is one window: exactly what :class:`PaddedInferer` gives.

    Args:
        tile: height and width of the windows, pixels, a multiple of the divisor; 0 takes pictures whole.
        overlap: part of a window's side that it shares with the next one, from 0 to below 1.
        window_batch: windows that the network computes at once.
        amp: ``none``, ``bf16`` or ``fp16``.
        normalise: makes of a window (C, h, w) what the network takes, value by value; None leaves it. Not
            used with ``tile`` 0, where pictures must be normalised already.
        divisor: what height and width of the network's input must be multiples of.

    Raises:
        ValueError: if ``tile`` is no multiple of the divisor, ``overlap`` is out of its range, or ``amp`` is
            unknown.
    """

    def __init__(
        self,
        tile: int = 0,
        overlap: float = 0.25,
        window_batch: int = 4,
        amp: str = "none",
        normalise: Callable[[Tensor], Tensor] | None = None,
        divisor: int = SIZE_DIVISOR,
    ) -> None:
        super().__init__(amp, divisor)
        if tile < 0 or tile % divisor:
            raise ValueError(f"tile must be 0 or a multiple of {divisor}, got {tile}")
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap must be from 0 to below 1, got {overlap}")
        self.tile = tile
        self.overlap = overlap
        self.window_batch = window_batch
        self.normalise = normalise

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Compute logits in float32.

        Args:
            inputs: pictures, (B, C, H, W): normalised with ``tile`` 0, else as ``normalise`` takes them.
            network: gives one tensor, or a list of them in training, at its input's size.
            args: further arguments of the network.
            kwargs: further named arguments of the network.

        Returns:
            Logits (B, K, H, W), or the list of them.
        """
        whole = super().__call__
        if not self.tile:
            return whole(inputs, network, *args, **kwargs)
        pictures = _plain(inputs)

        def windows(canvas: Tensor, places: Sequence[Sequence[slice]]) -> Any:
            """Logits of the windows at these places, (N, K, h, w); of the canvas they are of no use."""
            cut = torch.cat([self._normalised(pictures[tuple(place)]) for place in places])
            return whole(cut, network, *args, **kwargs)

        h, w = pictures.shape[-2:]
        if h <= self.tile and w <= self.tile:  # without weights, which would change the last bits
            outputs = whole(self._normalised(pictures), network, *args, **kwargs)
        else:
            # one number for all pixels: what is slid over needs a size and a dtype, not values
            canvas = torch.zeros((), device=pictures.device).expand(len(pictures), 1, h, w)
            outputs = self._slider(h, w)(canvas, windows)
        if isinstance(outputs, Tensor):
            return _with_meta(outputs, inputs)
        return [_with_meta(output, inputs) for output in outputs]

    def _slider(self, h: int, w: int) -> SlidingWindowInferer:
        """What lays windows over a picture of this size; where it is narrower than a tile, they are too."""
        return SlidingWindowInferer(
            roi_size=(min(self.tile, h), min(self.tile, w)),
            sw_batch_size=self.window_batch,
            overlap=self.overlap,
            mode="gaussian",
            with_coord=True,
        )

    def _normalised(self, pictures: Tensor) -> Tensor:
        """The pictures (B, C, h, w) as the network takes them."""
        if self.normalise is None:
            return pictures
        return torch.stack([_plain(self.normalise(picture)) for picture in pictures])


class VolumeInferer(PaddedInferer):
    """Run the network on all slices of a volume, each with its neighbours as channels.

    MONAI's ``SlidingWindowInferer`` goes through the slices, as its ``SliceInferer`` does, which knows no
    neighbours. It is given a canvas without memory of its own: a volume with n channels would need n times
    the memory.

    Args:
        slices: channels of the network: a slice in the middle, its neighbours on both sides, an odd number.
            Beyond the ends of the volume the last slice is repeated.
        input_size: side in pixels, or (height, width), that slices are resized to; their logits are resized
            back.
        batch_size: slices that the network computes at once.
        amp: ``none``, ``bf16`` or ``fp16``.

    Raises:
        ValueError: if ``slices`` is no odd number above 0, or ``amp`` is unknown.
    """

    def __init__(
        self, slices: int, input_size: int | Sequence[int], batch_size: int = 8, amp: str = "none"
    ) -> None:
        super().__init__(amp)
        if slices < 1 or slices % 2 == 0:
            raise ValueError(f"slices must be an odd number above 0, got {slices}")
        self.slices = slices
        self.size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
        self.batch_size = batch_size

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Compute logits in float32.

        Args:
            inputs: normalised volumes, (B, 1, H, W, D), the slices last.
            network: gives one tensor at its input's size.
            args: further arguments of the network.
            kwargs: further named arguments of the network.

        Returns:
            Logits (B, C, H, W, D).
        """
        whole = super().__call__
        volumes = _plain(inputs)
        height, width, depth = volumes.shape[-3:]

        def slices(canvas: Tensor, places: Sequence[Sequence[slice]]) -> Tensor:
            """Logits of the slices at these places, (N, C, H, W, 1); of the canvas they are of no use."""
            cut = [
                volumes[place[0].start, 0, :, :, neighbours(place[4].start, self.slices, depth)]
                for place in places
            ]
            pictures = torch.stack(cut).movedim(-1, 1)  # N slices H W
            resized = F.interpolate(pictures, self.size, mode="bilinear", antialias=True)
            logits = whole(resized, network, *args, **kwargs)
            return F.interpolate(logits, (height, width), mode="bilinear")[..., None]

        canvas = torch.zeros((), device=volumes.device).expand(len(volumes), 1, height, width, depth)
        slider = SlidingWindowInferer((height, width, 1), self.batch_size, overlap=0, with_coord=True)
        return _with_meta(slider(canvas, slices), inputs)


def _plain(tensor: Tensor) -> Tensor:
    """Without its metadata, which MONAI would otherwise copy along with the result of every layer."""
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def _with_meta(output: Tensor, inputs: Tensor) -> Tensor:
    """The output with the metadata of the input, by which MONAI's ``Invertd`` finds its way back."""
    if not isinstance(inputs, MetaTensor):
        return output
    wrapped = MetaTensor(output).copy_meta_from(inputs)
    wrapped.is_batch = inputs.is_batch
    return wrapped
