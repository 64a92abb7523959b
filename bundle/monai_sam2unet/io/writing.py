"""Masks of a source's frames as PNG files, and as a NIfTI or NRRD volume that lies on the source.

Shape legend: ``K`` classes, ``H`` rows, ``W`` columns; ``X Y Z`` the axes of a volume as it is stored.

Every writer takes the results frame by frame and in the order of the frames, so that they need not be in
memory together, and writes each file under another name before it takes its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK
from PIL import Image

from monai_sam2unet.class_pictures import label_map_picture
from monai_sam2unet.classes import Classes
from monai_sam2unet.files import copy_file
from monai_sam2unet.io.geometry import Grid, grid_of
from monai_sam2unet.io.label_maps import write_label_map
from monai_sam2unet.io.source import Frame, Source
from monai_sam2unet.pictures import write_png

__all__ = ["Masks", "Results", "label_picture", "write_nifti", "write_nrrd", "write_pngs"]

Masks = npt.NDArray[np.bool_]
Results = Iterable[tuple[Frame[Any], Masks]]
"""Each frame with its masks, (K, H, W)."""

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_pngs(target: Path, source: Source[Any], results: Results, classes: Classes) -> list[Path]:
    """Write a PNG file for each frame.

    Of one structure it is 0 and 255, of classes that exclude each other the number of each pixel's class, in
    the colours of the classes (mode P), of others a file of 0 and 255 for each class.

    Args:
        target: path of the result without suffix. A source of one frame becomes ``TARGET.png``; others
            become ``TARGET/0001.png`` and so on; several classes that may overlap
            ``TARGET/1-NAME.png``, or ``TARGET/1-NAME/0001.png``.
        source: the frames' source.
        results: frames and masks.
        classes: what the masks stand for.

    Returns:
        The files.

    Raises:
        InputError: If a frame cannot be read or writing fails; the files written before are removed.
    """
    files: list[Path] = []
    try:
        for file, picture in _named_pictures(target, source, results, classes):
            write_png(file, picture)
            files.append(file)
    except BaseException:  # Ctrl-C as well: half of a cine must not be taken for all of it
        for file in files:
            file.unlink(missing_ok=True)
        raise
    return files


def label_picture(masks: Masks, classes: Classes) -> np.ndarray | Image.Image:
    """One picture of all masks: 0 and 255 of one structure, else class numbers in the classes' colours.

    Args:
        masks: (K, H, W), of one structure or of classes that exclude each other.
        classes: what they stand for.
    """
    if classes.count == 1:
        return masks[0].astype(np.uint8) * np.uint8(255)
    return label_map_picture(masks, classes)


def write_nifti(target: Path, source: Source[Any], results: Results, classes: Classes) -> list[Path]:
    """Write a NIfTI-1 volume, packed, of the source's shape and affine.

    Its values are class numbers, 0 for background, uint8. Classes that may overlap get a volume each.

    Args:
        target: path of the result without suffix: ``TARGET.nii.gz``, or ``TARGET/1-NAME.nii.gz``.
        source: a volume, or DICOM frames at even distances in the patient.
        results: frames and masks.
        classes: what the masks stand for.

    Returns:
        The files.

    Raises:
        InputError: If the source has no place in a patient, or writing fails.
    """
    return _write_volumes(target, ".nii.gz", source, results, classes, _nifti_file)


def write_nrrd(target: Path, source: Source[Any], results: Results, classes: Classes) -> list[Path]:
    """Write an NRRD volume, packed; all else is as `write_nifti` says."""
    return _write_volumes(target, ".nrrd", source, results, classes, _nrrd_file)


def _named_pictures(
    target: Path, source: Source[Any], results: Results, classes: Classes
) -> Iterator[tuple[Path, np.ndarray | Image.Image]]:
    """Each picture with its file."""
    digits = max(4, len(str(len(source))))
    for frame, masks in results:
        number = f"{frame.number:0{digits}d}.png"
        for place, picture in _pictures(target, masks, classes):
            yield place / number if len(source) > 1 else place.with_name(f"{place.name}.png"), picture


def _pictures(
    target: Path, masks: Masks, classes: Classes
) -> Iterator[tuple[Path, np.ndarray | Image.Image]]:
    """The pictures of a frame and their paths, without suffix."""
    if classes.count == 1 or classes.exclusive:
        yield target, label_picture(masks, classes)
    else:
        for name, mask in zip(_class_names(classes), masks, strict=True):
            yield target / name, mask.astype(np.uint8) * np.uint8(255)


def _class_names(classes: Classes) -> list[str]:
    """Names of files, in the order of the classes."""
    return [f"{k}-{name}" for k, name in enumerate(classes.names, start=1)]


def _write_volumes(
    target: Path,
    suffix: str,
    source: Source[Any],
    results: Results,
    classes: Classes,
    write: Callable[[Path, np.ndarray, Grid], None],
) -> list[Path]:
    """Collect the masks in a volume as the source is stored, or one for each class, and write them."""
    grid = grid_of(source)
    together = classes.count == 1 or classes.exclusive
    volumes = [np.zeros(grid.shape, np.uint8) for _ in range(1 if together else classes.count)]
    for frame, masks in results:
        for volume, values in zip(volumes, [classes.label_map(masks)] if together else masks, strict=True):
            grid.view(volume, frame)[...] = values
    places = [target] if together else [target / name for name in _class_names(classes)]
    files = [place.with_name(place.name + suffix) for place in places]
    for file, volume in zip(files, volumes, strict=True):
        write(file, volume, grid)
    return files


def _nifti_file(file: Path, volume: np.ndarray, grid: Grid) -> None:
    """A NIfTI-1 file."""
    write_label_map(file, volume, grid.affine)


def _nrrd_file(file: Path, volume: np.ndarray, grid: Grid) -> None:
    """An NRRD file by SimpleITK, which goes by names and knows LPS+ alone."""
    affine = _RAS_TO_LPS @ grid.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(volume.transpose(2, 1, 0))  # ITK's arrays have the last axis first
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "volume.nrrd")
        SimpleITK.WriteImage(image, str(made), useCompression=True)
        copy_file(made, file)
