"""The model in the box: used by everything until there is a model of the user's, never overwritten."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from monai_sam2unet import predict
from monai_sam2unet.data import load_datalists
from monai_sam2unet.metrics import score
from monai_sam2unet.networks.weights import SHIPPED_NAME

SETTINGS = SHIPPED_NAME.replace(".pt", ".json")


@pytest.fixture
def fresh(bundle_root, tmp_path):
    """A bundle as it comes: configs, and the shipped model alone."""
    (tmp_path / "bundle" / "models").mkdir(parents=True)
    (tmp_path / "bundle" / "configs").symlink_to(bundle_root / "configs")
    for name in (SHIPPED_NAME, SETTINGS):
        shutil.copy(bundle_root / "models" / name, tmp_path / "bundle" / "models")
    return tmp_path / "bundle"


def infer(workflow, root, source, out):
    made = workflow(
        "inference", bundle_root=str(root), input=str(source), output_dir=str(out),
        probabilities=True, num_workers=0, device="cpu",
    )  # fmt: skip
    made.run()
    return np.asarray(Image.open(next((out / "probabilities").iterdir())))


def test_until_the_user_has_trained(workflow, train, fresh, small_set, tmp_path, caplog):
    picture = next((small_set / "images").iterdir())
    before = {name: (fresh / "models" / name).read_bytes() for name in (SHIPPED_NAME, SETTINGS)}
    with caplog.at_level(logging.INFO):
        shipped = infer(workflow, fresh, picture, tmp_path / "shipped")
        probability = predict(picture, bundle_root=fresh, device="cpu")
    assert caplog.text.count("comes with the bundle") == 2
    np.testing.assert_allclose(probability, shipped / 255, atol=0.5 / 255 + 1e-6)

    train(tmp_path / "run", bundle_root=str(fresh), ckpt_dir=str(fresh / "models"), max_epochs=1)
    assert {name: (fresh / "models" / name).read_bytes() for name in before} == before
    caplog.clear()
    with caplog.at_level(logging.INFO):
        own = infer(workflow, fresh, picture, tmp_path / "own")
        probability = predict(picture, bundle_root=fresh, device="cpu")
    assert "comes with the bundle" not in caplog.text and "models/model.pt" in caplog.text
    np.testing.assert_allclose(probability, own / 255, atol=0.5 / 255 + 1e-6)
    assert np.abs(own.astype(int) - shipped).max() > 25  # the two models do differ


def test_an_evaluation_says_which_model_it_was(workflow, fresh, small_set, tmp_path):
    made = workflow(
        "evaluation", bundle_root=str(fresh), dataset_dir=str(small_set), output_dir=str(tmp_path / "out"),
        num_workers=0, device="cpu",
    )  # fmt: skip
    made.run()
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["model"] == SHIPPED_NAME


def test_it_is_as_good_as_its_card_says(bundle_root, real_data):
    """Dice of `fixed` on PolypGen's test part, as models/README.md gives it."""
    items = load_datalists(real_data("PolypGen")).test
    model = bundle_root / "models" / SHIPPED_NAME
    maps = [predict(item["image"], model=model, device="cpu") for item in items]
    masks = [np.asarray(Image.open(item["label"]).convert("L")) for item in items]
    card = json.loads((bundle_root / "models" / SETTINGS).read_text())["figures"]["PolypGen test"]["dice"]
    assert score(maps, masks, protocol="fixed")["dice"] == pytest.approx(card, abs=5e-4)
