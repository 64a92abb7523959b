"""The configs are what MONAI's own tools expect, agree with each other and with the documentation."""

from __future__ import annotations

import json
import re
from collections import defaultdict

import pytest
import torch
from monai.bundle import ckpt_export, load, verify_net_in_out

import monai_sam2unet
from monai_sam2unet.networks.weights import load_model, read_weights

CONFIGS = ("train", "evaluate", "inference")
INFERENCE_OVERLAYS = ("inference_trt",)
MODALITIES = ("xray", "ultrasound", "skin", "retina", "ct")
OVERLAYS = ("polyp", "camouflaged", "salient", "marine", "mirror", "strong", "multiclass", *MODALITIES)
PROCESSES = {"multi_gpu_train": ("train",), "multi_gpu_evaluate": ("train", "evaluate")}
"""Overlays for several processes, and what they are laid over."""
VOLUMES = {"volume": ("train",), "volume_evaluate": ("train", "volume")}
"""Overlays for volumes, and what they are laid over; volume_inference.json is whole."""
# derived by the configs from the settings, not meant to be set
DERIVED = {"imports", "_desc_", "torch_device", "settings", "datalists", "model_settings", "architecture",
           "network_size", "reading"}  # fmt: skip


def read(bundle_root, name):
    return json.loads((bundle_root / "configs" / f"{name}.json").read_text())


@pytest.mark.parametrize(("run_id", "configs"), [("run", ("train",)), ("inference", ("inference",))])
def test_monai_finds_every_required_property(workflow, tmp_path, trained, run_id, configs, small_set):
    overrides = {
        "dataset_dir": str(small_set),
        "output_dir": str(tmp_path),
        "ckpt_dir": str(trained / "models"),
    }
    made = workflow(run_id, configs, device="cpu", **overrides)
    assert made.check_properties() == []


def test_network_definition_is_the_same_for_training_and_inference(bundle_root):
    assert read(bundle_root, "train")["network_def"] == read(bundle_root, "inference")["network_def"]


def test_volumes_have_the_same_network_and_are_read_as_in_their_validation(bundle_root):
    volume, inference = read(bundle_root, "volume"), read(bundle_root, "volume_inference")
    assert inference["network_def"] == read(bundle_root, "inference")["network_def"]
    for part in ("grey_levels", "validate#inferer"):
        assert inference[part.removeprefix("validate#")] == volume[part]
    load, *steps, masks = volume["validate#preprocessing"]["transforms"]
    own_load, *own_steps = inference["preprocessing"]["transforms"]
    assert own_steps == steps and own_load == {**load, "label_key": None}
    assert masks["_target_"] == "ClassMasksd"
    *steps, ignored = volume["validate#postprocessing"]["transforms"]
    told = json.dumps(inference["postprocessing"]["transforms"])
    assert json.loads(told.replace("@preprocessing", "@validate#preprocessing")) == steps
    assert ignored["_target_"] == "LeaveOutIgnoredd"


@pytest.mark.parametrize("name", VOLUMES)
def test_overlays_for_volumes_change_parts_that_are_there(bundle_root, name):
    """Each part that they set belongs to one of the configs below."""
    below: dict = {}
    for base in VOLUMES[name]:
        below |= read(bundle_root, base)
    for key in read(bundle_root, name):
        part = below
        for step in key.split("#")[:-1]:
            part = part[step]
        assert isinstance(part, dict)


def test_validation_reads_pictures_as_inference_does(bundle_root):
    """Figures are those of what a user gets: the same steps, but for the mask."""
    validation = read(bundle_root, "train")["validate"]["preprocessing"]["transforms"]
    inference = read(bundle_root, "inference")["preprocessing"]["transforms"]
    for ours, theirs in zip(validation, inference, strict=True):
        differ = {k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)}
        assert differ <= {"keys", "mask_keys", "labels", "_desc_", "_disabled_"}


def test_tiles_are_normalised_as_whole_pictures_are(bundle_root):
    """What the inferer does to a window are the steps that are left out of reading, in evaluation too."""
    inference, train = read(bundle_root, "inference"), read(bundle_root, "train")
    _, _, *left_out = inference["preprocessing"]["transforms"]
    assert [step["_disabled_"] for step in left_out] == ["$@tile > 0"] * 3
    for ours, whole in zip(inference["inferer"]["normalise"]["transforms"], left_out[1:], strict=True):
        assert whole["_target_"] == ours["_target_"] + "d"
        names = whole.keys() - {"_target_", "keys", "_desc_", "_disabled_"}
        assert {name: whole[name] for name in names} == {n: ours[n] for n in ours if n != "_target_"}
    shared = {name: value for name, value in inference["inferer"].items() if name != "window_batch"}
    assert train["validate"]["inferer"] == shared


@pytest.mark.parametrize("name", CONFIGS)
def test_alias_run(bundle_root, name):
    run_id = {"train": "training", "evaluate": "evaluation", "inference": "inference"}[name]
    config = read(bundle_root, name)
    assert config["run"] == f"%{run_id}" and run_id in config


def test_metadata(bundle_root):
    meta = read(bundle_root, "metadata")
    assert "meta_schema_20240725" in meta["schema"]
    assert meta["version"] == monai_sam2unet.__version__ == next(iter(meta["changelog"]))
    assert f"## [{meta['version']}]" in (bundle_root / "CHANGELOG.md").read_text()
    lines = (bundle_root / "constraints.txt").read_text().splitlines()
    pins = dict(re.split(r"==|;", line)[:2] for line in lines if "==" in line)
    pins = {name.lower(): version.strip() for name, version in pins.items()}
    named = {"monai": meta["monai_version"], "torch": meta["pytorch_version"], "numpy": meta["numpy_version"]}
    for package, version in {**named, **meta["required_packages_version"]}.items():
        assert pins[package] == version


@pytest.mark.parametrize(
    "name", [*CONFIGS, *OVERLAYS, *INFERENCE_OVERLAYS, *PROCESSES, *VOLUMES, "volume_inference"]
)
def test_every_setting_is_documented_with_its_default(bundle_root, name):
    text = (bundle_root / "docs" / "configs.md").read_text()
    config = read(bundle_root, name)
    rows = defaultdict(str)  # a setting may stand in the tables of several configs
    for row in re.finditer(r"^\| `(\w+)` \|.*$", text, re.MULTILINE):
        rows[row[1]] += row[0]
    settings = [
        key
        for key, value in config.items()
        if not isinstance(value, (dict, list)) and key not in DERIVED | {"run", "network"} and "#" not in key
    ]
    missing = [key for key in settings if key not in rows]
    assert not missing, f"{name}.json: not in docs/configs.md: {missing}"
    for key in settings:
        if isinstance(config[key], (int, float)) and not isinstance(config[key], bool):
            cells = re.findall(r"[-+.\deE]+", rows[key])
            assert any(_equal(cell, config[key]) for cell in cells), f"default of {key} is not in {rows[key]}"


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_hold_settings_of_training_that_differ(bundle_root, workflow, small_set, tmp_path, name):
    train, overlay = read(bundle_root, "train"), read(bundle_root, name)
    assert overlay.keys() - {"_desc_", "data_dir"} <= train.keys()
    assert not [key for key, value in overlay.items() if train.get(key) == value]
    made = workflow("training", dataset_dir=str(small_set), output_dir=str(tmp_path))
    shared = overlay.keys() & train.keys() - {"_desc_"}
    assert not [key for key in shared if made.parser.get_parsed_content(key) == overlay[key]]


@pytest.mark.parametrize("name", MODALITIES)
def test_overlays_of_modalities_are_the_strong_recipe_with_what_differs(bundle_root, name):
    strong, overlay = read(bundle_root, "strong"), read(bundle_root, name)
    assert overlay.keys() >= strong.keys()
    for key in strong.keys() - {"_desc_", "max_epochs", "ema_decay"}:
        assert overlay[key] == strong[key]


def test_every_overlay_is_known_here(bundle_root):
    names = {path.stem for path in (bundle_root / "configs").glob("*.json")} - {"metadata"}
    assert names == {*CONFIGS, *OVERLAYS, *INFERENCE_OVERLAYS, *PROCESSES, *VOLUMES, "volume_inference"}


@pytest.mark.parametrize("name", PROCESSES)
def test_overlays_for_processes_change_parts_that_are_there(bundle_root, name):
    """Each part that they set belongs to one of the config; the first lines are those of one process."""
    below: dict = {}
    for base in PROCESSES[name]:
        below |= read(bundle_root, base)
    overlay = read(bundle_root, name)
    new = {"sync_batchnorm", "finalize", "settings#sync_batchnorm", "train#dataloader#loader#sampler"}
    for key in overlay.keys() - new - {"validate#dataloader#sampler"}:
        part = below
        for step in key.split("#"):
            part = part[step]
    start = "$monai_sam2unet.distributed.start(@torch_device)"
    usual = [step for step in below["initialize"] if "check_started" not in step]
    assert overlay["initialize"] == [usual[0], start, *usual[1:]]
    assert overlay["finalize"] == ["$monai_sam2unet.distributed.stop()"]


def _equal(text, number):
    try:
        return float(text) == number
    except ValueError:
        return False


def test_verify_net_in_out(bundle_root, trained):
    """The network takes and gives what metadata.json says, at several multiples of 32."""
    for n in (1, 3):
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(bundle_root / "configs" / "metadata.json"),
            config_file=str(bundle_root / "configs" / "inference.json"),
            device="cpu",
            n=n,
            checkpoint=str(trained / "models" / "model.pt"),
        )


def test_ckpt_export_gives_the_same_function(bundle_root, trained, tmp_path):
    model = str(trained / "models" / "model.pt")
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=model,
        meta_file=str(bundle_root / "configs" / "metadata.json"),
        config_file=str(bundle_root / "configs" / "inference.json"),
        checkpoint=model,
    )
    network = monai_sam2unet.SAM2UNet("nano", decoder_channels=32)
    load_model(network, model)
    x = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exported = torch.jit.load(str(tmp_path / "model.ts"))(x)
        assert torch.allclose(exported, network.eval()(x), atol=1e-5)


def test_monai_bundle_load(bundle_root, trained, tmp_path, monkeypatch):
    """`monai.bundle.load` builds the network that model.pt holds, from whatever folder it is called."""
    folder = tmp_path / "sam2unet"
    folder.mkdir()
    (folder / "configs").symlink_to(bundle_root / "configs")
    (folder / "models").symlink_to(trained / "models")
    monkeypatch.chdir(tmp_path.parent)
    network = load("sam2unet", bundle_dir=str(tmp_path), device="cpu", workflow_type="inference")
    expected = read_weights(trained / "models" / "model.pt").tensors
    state_dict = network.state_dict()
    assert state_dict.keys() == expected.keys()
    assert all(torch.equal(t, expected[n]) for n, t in state_dict.items())


@pytest.mark.parametrize(
    ("run_id", "wrong"),
    [
        ("training", {"variant": "huge", "batch_size": "twelve", "resume": "perhaps"}),
        ("evaluation", {"subset": "some", "threshold": 2}),
        ("inference", {"overlays": 3, "input_size": 0}),
        ("training", {"input_size": 350}),
    ],
)
def test_wrong_values_are_all_named_before_any_work(workflow, tmp_path, run_id, wrong):
    with pytest.raises(RuntimeError) as caught:
        workflow(run_id, output_dir=str(tmp_path / "out"), ckpt_dir=str(tmp_path / "models"), **wrong)
    message = str(caught.value.__cause__)
    assert all(f"{name} must be" in message for name in wrong)
    assert not list(tmp_path.iterdir())
