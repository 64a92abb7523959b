"""The figure that a model is chosen by: its name, its value in an engine, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.handlers import MeanDice

from monai_sam2unet.errors import InputError
from monai_sam2unet.handlers import key_metric
from monai_sam2unet.handlers.key_metric import LOWER_IS_BETTER, check_key_figure
from monai_sam2unet.metrics import PROTOCOLS, score

SIZES = ((9, 13), (16, 8), (11, 11))


def pairs():
    """Maps of noise over an object, with its mask; of several sizes."""
    drawn = np.random.default_rng(0)
    for height, width in SIZES:
        mask = np.zeros((height, width), bool)
        mask[2:7, 3:7] = True
        yield np.clip(0.6 * mask + 0.45 * drawn.random(mask.shape), 0, 1).astype(np.float32), mask


def outputs(threshold):
    """What a validation's engine holds after each picture: a list of one case."""
    for probability, mask in pairs():
        tensor = torch.from_numpy(probability)[None]
        label = torch.from_numpy(mask.astype(np.float32))[None]
        yield [{"pred": (tensor >= threshold).float(), "probability": tensor, "label": label}]


def metrics_of(found, threshold=0.5):
    engine = Engine(lambda engine, batch: batch)
    for name, handler in found.items():
        handler.attach(engine, name)
    return engine.run(list(outputs(threshold)), max_epochs=2).metrics  # the second epoch begins anew


@pytest.mark.parametrize(
    ("protocol", "figure"),
    [
        ("fixed", "dice"), ("fixed", "iou"), ("fixed", "specificity"), ("paper", "meandice"),
        ("paper", "Smeasure"), ("paper", "maxFm"), ("masnet", "mIoU"), ("hetnet", "iou"),
        ("hetnet", "f_measure"),
    ],
)  # fmt: skip
def test_the_engine_has_the_figure_of_the_set_under_its_name(protocol, figure):
    """The value is that of `score`, which tests/metrics compares with the benchmarks' own evaluations."""
    predictions, masks = zip(*pairs(), strict=True)
    metrics = metrics_of(key_metric(protocol, figure))
    assert metrics == {f"validation_{figure}": pytest.approx(score(predictions, masks, protocol)[figure])}


def test_several_classes_have_their_dice_and_its_mean():
    """By hand: a picture counts for the classes that it has, and each class once in the mean."""
    first = torch.zeros(3, 2, 4), torch.zeros(3, 2, 4)
    first[0][0, 0], first[1][0] = 1, 1  # 4 of 8 pixels found: Dice 8 / 12
    first[0][1, 0, 0] = 1  # the second class is not there: a false alarm has no Dice
    second = torch.zeros(3, 2, 4), torch.zeros(3, 2, 4)
    second[0][0, 1], second[1][0, 1] = 1, 1  # Dice 1
    second[1][1, 0] = 1  # missed: Dice 0
    outputs = [[{"pred": pred, "label": label}] for pred, label in (first, second)]
    engine = Engine(lambda engine, batch: batch)
    found = key_metric("fixed", "dice", classes=["a", "b c", "never"])
    assert list(found) == ["validation_dice", *(f"validation_dice_{n}" for n in ("a", "b c", "never"))]
    for name, handler in found.items():
        handler.attach(engine, name)
    metrics = engine.run(outputs, max_epochs=2).metrics
    of_a = (8 / 12 + 1) / 2
    assert metrics["validation_dice_a"] == pytest.approx(of_a)
    assert metrics["validation_dice_b c"] == pytest.approx(0)
    assert np.isnan(metrics["validation_dice_never"])
    assert metrics["validation_dice"] == pytest.approx((of_a + 0) / 2)


def test_the_threshold_is_that_of_protocol_fixed_alone():
    predictions, masks = zip(*pairs(), strict=True)
    expected = score(predictions, masks, "fixed", threshold=0.3)["iou"]
    assert expected != pytest.approx(score(predictions, masks, "fixed")["iou"])
    assert metrics_of(key_metric("fixed", "iou", 0.3)) == {"validation_iou": pytest.approx(expected)}
    assert metrics_of(key_metric("paper", "meaniou", 0.3)) == metrics_of(key_metric("paper", "meaniou"))


def test_the_default_is_monais_and_needs_no_map():
    handler = key_metric("fixed", "dice")["validation_dice"]
    assert isinstance(handler, MeanDice)
    engine = Engine(lambda engine, batch: [{k: v for k, v in batch[0].items() if k != "probability"}])
    handler.attach(engine, "validation_dice")
    predictions, masks = zip(*pairs(), strict=True)
    metrics = engine.run(list(outputs(0.5))).metrics
    assert metrics["validation_dice"] == pytest.approx(score(predictions, masks, "fixed")["dice"])


@pytest.mark.filterwarnings("ignore:all predictions hold two values", "ignore:an empty or full mask")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_figures_are_told_by_which_way_is_better(protocol):
    """Of a perfect and a wrong map with the same masks, one of them empty."""
    masks = [np.eye(8, 11) > 0, np.zeros((8, 11), bool)]
    best, worst = (
        score([abs(shift - mask).astype(np.float32) for mask in masks], masks, protocol) for shift in (0, 1)
    )
    for figure, value in best.items():
        if figure in LOWER_IS_BETTER:
            assert value < worst[figure], figure
            with pytest.raises(InputError, match=f"higher is better .*, got '{figure}'"):
                key_metric(protocol, figure)
        else:
            assert value > worst[figure], figure
            check_key_figure(protocol, figure)


@pytest.mark.parametrize(
    ("protocol", "figure", "words"),
    [
        ("hetnet", "dice", r"of protocol 'hetnet' .*\(iou, f_measure, acc\), got 'dice'"),
        ("fixed", "Smeasure", r"of protocol 'fixed' .*\(dice, iou, .*, got 'Smeasure'"),
        ("sam", "dice", "protocol must be one of paper, hetnet, masnet, fixed, got 'sam'"),
    ],
)
def test_others_are_refused(protocol, figure, words):
    with pytest.raises(InputError, match=words):
        key_metric(protocol, figure)
