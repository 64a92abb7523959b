"""``--tracking mlflow`` with the real package, read back through its client; what it refuses needs none."""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
from pathlib import Path

import pytest
from ignite.engine import Events
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

from tests.bundle.finished import history, input_error

STEPS = 3  # of an epoch: twelve pictures in batches of four


@pytest.fixture(scope="module")
def mlflow():
    """The package, with the parts that a local store needs; `make tracking` installs them."""
    for name in ("sqlalchemy", "alembic"):
        pytest.importorskip(name)
    package = pytest.importorskip("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield package


@pytest.fixture(scope="module")
def tracked(mlflow, train, tmp_path_factory):
    """Folder of a finished training that was tracked."""
    folder = tmp_path_factory.mktemp("tracked")
    train(folder, tracking="mlflow")
    return folder


@pytest.fixture
def runs(mlflow):
    """`runs(folder)` gives the client of the store in a folder and its runs, latest first."""

    def read(folder, experiment="monai_experiment"):
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlruns.db")
        return client, client.search_runs(client.get_experiment_by_name(experiment).experiment_id)

    return read


def curve(client, run, name):
    """Step and value of everything logged under a name."""
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def artifacts(client, run):
    return {item.path for item in client.list_artifacts(run.info.run_id)}


def test_a_training_is_one_finished_run_with_its_curves(tracked, runs):
    client, (run,) = runs(tracked)
    assert (run.info.run_name, run.info.status) == (tracked.name, "FINISHED")
    rows = history(tracked)
    dice = curve(client, run, "validation_dice")
    assert [step for step, _ in dice] == [1, 2]
    assert [value for _, value in dice] == pytest.approx(
        [float(row["validation_dice"]) for row in rows], abs=1e-5
    )
    losses = [value for _, value in curve(client, run, "train_loss")]
    means = [sum(losses[start : start + STEPS]) / STEPS for start in (0, STEPS)]
    assert means == pytest.approx([float(row["loss"]) for row in rows], abs=1e-5)
    rates = [value for _, value in curve(client, run, "lr_group_0")][::STEPS]
    assert rates == pytest.approx([float(row["learning_rate"]) for row in rows], rel=1e-2)


def test_a_training_has_its_settings_as_parameters(tracked, runs):
    _, (run,) = runs(tracked)
    settings = json.loads((tracked / "models" / "model.json").read_text())
    figures = {"epoch", "validation_dice"}  # of the best model, known at the end
    expected = {name: str(value) for name, value in settings.items() if name not in figures}
    assert run.data.params == {**expected, "epoch_length": str(STEPS)}


def test_a_training_has_its_config_history_and_model_settings_as_artifacts(tracked, runs, tmp_path):
    client, (run,) = runs(tracked)
    (config,) = tracked.glob("config_*.json")
    assert artifacts(client, run) == {config.name, "history.csv", "model.json"}
    for file in (config, tracked / "history.csv", tracked / "models" / "model.json"):
        kept = client.download_artifacts(run.info.run_id, file.name, str(tmp_path))
        assert Path(kept).read_bytes() == file.read_bytes()
    assert json.loads(config.read_text())["input_size"] == 64


def test_tracking_leaves_the_training_as_it_is(tracked, trained):
    columns = ("epoch", "loss", "validation_dice", "learning_rate")
    assert [[r[c] for c in columns] for r in history(tracked)] == [
        [r[c] for c in columns] for r in history(trained)
    ]


def test_a_resumed_training_goes_on_in_its_run(mlflow, prepare, train, runs, tmp_path, caplog):
    def interrupt(_):
        raise KeyboardInterrupt

    first = prepare(tmp_path, tracking="mlflow")
    trainer = first.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_STARTED(once=2), interrupt)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    _, (run,) = runs(tmp_path)
    assert run.info.status == "RUNNING"
    with caplog.at_level(logging.WARNING, logger="monai_sam2unet"):
        train(tmp_path, tracking="mlflow", resume=True, threshold=0.4)
    client, (run,) = runs(tmp_path)
    assert run.info.status == "FINISHED"
    assert [step for step, _ in curve(client, run, "validation_dice")] == [1, 2]
    assert [step for step, _ in curve(client, run, "train_loss")] == [1, 2, 3, 4, 5, 6]
    assert run.data.params["threshold"] == "0.5"
    assert "MLflow keeps threshold as first logged: 0.5, now 0.4" in caplog.text


def test_an_evaluation_has_the_figures_of_its_report(mlflow, workflow, trained, small_set, runs, tmp_path):
    workflow(
        "evaluation",
        tracking="mlflow",
        dataset_dir=str(small_set),
        ckpt_dir=str(trained / "models"),
        output_dir=str(tmp_path),
        num_workers=0,
        device="cpu",
    ).run()
    client, (run,) = runs(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    expected = {name: summary["with_reference"][name]["mean"] for name in ("dice", "iou", "nsd", "hd95")}
    expected |= {"sensitivity": summary["lesions"]["sensitivity"]["mean"]}
    expected = {name: mean for name, mean in expected.items() if mean is not None}
    assert {name: run.data.metrics[name] for name in expected} == pytest.approx(expected)
    assert "validation_dice" not in run.data.metrics
    assert run.info.status == "FINISHED"
    assert (run.data.params["subset"], run.data.params["model"]) == ("validation", "model.pt")
    (config,) = tmp_path.glob("config_*.json")
    assert artifacts(client, run) == {config.name, "summary.json", "metrics.csv"}


def test_an_inference_is_tracked_into_the_folder_that_it_writes(
    mlflow, workflow, trained, small_set, runs, tmp_path
):
    """Without output_dir its name holds the time: config, store and masks lie in one folder nevertheless."""
    workflow(
        "inference",
        tracking="mlflow",
        bundle_root=str(tmp_path),
        ckpt_dir=str(trained / "models"),
        input=str(small_set / "images" / "0000.png"),
        num_workers=0,
        device="cpu",
    ).run()
    (folder,) = (tmp_path / "runs").iterdir()
    assert len(list((folder / "masks").iterdir())) == 1
    (config,) = folder.glob("config_*.json")
    client, (run,) = runs(folder)
    assert (run.info.run_name, run.info.status) == (folder.name, "FINISHED")
    assert artifacts(client, run) == {config.name}
    assert run.data.params["input_size"] == "64"


def test_settings_of_a_file_and_a_store_of_several_runs(mlflow, train, runs, tmp_path):
    """Runs of other processes that have not ended are left alone; the file's names are used."""
    settings = copy.deepcopy(DEFAULT_MLFLOW_SETTINGS)
    settings["configs"] |= {
        "tracking_uri": f"sqlite:///{tmp_path}/mlruns.db",
        "experiment_name": "polyps",
        "save_execute_config": False,
    }
    (tmp_path / "mine.json").write_text(json.dumps(settings))
    client = mlflow.MlflowClient(tracking_uri=settings["configs"]["tracking_uri"])
    other = client.create_run(client.create_experiment("polyps"), run_name="other").info.run_id
    train(tmp_path / "own", tracking=str(tmp_path / "mine.json"), max_epochs=1)
    _, found = runs(tmp_path, "polyps")
    by_name = {run.info.run_name: run for run in found}
    assert by_name.keys() == {"other", "own"}
    assert by_name["own"].info.status == "FINISHED" and by_name["own"].data.params["max_epochs"] == "1"
    assert by_name["other"].info.run_id == other and not by_name["other"].data.metrics
    assert artifacts(client, by_name["own"]) == {"history.csv", "model.json"}


def test_a_missing_package_is_named_before_any_work(workflow, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlflow" else name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(RuntimeError) as caught:
        workflow("training", tracking="mlflow", output_dir=str(tmp_path), demo_dir=str(tmp_path / "demo"))
    message = input_error(caught.value)
    assert "not installed: mlflow;" in message and "pip install mlflow-skinny sqlalchemy alembic" in message
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("uri", ["mlruns", "/data/mlruns", "file:///data/mlruns"])
def test_a_store_in_a_folder_is_refused(workflow, tmp_path, monkeypatch, uri):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(RuntimeError) as caught:
        workflow("training", tracking="mlflow", output_dir=str(tmp_path), tracking_uri=uri)
    assert f"tracking_uri must be a database or a server, got '{uri}'" in input_error(caught.value)


def test_names_of_tracking_need_tracking(workflow, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        workflow("training", output_dir=str(tmp_path), experiment_name="polyps")
    assert "unknown setting 'experiment_name'" in input_error(caught.value)
