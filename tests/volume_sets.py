"""Small synthetic volumes to train on: two structures that grey levels tell apart."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np

SHAPE = (20, 26, 8)  # along the axes as stored, no two alike
AFFINE = np.array([[-1.0, 0, 0, 9], [0, -1.5, 0, 20], [0, 0, 3.0, -4], [0, 0, 0, 1]])  # LPS
NAMES = ("head", "tail")


def phantom(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A volume, int16, and its label map, uint8, (X, Y, Z): a bright box and beside it a darker one."""
    rng = np.random.Generator(np.random.PCG64(seed))
    values = rng.normal(20, 5, SHAPE)
    label = np.zeros(SHAPE, np.uint8)
    x, y, z = rng.integers(2, 5), rng.integers(2, 6), rng.integers(1, 3)
    label[x : x + 8, y : y + 9, z : z + 4] = 1
    label[x + 4 : x + 12, y + 11 : y + 17, z + 1 : z + 5] = 2
    values[label == 1] += 200
    values[label == 2] += 90
    return values.astype(np.int16), label


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def write_volumes(root: Path, count: int, named: bool = True) -> Path:
    """Write volumes as the Medical Segmentation Decathlon has them.

    Args:
        root: where to.
        count: how many.
        named: whether ``dataset.json`` names the classes.

    Returns:
        The root.
    """
    for number in range(1, count + 1):
        values, label = phantom(number)
        save(root / "imagesTr" / f"case_{number:03d}.nii.gz", values)
        save(root / "labelsTr" / f"case_{number:03d}.nii.gz", label)
    if named:
        labels = {"0": "background", **{str(k): name for k, name in enumerate(NAMES, start=1)}}
        (root / "dataset.json").write_text(json.dumps({"name": "phantoms", "labels": labels, "training": []}))
    return root
