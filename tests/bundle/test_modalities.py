"""Overlays for pictures other than endoscopy: each trains, and inference reads as its model learnt."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_sam2unet import predict
from monai_sam2unet.io import read
from tests.bundle.conftest import FAST
from tests.bundle.finished import history, input_error
from tests.io.phantoms import write

NAMES = ("xray", "ultrasound", "skin", "retina")
DATA = Path(os.environ.get("SAM2UNET_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")).resolve()


@pytest.fixture(scope="module")
def faint(tmp_path_factory):
    """Grey pictures of 80x72 to 96 pixels in which a disc of 6 levels above the ground is the structure."""
    folder = tmp_path_factory.mktemp("faint")
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for number in range(8):
        drawn = np.random.default_rng(number)
        h, w = 80, 72 + 4 * (number % 7)
        y, x = np.mgrid[:h, :w]
        disc = (y - drawn.integers(25, 55)) ** 2 + (x - drawn.integers(25, 47)) ** 2 < 200
        grey = 40 + 10 * number + 6 * disc + drawn.integers(0, 3, (h, w))
        Image.fromarray(grey.astype(np.uint8)).save(folder / "images" / f"{number}.png")
        Image.fromarray(disc.astype(np.uint8) * 255).save(folder / "masks" / f"{number}.png")
    return folder


def run(workflow, name, data, out, **settings):
    made = workflow(
        "training", ("train", name), **{**FAST, "dataset_dir": str(data), "output_dir": str(out),
                                        "ckpt_dir": str(out / "models"), **settings},
    )  # fmt: skip
    made.run()
    return json.loads((out / "models" / "model.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_an_overlay_trains_and_its_model_says_how_pictures_are_read(
    workflow, bundle_root, faint, tmp_path, name
):
    tiles = {"tile": 64, "tiles_per_picture": 2} if name == "retina" else {}
    noted = run(workflow, name, faint, tmp_path, val_fraction=0.25, val_interval=2, **tiles)
    overlay = json.loads((bundle_root / "configs" / f"{name}.json").read_text())
    for setting in overlay.keys() & noted.keys() - {
        "max_epochs",
        "batch_size",
        "val_fraction",
        "val_interval",
    }:
        assert noted[setting] == {**overlay, **tiles}[setting]
    assert [row["epoch"] for row in history(tmp_path)] == ["1", "2"]
    assert 0 <= noted["validation_dice"] <= 1
    workflow(
        "inference", input=str(faint / "images"), output_dir=str(tmp_path / "out"), num_workers=0,
        ckpt_dir=str(tmp_path / "models"), probabilities=True, bundle_root=str(bundle_root), device="cpu",
    ).run()  # fmt: skip
    made_with = json.loads((tmp_path / "out" / "made_with.json").read_text())
    assert made_with.get("contrast", "none") == noted["contrast"]
    assert made_with.get("tile", 0) == noted["tile"]
    picture = faint / "images" / "3.png"
    probability = predict(picture, model=tmp_path / "models" / "model.pt", device="cpu")
    assert probability.shape == np.asarray(Image.open(picture)).shape
    written = np.asarray(Image.open(tmp_path / "out" / "probabilities" / "3.png"))
    assert np.abs(written - probability * 255).max() <= 1  # of batches of four, and rounded
    whole = predict(picture, model=tmp_path / "models" / "model.pt", device="cpu", tile=0)
    assert np.array_equal(whole, probability) is (noted["tile"] == 0)


def test_tiles_make_larger_batches_at_the_pictures_own_resolution(workflow, faint, tmp_path):
    made = workflow(
        "training", ("train", "retina"),
        **{**FAST, "dataset_dir": str(faint), "output_dir": str(tmp_path), "tile": 32, "val_fraction": 0.25},
    )  # fmt: skip
    batch = next(iter(made.parser.get_parsed_content("train#dataloader")))
    assert batch["image"].shape == (16, 3, 32, 32)  # four pictures of four tiles
    assert batch["label"].shape == (16, 1, 32, 32)


@pytest.mark.parametrize(
    ("flips", "axes"), [("both", {0, 1}), ("horizontal", {1}), ("vertical", {0}), ("none", set())]
)
def test_flips_are_those_that_are_asked_for(workflow, faint, tmp_path, flips, axes):
    """Rotations by 90 degrees turn left into top, so they go with both flips alone."""
    made = workflow("training", ("train", "strong"), **{**FAST, "dataset_dir": str(faint), "flips": flips},
                    output_dir=str(tmp_path))  # fmt: skip
    steps = made.parser.get_parsed_content("train#preprocessing").transforms
    names = [type(step).__name__ for step in steps]
    assert {step.flipper.spatial_axis for step in steps if type(step).__name__ == "RandFlipd"} == axes
    assert ("RandRotate90d" in names) is (flips == "both")


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    """CT slices with a disc of 60 HU in 0 HU, beside air and bone: the file's own window hides the disc."""
    folder = tmp_path_factory.mktemp("ct")
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for number in range(8):
        drawn = np.random.default_rng(number)
        y, x = np.mgrid[:64, :64]
        disc = (y - drawn.integers(22, 42)) ** 2 + (x - drawn.integers(22, 42)) ** 2 < 100
        values = np.where(disc, 60, 0) + drawn.integers(-5, 6, (64, 64))
        values[:, :6], values[:6] = -1000, 1500
        given = {"Modality": "CT", "WindowCenter": 250, "WindowWidth": 2500}
        write(folder / "images" / f"{number}.dcm", values.astype(np.int16), **given)
        Image.fromarray(disc.astype(np.uint8) * 255).save(folder / "masks" / f"{number}.png")
    return folder


def test_ct_is_learnt_and_segmented_by_the_window_of_the_training(workflow, bundle_root, ct, tmp_path):
    """Abdomen is 50 and 400 in docs/medical.md: the disc differs by 60 / 400 of the range, not 60 / 2500."""
    noted = run(workflow, "ct", ct, tmp_path, val_fraction=0.25)
    assert noted["window"] == "abdomen"
    made = workflow("training", ("train", "ct"), **{**FAST, "dataset_dir": str(ct)}, output_dir=str(tmp_path))
    first = made.parser.get_parsed_content("datalists").train[0]
    loaded = made.parser.get_parsed_content("validate#preprocessing").transforms[0](first)
    disc = np.asarray(loaded["label"][0]) > 0
    levels = np.asarray(loaded["image"][0]).astype(float)
    inside = np.s_[10:, 10:]
    difference = levels[inside][disc[inside]].mean() - levels[inside][~disc[inside]].mean()
    assert difference == pytest.approx(255 * 60 / 400, abs=1)
    model = tmp_path / "models" / "model.pt"
    workflow(
        "inference", input=str(ct / "images"), output_dir=str(tmp_path / "out"), num_workers=0,
        checkpoint=str(model), probabilities=True, bundle_root=str(bundle_root), device="cpu",
    ).run()  # fmt: skip
    assert json.loads((tmp_path / "out" / "made_with.json").read_text())["window"] == "abdomen"
    shown = read(first["image"], "abdomen").frame(1).pixels
    by_window = predict(shown, model=model, device="cpu")
    assert np.array_equal(predict(first["image"], model=model, device="cpu"), by_window)
    written = np.asarray(Image.open(tmp_path / "out" / "probabilities" / f"{Path(first['image']).stem}.png"))
    assert np.abs(written - by_window * 255).max() <= 1


def test_a_window_means_nothing_for_pictures(workflow, faint, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        run(workflow, "ct", faint, tmp_path)
    assert "is a picture, where window 'abdomen' means nothing" in input_error(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder", "above", "settings"),
    [
        # `above`: Dice of marking everything that is marked anywhere in half of the pictures or more, which
        # needs no look at a picture (computed below), plus this
        ("xray", "CXR-lungs", 0.02, {"input_size": 96, "max_epochs": 8, "val_interval": 2}),
        ("ultrasound", "BUSI-52", 0.05, {"input_size": 96, "max_epochs": 12, "val_interval": 6}),
        ("skin", "HAM10000-36", 0.05, {"input_size": 96, "max_epochs": 16, "val_interval": 4}),
        ("retina", "DRIVE", 0.2, {"tile": 128, "max_epochs": 6, "val_interval": 3}),
    ],
)
def test_it_learns_on_real_pictures(workflow, tmp_path, name, folder, above, settings):
    """A minute from scratch, with the smallest network: better than the mean mask of the training."""
    data = DATA / folder
    if not data.is_dir():
        pytest.skip(f"no {data}")
    given = {"batch_size": 4, "val_fraction": 0.25, "ema_decay": 0.9, **settings}
    noted = run(workflow, name, data, tmp_path, **given)
    items = json.loads((tmp_path / "datalist.json").read_text())
    assert noted["validation_dice"] > mean_mask_dice(items, data) + above
    losses = [float(row["loss"]) for row in csv.DictReader((tmp_path / "history.csv").open())]
    assert losses[-1] < 0.95 * losses[0]


def mean_mask_dice(lists, data):
    """Mean Dice, on the validation, of the pixels that half of the training's masks have."""

    def mask(item, size=None):
        label = item["label"] if isinstance(item["label"], str) else item["label"][0]
        picture = Image.open(data / label).convert("L")
        return np.asarray(picture.resize(size) if size else picture) > 127

    mean = np.mean([mask(item, (128, 128)) for item in lists["training"]], axis=0) >= 0.5
    dice = []
    for item in lists["validation"]:
        truth = mask(item)
        guess = np.asarray(Image.fromarray(mean).resize(truth.shape[::-1], Image.Resampling.NEAREST))
        dice.append(2 * (guess & truth).sum() / max(1, guess.sum() + truth.sum()))
    return float(np.mean(dice))
