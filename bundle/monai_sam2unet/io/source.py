"""What every reader gives: a source of frames, each with its place in the file.

Shape legend: ``H`` rows from the top, ``W`` columns from the left, as a viewer shows them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from monai_sam2unet.errors import InputError
from monai_sam2unet.io.kinds import Kind

__all__ = ["Frame", "Source"]

PlaceT = TypeVar("PlaceT", covariant=True)


@dataclass(frozen=True)
class Frame(Generic[PlaceT]):
    """One picture of a source.

    Attributes:
        pixels: (H, W, 3), uint8, RGB: what `monai_sam2unet.pictures.open_picture` gives for a picture.
        number: the frame's number in its source, from 1.
        place: where a mask of the frame belongs, see `DicomPlace`, `VolumePlace`, `PagePlace` and
            `VideoPlace`.
    """

    pixels: np.ndarray
    number: int
    place: PlaceT


class Source(ABC, Generic[PlaceT]):
    """Frames of one file, or of one series of files, read when they are asked for.

    ``len(source)`` is the number of frames; iterating decodes one after the other and keeps none, so that a
    long cine needs the memory of one frame.

    Args:
        path: the file or folder.
        kind: what it is.

    Attributes:
        path: as given.
        kind: as given.
    """

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path = path
        self.kind = kind

    @abstractmethod
    def __len__(self) -> int:
        """The number of frames."""

    @abstractmethod
    def _frame(self, number: int) -> Frame[PlaceT]:
        """A frame whose number is valid."""

    def frame(self, number: int) -> Frame[PlaceT]:
        """Decode one frame.

        Args:
            number: from 1 to ``len(source)``.

        Returns:
            The frame.

        Raises:
            InputError: If there is no such frame, or it cannot be decoded; the message names the file.
        """
        if not 1 <= number <= len(self):
            raise InputError(f"{self.path}: there is no frame {number}; expected 1 to {len(self)}")
        return self._frame(number)

    def __iter__(self) -> Iterator[Frame[PlaceT]]:
        """Decode the frames in their order.

        Raises:
            InputError: If one cannot be decoded; the message names the file.
        """
        for number in range(1, len(self) + 1):
            yield self._frame(number)
