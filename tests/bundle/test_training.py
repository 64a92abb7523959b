"""Training: what it writes, that it repeats, resumes, stops, and refuses."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_sam2unet.data import load_datalists
from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.networks.weights import load_model, read_weights
from tests.bundle.finished import history, input_error, last
from tests.weight_files import equal


def model(folder):
    return read_weights(folder / "models" / "model.pt").tensors


def test_what_a_run_writes(trained, small_set):
    network = SAM2UNet("nano", decoder_channels=32)
    load_model(network, trained / "models" / "model.pt")
    settings = json.loads((trained / "models" / "model.json").read_text())
    assert (settings["variant"], settings["input_size"]) == ("nano", 64)
    rows = history(trained)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    dice = [float(row["validation_dice"]) for row in rows]
    assert settings["validation_dice"] == pytest.approx(max(dice), abs=1e-5)
    assert settings["epoch"] == 1 + int(np.argmax(dice))
    assert all(0 < float(row["loss"]) < 10 for row in rows)
    again = load_datalists(small_set, datalist=trained / "datalist.json")
    assert (again.train, again.validation) == (
        load_datalists(small_set).train,
        load_datalists(small_set).validation,
    )


def test_tensorboard_has_figures_and_pictures(trained):
    events = EventAccumulator(str(trained / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    assert {"train_loss", "validation_dice"} <= set(tags["scalars"])
    assert len(tags["images"]) == 4 and all(tag.startswith("validation/") for tag in tags["images"])
    assert [image.step for image in events.Images(tags["images"][0])] == [1, 2]
    rows = history(trained)
    for tag in ("validation_dice", "learning_rate"):
        curve = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in curve] == [1, 2]
        assert [value for _, value in curve] == pytest.approx([float(r[tag]) for r in rows], rel=5e-3)
    losses = [event.value for event in events.Scalars("train_loss")]
    steps = len(losses) // 2
    assert [sum(losses[:steps]) / steps, sum(losses[steps:]) / steps] == pytest.approx(
        [float(row["loss"]) for row in rows], abs=1e-4
    )


def test_checkpoint_names_suit_monai_label(trained):
    """MONAI Label serves the .pt with the shortest name in models/."""
    names = sorted((path.name for path in (trained / "models").glob("*.pt")), key=len)
    assert names == ["model.pt", "checkpoint_last.pt"]


def test_a_seeded_run_repeats_exactly(train, trained, tmp_path):
    train(tmp_path)
    assert equal(model(tmp_path), model(trained))
    assert [r["loss"] for r in history(tmp_path)] == [r["loss"] for r in history(trained)]


def test_workers_change_nothing_but_speed_of_a_repeat(train, tmp_path):
    """With loader processes, too, a run repeats exactly."""
    for name in ("a", "b"):
        train(tmp_path / name, num_workers=2, max_epochs=1)
    assert equal(model(tmp_path / "a"), model(tmp_path / "b"))


def test_checkpointing_changes_no_weight(train, trained, tmp_path):
    made = train(tmp_path, checkpointing="true")
    blocks = made.parser.get_parsed_content("network_def").encoder.blocks
    assert all(block.checkpointing for block in blocks)
    assert equal(model(tmp_path), model(trained))


def test_another_seed_gives_another_run(train, trained, tmp_path):
    train(tmp_path, seed=1)
    assert not equal(model(tmp_path), model(trained))


def test_a_resumed_run_equals_an_undisturbed_one(train, prepare, trained, tmp_path):
    """Stop after one of two epochs, go on in a new workflow: the same weights and history to the bit."""
    first = prepare(tmp_path)
    trainer = first.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=1), lambda engine: engine.terminate())
    first.run()
    assert last(tmp_path)["epoch"] == 1
    train(tmp_path, resume="true")
    assert last(tmp_path)["epoch"] == 2
    assert equal(last(tmp_path)["network"], last(trained)["network"])
    assert equal(model(tmp_path), model(trained))
    columns = ("epoch", "loss", "validation_dice", "learning_rate")
    assert [[r[c] for c in columns] for r in history(tmp_path)] == [
        [r[c] for c in columns] for r in history(trained)
    ]


def test_resume_refuses_other_settings(train, trained, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "checkpoint_last.pt").write_bytes(
        (trained / "models" / "checkpoint_last.pt").read_bytes()
    )
    with pytest.raises(RuntimeError) as caught:
        train(tmp_path, resume=True, learning_rate=0.5)
    assert "learning_rate: 0.001 there, 0.5 now" in input_error(caught.value)


def test_resume_without_a_checkpoint(train, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        train(tmp_path, resume=True)
    assert "checkpoint_last.pt: no such" in input_error(caught.value)


def test_ctrl_c_leaves_a_usable_checkpoint(train, prepare, tmp_path, caplog):
    made = prepare(tmp_path)
    trainer = made.parser.get_parsed_content("train#trainer")

    def interrupt(engine):
        raise KeyboardInterrupt

    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), interrupt)
    with caplog.at_level(logging.WARNING, logger="monai_sam2unet"), pytest.raises(KeyboardInterrupt):
        made.run()
    assert "--resume true goes on from the weights reached" in caplog.text
    load_model(SAM2UNet("nano", decoder_channels=32), tmp_path / "models" / "model.pt")
    train(tmp_path, resume=True)
    assert last(tmp_path)["epoch"] == 2


def test_ctrl_c_in_a_later_epoch_changes_nothing_in_the_end(train, prepare, trained, tmp_path, caplog):
    made = prepare(tmp_path)
    trainer = made.parser.get_parsed_content("train#trainer")

    def interrupt(engine):
        raise KeyboardInterrupt

    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=5), interrupt)
    with caplog.at_level(logging.WARNING, logger="monai_sam2unet"), pytest.raises(KeyboardInterrupt):
        made.run()
    assert "Interrupted in epoch 2" in caplog.text and "goes on from the end of epoch 1" in caplog.text
    train(tmp_path, resume=True)
    assert equal(last(tmp_path)["network"], last(trained)["network"])
    assert equal(model(tmp_path), model(trained))


def test_nan_stops_and_names_the_batch(prepare, tmp_path):
    made = prepare(tmp_path)
    trainer = made.parser.get_parsed_content("train#trainer")
    network = made.parser.get_parsed_content("network")

    def spoil(engine):
        network.head.bias.data.fill_(float("nan"))

    trainer.add_event_handler(Events.ITERATION_STARTED(once=2), spoil)
    with pytest.raises(RuntimeError) as caught:
        made.run()
    message = input_error(caught.value)
    assert "loss is nan in epoch 1, iteration 2" in message and message.count("images/") == 4
    assert not (tmp_path / "models" / "checkpoint_last.pt").exists()


def test_a_model_of_an_earlier_run_is_kept(train, trained, tmp_path):
    train(tmp_path, max_epochs=1)
    before = (tmp_path / "models" / "model.pt").read_bytes()
    train(tmp_path, max_epochs=1, seed=2)
    kept = list((tmp_path / "models" / "replaced").glob("*/model.pt"))
    assert len(kept) == 1 and kept[0].read_bytes() == before
    assert (tmp_path / "models" / "model.pt").read_bytes() != before


def test_without_validation_the_last_epoch_is_the_model(train, small_set, tmp_path):
    data = tmp_path / "data"
    listed = json.loads((small_set / "dataset.json").read_text())
    for kind in ("images", "masks"):
        (data / kind).mkdir(parents=True)
        for item in listed["training"][:6]:
            name = item["image"].split("/")[1]
            (data / kind / name).write_bytes((small_set / kind / name).read_bytes())
    train(tmp_path, dataset_dir=str(data), val_fraction=0)
    assert equal(model(tmp_path), last(tmp_path)["network"])
    assert [row["validation_dice"] for row in history(tmp_path)] == ["", ""]


def test_gradient_accumulation_steps_less_often(prepare, tmp_path):
    made = prepare(tmp_path, max_epochs=1, accumulation_steps=2)
    optimizer = made.parser.get_parsed_content("optimizer")
    steps = []
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    made.run()
    assert len(steps) == 2  # three batches of four: after the second, and at the end of the epoch


def test_gradient_clipping_bounds_the_norm(prepare, tmp_path):
    made = prepare(tmp_path, max_epochs=1, gradient_clip=1e-3)
    trainer = made.parser.get_parsed_content("train#trainer")
    network = made.parser.get_parsed_content("network")
    norms = []

    def measure(engine):
        gradients = [p.grad.norm() for p in network.parameters() if p.grad is not None]
        norms.append(float(torch.stack(gradients).norm()))

    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, measure)
    made.run()
    assert len(norms) == 3 and max(norms) <= 1.001e-3


@pytest.mark.parametrize("val_interval", [1, 2])
def test_early_stopping_ends_training(train, tmp_path, monkeypatch, val_interval):
    """A figure that never improves ends it at the second validation; other epochs do not count."""
    monkeypatch.setattr("monai_sam2unet.handlers.training._key_metric", lambda evaluator: 0.5)
    made = train(tmp_path, max_epochs=8, early_stopping=1, val_interval=val_interval)
    assert made.parser.get_parsed_content("train#trainer").state.epoch == 2 * val_interval
    validated = [bool(row["validation_dice"]) for row in history(tmp_path)]
    assert validated == [epoch % val_interval == 0 for epoch in range(1, 2 * val_interval + 1)]
    again = train(tmp_path, max_epochs=8, early_stopping=1, val_interval=val_interval, resume=True)
    assert again.parser.get_parsed_content("train#trainer").state.epoch == 2 * val_interval


@pytest.mark.parametrize(
    "change", [{"amp": "bf16"}, {"recipe": "strong"}, {"scales": [1.0, 1.25]}, {"loss": "legacy"}]
)
def test_options_train(train, tmp_path, change):
    made = train(tmp_path, max_epochs=1, **change)
    iterations = made.parser.get_parsed_content("train#trainer").state.iteration
    assert iterations == 3 * len(change.get("scales", [1.0]))
    assert np.isfinite(float(history(tmp_path)[0]["loss"]))


def test_masks_stay_aligned_under_the_strong_recipe(prepare, tmp_path):
    """A picture that is its own mask stays its own mask: geometry moves both, colour only the one."""
    data = tmp_path / "data"
    for kind in ("images", "masks"):
        (data / kind).mkdir(parents=True)
        for i in range(6):
            mask = np.zeros((90, 120), np.uint8)
            mask[20:50, 10 + 5 * i : 60] = 255
            Image.fromarray(mask).save(data / kind / f"{i}.png")
    made = prepare(tmp_path, dataset_dir=str(data), recipe="strong")
    dataset = made.parser.get_parsed_content("train#dataset")
    for _ in range(5):
        for item in dataset:
            bright = item["image"].mean(0)
            inside, outside = bright[item["label"][0] > 0.95], bright[item["label"][0] < 0.05]
            assert inside.mean() > outside.mean() + 1
            assert item["label"].min() >= 0 and item["label"].max() <= 1


def test_pretrained_weights_missing(train, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        train(tmp_path, variant="tiny", pretrained="sam2", pretrained_dir=str(tmp_path / "pretrained"))
    message = input_error(caught.value)
    for part in (
        "sam2_hiera_tiny.pt",
        str(tmp_path / "pretrained"),
        "scripts.download_weights tiny",
        "--pretrained none",
    ):
        assert part in message


def test_a_missing_folder_is_named_before_missing_weights(train, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        train(tmp_path / "out", dataset_dir=str(tmp_path / "nowhere"), variant="tiny", pretrained="sam2")
    assert f"dataset_dir={tmp_path / 'nowhere'} is not there" in input_error(caught.value)


def test_a_layout_without_a_folder_is_not_the_demonstration(train, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        train(tmp_path, dataset_dir="", datalist="mine.json", demo_dir=str(tmp_path / "demo"))
    assert "datalist=mine.json needs dataset_dir" in input_error(caught.value)
    assert not (tmp_path / "demo").exists()


def test_published_recipe_is_the_default_with_a_data_set(bundle_root, workflow, small_set, tmp_path):
    """protocols.md of the benchmark, quoted from the paper's section 3: the values of the polyp recipe."""
    made = workflow(
        "training", bundle_root=str(bundle_root), dataset_dir=str(small_set), output_dir=str(tmp_path)
    )
    expected = {
        "variant": "large", "input_size": 352, "batch_size": 12, "max_epochs": 20, "learning_rate": 1e-3,
        "weight_decay": 5e-4, "min_learning_rate": 1e-7, "scales": [1.0, 1.25], "mask_resize": "bicubic",
        "decoder_channels": 64, "adapter_dim": 32, "tuning": "adapters", "layer_decay": 1.0,
        "pretrained": "sam2",
    }  # fmt: skip
    assert {name: made.parser.get_parsed_content(name) for name in expected} == expected


def test_pictures_wider_than_high_under_the_strong_recipe(train, tmp_path):
    train(tmp_path, input_size=[64, 96], recipe="strong", max_epochs=1)


def test_all_masks_empty_is_refused(train, tmp_path):
    data = tmp_path / "data"
    for kind in ("images", "masks"):
        (data / kind).mkdir(parents=True)
        for i in range(6):
            Image.new("L", (40, 30)).save(data / kind / f"{i}.png")
    with pytest.raises(RuntimeError) as caught:
        train(tmp_path, dataset_dir=str(data), val_fraction=0.3)
    assert "of the training part are empty" in input_error(caught.value)


def test_several_folders_are_trained_on_as_one(train, small_set, tmp_path):
    other = tmp_path / "other"
    listed = json.loads((small_set / "dataset.json").read_text())
    for kind, key in (("images", "image"), ("masks", "label")):
        (other / kind).mkdir(parents=True)
        for item in listed["training"][:4]:
            name = item[key].split("/")[1]
            (other / kind / name).write_bytes((small_set / kind / name).read_bytes())
    made = train(tmp_path, dataset_dir=[str(small_set), str(other)], max_epochs=1, val_fraction=0.25)
    lists = made.parser.get_parsed_content("datalists")
    assert (len(lists.train), len(lists.validation)) == (12 + 3, 4 + 1)
    written = json.loads((tmp_path / "datalist.json").read_text())
    assert written["dataset"] == "demo+folders" and len(written["training"]) == 15


@pytest.mark.parametrize("validation", [0, 2])
def test_pictures_named_from_outside(train, small_set, tmp_path, validation):
    """As MONAI Label names them: paths alone. Nothing else is read, and the demonstration is not drawn."""
    items = [{"image": i["image"], "label": i["label"]} for i in load_datalists(small_set).train[:6]]
    lists = {"train#dataset#data": items[2:], "validate#dataset#data": items[:validation]}
    demo = {"dataset_dir": "", "demo_dir": str(tmp_path / "demo")}
    train(tmp_path / "run", **{**demo, **lists, "max_epochs": 1})
    assert not (tmp_path / "demo").exists() and not (tmp_path / "run" / "datalist.json").exists()
    noted = json.loads((tmp_path / "run" / "models" / "model.json").read_text())
    assert noted["epoch"] == 1 and (noted["validation_dice"] is None) == (validation == 0)
