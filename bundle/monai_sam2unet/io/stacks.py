"""Pictures and TIFF stacks as sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from monai_sam2unet.errors import InputError
from monai_sam2unet.io.kinds import Kind
from monai_sam2unet.io.source import Frame, Source
from monai_sam2unet.io.windows import GivenWindow, find_window, span, stretch, windowed
from monai_sam2unet.pictures import open_picture, to_rgb

__all__ = ["PagePlace", "PictureSource", "StackSource"]


@dataclass(frozen=True)
class PagePlace:
    """Where a page stands.

    Attributes:
        path: its file.
        number: the page, from 1.
    """

    path: Path
    number: int


class PictureSource(Source[PagePlace]):
    """A picture as a source of one frame, read by `monai_sam2unet.pictures.open_picture`.

    Args:
        path: the file.
        kind: what it is; of what is no picture `open_picture` says why.
    """

    def __len__(self) -> int:
        return 1

    def _frame(self, number: int) -> Frame[PagePlace]:
        return Frame(np.asarray(open_picture(self.path)), number, PagePlace(self.path, number))


class StackSource(Source[PagePlace]):
    """The pages of a TIFF file.

    Each page is converted by `monai_sam2unet.pictures.to_rgb`; grey of more than 8 bits is stretched from
    minimum to maximum over all pages, or by the window.

    Args:
        path: the file.
        window: grey levels.

    Raises:
        InputError: If the file cannot be read.
    """

    def __init__(self, path: Path, window: GivenWindow | None = None) -> None:
        super().__init__(path, Kind.TIFF_STACK)
        self._window = None if window is None else find_window(window)
        self._ends: tuple[float, float] | None = None
        with Image.open(path, formats=["TIFF"]) as image:
            self._pages = int(getattr(image, "n_frames", 1))

    def __len__(self) -> int:
        return self._pages

    def _frame(self, number: int) -> Frame[PagePlace]:
        page = self._page(number)
        deep = page.mode == "F" or page.mode.startswith("I")
        if self._window is not None and not (deep or page.mode == "L"):
            raise InputError(f"{self.path}: page {number} is no grey picture; leave out the window")
        if self._window is not None:
            pixels = _grey(windowed(np.asarray(page), self._window))
        elif deep:
            pixels = _grey(stretch(np.asarray(page), *self._span()))
        else:
            pixels = np.asarray(to_rgb(page))
        return Frame(pixels, number, PagePlace(self.path, number))

    def _page(self, number: int) -> Image.Image:
        """One page, decoded."""
        try:
            with Image.open(self.path, formats=["TIFF"]) as image:
                image.seek(number - 1)
                image.load()
                return image.copy()
        except Exception as err:  # Pillow raises anything on damaged files
            raise InputError(
                f"{self.path}: page {number} cannot be decoded ({type(err).__name__}: {err}); replace the "
                "file"
            ) from err

    def _span(self) -> tuple[float, float]:
        """Minimum and maximum of all pages, found once."""
        if self._ends is None:
            found = [span(np.asarray(self._page(number))) for number in range(1, len(self) + 1)]
            self._ends = min(low for low, _ in found), max(high for _, high in found)
        return self._ends


def _grey(levels: np.ndarray) -> np.ndarray:
    """Grey levels (H, W) as (H, W, 3)."""
    return np.repeat(levels[..., None], 3, axis=-1)
