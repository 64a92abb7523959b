"""The pictures that an inference segments: found, dealt out, without those that are done, each read once."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from monai_sam2unet.data.check import unreadable
from monai_sam2unet.data.datalist import Item
from monai_sam2unet.data.naming import counted
from monai_sam2unet.data.results import ResultsFolder, result_names
from monai_sam2unet.data.shards import Shard, wait_for_others
from monai_sam2unet.data.sources import picture_set
from monai_sam2unet.errors import InputError
from monai_sam2unet.io import GivenWindow, is_dicom
from monai_sam2unet.io.dicom import holds_no_picture

__all__ = ["PicturesToSegment"]

logger = logging.getLogger(__name__)

BLOCK = 4096  # files handed to the threads that read them at a time, which bounds the memory


class PicturesToSegment:
    """The pictures of a file, folder or pattern: those that can be read, and those that cannot.

    Args:
        source: picture, folder (with its subfolders) or pattern such as ``in/**/*.png``.
        shard: the part to take; None for all.
        results: where results go, which knows the pictures that are finished; None if none is.
        window: grey levels, see `monai_sam2unet.io.open_image`; "" or None for what files say.

    Attributes:
        items: for each readable picture that is not finished ``image`` (path), ``case`` (relative path
            without suffix) and ``output`` (relative path of its results, ending in ``.png``).
        finished: how many pictures of the shard are finished.
        failed: reason for each unreadable file.
        passed_over: DICOM objects without a picture that a folder or pattern brought along, such as
            segmentations; they neither fail nor have results.
        total: how many pictures all shards have.

    Raises:
        InputError: if nothing is there.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        shard: Shard | None = None,
        results: ResultsFolder | None = None,
        window: GivenWindow | None = None,
    ) -> None:
        found = picture_set(source)
        self.shard = Shard("1/1") if shard is None else shard
        self.total = len(found.names)
        names = found.names[self.shard.part]
        outputs = result_names(found.names, self.shard.part)
        left = [
            (str(found.root / name), output)
            for name, output in zip(names, outputs, strict=True)
            if results is None or not results.finished(output, os.path.join(found.root, name))
        ]
        self.finished = len(names) - len(left)
        self.failed = _unreadable([file for file, _ in left], window or None)
        self.items: list[Item] = [
            {"image": file, "case": output.removesuffix(".png"), "output": output}
            for file, output in left
            if file not in self.failed
        ]
        alone = Path(os.path.expanduser(source)).is_file()
        self.passed_over = [
            file for file in self.failed if not alone and is_dicom(file) and holds_no_picture(file)
        ]
        for file in self.passed_over:
            logger.info("passed over: %s", self.failed.pop(file))
        logger.info("%s", self._plan(source))

    def in_full_batches(self, size: int) -> list[Item]:
        """The items, the last one repeated without ``output`` until they fill batches.

        The last bits of a network's output depend on how many pictures are computed at once. So the results
        of a picture are the same, whatever other ones are left for this process.

        Args:
            size: pictures in a batch; no more than all shards have together are filled up to.
        """
        missing = -len(self.items) % min(size, self.total)
        return self.items + [{**item, "output": ""} for item in self.items[-1:]] * missing

    def finish(self) -> None:
        """Tell what was done, and name the files that were passed over.

        Raises:
            InputError: if there are any, so that the program exits with an error.
        """
        logger.info(
            "%s%d segmented, %d finished before, %d failed",
            self._name(), len(self.items), self.finished, len(self.failed),
        )  # fmt: skip
        wait_for_others()
        if self.failed:
            reasons = "\n  ".join(self.failed.values())
            raise InputError(
                f"{counted(len(self.failed), 'file')} could not be read, without a result:\n  {reasons}"
            )

    def _plan(self, source: str | os.PathLike[str]) -> str:
        """What is to be done, in a line."""
        if not self.items and not self.failed:
            return f"{self._name()}nothing is left to segment, {self.finished} finished before, from {source}"
        before = f", {self.finished} finished before" if self.finished else ""
        return f"{self._name()}{counted(len(self.items), 'picture')} to segment from {source}{before}"

    def _name(self) -> str:
        """What this process works on, for the beginning of a line; nothing if that is everything."""
        return "" if self.shard.count == 1 else f"Shard {self.shard}: "


def _unreadable(files: Sequence[str], window: GivenWindow | None) -> dict[str, str]:
    """The reason of each file that cannot be read."""
    parts = (files[start : start + BLOCK] for start in range(0, len(files), BLOCK))
    blocks = (unreadable(part, window=window) for part in parts)
    return {str(file): reason for found in blocks for file, reason in found.items()}
