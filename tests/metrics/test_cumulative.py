"""The benchmarks' figures as MONAI metrics: in an engine, from JSON, over processes."""

import json
import multiprocessing

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.handlers import IgniteMetricHandler

from monai_sam2unet.errors import InputError
from monai_sam2unet.metrics import (
    EMeasureMetric,
    FMeasureMetric,
    MapErrorMetric,
    ProtocolMetric,
    SMeasureMetric,
    ThresholdDiceMetric,
    ThresholdIoUMetric,
    WeightedFMetric,
    mae,
    score,
)


@pytest.fixture(scope="module")
def pairs(golden):
    """The golden cases as tensors of (1, H, W): 8-bit maps, and masks of 0 and 1."""
    arrays = np.load(golden / "metrics_cases.npz")
    maps = [torch.from_numpy(arrays[f"pred{i}"])[None] for i in range(12)]
    masks = [(torch.from_numpy(arrays[f"gt{i}"])[None] > 128).float() for i in range(12)]
    return list(zip(maps, masks, strict=True))


@pytest.fixture(scope="module")
def expected(golden):
    """The paper's figures of the whole set."""
    return json.loads((golden / "metrics_cases.json").read_text())["official_eval"]


def split(pairs):
    """Lists of predictions and masks, as a metric takes them."""
    return [p for p, _ in pairs], [m for _, m in pairs]


METRICS = {
    "Smeasure": SMeasureMetric(),
    "wFmeasure": WeightedFMetric(),
    "MAE": MapErrorMetric(),
    "adpFm": FMeasureMetric("adaptive"),
    "meanFm": FMeasureMetric("mean"),
    "maxFm": FMeasureMetric(),
    "adpEm": EMeasureMetric("adaptive"),
    "meanEm": EMeasureMetric(),
    "maxEm": EMeasureMetric("max"),
    "meandice": ThresholdDiceMetric(),
    "maxdice": ThresholdDiceMetric("max"),
    "meaniou": ThresholdIoUMetric(),
    "maxiou": ThresholdIoUMetric("max"),
}


@pytest.mark.parametrize("name", METRICS)
def test_each_figure_over_batches(pairs, expected, name):
    metric = METRICS[name]
    metric.reset()
    for start in (0, 5, 10):
        metric(*split(pairs[start : start + 5]))
    assert metric.aggregate().item() == pytest.approx(expected[name], abs=1e-9)
    assert len(metric) == 12


def test_a_protocol_over_batches(pairs, expected):
    metric = ProtocolMetric()
    for start in (0, 5, 10):
        rows = metric(*split(pairs[start : start + 5]))
        assert rows.shape == (min(5, 12 - start), metric.layout.width)
    assert metric.aggregate() == pytest.approx(expected, abs=1e-9)


def test_a_batch_of_equal_sizes(pairs):
    prediction, mask = pairs[0]
    metric = ProtocolMetric("masnet")
    metric(MetaTensor(torch.stack([prediction] * 2)), MetaTensor(torch.stack([mask] * 2)))
    assert metric.aggregate() == score([prediction[0]] * 2, [mask[0]] * 2, protocol="masnet")


def test_reset_forgets(pairs):
    metric = ProtocolMetric(figure="MAE")
    metric(*split(pairs[:3]))
    metric.reset()
    metric(*split(pairs[4:5]))
    prediction, mask = pairs[4]
    assert metric.aggregate().item() == mae(prediction[0], mask[0])


def test_in_an_ignite_engine(pairs, expected):
    """All figures under their names, one figure under the handler's, and the rows of all pictures."""
    engine = Engine(lambda engine, batch: split(batch))
    IgniteMetricHandler(metric_fn=ProtocolMetric()).attach(engine, "paper")
    IgniteMetricHandler(metric_fn=ProtocolMetric(figure="wFmeasure")).attach(engine, "weighted")
    engine.run([pairs[:7], pairs[7:]], max_epochs=2)  # the second epoch counts alone
    metrics = engine.state.metrics
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert metrics["weighted"] == pytest.approx(expected["wFmeasure"], abs=1e-9)
    assert engine.state.metric_details["weighted"].shape[0] == 12


def test_from_json(pairs, expected):
    config = {
        "handler": {
            "_target_": "IgniteMetricHandler",
            "metric_fn": {
                "_target_": "monai_sam2unet.metrics.ProtocolMetric",
                "protocol": "paper",
                "figure": "maxEm",
            },
            "output_transform": "$lambda output: (output['pred'], output['label'])",
        }
    }
    engine = Engine(lambda engine, batch: dict(zip(("pred", "label"), split(batch), strict=True)))
    ConfigParser(json.loads(json.dumps(config))).get_parsed_content("handler").attach(engine, "max_e")
    engine.run([pairs])
    assert engine.state.metrics["max_e"] == pytest.approx(expected["maxEm"], abs=1e-9)


def rank_of_two(rank, address, pairs, answers):
    """One process of two, with its share of the pictures: unequally many."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    metric = ProtocolMetric()
    for pair in pairs[:5] if rank == 0 else pairs[5:]:
        metric(*split([pair]))
    answers.put((rank, metric.aggregate()))
    dist.destroy_process_group()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs processes by fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_over_two_processes(pairs, expected, tmp_path):
    """Both say what one process says: the maximum is that of the curve of all pictures."""
    context = multiprocessing.get_context("fork")  # a new interpreter would import MONAI again
    answers = context.Queue()
    address = f"file://{tmp_path / 'meeting'}"
    ranks = [context.Process(target=rank_of_two, args=(r, address, pairs, answers)) for r in (0, 1)]
    for process in ranks:
        process.start()
    try:
        figures = dict(answers.get(timeout=60) for _ in ranks)
    finally:
        for process in ranks:
            process.join(timeout=10)
            process.kill()
    assert figures[0] == pytest.approx(expected, abs=1e-9)
    assert figures[1] == figures[0]


def test_warnings_come_with_the_figures(pairs):
    prediction, mask = pairs[3]  # a binary map
    metric = ProtocolMetric("paper", figure="maxFm")
    metric([prediction], [mask])
    with pytest.warns(UserWarning, match="binarised"):
        metric.aggregate()


def test_wrong_arguments_are_named(pairs):
    with pytest.raises(InputError, match=r"figure must be one of iou, f_measure, mae, ber, acc.*got 'dice'"):
        ProtocolMetric("hetnet", figure="dice")
    with pytest.raises(InputError, match="kind must be one of adaptive, mean, max, got 'median'"):
        FMeasureMetric("median")
    metric = ProtocolMetric()
    with pytest.raises(InputError, match="at least one picture"):
        metric.aggregate()
    three = torch.zeros(1, 3, 4, 4)
    with pytest.raises(InputError, match=r"y_pred must be \(B, 1, H, W\) or a list.*got \(1, 3, 4, 4\)"):
        metric(three, three[:, :1])
    with pytest.raises(InputError, match=r"equally many pictures, got 2 and 1"):
        metric(torch.zeros(2, 1, 4, 4), torch.zeros(1, 1, 4, 4))
    with pytest.raises(InputError, match="y_pred and y are expected"):
        metric(torch.zeros(2, 1, 4, 4))
