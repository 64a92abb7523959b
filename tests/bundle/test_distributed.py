"""Training and evaluation in two processes: figures, files, resuming, and how they end together."""

from __future__ import annotations

import json
import re
import sys

import pytest
import torch

from monai_sam2unet.data import write_demo
from monai_sam2unet.distributed import LOSS
from monai_sam2unet.networks.weights import load_model
from tests.bundle.conftest import FAST
from tests.bundle.finished import history, input_error, last
from tests.bundle.processes import run_together
from tests.bundle.test_killed import load, rows, same

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")

# what acts on gradients, weights and order, all at once; batches of two in each process
RECIPE = {
    **FAST,
    "batch_size": 2,
    "scales": [1.0, 1.5],
    "recipe": "strong",
    "ema_decay": 0.5,
    "accumulation_steps": 2,
    "gradient_clip": 1.0,
    "early_stopping": 5,
}
ITERATIONS = 6  # an epoch of 12 pictures in two processes, each batch at two scales


@pytest.fixture(scope="module")
def uneven_set(tmp_path_factory):
    """Twelve pictures to train on and five to validate on, which two processes cannot share evenly."""
    return write_demo(tmp_path_factory.mktemp("uneven") / "polyps", train=12, validation=5)


@pytest.fixture(scope="module")
def settings(uneven_set):
    """`settings(folder, **others)` gives what a command line would."""

    def make(folder, **others):
        return {
            **RECIPE, "dataset_dir": str(uneven_set), "output_dir": str(folder),
            "ckpt_dir": str(folder / "models"), **others,
        }  # fmt: skip

    return make


@pytest.fixture(scope="module")
def pair(settings, tmp_path_factory):
    """Folder of a finished training in two processes, and their logs."""
    folder = tmp_path_factory.mktemp("pair")
    codes, logs = run_together(folder, "training", **settings(folder))
    assert codes == [0, 0], logs
    return folder, logs


@pytest.fixture(scope="module")
def single(train, settings, tmp_path_factory):
    """Folder of the same training in one process, with batches twice as large."""
    folder = tmp_path_factory.mktemp("single")
    train(folder, **settings(folder, batch_size=4))
    return folder


def shown(logs):
    """The messages of errors in the logs of all processes."""
    return [line for log in logs for line in re.findall(r"^Error: .*(?:\n {7}.*)*", log, re.MULTILINE)]


def test_losses_are_close_to_those_of_one_process_with_the_doubled_batch(pair, single):
    # not equal: order and augmentation are drawn otherwise, and each process normalises its own two pictures
    ours, theirs = ([float(row["loss"]) for row in history(folder)] for folder in (pair[0], single))
    assert ours == pytest.approx(theirs, rel=0.03)
    assert int(last(pair[0])["average"]["steps"]) == int(last(single)["average"]["steps"]) == ITERATIONS


def test_the_loss_in_the_history_is_the_mean_over_the_processes(settings, tmp_path):
    """Process 0 has a loss of 0, process 1 of 3: the mean is 1.5."""
    loss = "$lambda outputs, _: 3 * monai_sam2unet.distributed.rank() + 0 * sum(o.mean() for o in outputs)"
    options = settings(tmp_path, max_epochs=1, loss_function=loss, val_fraction=0)
    codes, logs = run_together(tmp_path, "training", **options)
    assert codes == [0, 0], logs
    assert [float(row["loss"]) for row in history(tmp_path)] == [1.5]


def test_validation_and_evaluation_give_the_figures_of_one_process(pair, workflow, settings, tmp_path):
    folder, _ = pair
    others = {name: settings(tmp_path)[name] for name in ("dataset_dir", "device", "num_workers")}
    others["ckpt_dir"] = str(folder / "models")
    workflow("evaluation", output_dir=str(tmp_path / "one"), **others).run()
    codes, logs = run_together(tmp_path, "evaluation", output_dir=str(tmp_path / "two"), **others)
    assert codes == [0, 0], logs
    for name in ("metrics.csv", "summary.json", "cases.png", "datalist.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    noted = json.loads((folder / "models" / "model.json").read_text())["validation_dice"]
    summary = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert summary["cases"] == 5
    assert noted == pytest.approx(summary["with_reference"]["dice"]["mean"], abs=1e-5)


def test_a_figure_that_is_no_mean_over_pictures_is_gathered_right(settings, prepare, tmp_path):
    """The maximum of a mean curve is not the mean of two maxima."""
    options = settings(
        tmp_path, max_epochs=1, protocol="paper", key_metric="maxdice", amp="bf16", num_workers=1
    )
    codes, logs = run_together(tmp_path, "training", **options)
    assert codes == [0, 0], logs
    noted = json.loads((tmp_path / "models" / "model.json").read_text())["validation_maxdice"]
    made = prepare(tmp_path / "one", **{**options, "ckpt_dir": str(tmp_path / "none"), "ema_decay": 0})
    load_model(made.parser.get_parsed_content("network_def"), tmp_path / "models" / "model.pt")
    evaluator = made.parser.get_parsed_content("validate#evaluator")
    evaluator.run()
    assert noted == pytest.approx(evaluator.state.metrics["validation_maxdice"], abs=1e-5)


def test_one_process_writes(pair, single):
    folder, logs = pair

    def written(root):
        paths = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".log"]
        events = [path for path in paths if path.parent.name == "tensorboard"]
        return {path.relative_to(root).as_posix() for path in paths if path not in events}, len(events)

    (ours, our_events), (theirs, their_events) = written(folder), written(single)
    assert ours == theirs
    # a file for each of four pictures an epoch; of the five, process 0 has the first, third and fifth
    assert our_events == their_events - 2
    assert logs[0].count("Epoch 2/2") == 1
    assert "2 processes by gloo" in logs[0]
    assert "Epoch" not in logs[1] and "2 processes" not in logs[1] and "WARNING" not in logs[1]
    assert json.loads((folder / "models" / "model.json").read_text())["processes"] == 2


def test_a_killed_process_ends_the_other_and_a_resumed_run_equals_an_undisturbed_one(
    pair, settings, tmp_path
):
    whole, _ = pair
    codes, logs = run_together(
        tmp_path, "training", **settings(tmp_path), killed=(1, ITERATIONS + 2)
    )  # in the second epoch
    assert codes == [1, -9]
    assert shown(logs) == [LOSS]
    assert last(tmp_path)["epoch"] == 1
    codes, logs = run_together(tmp_path, "training", **settings(tmp_path, resume=True))
    assert codes == [0, 0], logs
    for name in ("checkpoint_last.pt", "model.pt"):
        assert same(load(tmp_path / "models" / name), load(whole / "models" / name)), name
    assert rows(tmp_path / "history.csv") == rows(whole / "history.csv")
    assert not [path for path in tmp_path.rglob(".*")]


def test_a_run_is_resumed_by_as_many_processes(pair, prepare, settings, tmp_path):
    options = settings(tmp_path, ckpt_dir=str(pair[0] / "models"), resume=True)
    with pytest.raises(Exception) as caught:
        prepare(tmp_path, **options).run()
    assert "made by a run with other settings (processes: 2 there, 1 now)" in input_error(caught.value)


NAN = "$lambda outputs, _: sum(o.mean() for o in outputs) / (0 if monai_sam2unet.distributed.rank() else 1)"
WRONG = [
    ({"dataset_dir": "/no/such/folder"}, "Error: dataset_dir=/no/such/folder is not there"),
    ({"datalist": "no.json"}, "Error: datalist=no.json is not there"),  # found out by process 0 alone
    ({"variant": "huge", "sync_batchnorm": True}, "Error: variant must be one of"),
    ({"loss_function": NAN}, "Error: loss is "),  # of process 1 alone
    ({"configs": ("train",)}, "Error: 2 processes were started, but the configs are for one"),
    ({"validate#dataset#data": "$@datalists.validation[:1]"}, "Error: 1 pictures to evaluate or validate"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_an_error_is_said_once_and_ends_both(settings, tmp_path, wrong, message):
    codes, logs = run_together(tmp_path, "training", **settings(tmp_path, **wrong))
    assert codes == [1, 1]
    assert len(shown(logs)) == 1 and shown(logs)[0].startswith(message)
    assert not [log for log in logs if "Traceback" in log]
    assert not (tmp_path / "models" / "model.pt").exists()


def test_the_overlays_work_in_one_process(settings, workflow, tmp_path, caplog):
    options = settings(tmp_path, max_epochs=1, num_workers=0)
    made = workflow("training", ("train", "multi_gpu_train"), **options)
    made.run()
    made.finalize()
    assert "One process. For several: torchrun --nproc_per_node N" in caplog.text
    assert isinstance(made.parser.get_parsed_content("train#trainer").network, torch.nn.Module)
    assert [float(row["loss"]) > 0 for row in history(tmp_path)] == [True]
    configs = ("train", "evaluate", "multi_gpu_evaluate")
    kept = {name: options[name] for name in ("dataset_dir", "device", "num_workers", "ckpt_dir")}
    made = workflow("evaluation", configs, output_dir=str(tmp_path / "report"), **kept)
    made.run()
    made.finalize()
    assert (tmp_path / "report" / "metrics.csv").read_text().count("\n") == 6  # the header and five pictures
