"""NSD and HD95: by hand, against MONAI and against SciPy's distance transform."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage

from monai_sam2unet.metrics import SURFACE_NAMES, surface

NAN = float("nan")


def square(top, left, side=8, shape=(40, 50)):
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def by_distance_transform(prediction, reference, tolerance, spacing=(1.0, 1.0)):
    """Both figures by another way: erosion for the outlines, a distance map for the distances."""
    outlines = [mask & ~ndimage.binary_erosion(mask) for mask in (prediction, reference)]
    maps = [ndimage.distance_transform_edt(~outline, sampling=spacing) for outline in outlines]
    there, back = maps[1][outlines[0]], maps[0][outlines[1]]
    # MONAI's distances are float32
    near = (there <= tolerance + 1e-5).sum() + (back <= tolerance + 1e-5).sum()
    return near / (there.size + back.size), max(np.percentile(there, 95), np.percentile(back, 95))


masks = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)
spacings = st.sampled_from([None, 0.5, (1.0, 1.0), (0.7, 1.9), (3.0, 0.25)])


@settings(max_examples=150)
@given(masks, spacings, st.sampled_from([0, 1, 1.5, 3]))
def test_equal_to_distance_transforms(pair, spacing, tolerance):
    assume(pair[0].any() and pair[1].any())
    steps = (1.0, 1.0) if spacing is None else (spacing, spacing) if isinstance(spacing, float) else spacing
    expected = by_distance_transform(*pair, tolerance, steps)
    assert tuple(surface(*pair, tolerance, spacing).values()) == pytest.approx(expected, abs=1e-5)


@settings(max_examples=60)
@given(masks, spacings, st.sampled_from([0, 1, 1.5, 3]))
def test_equal_to_monai(pair, spacing, tolerance):
    assume(pair[0].any() and pair[1].any())
    p, r = (torch.from_numpy(mask)[None, None] for mask in pair)
    with warnings.catch_warnings():  # MONAI warns of its own call
        warnings.simplefilter("ignore", FutureWarning)
        nsd = compute_surface_dice(p, r, [tolerance], include_background=True, spacing=spacing)
        hd95 = compute_hausdorff_distance(p, r, include_background=True, percentile=95, spacing=spacing)
    expected = (nsd.item(), hd95.item())
    assert tuple(surface(*pair, tolerance, spacing).values()) == pytest.approx(expected, abs=1e-5)


def test_by_hand():
    """A square of 3x3 and its middle pixel: 8 outline pixels, 4 at distance 1 and 4 at sqrt(2), against 1."""
    outer, inner = square(3, 3, side=3, shape=(9, 9)), square(4, 4, side=1, shape=(9, 9))
    # from the middle: 1 to the nearest; to it: the 95th percentile of 1 1 1 1 r r r r is r
    expected = [(0, 0), (1, 5 / 9), (1.4, 5 / 9), (1.5, 1)]
    for tolerance, nsd in expected:
        assert surface(outer, inner, tolerance) == pytest.approx({"nsd": nsd, "hd95": math.sqrt(2)})


def test_percentile_is_interpolated_and_the_larger_direction_counts():
    """A line of 20 pixels and its first one: distances 0 to 19 one way; their 95th percentile is 18.05."""
    line, first = np.ones((1, 20), bool), np.zeros((1, 20), bool)
    first[0, 0] = True
    # 4 of 20 are within 3, and the one pixel is
    assert surface(line, first, 3) == pytest.approx({"nsd": 5 / 21, "hd95": 18.05})
    assert surface(first, line, 3) == pytest.approx({"nsd": 5 / 21, "hd95": 18.05})


@pytest.mark.parametrize("shift", [1, 2, 3, 4, 7])
def test_a_shifted_square(shift):
    """Shifted along one axis: the far side of a square is at that distance, 8 of its 28 outline pixels."""
    found = surface(square(10, 10), square(10, 10 + shift), tolerance=3)
    assert found["hd95"] == pytest.approx(shift)  # 8 of 28 are more than 5 %
    assert (found["nsd"] == 1) is (shift <= 3)


@settings(max_examples=80)
@given(masks, st.sampled_from([0.5, 2.0]))
def test_properties(pair, scale):
    prediction, reference = pair
    ours = surface(prediction, reference, 2)
    assert tuple(ours) == SURFACE_NAMES
    if not reference.any():
        assert all(math.isnan(v) for v in ours.values())
        return
    assert 0 <= ours["nsd"] <= 1 and not ours["hd95"] < 0
    assert surface(reference, reference, 0) == {"nsd": 1, "hd95": 0}
    if prediction.any():
        assert surface(reference, prediction, 2) == pytest.approx(ours)
        assert surface(prediction.T, reference.T, 2) == pytest.approx(ours)
        scaled = surface(prediction, reference, 2 * scale, spacing=scale)
        assert scaled == pytest.approx({"nsd": ours["nsd"], "hd95": scale * ours["hd95"]})
        assert surface(prediction, reference, 1)["nsd"] <= ours["nsd"]


volumes = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


@settings(max_examples=60)
@given(volumes, st.sampled_from([(1.0, 1.0, 1.0), (0.7, 1.9, 4.0)]), st.sampled_from([0, 1.5, 3]))
def test_volumes_equal_distance_transforms_and_monai(pair, spacing, tolerance):
    assume(pair[0].any() and pair[1].any())
    ours = tuple(surface(*pair, tolerance, spacing).values())
    assert ours == pytest.approx(by_distance_transform(*pair, tolerance, spacing), abs=1e-5)
    p, r = (torch.from_numpy(mask)[None, None] for mask in pair)
    with warnings.catch_warnings():  # MONAI warns of its own call
        warnings.simplefilter("ignore", FutureWarning)
        nsd = compute_surface_dice(p, r, [tolerance], include_background=True, spacing=spacing)
        hd95 = compute_hausdorff_distance(p, r, include_background=True, percentile=95, spacing=spacing)
    assert ours == pytest.approx((nsd.item(), hd95.item()), abs=1e-5)


def test_spacing_is_of_rows_and_columns():
    """Two rows down at 0.5 mm are 1 mm, two columns across at 2 mm are 4 mm."""
    down, across = square(12, 10), square(10, 12)
    assert surface(down, square(10, 10), 1, spacing=(0.5, 2.0)) == pytest.approx({"nsd": 1, "hd95": 1})
    assert surface(across, square(10, 10), 1, spacing=(0.5, 2.0))["hd95"] == pytest.approx(4)


@pytest.mark.parametrize("tolerance", [0.3, np.float64(0.3)])
def test_a_distance_of_exactly_the_tolerance_is_within(tolerance):
    """Three steps of 0.1 mm, which is 0.30000000000000004 in double precision."""
    assert surface(square(10, 13), square(10, 10), tolerance, spacing=0.1)["nsd"] == 1
    assert surface(square(10, 14), square(10, 10), tolerance, spacing=0.1)["nsd"] < 1


def test_the_edge_of_the_picture_is_an_outline():
    """A mask that fills a picture of 6x4 is outlined by its edge of 16 pixels."""
    full, corner = np.ones((6, 4), bool), np.zeros((6, 4), bool)
    corner[0, 0] = True
    # near the corner: it and its two neighbours; near the edge: the corner
    assert surface(full, corner, 1)["nsd"] == pytest.approx((3 + 1) / (16 + 1))
    assert surface(full, full, 0) == {"nsd": 1, "hd95": 0}


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        (False, False, (NAN, NAN)),
        (True, False, (NAN, NAN)),
        (False, True, (0, NAN)),  # missed: NSD is 0, and there is no distance
    ],
)
def test_empty_masks(prediction, reference, expected):
    there, empty = square(3, 3), square(0, 0, side=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = surface(there if prediction else empty, there if reference else empty)
    assert tuple(found.values()) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("tolerance", [-1, NAN, math.inf])
def test_tolerance_must_make_sense(tolerance):
    with pytest.raises(ValueError, match="tolerance must be a finite number of at least 0"):
        surface(square(1, 1), square(1, 1), tolerance)


@pytest.mark.parametrize("spacing", [0, -1.0, (1.0,), (1.0, 0.0), (1.0, 1.0, 1.0), (NAN, 1.0)])
def test_spacing_must_make_sense(spacing):
    with pytest.raises(ValueError, match=r"spacing must be one or two numbers above 0"):
        surface(square(1, 1), square(1, 1), spacing=spacing)


def test_spacing_of_a_volume_has_three_numbers():
    cube = np.ones((2, 2, 2), bool)
    with pytest.raises(ValueError, match=r"spacing must be one or three numbers above 0"):
        surface(cube, cube, spacing=(1.0, 1.0))


def test_other_masks_are_refused():
    with pytest.raises(ValueError, match=r"must be \(H, W\) or \(X, Y, Z\), got shape \(4,\)"):
        surface([1, 0, 0, 1], [1, 0, 0, 1])
    with pytest.raises(ValueError, match="one shape"):
        surface(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="prediction must be binary"):
        surface([[0.5]], [[1]])
