"""The folder that the server is started with, and the command that starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_sam2unet import InputError, SAM2UNet
from monai_sam2unet.networks.weights import read_weights
from monai_sam2unet.serving.folder import BUNDLE, prepare, served_weights
from monai_sam2unet.transforms import LabelServerMaskd
from scripts import label_server
from tests.serving.rest import ROOT, SHIPPED


def content(model: Path) -> dict[str, torch.Tensor]:
    """Tensors of a file."""
    return dict(read_weights(model).tensors)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts are equal to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def root(tmp_path) -> Path:
    """A bundle with configs and the model in the box, and no trained one."""
    folder = tmp_path / "bundle"
    (folder / "models").mkdir(parents=True)
    (folder / "configs").symlink_to(ROOT / "configs")
    for suffix in (".pt", ".json"):
        (folder / "models" / SHIPPED.with_suffix(suffix).name).symlink_to(SHIPPED.with_suffix(suffix))
    return folder


def save(path: Path, **arguments) -> Path:
    """Write a small network's weights."""
    torch.manual_seed(0)
    torch.save(SAM2UNet("nano", tuning="full", **arguments).state_dict(), path)
    return path


def test_model_in_the_box_until_there_is_another(root, tmp_path, caplog):
    app = tmp_path / "app"
    model = prepare(app, root)
    assert model == app / BUNDLE / "models" / "model.pt" and same(content(model), content(SHIPPED))
    assert "the model that comes with the bundle" in caplog.text
    assert json.loads(model.with_suffix(".json").read_text())["input_size"] == 224
    own = save(root / "models" / "model.pt")
    assert same(content(prepare(app, root)), content(SHIPPED))  # the server has a model of its own by now
    assert same(content(prepare(tmp_path / "other", root)), content(own))
    assert same(content(prepare(app, root, checkpoint=own)), content(own))


def test_configs_are_those_of_the_bundle(root, tmp_path):
    prepare(tmp_path / "app", root)
    (tmp_path / "app" / BUNDLE / "configs" / "inference.json").write_text("{}")
    prepare(tmp_path / "app", root)
    for file in (ROOT / "configs").iterdir():
        assert (tmp_path / "app" / BUNDLE / "configs" / file.name).read_bytes() == file.read_bytes()


def test_folder_of_somebody_else(root, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match="not empty and no app of this bundle; name another folder"):
        prepare(tmp_path / "app", root)
    assert [file.name for file in (tmp_path / "app").iterdir()] == ["thesis.txt"]


def test_models_that_cannot_be_served(root, tmp_path):
    with pytest.raises(InputError, match=r"no model at .*nothing\.pt"):
        prepare(tmp_path / "app", root, checkpoint=tmp_path / "nothing.pt")
    weights = torch.load(save(tmp_path / "m.pt"), weights_only=True)
    trunk = {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}
    torch.save(trunk or weights, tmp_path / "encoder.pt")
    with pytest.raises(InputError):
        prepare(tmp_path / "app", root, checkpoint=tmp_path / "encoder.pt")
    prepare(tmp_path / "app", root)
    model = tmp_path / "app" / BUNDLE / "models" / "model.pt"
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged or incomplete"):
        prepare(tmp_path / "app", root)


def test_models_of_several_classes_are_not_served(root, tmp_path):
    with pytest.raises(
        InputError, match=r"three\.pt: gives 3 maps, of several classes; MONAI Label is served"
    ):
        prepare(tmp_path / "app", root, checkpoint=save(tmp_path / "three.pt", out_channels=3))
    assert not (tmp_path / "app" / BUNDLE).exists()


def test_weights_of_a_request(tmp_path):
    for name in ("model.pt", "a.pt"):
        (tmp_path / name).touch()
    assert served_weights(tmp_path) == served_weights(tmp_path, ["a.pt", "model.pt"]) == tmp_path / "model.pt"
    assert served_weights(tmp_path, "a.pt") == served_weights(tmp_path, "../a.pt") == tmp_path / "a.pt"
    with pytest.raises(InputError, match=r"no model 'b\.pt' on the server; there is: a\.pt, model\.pt"):
        served_weights(tmp_path, "b.pt")


@pytest.mark.parametrize(("labels", "split", "validation"), [(1, 0.2, 0), (2, 0.5, 1), (3, 0, 0), (4, -1, 0)])
def test_few_labels_are_all_trained_on(root, tmp_path, labels, split, validation):
    pytest.importorskip("monailabel", reason="MONAI Label is not installed (make monailabel)")
    from monai_sam2unet.serving.training import Training

    prepare(tmp_path / "app", root)
    training = Training(str(tmp_path / "app" / BUNDLE), {})
    items = [{"image": f"{i}.png", "label": f"{i}.png"} for i in range(labels)]
    train, validate = training._partition_datalist(items, {"val_split": split})
    assert len(validate) == validation and train + validate == items


def test_mask_for_the_server():
    """Against a map made by loops over pixels and channels."""
    masks = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)) > 0.5
    image = MetaTensor(torch.zeros(3, 8, 8), meta={"spatial_shape": np.array([4, 5])})
    result = LabelServerMaskd("pred")({"pred": MetaTensor(masks.float()), "image": image})
    expected = np.zeros((5, 4), np.uint8)
    for k, row, column in np.argwhere(masks.numpy()):
        expected[column, row] = max(expected[column, row], k + 1)
    assert result["pred"].dtype == torch.uint8 and np.array_equal(result["pred"], expected)
    assert list(result["image"].meta["spatial_shape"]) == [5, 4]


def test_command_without_monai_label(monkeypatch, tmp_path, capsys):
    found = label_server.importlib.util.find_spec
    monkeypatch.setattr(
        label_server.importlib.util, "find_spec", lambda name: None if name == "monailabel" else found(name)
    )
    assert label_server.main([str(tmp_path)]) == 1
    assert "MONAI Label is not installed" in (error := capsys.readouterr().err) and "make monailabel" in error


def test_command_becomes_the_server(monkeypatch, tmp_path, capsys):
    """What is started, with which environment; the server itself is that of test_server.py."""
    started = {}
    monkeypatch.setattr(label_server.importlib.util, "find_spec", lambda name: name == "monailabel" or None)
    monkeypatch.setattr(
        os, "execv", lambda program, command: started.update(program=program, command=command)
    )
    monkeypatch.setattr(os, "environ", {"PYTHONPATH": "mine"})
    arguments = [str(tmp_path / "studies"), "--app", str(tmp_path / "app"), "--port", "8123"]
    assert label_server.main([*arguments, "--", "--conf", "skip_trainers", "true"]) == 0
    assert started["program"] == sys.executable and "127.0.0.1:8123" in capsys.readouterr().out
    assert started["command"][1:6] == [
        "-m",
        "monailabel.main",
        "start_server",
        "--app",
        str(tmp_path / "app"),
    ]
    assert started["command"][-3:] == ["--conf", "skip_trainers", "true"]
    paths = os.environ["PYTHONPATH"].split(os.pathsep)
    assert [Path(path).name for path in paths] == ["girder_client", "pydicom_seg", "torchvision", "mine"]
    assert "*.jpeg" in json.loads(os.environ["MONAI_LABEL_DATASTORE_FILE_EXT"])


@pytest.mark.parametrize("studies", ["file", "none"])
def test_wrong_arguments(monkeypatch, tmp_path, capsys, studies):
    monkeypatch.setattr(label_server.importlib.util, "find_spec", lambda name: True)
    (tmp_path / "file").write_text("")
    checkpoint = ["--checkpoint", str(tmp_path / "no.pt")] if studies == "none" else []
    assert label_server.main([str(tmp_path / studies), "--app", str(tmp_path / "app"), *checkpoint]) == 1
    told = "a file; give the folder" if studies == "file" else "no model at"
    assert told in capsys.readouterr().err


def test_script_finds_python_and_bundle(tmp_path):
    script = ROOT / "scripts" / "monailabel.sh"
    result = subprocess.run(
        ["bash", str(script), "--help"],
        env={**os.environ, "PYTHON": sys.executable},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "--checkpoint FILE" in result.stdout
