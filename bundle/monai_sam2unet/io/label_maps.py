"""Label maps as NIfTI files that lie on their volume.

Shape legend: ``X Y Z`` the axes of a volume as its file stores them.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel
import numpy as np

from monai_sam2unet.files import make_folder, write_atomically

__all__ = ["write_label_map"]


def write_label_map(path: str | os.PathLike[str], label_map: np.ndarray, affine: np.ndarray) -> None:
    """Write a label map, packed, whole or not at all; the same content gives the same bytes.

    Args:
        path: a file that ends in ``.nii.gz``; its folder is made.
        label_map: (X, Y, Z), uint8, 0 for background.
        affine: 4x4, from indices to mm, RAS+, of the volume.
    """
    image = nibabel.Nifti1Image(label_map.astype(np.uint8), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)  # 1: in the scanner's coordinates
    edges = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.allclose(edges.T @ edges, np.eye(3), atol=1e-4):  # a qform cannot show slanted axes
        image.set_qform(affine, code=1)
    packed = gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
    file = Path(path)
    make_folder(file.parent)
    write_atomically(file, lambda opened: opened.write(packed))
