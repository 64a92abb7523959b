"""Which model is used where none is named."""

import logging
import shutil

import pytest

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.networks.weights import (
    SHIPPED_NAME,
    load_model,
    model_architecture,
    model_to_use,
    read_checkpoint,
    read_weights,
)


@pytest.fixture
def fresh(tmp_path):
    """A bundle as it comes, its model an empty file."""
    models = tmp_path / "bundle" / "models"
    models.mkdir(parents=True)
    (models / SHIPPED_NAME).touch()
    return models.parent


def test_a_fresh_bundle_uses_its_own_model(fresh, monkeypatch):
    shipped = str(fresh / "models" / SHIPPED_NAME)
    assert model_to_use(fresh / "models", fresh) == shipped
    monkeypatch.chdir(fresh)
    assert model_to_use("models", fresh) == shipped  # the same folder by another name
    assert model_to_use("models", ".") == f"models/{SHIPPED_NAME}"


def test_a_trained_model_goes_first(fresh):
    (fresh / "models" / "model.pt").touch()
    assert model_to_use(fresh / "models", fresh) == str(fresh / "models" / "model.pt")


def test_another_folder_is_not_passed_over(fresh, tmp_path):
    """Who names a folder without a model is told so, and does not get another model's masks."""
    elsewhere = tmp_path / "runs" / "mine"
    assert model_to_use(elsewhere, fresh) == str(elsewhere / "model.pt")
    with pytest.raises(InputError, match="no model at"):
        load_model(SAM2UNet("nano", decoder_channels=32), model_to_use(elsewhere, fresh))


def test_a_bundle_without_the_shipped_model_names_the_users(fresh):
    (fresh / "models" / SHIPPED_NAME).unlink()
    assert model_to_use(fresh / "models", fresh) == str(fresh / "models" / "model.pt")


def test_the_shipped_model_is_small_half_precision_and_of_its_own_kind(bundle_root):
    """At most 5 MB; its name is longer than model.pt, see shipped.py."""
    path = bundle_root / "models" / SHIPPED_NAME
    assert path.stat().st_size <= 5e6 and len(SHIPPED_NAME) > len("model.pt")
    stored = read_checkpoint(path)
    assert {str(t.dtype) for t in stored.values() if t.is_floating_point()} == {"torch.float16"}
    assert read_weights(path).content == "network"
    assert model_architecture(path)["variant"] == "nano"


def test_loading_it_says_what_it_is(bundle_root, tmp_path, caplog):
    network = SAM2UNet("nano", decoder_channels=32)
    shipped = bundle_root / "models" / SHIPPED_NAME
    with caplog.at_level(logging.WARNING):
        load_model(network, shipped)
    assert "is the model that comes with the bundle: polyps" in caplog.text
    assert all(p.dtype.is_floating_point and str(p.dtype) == "torch.float32" for p in network.parameters())
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        load_model(network, shutil.copy(shipped, tmp_path / "model.pt"))
    assert not caplog.text
