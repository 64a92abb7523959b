"""Weighted F-measure where its shortcuts begin: far from the object, and far from all that is predicted.

`test_saliency.py` has its definition by hand; `test_pysodmetrics.py` compares with PySODMetrics.
"""

import numpy as np
import pytest

from monai_sam2unet.metrics import weighted_f
from monai_sam2unet.metrics.weighted import FAR, WEIGHTS


def by_definition(prediction, mask):
    """Margolin et al., section 4, for an object that is found whole: distances to each of its pixels."""
    objects, values = np.argwhere(mask), prediction / 255
    added = 0.0
    for place in np.argwhere(~mask & (prediction > 0)):
        distance = np.sqrt(((objects - place) ** 2).sum(axis=1)).min()
        added += values[tuple(place)] * (2 - 0.5 ** (distance / 5))
    precision = mask.sum() / (mask.sum() + added)
    return 2 * precision / (1 + precision)


def found(shape, box):
    """A mask with one box, and a map that finds it."""
    mask = np.zeros(shape, bool)
    mask[box] = True
    return mask * np.uint8(255), mask


@pytest.mark.parametrize("shape", [(8, 900), (900, 8)])
def test_noise_in_all_of_a_long_picture(shape):
    """Noise nearer and farther than the distance from which weights count as 2, on both sides."""
    prediction, mask = found(
        shape, np.s_[shape[0] // 2 : shape[0] // 2 + 3, shape[1] // 2 : shape[1] // 2 + 3]
    )
    prediction[~mask] = np.random.default_rng(0).integers(0, 30, np.count_nonzero(~mask))
    assert max(shape) // 2 > FAR
    assert weighted_f(prediction, mask, stretch=False) == pytest.approx(
        by_definition(prediction, mask), abs=1e-12
    )


@pytest.mark.parametrize("place", [(0, 0), (0, 599), (299, 0), (299, 599), (299, 310), (110, 599)])
def test_a_speck_somewhere(place):
    """One wrong pixel, so that the window is empty on all sides but one or two; most are beyond FAR."""
    prediction, mask = found((300, 600), np.s_[100:120, 280:330])
    prediction[place] = 200
    assert weighted_f(prediction, mask) == pytest.approx(by_definition(prediction, mask), abs=1e-12)


def test_nothing_found():
    _, mask = found((20, 30), np.s_[5:9, 6:20])
    assert weighted_f(np.zeros(mask.shape, np.uint8), mask) == 0  # recall 0


def test_weights_reach_2():
    # 2 - 2^(-d / 5): 1 inside the limit of d = 0, 1.5 at 5 pixels, less than 1e-12 from 2 at the last
    assert WEIGHTS[25] == pytest.approx(1.5)
    assert 0 < 2 - WEIGHTS[-1] < 1e-12
    assert WEIGHTS.size == FAR**2 + 1
