"""Masks of the classes of a picture, from label maps by value or by colour, or from a mask of each class.

Shape legend: ``K`` classes (the background is none), ``H`` rows, ``W`` columns, ``*S`` spatial axes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_sam2unet.classes import Classes
from monai_sam2unet.errors import InputError
from monai_sam2unet.pictures import open_label_map, open_mask

__all__ = ["BLACK", "BLOCK", "LabelReader"]

BLACK = (0, 0, 0)
"""The background's colour."""

BLOCK = 8
"""Pixels that an edge reaches in a JPEG, which compresses blocks of 8x8; no ringing lies further off."""

FARTHEST = 3 * 255**2 + 1
"""More than the square of the distance of any two colours."""

PathLike = str | os.PathLike[str]
Masks = npt.NDArray[np.uint8]


class LabelReader:
    """Reads what belongs to one picture: a label map, or masks.

    One class without values, colours and a value to ignore is the case of plain masks, of which several are
    one by their union (:func:`monai_sam2unet.pictures.open_mask`). In all others a picture has one label map,
    or a list of exactly K masks, one of each class in their order, which may overlap.

    A label map with grey levels or a palette is read by value: 0 is background. With ``colours``, one in
    colour (a palette, too) is read by colour: a pixel is of the nearest one, black being background. JPEG
    blurs colours near edges, where the mixture of two may resemble a third. So for a pixel farther than
    ``tolerance`` from all colours only those count that the nearest pixels of a certain colour have (one
    pixel more is as near). If none is within `BLOCK` pixels, the file holds a colour that was not named:
    an error.

    Args:
        classes: names, empty for one structure without a name.
        values: of the classes in label maps, each above 0; 1 to K if empty.
        colours: of the classes in label maps in colour, RGB in 0..255; empty if there are none.
        tolerance: Euclidean distance in RGB up to which a colour is one of these.
        ignore_index: value of pixels that are to count nowhere; -1 if there is none.

    Raises:
        InputError: if values or colours are not as many as the classes, or not all different.

    Example:
        >>> LabelReader(["liver", "tumour"]).split(np.array([[0, 1, 2]]), "a.png").tolist()
        [[[0, 255, 0]], [[0, 0, 255]]]
    """

    def __init__(
        self,
        classes: Sequence[str] = (),
        values: Sequence[int] = (),
        colours: Sequence[Sequence[int]] = (),
        tolerance: float = 60.0,
        ignore_index: int = -1,
    ) -> None:
        self.names = Classes.of(classes).names
        self.plain = len(self.names) == 1 and not values and not colours and ignore_index < 0
        self.values = tuple(values) or tuple(range(1, len(self.names) + 1))
        self.colours = tuple(tuple(colour) for colour in colours)
        self.tolerance = tolerance
        self.ignore_index = ignore_index
        if problems := label_problems(len(self.names), self.values, self.colours, ignore_index):
            raise InputError("; ".join(problems))

    @property
    def ignores(self) -> bool:
        """Whether there may be pixels that count nowhere, which then are one more channel, the last."""
        return self.ignore_index >= 0

    def read(self, paths: Sequence[PathLike]) -> Masks:
        """Read the files of one picture.

        Args:
            paths: of its label map, or of its masks.

        Returns:
            (K, H, W), 255 where the class is, else 0; (K + 1, H, W) if pixels may be ignored, with the mask
            of those last.

        Raises:
            InputError: if a file cannot be used, their number is wrong, or their sizes differ.
        """
        if self.plain:
            return _masks(paths).max(axis=0, keepdims=True)
        if len(paths) == 1:
            return self._label_map(os.fspath(paths[0]))
        if len(paths) != len(self.names):
            raise InputError(
                f"{paths[0]}: expected one label map, or {len(self.names)} masks, one a class "
                f"({', '.join(self.names)}), got {len(paths)} files"
            )
        masks = _masks(paths)
        return np.concatenate([masks, np.zeros_like(masks[:1])]) if self.ignores else masks

    def split(self, label_map: npt.NDArray[np.generic], source: str) -> Masks:
        """Masks from the values of a label map.

        Args:
            label_map: (*S).
            source: what it was read from, for messages.

        Returns:
            (K, *S) or (K + 1, *S), as `read` says.

        Raises:
            InputError: if there is a value that means nothing.
        """
        named = (*self.values, self.ignore_index) if self.ignores else self.values
        unknown = np.setdiff1d(np.unique(label_map), (0, *named))
        if unknown.size:
            meant = ", ".join(f"{v} {n}" for v, n in zip(self.values, self.names, strict=True))
            ignored = f", {self.ignore_index} to ignore" if self.ignores else ""
            raise InputError(
                f"{source}: holds the values {_few(unknown)}, expected label numbers: "
                f"0 background, {meant}{ignored}; correct the file, or give label_values or ignore_index"
            )
        shape = (-1, *[1] * label_map.ndim)
        return np.where(label_map[None] == np.reshape(named, shape), 255, 0).astype(np.uint8)

    def _label_map(self, path: str) -> Masks:
        """Masks from the label map of a file."""
        array = open_label_map(path, in_colour=bool(self.colours))
        if array.ndim == 2:
            return self.split(array, path)
        if not self.colours:
            raise InputError(
                f"{path}: is in colour, expected a label map of numbers; give the colours of the classes "
                f"({', '.join(self.names)}) as label_colours"
            )
        numbers = self._by_colour(array, path)
        return np.where(numbers[None] == np.arange(1, len(self.names) + 1)[:, None, None], 255, 0).astype(
            np.uint8
        )

    def _by_colour(self, picture: Masks, path: str) -> npt.NDArray[np.intp]:
        """Number of the class of each pixel, (H, W), of a label map in colour, (H, W, 3)."""
        pixels = picture.astype(np.int32)
        distances = np.stack([((pixels - colour) ** 2).sum(axis=-1) for colour in (BLACK, *self.colours)])
        numbers = distances.argmin(axis=0)
        far = distances.min(axis=0) > self.tolerance**2
        if not far.any():
            return numbers
        steps = np.stack([_steps((numbers == k) & ~far) for k in range(len(distances))])
        if steps.min(axis=0)[far].max() > BLOCK:
            worst = np.where(far, steps.min(axis=0), 0)
            row, column = np.unravel_index(worst.argmax(), worst.shape)
            raise InputError(
                f"{path}: the colour {picture[row, column].tolist()} at row {row}, column {column} is "
                f"farther than colour_tolerance {self.tolerance:g} from black and from all of label_colours "
                f"{[list(colour) for colour in self.colours]}; name it, or raise the tolerance"
            )
        beside = steps <= steps.min(axis=0) + 1
        return np.where(far, np.where(beside, distances, FARTHEST).argmin(axis=0), numbers)


def label_problems(
    count: int, values: Sequence[int], colours: Sequence[Sequence[int]], ignore_index: int
) -> list[str]:
    """What is wrong with the marks of classes in label maps.

    Args:
        count: of the classes.
        values: one of each class, each above 0; none at all for 1 to K.
        colours: one of each class, or none at all.
        ignore_index: value to ignore, below 0 for none.

    Returns:
        A sentence for each problem; empty if there is none.
    """
    problems = []
    given: Sequence[tuple[int, ...]]
    for name, given in (
        ("label_values", [(v,) for v in values]),
        ("label_colours", [(*c,) for c in colours]),
    ):
        if given and len(given) != count:
            problems.append(f"{name} must have one of each class, {count}, got {len(given)}")
        if len({*given}) < len(given) or any(not any(mark) for mark in given):
            told = [mark[0] if len(mark) == 1 else list(mark) for mark in given]
            problems.append(f"{name} must differ from each other and from 0, the background, got {told}")
    if ignore_index == 0 or ignore_index in (values or range(1, count + 1)):
        problems.append(
            "ignore_index must be a value that means nothing else in label maps, got "
            f"{ignore_index}; -1 is none"
        )
    return problems


def _steps(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Pixels from each pixel to the nearest one of a mask; infinite if that is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    steps: npt.NDArray[np.float64] = ndimage.distance_transform_edt(~mask)
    return steps


def _few(values: npt.NDArray[np.generic]) -> str:
    """The first five of some numbers."""
    told = ", ".join(f"{value:g}" for value in values[:5].tolist())
    return f"{told}, ..." if len(values) > 5 else told


def _masks(paths: Sequence[PathLike]) -> Masks:
    """Several masks of one picture, (N, H, W), values 0 and 255."""
    masks = [np.asarray(open_mask(path)) for path in paths]
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != masks[0].shape:
            raise InputError(
                f"{path}: the mask is {mask.shape} (height, width), expected {masks[0].shape} as {paths[0]}; "
                "masks of one picture must be of its size"
            )
    return np.stack(masks)
