"""Videos, frame by frame, by PyAV (FFmpeg's libraries)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_sam2unet.errors import InputError
from monai_sam2unet.io.kinds import Kind
from monai_sam2unet.io.source import Frame, Source

__all__ = ["VideoPlace", "VideoSource"]


@dataclass(frozen=True)
class VideoPlace:
    """Where a frame of a video stands.

    Attributes:
        path: its file.
        number: of the frame in the order in which frames are shown, from 1.
        seconds: when it is shown, counted as the file counts.
    """

    path: Path
    number: int
    seconds: float


class VideoSource(Source[VideoPlace]):
    """The frames of the first video stream of a file, upright, as RGB.

    Iterating decodes one frame after the other. A single frame is found by decoding from the beginning, since
    indices of files are often wrong. The number of frames is found by decoding once, too: the number that a
    file states need not be that of the frames which can be shown.

    Args:
        path: the file.

    Raises:
        InputError: If PyAV is not installed, or the file holds no video that can be decoded.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, Kind.VIDEO)
        self._length: int | None = None
        next(self._decoded())  # says at once that nothing can be decoded

    def __len__(self) -> int:
        if self._length is None:
            self._length = sum(1 for _ in self._decoded())
        return self._length

    def _frame(self, number: int) -> Frame[VideoPlace]:
        for found, frame in enumerate(self._decoded(), start=1):
            if found == number:
                return self._made(frame, number)
        raise AssertionError(f"{number} is within the length")

    def __iter__(self) -> Iterator[Frame[VideoPlace]]:
        """Decode the frames in the order in which they are shown.

        Raises:
            InputError: If the file is damaged; what comes before is given.
        """
        for number, frame in enumerate(self._decoded(), start=1):
            yield self._made(frame, number)

    def _made(self, frame: Any, number: int) -> Frame[VideoPlace]:
        """A frame of PyAV's as one of ours; it is told how far to turn it against the clock."""
        pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
        seconds = float(frame.time) if frame.time is not None else 0.0
        return Frame(np.ascontiguousarray(pixels), number, VideoPlace(self.path, number, seconds))

    def _decoded(self) -> Iterator[Any]:
        """PyAV's frames; InputError for whatever stops it."""
        av = _av(self.path)
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise InputError(f"{self.path}: is a video file without pictures; give another")
                found = 0
                for found, frame in enumerate(container.decode(video=0), start=1):  # noqa: B007
                    yield frame
                if not found:
                    raise InputError(f"{self.path}: holds no frame of video; replace the file")
        except (av.error.FFmpegError, OSError) as err:
            raise InputError(
                f"{self.path}: the video cannot be decoded ({err}); replace the file, or convert it to "
                "MP4 (H.264)"
            ) from err


def _av(path: Path) -> Any:
    """The module of PyAV."""
    try:
        import av
    except ImportError as err:
        raise InputError(
            f"{path}: is a video, and reading it needs PyAV, which is not installed; pip install "
            '".[video]" in the bundle\'s folder, or pip install av'
        ) from err
    return av
