"""DICOM's stored values as the grey levels or colours that a viewer shows.

Stored values are ``(H, W)`` or ``(H, W, 3)`` arrays as pydicom decodes them, YCbCr already converted to RGB.
The order of the steps is that of PS3.4, N.2.1: modality transformation, values of interest, presentation.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi

from monai_sam2unet.errors import InputError
from monai_sam2unet.io.windows import Window, stretch, windowed

# Functional groups of enhanced objects that say how stored values become grey levels (PS3.3, C.7.6.16.2).
_GREY_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
_GREY_ELEMENTS = (
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
)


def grey_elements(header: Dataset, index: int) -> Dataset:
    """The elements that make grey levels of a frame: its own, those shared by all frames, the file's.

    Args:
        header: the data set.
        index: the frame, from 0.

    Returns:
        A data set of these elements alone.
    """
    found = Dataset()
    found.file_meta = header.file_meta  # by which pydicom knows the byte order of tables
    for place in (header, *_groups(header, index)):
        for keyword in _GREY_ELEMENTS:
            if keyword in place and not place[keyword].is_empty:
                found[keyword] = place[keyword]
    return found


def _groups(header: Dataset, index: int) -> list[Dataset]:
    """The functional groups of a frame that matter here, the shared ones first."""
    shared = header.get("SharedFunctionalGroupsSequence") or []
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    items = [*shared[:1], *own[index : index + 1]]
    return [item[name][0] for item in items for name in _GREY_GROUPS if item.get(name)]


def file_window(elements: Dataset) -> Window | None:
    """The first window that a file names, if it is one: some files have a width of 0."""
    centre, width = (_first(elements.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or not width > 0:
        return None
    function = str(elements.get("VOILUTFunction", "LINEAR"))
    known = function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    return Window(float(centre), float(width), function if known else "LINEAR")


def padding(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Where a frame has no picture: Pixel Padding Value, to Pixel Padding Range Limit (PS3.3, C.7.5.1.1.2).

    Args:
        stored: (H, W), before any transformation.
        header: the data set.

    Returns:
        (H, W), bool.
    """
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = header.get("PixelPaddingRangeLimit")
    ends = [_as_stored(int(end), header) for end in (value, value if limit is None else limit)]
    return (stored >= min(ends)) & (stored <= max(ends))


def _as_stored(value: int, header: Dataset) -> int:
    """A padding value as the pixels have it: many files write it with the other sign's VR."""
    if header.PixelRepresentation == 0:
        return value % 2**header.BitsAllocated
    half = 2 ** (header.BitsAllocated - 1)
    return (value + half) % (2 * half) - half


def values_of(stored: np.ndarray, elements: Dataset) -> np.ndarray:
    """The modality's values: Hounsfield units for CT.

    Args:
        stored: (H, W).
        elements: what `grey_elements` gives.
    """
    return apply_modality_lut(stored, elements)


def needs_span(header: Dataset, elements: Dataset) -> bool:
    """Whether nothing in the file says which values are black and white."""
    deep = header.BitsStored > 8 if "BitsStored" in header else True  # float pixels have no BitsStored
    return deep and "VOILUTSequence" not in elements and file_window(elements) is None


def show_grey(
    stored: np.ndarray,
    header: Dataset,
    elements: Dataset,
    window: Window | None,
    ends: tuple[float, float] | None,
) -> np.ndarray:
    """Stored values of one sample as a viewer shows them.

    Args:
        stored: (H, W).
        header: the data set.
        elements: what `grey_elements` gives.
        window: in the place of the file's own.
        ends: black and white where the file says nothing (`needs_span`).

    Returns:
        (H, W), uint8; padding is black.
    """
    own = file_window(elements)
    if window is not None:
        grey = windowed(values_of(stored, elements), window)
    elif "VOILUTSequence" in elements:
        grey = _by_table(values_of(stored, elements), elements)
    elif own is not None:
        grey = windowed(values_of(stored, elements), own)
    elif ends is not None:
        grey = stretch(values_of(stored, elements), *ends)
    else:
        low = -(2 ** (header.BitsStored - 1)) if header.PixelRepresentation else 0
        grey = stretch(stored, low, low + 2**header.BitsStored - 1)
    if header.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    grey[padding(stored, header)] = 0
    return grey


def show_colour(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Stored colours or palette numbers as 8-bit RGB; of more bits the upper eight are kept.

    Args:
        stored: (H, W, 3), or (H, W) for a palette.
        header: the data set.

    Returns:
        (H, W, 3), uint8.
    """
    if header.PhotometricInterpretation != "PALETTE COLOR":
        return _upper_eight(stored, int(header.BitsStored))
    colours = apply_color_lut(stored, header)[..., :3]
    return _upper_eight(colours, _bits_of_palette(colours, header))


def _bits_of_palette(colours: np.ndarray, header: Dataset) -> int:
    """Bits of the palette's entries: some writers put entries of 8 bits into tables of 16."""
    if colours.dtype.itemsize == 1:
        return 8
    entries, first, _ = header.RedPaletteColorLookupTableDescriptor
    table = apply_color_lut(np.arange(first, first + (entries or 2**16)), header)
    return 8 if table.max() < 256 else 16


def _by_table(values: np.ndarray, elements: Dataset) -> np.ndarray:
    """Grey levels of the first VOI LUT."""
    bits = int(elements.VOILUTSequence[0].LUTDescriptor[2])
    whole = np.rint(values).astype(np.int64)  # a table has an entry for each whole number
    return stretch(apply_voi(whole, elements), 0, 2**bits - 1)


def _upper_eight(colours: np.ndarray, bits: int) -> np.ndarray:
    if bits < 8:
        raise InputError(f"colour of {bits} bits is not read; expected 8 or more")
    return (colours >> (bits - 8)).astype(np.uint8)


def _first(value: object) -> float | None:
    """The first of one or more numbers."""
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else None
    return None if value is None else float(str(value))
