"""The structures that a network tells apart: their names, their channels, their colours, their label map.

Shape legend: ``K`` classes (the background is none), ``C`` channels of the network, ``*S`` spatial axes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monai_sam2unet.errors import InputError

__all__ = ["ACTIVATIONS", "MOST_CLASSES", "Classes"]

ACTIVATIONS = ("sigmoid", "softmax")
"""``sigmoid``: each class for itself, classes may overlap; ``softmax``: each pixel is one class or none."""

ONE_STRUCTURE = "structure"  # what configs/metadata.json calls it, too

MOST_CLASSES = 254
"""Label maps are 8 bits: 0 is background, 255 what is to be ignored."""

# Okabe and Ito's palette, which all forms of colour blindness tell apart, from the colour of predictions on;
# yellow, the colour of references, and black, that of the background, are left out.
_COLOURS = (
    (86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (0, 114, 178),
)  # fmt: skip
_WORDS = ("Blue", "Orange", "Green", "Purple", "Red", "Dark blue")

# Results of a class may lie in a folder of its name, on any file system, and its figures bear it in MLflow.
_FIT = re.compile(r"[\w-]([\w. -]*[\w-])?")


@dataclass(frozen=True)
class Classes:
    """Names of the classes, and how the network's channels stand for them.

    Args:
        names: of each class in the order of the label map's values 1 to K, without the background.
        activation: one of `ACTIVATIONS`. ``softmax`` has a channel for the background, the first.

    Raises:
        InputError: if there is no name or too many, a name is empty, there twice or no name for a folder, or
            the activation is unknown.

    Example:
        >>> classes = Classes(("neoplastic", "non-neoplastic"), "softmax")
        >>> classes.count, classes.out_channels, classes.exclusive
        (2, 3, True)
    """

    names: tuple[str, ...] = (ONE_STRUCTURE,)
    activation: str = "sigmoid"

    def __post_init__(self) -> None:
        names = self.names
        if not all(isinstance(name, str) and name.strip() for name in names) or len(set(names)) < len(names):
            raise InputError(f"classes must be names that differ, got {list(names)}; the background is none")
        if unfit := [name for name in names if not _FIT.fullmatch(name)]:
            raise InputError(
                "classes must be names of letters, digits, - and _, with dots and spaces between these, got "
                f"{unfit}"
            )
        if len({name.lower() for name in names}) < len(names):
            raise InputError(f"classes must differ in more than capitals, got {list(names)}")
        if not 1 <= len(names) <= MOST_CLASSES:
            raise InputError(f"classes must be 1 to {MOST_CLASSES} names, got {len(names)}")
        if self.activation not in ACTIVATIONS:
            raise InputError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")

    @classmethod
    def of(cls, names: Sequence[str], activation: str = "sigmoid") -> Classes:
        """Classes as settings say them, where no name at all means one structure without a name of its own.

        Args:
            names: as the setting ``classes``, possibly empty.
            activation: as the setting ``activation``.
        """
        if isinstance(names, str):
            raise InputError(f"classes must be a list of names such as ['liver','tumour'], got {names!r}")
        return cls(tuple(names) or (ONE_STRUCTURE,), activation)

    @property
    def count(self) -> int:
        """K, without the background."""
        return len(self.names)

    @property
    def exclusive(self) -> bool:
        """Whether a pixel belongs to one class at most."""
        return self.activation == "softmax"

    @property
    def out_channels(self) -> int:
        """C, the channels of the network."""
        return self.count + self.exclusive

    @property
    def colours(self) -> tuple[tuple[int, int, int], ...]:
        """A colour of each class, RGB in 0..255; they begin anew after six classes."""
        return tuple(_COLOURS[k % len(_COLOURS)] for k in range(self.count))

    def legend(self) -> str:
        """Which colour each class has, in words; classes after the sixth share a colour.

        Example:
            >>> Classes(("a", "b")).legend()
            'Blue: a. Orange: b.'
        """
        return " ".join(f"{_WORDS[k % len(_WORDS)]}: {name}." for k, name in enumerate(self.names))

    def label_map(self, masks: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
        """One number for each pixel: 0 for background, k for the k-th class.

        Where masks overlap, the later class counts.

        Args:
            masks: (K, *S), bool or non-zero where the class is.

        Returns:
            (*S), values 0 to K.

        Raises:
            ValueError: if the masks are not K.

        Example:
            >>> Classes(("a", "b")).label_map(np.array([[[1, 1, 0]], [[0, 1, 0]]])).tolist()
            [[1, 2, 0]]
        """
        if len(masks) != self.count:
            raise ValueError(f"expected masks of {self.count} classes, got {len(masks)}")
        out = np.zeros(masks.shape[1:], np.uint8)
        for value, mask in enumerate(masks, start=1):
            out[mask.astype(bool)] = value
        return out

    def masks(self, label_map: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
        """The mask of each class in a label map.

        Args:
            label_map: (*S), values 0 to K; others belong to no class.

        Returns:
            (K, *S).
        """
        values = np.arange(1, self.count + 1).reshape(-1, *[1] * label_map.ndim)
        return np.asarray(label_map[None] == values)
