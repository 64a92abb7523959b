"""The pictures and labels of a folder, as MONAI Label keeps them, with checks of what is put there."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from fastapi import HTTPException
from monailabel.datastore.local import LocalDatastore
from numpy.typing import NDArray

from monai_sam2unet.errors import InputError
from monai_sam2unet.io import open_image
from monai_sam2unet.pictures import PICTURE_SUFFIXES, open_mask, write_png

__all__ = ["Studies", "as_pictures", "read_label"]

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
"""3D Slicer sends labels of pictures as volumes of one slice."""


class Studies(LocalDatastore):
    """MONAI Label's folder of studies, into which no file gets that a training could not use."""

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Keep a picture.

        Raises:
            HTTPException: 400 if it cannot be read.
        """
        try:
            open_image(image_filename)
        except InputError as e:
            raise HTTPException(400, _without(e, image_filename)) from e
        return str(super().add_image(image_id, image_filename, image_info))

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Keep the label of a picture.

        Raises:
            HTTPException: 404 if there is no such picture; 400 if the label cannot be read, or is of
                another size.
        """
        picture = self.get_image_uri(image_id)
        if not picture:
            raise HTTPException(404, f"no picture {image_id!r} among the {len(self.list_images())} here")
        try:
            label, size = read_label(label_filename), open_image(picture).size
        except InputError as e:
            raise HTTPException(400, _without(e, label_filename)) from e
        if label.shape != size[::-1]:
            got = f"{label.shape[1]}x{label.shape[0]}"
            raise HTTPException(
                400,
                f"the label is {got} pixels, the picture {image_id!r} is {size[0]}x{size[1]}: not its label",
            )
        return str(super().save_label(image_id, label_filename, label_tag, label_info))


def read_label(path: str | Path) -> NDArray[np.uint8]:
    """Read a label as a mask.

    Args:
        path: a picture file, or a volume of one slice (NIfTI, NRRD, MetaImage).

    Returns:
        (H, W), 0 or 255; in a volume every number above 0 is the structure.

    Raises:
        InputError: if it cannot be read, or has several slices.
    """
    if not str(path).lower().endswith(VOLUME_SUFFIXES):
        return np.asarray(open_mask(path))
    try:
        values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    except RuntimeError as e:
        raise InputError(f"{path}: no volume that can be read ({str(e).strip().splitlines()[-1]})") from e
    planes = values.reshape(-1, *values.shape[-2:]) if values.ndim > 1 else values[None]
    if len(planes) != 1 or planes.ndim != 3:
        raise InputError(f"{path}: a label of a picture must have one slice, got shape {values.shape}")
    return np.where(planes[0] > 0, 255, 0).astype(np.uint8)


def as_pictures(items: Sequence[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """A datalist whose labels are all pictures.

    Args:
        items: ``image`` and ``label``, paths.
        folder: where to write labels that are volumes as PNG; made if there are any.

    Returns:
        The items, with the paths of the new files.

    Raises:
        InputError: see `read_label`.
    """
    converted = []
    for item in items:
        label = item["label"]
        if not str(label).lower().endswith(PICTURE_SUFFIXES):
            folder.mkdir(parents=True, exist_ok=True)
            label = str(folder / f"{Path(item['image']).stem}.png")
            write_png(label, read_label(item["label"]))
        converted.append({**item, "label": label})
    return converted


def _without(error: InputError, path: str) -> str:
    """A message without the name of the temporary file that an upload lies in."""
    return str(error).replace(str(path), "the file").replace(tempfile.gettempdir(), "")
