"""Grey levels: windows by name or number, and the stretch from minimum to maximum.

Values are NumPy arrays of any shape; grey levels are uint8, 0 (black) to 255 (white).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from monai_sam2unet.errors import InputError

__all__ = ["WINDOWS", "GivenWindow", "Window", "find_window", "grey_levels", "stretch", "windowed"]


@dataclass(frozen=True)
class Window:
    """A window of values, as DICOM's (0028,1050) and (0028,1051) give it.

    Attributes:
        centre: value of middle grey; for CT in Hounsfield units.
        width: from black to white, more than 0.
        function: DICOM's VOI LUT Function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.

    Raises:
        InputError: If the width is not more than 0, or a number is not finite.
    """

    centre: float
    width: float
    function: str = "LINEAR"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.centre) and math.isfinite(self.width) and self.width > 0):
            raise InputError(
                f"a window needs a centre and a width above 0, got centre {self.centre}, width {self.width}"
            )


GivenWindow = str | tuple[float, float] | Window

# Hounsfield units, as usual in reading rooms (Radiopaedia, "Windowing (CT)"): conventions, no standard.
WINDOWS = {
    "abdomen": Window(50, 400),
    "angio": Window(300, 600),
    "bone": Window(400, 1800),
    "brain": Window(40, 80),
    "liver": Window(30, 150),
    "lung": Window(-600, 1500),
    "mediastinum": Window(50, 350),
    "spine": Window(50, 250),
    "stroke": Window(40, 40),
    "subdural": Window(75, 215),
    "temporal_bone": Window(600, 2800),
}


def find_window(given: GivenWindow) -> Window:
    """A window from what a user gives.

    Args:
        given: a name of `WINDOWS`, ``(centre, width)``, or a window.

    Returns:
        The window.

    Raises:
        InputError: If the name is unknown or the numbers are no window.

    Example:
        >>> find_window("lung")
        Window(centre=-600, width=1500, function='LINEAR')
        >>> find_window((40, 80)) == find_window("brain")
        True
    """
    if isinstance(given, Window):
        return given
    if isinstance(given, str):
        if given not in WINDOWS:
            raise InputError(
                f"window {given!r} is not known; expected one of {', '.join(WINDOWS)}, or (centre, width)"
            )
        return WINDOWS[given]
    try:
        centre, width = (float(number) for number in given)
    except (TypeError, ValueError) as err:
        raise InputError(f"window must be a name or (centre, width), got {given!r}") from err
    return Window(centre, width)


def windowed(values: np.ndarray, window: Window) -> np.ndarray:
    """Grey levels of a window, by pydicom (PS3.3, C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: numbers, in the window's units. NaN becomes black.
        window: centre, width and function. The standard's LINEAR takes no width below 1: such windows are
            taken as LINEAR_EXACT.

    Returns:
        uint8, of the same shape.
    """
    voi = Dataset()
    voi.WindowCenter, voi.WindowWidth = window.centre, window.width
    narrow = window.function == "LINEAR" and window.width < 1
    voi.VOILUTFunction = "LINEAR_EXACT" if narrow else window.function
    # What pydicom takes the range of its results from: 0 to 255.
    voi.PhotometricInterpretation, voi.BitsStored, voi.PixelRepresentation = "MONOCHROME2", 8, 0
    with np.errstate(over="ignore"):  # far below a sigmoid's centre: exp is infinite, the result is 0
        grey = apply_windowing(values, voi)
    return np.rint(np.nan_to_num(grey, nan=0.0)).astype(np.uint8)


def span(values: np.ndarray) -> tuple[float, float]:
    """Minimum and maximum of the finite values, (0, 0) if there are none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def grey_levels(values: np.ndarray) -> np.ndarray:
    """Grey levels from the smallest (0) to the greatest value (255).

    Args:
        values: numbers of any range.

    Returns:
        uint8, of the same shape.
    """
    return stretch(values, *span(values))


def stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Grey levels from ``low`` (0) to ``high`` (255), linear.

    Args:
        values: numbers; what lies outside is clipped, NaN becomes 0.
        low: value of black.
        high: value of white; if it is not above ``low`` everything becomes 0.

    Returns:
        uint8, of the same shape.
    """
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    values = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    return np.rint((values.clip(low, high) - low) * (255.0 / (high - low))).astype(np.uint8)
