"""The volumes that an inference segments: found, each read once, those that cannot be named."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from monai_sam2unet.data.datalist import Item
from monai_sam2unet.data.naming import counted
from monai_sam2unet.data.volumes import volume_name, volumes_in
from monai_sam2unet.errors import InputError
from monai_sam2unet.io import Kind, is_dicom, kind_of, read_values

__all__ = ["VolumesToSegment"]

logger = logging.getLogger(__name__)


class VolumesToSegment:
    """The volumes of a file, of a folder, or the series of a DICOM folder: those that can be read.

    Args:
        source: a NIfTI or NRRD file, a folder with DICOM files (one series), or a folder of such files and
            folders.

    Attributes:
        items: for each readable volume ``image`` (path), ``case`` (its name below the folder) and ``output``
            (relative path of its label map, ending in ``.nii.gz``).
        failed: reason for each volume that cannot be read.

    Raises:
        InputError: if there is no volume.
    """

    def __init__(self, source: str | os.PathLike[str]) -> None:
        found = _find(Path(os.path.expanduser(source)))
        self.failed: dict[str, str] = {}
        self.items: list[Item] = []
        for name, path in sorted(found.items()):
            try:
                read_values(path)
            except InputError as error:
                self.failed[str(path)] = str(error)
                continue
            self.items.append({"image": str(path), "case": name, "output": f"{name}.nii.gz"})
        logger.info("%s to segment from %s", counted(len(self.items), "volume"), source)

    def finish(self) -> None:
        """Tell what was done, and name what was passed over.

        Raises:
            InputError: if there is any, so that the program exits with an error.
        """
        logger.info("%d segmented, %d failed", len(self.items), len(self.failed))
        if self.failed:
            reasons = "\n  ".join(self.failed.values())
            raise InputError(
                f"{counted(len(self.failed), 'volume')} could not be read, without a result:\n  {reasons}"
            )


def _find(source: Path) -> dict[str, Path]:
    """Volumes by name."""
    if kind_of(source) is not Kind.FOLDER:
        return {volume_name(source.name): source}
    found = volumes_in(source)
    if not found and any(is_dicom(path) for path in source.iterdir() if path.is_file()):
        found = {source.resolve().name: source}
    if not found:
        raise InputError(
            f"{source}: holds no volume; give a NIfTI or NRRD file, a folder of such files, or one with the "
            "files of a DICOM series"
        )
    return found
