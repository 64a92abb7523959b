"""Named protocols, of sets of pictures."""

import json
import math
import warnings

import numpy as np
import pytest
import torch

from monai_sam2unet.errors import InputError
from monai_sam2unet.metrics import PROTOCOLS, overlap, s_measure, score, weighted_f

ORIGIN = {"paper": "official_eval", "hetnet": "hetnet_eval"}
"""Which evaluation a protocol is to equal; both were run as published, see tests/golden/README.md."""


@pytest.fixture(scope="module")
def arrays(golden):
    """Predictions and masks of the golden cases."""
    stored = np.load(golden / "metrics_cases.npz")
    return [stored[f"pred{i}"] for i in range(12)], [stored[f"gt{i}"] for i in range(12)]


@pytest.fixture(scope="module")
def expected(golden):
    """What the published evaluations say of them."""
    return json.loads((golden / "metrics_cases.json").read_text())


def picture(seed=0, size=(24, 31)):
    """A map and a mask that overlap."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, bool)
    mask[5:15, 6:20] = True
    return rng.integers(0, 120, size).astype(np.uint8) + mask * np.uint8(130), mask


# --- against the published evaluations


@pytest.mark.parametrize("protocol", ORIGIN)
def test_the_golden_set(arrays, expected, protocol):
    # `hetnet` computes in float32, so the last digits differ
    assert score(*arrays, protocol=protocol) == pytest.approx(expected[ORIGIN[protocol]], abs=2e-7)


@pytest.mark.parametrize("protocol", ORIGIN)
@pytest.mark.parametrize("case", range(12))
@pytest.mark.filterwarnings("ignore:all predictions hold two values")
def test_each_golden_case(arrays, expected, protocol, case):
    predictions, masks = arrays
    figures = score([predictions[case]], [masks[case]], protocol=protocol)
    assert figures == pytest.approx(expected["cases"][case][ORIGIN[protocol]], abs=2e-7)


def test_marine_animals(arrays, expected):
    """Its IoU is that of the mirrors here (masks of 0 and 255, >127 is >=127.5); the rest the paper's."""
    paper, mirrors = expected["official_eval"], expected["hetnet_eval"]
    names = ("Smeasure", "wFmeasure", "meanEm", "MAE")
    figures = {"mIoU": mirrors["iou"], **{name: paper[name] for name in names}}
    assert score(*arrays, protocol="masnet") == pytest.approx(figures, abs=1e-9)


def test_fixed_is_the_overlap_of_each_picture(arrays):
    predictions, masks = arrays
    cases = [overlap(p >= 128, m >= 128) for p, m in zip(predictions, masks, strict=True)]
    figures = score(*arrays, protocol="fixed")
    for name in ("dice", "iou", "precision", "recall", "specificity"):
        assert figures[name] == pytest.approx(np.mean([case[name] for case in cases]))
    assert math.isnan(figures["false_alarm_rate"])  # no mask is empty


# --- conventions


def test_maximum_is_that_of_the_mean_curve():
    """Two pictures whose best thresholds differ: of one all above 50 is right, of the other all above 200."""
    mask = np.array([[True, False, False]])
    one, other = np.array([[60, 40, 0]], np.uint8), np.array([[255, 190, 0]], np.uint8)
    # stretched: 255, 170, 0 and 255, 190, 0: above both middle levels Dice is 1 for both
    assert score([one, other], [mask, mask])["maxdice"] == 1
    high = np.array([[100, 255, 0]], np.uint8)  # the object is never alone: Dice is 2/3 up to 100, then 0
    both = score([one, high], [mask, mask])
    # to level 100 both are 2/3 (two of three pixels, one right); above 170 they are 1 and 0
    assert both["maxdice"] == pytest.approx(2 / 3)
    assert both["overall_bidice"] == pytest.approx(2 * 1 / (2 + 3))  # 1 of 2, and 0 of 1, for 2 pixels


def test_mirrors_f_is_of_mean_precision_and_mean_recall():
    mask = np.array([[True, True, False, False]])
    one, other = np.array([[255, 0, 0, 0]], np.uint8), np.array([[255, 255, 255, 255]], np.uint8)
    # above 0: precision 1 and 1/2, recall 1/2 and 1, means 3/4 and 3/4, of which F is 3/4
    # at 0: precision 1/2 and 1/2, recall 1 and 1: 1.3 * 0.5 / (0.15 + 1) = 0.565
    with pytest.warns(UserWarning, match="binarised"):
        assert score([one, other], [mask, mask], protocol="hetnet")["f_measure"] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("protocol", "name", "levels"),
    # foreground of the mask: pixels of 8-bit level 127, 128, 129, 254 and 255 that count
    [("paper", "sample_biiou", 3), ("hetnet", "iou", 1), ("masnet", "mIoU", 4), ("fixed", "iou", 4)],
)
def test_what_is_foreground_of_a_mask(protocol, name, levels):
    mask = np.array([[0, 127, 128, 129, 254, 255]], np.uint8)
    prediction = np.array([[0, 0, 0, 0, 0, 200]], np.uint8)  # one pixel, which is foreground for all
    with warnings.catch_warnings(record=True):
        assert score([prediction], [mask], protocol=protocol)[name] == pytest.approx(1 / levels)


@pytest.mark.parametrize(
    ("protocol", "name", "stretched"),
    [
        ("paper", "sample_biiou", True),
        ("hetnet", "iou", False),
        ("masnet", "mIoU", False),
        ("fixed", "iou", False),
    ],
)
def test_which_maps_are_stretched(protocol, name, stretched):
    """A map of at most 0.4: found once it is stretched, missed as it is."""
    mask = np.array([[False, True, True]])
    prediction = np.array([[0.0, 0.4, 0.3]])
    for values in (prediction, np.rint(prediction * 255).astype(np.uint8)):
        assert score([values], [mask], protocol=protocol)[name] == (1 if stretched else 0)


@pytest.mark.filterwarnings("ignore:all predictions hold two values")
def test_probability_one_half_is_foreground():
    mask = np.array([[True, True, False]])
    prediction = np.array([[0.5, 0.9, 0.499]])
    for protocol, name in (("hetnet", "iou"), ("masnet", "mIoU"), ("fixed", "iou")):
        assert score([prediction], [mask], protocol=protocol)[name] == 1


def test_operating_point():
    mask = np.array([[True, True, False]])
    prediction = np.array([[0.3, 0.9, 0.2]])
    assert score([prediction], [mask], protocol="fixed", threshold=0.3)["dice"] == 1
    assert score([prediction], [mask], protocol="fixed", threshold=0.2)["dice"] == pytest.approx(0.8)
    assert score([prediction], [mask], protocol="fixed")["dice"] == pytest.approx(2 / 3)


# --- empty masks


def test_an_empty_mask_is_a_zero_in_the_paper(recwarn):
    prediction, mask = picture()
    alone = score([prediction], [mask])
    both = score([prediction, prediction], [mask, np.zeros_like(mask)])
    for name in ("meandice", "maxiou", "wFmeasure", "meanFm", "adpFm", "sample_bidice"):
        assert both[name] == pytest.approx(alone[name] / 2)
    assert both["Smeasure"] == pytest.approx(
        (s_measure(prediction, mask) + s_measure(prediction, np.zeros_like(mask))) / 2
    )
    assert not recwarn


@pytest.mark.parametrize(
    ("protocol", "undefined", "kept"),
    [("hetnet", ("iou", "f_measure", "ber", "acc"), ("mae",)), ("masnet", ("mIoU",), ("Smeasure", "MAE"))],
)
def test_an_empty_mask_is_undefined_elsewhere(protocol, undefined, kept):
    prediction, mask = picture()
    alone = score([prediction], [mask], protocol=protocol)
    with pytest.warns(UserWarning, match=r"undefined.*of 2 pictures: (iou of 1, ber of 1, acc|mIoU) of 1$"):
        both = score([prediction, prediction], [mask, np.zeros_like(mask)], protocol=protocol)
    assert [both[name] for name in undefined] == [alone[name] for name in undefined]
    assert all(both[name] != alone[name] for name in kept)
    with pytest.warns(UserWarning, match="undefined"):
        empty = score([prediction], [np.zeros_like(mask)], protocol=protocol)
    assert {name for name, value in empty.items() if math.isnan(value)} == set(undefined)


def test_empty_masks_are_kept_apart_in_fixed(recwarn):
    prediction, mask = picture()
    none, all_of_it = np.zeros_like(mask), np.ones_like(mask)
    figures = score([prediction, none, all_of_it], [mask, none, none], protocol="fixed")
    assert figures["dice"] == overlap(prediction >= 128, mask)["dice"]
    assert figures["specificity"] == overlap(prediction >= 128, mask)["specificity"]
    assert (figures["false_alarm_rate"], figures["false_area_fraction"]) == (0.5, 0.5)
    assert not recwarn


# --- inputs


def test_binary_predictions_are_warned_of():
    prediction, mask = picture()
    binary = prediction >= 128
    for protocol in ("paper", "hetnet", "masnet"):
        with pytest.warns(UserWarning, match="two values at most: they were binarised"):
            score([binary, mask], [mask, mask], protocol=protocol)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score([binary, prediction], [mask, mask])  # one that is not
        score([binary], [mask], protocol="fixed")


def test_sets_of_any_sizes_and_types():
    pairs = [picture(0), picture(1, (40, 22)), picture(2, (17, 50))]
    predictions, masks = [p for p, _ in pairs], [m for _, m in pairs]
    expected = score(predictions, masks)
    mixed = [predictions[0], torch.from_numpy(predictions[1]), predictions[2].tolist()]
    mixed[2] = np.array(mixed[2], np.uint8)
    assert score(mixed, [masks[0], torch.from_numpy(masks[1]), masks[2] * np.uint8(255)]) == expected
    assert score((p for p in predictions), iter(masks)) == expected
    assert expected["wFmeasure"] == pytest.approx(np.mean([weighted_f(p, m) for p, m in pairs]))


def test_a_batch_is_a_set():
    pairs = [picture(seed) for seed in range(3)]
    stacked = score(np.stack([p for p, _ in pairs]), np.stack([m for _, m in pairs]))
    assert stacked == score([p for p, _ in pairs], [m for _, m in pairs])


def test_float_maps_are_those_that_the_papers_code_writes():
    """Its test.py: sigmoid, (r - r.min()) / (r.max() - r.min() + 1e-8) in float32, * 255, as uint8."""
    rng = np.random.default_rng(4)
    _, mask = picture()
    p = torch.from_numpy(rng.normal(size=mask.shape)).float().sigmoid().numpy()
    saved = ((p - p.min()) / (p.max() - p.min() + 1e-8) * 255).astype(np.uint8)
    assert score([p], [mask]) == score([saved], [mask])


def test_figures_are_plain_numbers():
    for protocol, layout in PROTOCOLS.items():
        figures = score(*([a] for a in picture()), protocol=protocol)
        assert tuple(figures) == layout.figures
        assert all(type(value) is float for value in figures.values())


def test_wrong_arguments_are_named():
    prediction, mask = picture()
    with pytest.raises(InputError, match=r"protocol must be one of paper, hetnet, masnet, fixed, got 'sod'"):
        score([prediction], [mask], protocol="sod")
    with pytest.raises(InputError, match=r"threshold is for protocol 'fixed' alone, got 0\.3 for 'paper'"):
        score([prediction], [mask], threshold=0.3)
    with pytest.raises(InputError, match=r"threshold must lie in \[0, 1\], got 128"):
        score([prediction], [mask], protocol="fixed", threshold=128)
    with pytest.raises(InputError, match="equally many, got only 1 masks; pair them by name"):
        score([prediction] * 2, [mask])
    with pytest.raises(InputError, match="equally many, got only 0 predictions"):
        score([], [mask])
    with pytest.raises(InputError, match="at least one picture, got none"):
        score([], [])
    for protocol in PROTOCOLS:
        with pytest.raises(
            InputError, match=r"picture 1: prediction must have the mask's size 31x24, got 24x31"
        ):
            score([prediction] * 2, [mask, mask.T], protocol=protocol)
