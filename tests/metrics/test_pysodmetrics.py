"""PySODMetrics computes what ours computes: the tables of these benchmarks are made with it.

`make oracles` installs it and runs these tests.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monai_sam2unet.metrics import (
    curves,
    e_measure,
    f_measure,
    mae,
    s_measure,
    score,
    threshold_dice,
    threshold_iou,
    weighted_f,
)

sod = pytest.importorskip("py_sod_metrics", reason="PySODMetrics is not installed; `make oracles` does it")

pytestmark = pytest.mark.filterwarnings("ignore")  # its own, and of binary maps

TOLERANCE = 1e-9


def theirs(pairs):
    """PySODMetrics' figures of a set."""
    both = {"with_dynamic": True, "with_adaptive": True, "with_binary": True}
    whole = {"with_dynamic": False, "with_adaptive": False, "with_binary": True, "sample_based": False}
    handlers = {
        "dice": sod.DICEHandler(**both),
        "iou": sod.IOUHandler(**both),
        "precision": sod.PrecisionHandler(**both),
        "recall": sod.RecallHandler(**both),
        "specificity": sod.SpecificityHandler(**both),
        "all_dice": sod.DICEHandler(**whole),
        "all_iou": sod.IOUHandler(**whole),
    }
    parts = [sod.Smeasure(), sod.WeightedFmeasure(), sod.MAE(), sod.Fmeasure(), sod.Emeasure()]
    parts.append(sod.FmeasureV2(handlers))
    for prediction, mask in pairs:
        for part in parts:
            part.step(prediction, mask)
    results = {}
    for part in parts:
        results.update(part.get_results())
    return results


def named(results):
    """The same under the names of the protocol `paper`."""
    figures = {"Smeasure": results["sm"], "wFmeasure": results["wfm"], "MAE": results["mae"]}
    for name, key in (("Fm", "fm"), ("Em", "em")):
        figures[f"adp{name}"] = results[key]["adp"]
        figures[f"mean{name}"] = results[key]["curve"].mean()
        figures[f"max{name}"] = results[key]["curve"].max()
    for name in ("dice", "iou"):
        figures[f"mean{name}"] = results[name]["dynamic"].mean()
        figures[f"max{name}"] = results[name]["dynamic"].max()
        figures[f"sample_bi{name}"] = results[name]["binary"]
        figures[f"overall_bi{name}"] = results[f"all_{name}"]["binary"]
    return figures


@st.composite
def cases(draw):
    """A map and a mask of a size of their own, with what goes wrong in such figures made frequent."""
    shape = draw(
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=13).filter(lambda s: s[0] * s[1] > 1)
    )
    anything = hnp.arrays(np.uint8, shape)
    few = hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 40, 80, 120, 255]))
    constant = st.integers(0, 255).map(lambda value: np.full(shape, value, np.uint8))
    binary = hnp.arrays(bool, shape).map(lambda values: values * np.uint8(255))
    prediction = draw(st.one_of(anything, few, constant, binary))
    empty, full = np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)
    place = st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1))
    levels = st.sampled_from([0, 128, 129, 255])
    return prediction, draw(
        st.one_of(
            hnp.arrays(np.uint8, shape, elements=levels),
            st.just(empty),
            st.just(full),
            place.map(lambda at: dot(shape, at)),
        )
    )


def dot(shape, place):
    """A mask of one pixel."""
    mask = np.zeros(shape, np.uint8)
    mask[place] = 255
    return mask


@settings(max_examples=400)
@given(cases())
def test_one_picture(pair):
    expected = theirs([pair])
    s = s_measure(*pair)
    if np.isnan(expected["sm"]):  # the centre of mass is in the last row or column: 0 pixels * NaN
        assert 0 <= s <= 1
    else:
        assert s == pytest.approx(expected["sm"], abs=TOLERANCE)
    assert weighted_f(*pair) == pytest.approx(expected["wfm"], abs=TOLERANCE)
    assert mae(*pair) == pytest.approx(expected["mae"], abs=TOLERANCE)
    for ours, key in ((f_measure(*pair), "fm"), (e_measure(*pair), "em")):
        assert ours.adaptive == pytest.approx(expected[key]["adp"], abs=TOLERANCE)
        # theirs begins at threshold 255
        np.testing.assert_allclose(ours.curve[::-1], expected[key]["curve"], rtol=0, atol=TOLERANCE)
    assert threshold_dice(*pair).adaptive == pytest.approx(expected["dice"]["adaptive"], abs=TOLERANCE)
    assert threshold_iou(*pair).adaptive == pytest.approx(expected["iou"]["adaptive"], abs=TOLERANCE)
    ours = curves(*pair)
    for name in ("dice", "iou", "precision", "recall", "specificity"):
        np.testing.assert_allclose(
            getattr(ours, name)[::-1], expected[name]["dynamic"], rtol=0, atol=TOLERANCE, err_msg=name
        )


@settings(max_examples=60)
@given(st.lists(cases(), min_size=1, max_size=5))
def test_sets_of_pictures(pairs):
    expected = named(theirs(pairs))
    ours = score([p for p, _ in pairs], [m for _, m in pairs])
    assert set(ours) == set(expected)
    for name, value in expected.items():
        if not np.isnan(value):
            assert ours[name] == pytest.approx(value, abs=TOLERANCE), name


@pytest.mark.parametrize("size", [(352, 352), (201, 333), (97, 64), (120, 1200)])
@pytest.mark.parametrize("noise", [0, 30])
def test_pictures_of_real_sizes(size, noise):
    """A soft ellipse beside its mask; with noise no pixel of the background is 0."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    mask = (((x - 0.1) / 0.5) ** 2 + ((y + 0.2) / 0.4) ** 2 < 1) * np.uint8(255)
    soft = 255 / (1 + np.exp(12 * (np.hypot(x / 0.5, (y + 0.1) / 0.4) - 1)))
    prediction = np.clip(soft + rng.integers(0, noise + 1, size), 0, 255).astype(np.uint8)
    expected = named(theirs([(prediction, mask)]))
    assert score([prediction], [mask]) == pytest.approx(expected, abs=TOLERANCE)


def test_golden_cases(golden):
    arrays = np.load(golden / "metrics_cases.npz")
    pairs = [(arrays[f"pred{i}"], arrays[f"gt{i}"]) for i in range(12)]
    expected = named(theirs(pairs))
    assert score([p for p, _ in pairs], [m for _, m in pairs]) == pytest.approx(expected, abs=TOLERANCE)
