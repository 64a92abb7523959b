"""Pictures in and out: any common picture file as 8-bit RGB or as a 0/255 mask, and PNG files.

Arrays are ``(H, W)`` or ``(H, W, 3)``, uint8, rows from the top, columns from the left, as a viewer shows
the picture. Only Pillow and NumPy are needed here, so that this module also serves programs without torch.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from monai_sam2unet.errors import InputError
from monai_sam2unet.files import write_atomically

__all__ = [
    "PICTURE_FORMATS",
    "PICTURE_SUFFIXES",
    "open_label_map",
    "open_mask",
    "open_mask_and_grey",
    "open_picture",
    "to_mask",
    "to_rgb",
    "write_png",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".ppm", ".pgm")

# A closed list: Pillow's other plug-ins run outside programs (EPS) or are not pictures (PDF, WMF).
PICTURE_FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM")

# How many times Pillow's limit (89 million pixels) a picture may have. Pillow itself refuses above this;
# between the two it only warns of files made to fill the memory. Here a user names the files himself, large
# pictures are among them (10000x10000 is 100 million), and decoding 179 million pixels takes a bearable 1.4
# GB.
LARGEST = 2

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")

# How pictures are packed, without loss. By zlib's defaults colour takes four times as long, for files smaller
# by an eighth. Predicted maps and masks are runs of one value: looking for nothing else is as small and takes
# half the time.
_RUNS = {"compress_type": zlib.Z_RLE}
_FAST = {"compress_level": 1}


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any picture to 8-bit RGB, upright.

    * The first frame of several is taken; the EXIF orientation is applied (the picture as a viewer shows it).
    * Palettes and CMYK become their colours, 1-bit and 8-bit grey the same grey in three channels.
    * Transparency (an alpha channel, or a transparent colour) is composited over black.
    * 16-bit and 32-bit integer grey and float grey are stretched linearly from the picture's own minimum
      and maximum to 0..255; a constant picture becomes 0. NaN and -Inf become 0, +Inf 255; they have no part
      in minimum and maximum. Colour of 16 bits per channel keeps its upper 8 bits, as Pillow reads it.

    Args:
        image: A picture of Pillow's, of any mode.

    Returns:
        A new picture of mode "RGB".
    """
    image = _upright(image)
    if _is_deep(image):
        return Image.fromarray(_stretch(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it once more


def to_mask(image: Image.Image) -> Image.Image:
    """Convert any picture of a mask to 0 (background) and 255 (object), upright.

    The value of a pixel is its brightest colour channel, so that colour-coded masks and palettes count;
    transparency is ignored. It is object where ``value >= range / 2``; the range is 1 if no value of the
    picture exceeds 1, 255 if none exceeds 255, and 65535 otherwise. So masks of {0, 1}, of {0, 255}, of
    16 bits, and JPEG masks with values near 0 and 255 all work, and an all-black mask stays empty. NaN counts
    as 0, +Inf as object. Class numbers such as {0, 2} are no mask: they are below half of 255.

    Args:
        image: A picture of Pillow's, of any mode.

    Returns:
        A new picture of mode "L" with no values but 0 and 255.
    """
    return _binarise(_mask_values(image))


def open_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Open a picture file, decode it wholly and convert it by :func:`to_rgb`.

    Raises:
        InputError: If the file is missing, empty, damaged, too large or no picture; it names the path.
    """
    return _open(path, to_rgb)


def open_mask(path: str | os.PathLike[str]) -> Image.Image:
    """Open a mask file, decode it wholly and convert it by :func:`to_mask`.

    A mask that has values above 1 and yet none of half the range comes out empty, with a warning in the log:
    it may hold class numbers.

    Raises:
        InputError: If the file is missing, empty, damaged, too large or no picture; it names the path.
    """
    return _mask_of(path, _open(path, _mask_values))


def open_mask_and_grey(path: str | os.PathLike[str]) -> tuple[Image.Image, Image.Image | None]:
    """Open a mask file as :func:`open_mask` does, and its grey values as stored, decoded once for both.

    Raises:
        InputError: If the file is missing, empty, damaged, too large or no picture; it names the path.

    Returns:
        The mask, and a picture of mode "L": of colour the luminance; None if the file has more than 8 bits.
    """
    values, grey = _open(path, _mask_values_and_grey)
    return _mask_of(path, values), grey


def open_label_map(path: str | os.PathLike[str], in_colour: bool = False) -> np.ndarray:
    """Open a file whose values or colours stand for classes, and decode it wholly; upright.

    Args:
        path: The file.
        in_colour: Whether pictures in colour, and palettes, are taken by their colours. Otherwise the value
            of a palette is its index, and colour with three equal channels is grey.

    Returns:
        The values, ``(H, W)``, in the file's own range and dtype; or the colours, ``(H, W, 3)``, uint8, of a
        picture in colour.

    Raises:
        InputError: If the file is missing, empty, damaged, too large or no picture; it names the path.
    """
    return _open(path, functools.partial(_labels, in_colour=in_colour))


def write_png(path: str | os.PathLike[str], picture: np.ndarray | Image.Image, lasting: bool = True) -> None:
    """Write a PNG file so that a reader sees the old file or the whole new one, never a part.

    Args:
        path: Where to; must end in ".png". Missing parent folders are made.
        picture: uint8 array ``(H, W)`` or ``(H, W, 3)``, or a picture of Pillow's.
        lasting: As `write_atomically` takes it.

    Raises:
        ValueError: If the suffix, shape, dtype or mode cannot be written as PNG.
        InputError: If writing fails (disk full, no permission); it names the path, and no part of a file
            stays.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"path must end in .png, got {path}")
    encoded = io.BytesIO()  # in memory first: Pillow's encoder hides why a write to a file failed
    image = _as_image(picture)
    image.save(encoded, format="PNG", **(_FAST if image.mode.startswith("RGB") else _RUNS))
    write_atomically(path, lambda file: file.write(encoded.getbuffer()), lasting=lasting)


def _upright(image: Image.Image) -> Image.Image:
    """A copy of the first frame, decoded, with its EXIF orientation applied."""
    if getattr(image, "n_frames", 1) > 1:
        image.seek(0)
    image.load()  # out of the try: damaged pixels are an error, other than damaged EXIF data
    try:
        return ImageOps.exif_transpose(image)
    except Exception as err:  # Pillow raises anything on damaged EXIF data, which viewers pass over
        logger.warning("unreadable EXIF data, orientation not applied: %s", err)
        return image.copy()


def _is_deep(image: Image.Image) -> bool:
    """Whether the picture is grey of more than 8 bits (modes I, F and the family of I;16)."""
    return image.mode == "F" or image.mode.startswith("I")


def _stretch(values: np.ndarray) -> np.ndarray:
    """Map minimum..maximum of ``(H, W)`` numbers to 0..255, uint8; a constant picture to 0."""
    values = values.astype(np.float64)  # the span of two float32 numbers may exceed float32
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    values = np.nan_to_num(values, nan=low, posinf=np.inf, neginf=low)
    top = np.isposinf(values)
    values[top] = low
    scaled = np.rint((values - low) * (255.0 / (high - low))) if high > low else np.zeros_like(values)
    scaled[top] = 255
    return scaled.astype(np.uint8)


def _mask_values(image: Image.Image) -> np.ndarray:
    """The brightest colour channel of each pixel, ``(H, W)``, in the file's own range."""
    return _brightest(_upright(image))


def _mask_values_and_grey(image: Image.Image) -> tuple[np.ndarray, Image.Image | None]:
    """What `_mask_values` gives, and the grey values of up to 8 bits."""
    image = _upright(image)
    return _brightest(image), None if _is_deep(image) else image if image.mode == "L" else image.convert("L")


def _brightest(image: Image.Image) -> np.ndarray:
    """The brightest colour channel of each pixel of an upright picture."""
    if image.mode in ("1", "L") or _is_deep(image):
        return np.asarray(image)
    if image.mode in ("LA", "La"):
        return np.asarray(image)[..., 0]
    # By RGBA, since Pillow warns of palettes with transparency that are converted to RGB.
    return np.asarray(image.convert("RGBA"))[..., :3].max(axis=-1)


def _labels(image: Image.Image, in_colour: bool) -> np.ndarray:
    """The values of a label map, or its colours, as :func:`open_label_map` says."""
    image = _upright(image)
    if image.mode in ("1", "L") or _is_deep(image) or (image.mode == "P" and not in_colour):
        return np.asarray(image)
    if image.mode in ("LA", "La") or (image.mode == "PA" and not in_colour):
        return np.asarray(image)[..., 0]
    colours = np.asarray(to_rgb(image))
    is_grey = not in_colour and (colours == colours[..., :1]).all()
    return colours[..., 0] if is_grey else colours


def _binarise(values: np.ndarray) -> Image.Image:
    """0/255 picture of ``values >= range / 2``; the range is found as :func:`to_mask` says."""
    whole = values.dtype.kind in "biu"
    finite = values if whole else values[np.isfinite(values)]
    brightest = finite.max() if finite.size else 0
    span = 1 if brightest <= 1 else 255 if brightest <= 255 else 65535
    half = (span + 1) // 2 if whole else span / 2  # whole numbers are not made floating to be compared
    return Image.fromarray((values >= half).view(np.uint8) * np.uint8(255))  # NaN compares as False


def _mask_of(path: str | os.PathLike[str], values: np.ndarray) -> Image.Image:
    """The mask of the values of a file, with the warning that :func:`open_mask` tells of."""
    mask = _binarise(values)
    if values.size and values.max() > 1 and mask.getextrema() == (0, 0):
        logger.warning("%s: no value above %g, below half of the range; taken as empty", path, values.max())
    return mask


def _open(path: str | os.PathLike[str], convert: Callable[[Image.Image], T]) -> T:
    """Open, decode and convert; every failure becomes an InputError that names the path."""
    path = Path(path)
    if not path.is_file():
        _refuse(path, "is a folder" if path.is_dir() else "no such file")
    try:
        if path.stat().st_size == 0:
            _refuse(path, "the file is empty (0 bytes)")
        Image.init()
        with Image.open(path, formats=[name for name in PICTURE_FORMATS if name in Image.OPEN]) as image:
            return convert(image)
    except InputError:
        raise
    except Image.DecompressionBombError as err:
        limit = LARGEST * (Image.MAX_IMAGE_PIXELS or 0)
        _refuse(path, f"it has more than the {limit} pixels allowed; cut it into parts", err)
    except UnidentifiedImageError as err:
        _refuse(path, "the contents are not a picture of a known kind, or damaged at the beginning", err)
    except Exception as err:  # Pillow's plug-ins raise OSError, SyntaxError, ValueError, struct.error, ...
        _refuse(path, f"cannot be decoded ({type(err).__name__}: {err})", err)


def _refuse(path: Path, reason: str, cause: Exception | None = None) -> NoReturn:
    """Raise the InputError of a file that is no readable picture."""
    raise InputError(
        f"{path}: {reason}; expected a readable picture (png, jpeg, bmp, tiff, webp, gif): replace the file "
        "or take it out of the data set"
    ) from cause


def _as_image(picture: np.ndarray | Image.Image) -> Image.Image:
    """Check that a picture can be stored as PNG, and make it one of Pillow's."""
    if isinstance(picture, Image.Image):
        if picture.mode not in _PNG_MODES:
            raise ValueError(f"picture must have a mode of {_PNG_MODES}, got {picture.mode}; use to_rgb")
        return picture
    array = np.asarray(picture)
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"picture must be uint8 (H, W) or (H, W, 3), got {array.dtype} {array.shape}")
    return Image.fromarray(np.ascontiguousarray(array))
