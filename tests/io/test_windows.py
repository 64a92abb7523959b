"""Windows by name and number."""

from __future__ import annotations

import numpy as np
import pytest

from monai_sam2unet.errors import InputError
from monai_sam2unet.io import WINDOWS, Window, find_window
from monai_sam2unet.io.windows import stretch, windowed


def test_named_and_numbered():
    assert find_window("brain") == find_window((40, 80)) == find_window([40, 80]) == Window(40, 80)
    assert all(window.width > 0 for window in WINDOWS.values())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("teeth", "'teeth' is not known; expected one of abdomen, angio"),
        ((1, 2, 3), "a name or"),
        (("a", "b"), "a name or"),
        (7, "a name or"),
        ((40, 0), "width above 0, got centre 40.0, width 0"),
        ((float("nan"), 1), "centre nan"),
    ],
)
def test_what_is_no_window_is_named(given, words):
    with pytest.raises(InputError, match=words):
        find_window(given)


def test_ends_of_a_window():
    # PS3.3, C.11.2.1.2.1, note 1: centre 2048, width 4096 shows 0 as black and 4095 as white.
    shown = windowed(np.array([-1, 0, 1, 4094, 4095, 5000]), Window(2048, 4096))
    assert shown.tolist() == [0, 0, 0, 255, 255, 255]
    assert windowed(np.array([np.nan, -1e9, 0, 1e9]), Window(0, 1, "SIGMOID")).tolist() == [0, 0, 128, 255]
    assert windowed(np.array([0.0, 0.25, 0.5]), Window(0.25, 0.5)).tolist() == [0, 128, 255]


def test_stretch():
    values = np.array([np.nan, -np.inf, 0, 5, 10, np.inf], np.float32)
    assert stretch(values, 0, 10).tolist() == [0, 0, 0, 128, 255, 255]
    assert stretch(np.full(2, 7), 7, 7).tolist() == [0, 0]
