"""What a training writes: merged LoRA, only what was trained, and where it all came from."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from ignite.engine import Events
from PIL import Image

from monai_sam2unet import predict
from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.networks.weights import load_model, read_weights
from tests.bundle.finished import input_error, last
from tests.weight_files import equal, network, sam2


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A file of SAM 2's layout of the nano size."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("pretrained") / "base.pt"
    torch.save({"model": sam2(network().state_dict())}, path)
    return path


def start(base):
    """Settings that start a training from the file."""
    return {"pretrained": str(base), "pretrained_dir": str(base.parent)}


def whole(folder, base):
    """The model of a run, loaded."""
    weights = read_weights(folder / "models" / "model.pt", base.parent)
    made = SAM2UNet(**weights.architecture, tuning="full").eval()
    load_model(made, folder / "models" / "model.pt", base.parent)
    return made


@pytest.fixture(scope="module", params=["adapters", "lora"])
def runs(request, train, base, tmp_path_factory):
    """Folders of two equal runs, one saved whole and one only what was trained."""
    folders = {}
    for save in ("all", "trained"):
        folders[save] = tmp_path_factory.mktemp(save)
        train(
            folders[save],
            pretrained=str(base),
            pretrained_dir=str(base.parent),
            tuning=request.param,
            save=save,
        )
    return folders


def test_both_forms_hold_the_same_model(runs, base):
    models = {save: whole(folder, base).state_dict() for save, folder in runs.items()}
    assert equal(models["all"], models["trained"])
    for name, tensor in read_weights(base).tensors.items():  # frozen, so it is the base file's to the bit
        if not name.endswith((".qkv.weight", "attn.proj.weight")):  # which LoRA is merged into
            assert torch.equal(models["all"][name], tensor)


def test_only_what_was_trained_is_written(runs):
    state = last(runs["trained"])
    assert "encoder.blocks.0.norm1.weight" not in state["network"]
    sizes = {save: (folder / "models" / "model.pt").stat().st_size for save, folder in runs.items()}
    # by hand: nano's frozen encoder is 773,760 values of 4 bytes
    assert sizes["all"] - sizes["trained"] > 0.9 * 4 * 773_760


def test_a_whole_model_is_a_plain_state_dict(runs):
    """As MONAI's tools expect it, also after a run with LoRA."""
    content = torch.load(runs["all"] / "models" / "model.pt", weights_only=True)
    assert not any(".lora_" in name for name in content)
    assert all(isinstance(tensor, torch.Tensor) for tensor in content.values())


def test_origin_is_noted(runs, base):
    sha256 = hashlib.sha256(base.read_bytes()).hexdigest()
    for folder in runs.values():
        settings = json.loads((folder / "models" / "model.json").read_text())
        assert settings["base"] == {"name": "base.pt", "sha256": sha256, "size": base.stat().st_size}


def test_evaluation_and_inference_make_it_whole(runs, workflow, small_set, base, tmp_path):
    folder = runs["trained"] / "models"
    common = {"ckpt_dir": str(folder), "pretrained_dir": str(base.parent), "device": "cpu", "num_workers": 0}
    workflow("evaluation", dataset_dir=str(small_set), output_dir=str(tmp_path / "report"), **common).run()
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    expected = json.loads((folder / "model.json").read_text())["validation_dice"]
    assert summary["with_reference"]["dice"]["mean"] == pytest.approx(expected, abs=1e-4)
    picture = next((small_set / "images").iterdir())
    workflow("inference", input=str(picture), output_dir=str(tmp_path / "masks"), **common).run()
    mask = np.asarray(Image.open(tmp_path / "masks" / "masks" / f"{picture.stem}.png"))
    assert mask.shape == np.asarray(Image.open(picture)).shape[:2]


def test_predict_makes_it_whole(runs, bundle_root, small_set, base):
    picture = next((small_set / "images").iterdir())
    probability = {
        save: predict(
            picture,
            model=folder / "models" / "model.pt",
            device="cpu",
            bundle_root=bundle_root,
            pretrained_dir=base.parent,
        )
        for save, folder in runs.items()
    }
    assert np.array_equal(probability["all"], probability["trained"])


def test_a_missing_base_stops_before_anything_is_written(runs, workflow, small_set, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        workflow(
            "inference", input=str(small_set / "images"), ckpt_dir=str(runs["trained"] / "models"),
            pretrained_dir=str(tmp_path / "nowhere"), output_dir=str(tmp_path / "out"), device="cpu",
        ).run()  # fmt: skip
    assert "needs its base file base.pt" in input_error(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("save", ["all", "trained"])
def test_a_resumed_run_equals_an_undisturbed_one(train, prepare, runs, base, tmp_path, save):
    settings = json.loads((runs[save] / "models" / "model.json").read_text())
    options = {**start(base), "tuning": settings["tuning"], "save": save}
    first = prepare(tmp_path, **options)
    trainer = first.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=1), lambda engine: engine.terminate())
    first.run()
    train(tmp_path, resume="true", **options)
    assert last(tmp_path)["epoch"] == 2
    assert equal(last(tmp_path)["network"], last(runs[save])["network"])
    assert equal(whole(tmp_path, base).state_dict(), whole(runs[save], base).state_dict())
    resumed = json.loads((tmp_path / "models" / "model.json").read_text())
    assert (resumed["base"], resumed["pretrained"]) == (settings["base"], "base.pt")


def test_resuming_from_another_base_is_refused(train, runs, base, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "checkpoint_last.pt").write_bytes(
        (runs["trained"] / "models" / "checkpoint_last.pt").read_bytes()
    )
    torch.manual_seed(5)
    torch.save({"model": sam2(network().state_dict())}, tmp_path / "other.pt")
    tuning = last(runs["trained"])["settings"]["tuning"]
    with pytest.raises(RuntimeError) as caught:
        train(tmp_path, pretrained=str(tmp_path / "other.pt"), tuning=tuning, save="trained", resume=True)
    message = input_error(caught.value)
    assert "trained from base.pt (SHA-256" in message and "starts from other.pt (SHA-256" in message


def test_saving_only_what_was_trained_needs_a_base(train, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        train(tmp_path, save="trained")
    assert "pretrained is none; give --save all" in input_error(caught.value)


def test_training_goes_on_from_a_whole_model(train, runs, base, tmp_path):
    """A finished model is fine-tuned, and is itself the base of what is then saved."""
    folder = runs["all"]
    settings = json.loads((folder / "models" / "model.json").read_text())
    model = folder / "models" / "model.pt"
    dim = read_weights(model).architecture["adapter_dim"]
    options = {"tuning": "bitfit", "adapter_dim": dim, "max_epochs": 1, "save": "trained"}
    made = train(tmp_path, pretrained=str(model), **options)
    assert made.parser.get_parsed_content("starting_weights").base.names == read_weights(model).tensors.keys()
    noted = json.loads((tmp_path / "models" / "model.json").read_text())
    assert noted["pretrained"] == "model.pt" and noted["variant"] == settings["variant"]
    assert equal(
        {n: t for n, t in whole(tmp_path, model).state_dict().items() if n.endswith("attn.qkv.weight")},
        {n: t for n, t in read_weights(model).tensors.items() if n.endswith("attn.qkv.weight")},
    )
