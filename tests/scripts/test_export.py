"""The command line that writes a model for other runtimes."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from monai_sam2unet.export import FORMATS
from monai_sam2unet.networks import SAM2UNet
from scripts import export


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.pt"
    torch.save(SAM2UNet("nano", decoder_channels=8, adapter_dim=4).state_dict(), path)
    path.with_suffix(".json").write_text('{"input_size": 64, "threshold": 0.5}')
    return path


@pytest.fixture
def run(capsys, monkeypatch):
    """`run(*arguments)` gives exit status, output in one line, and errors."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        status = export.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status, " ".join(out.split()), err

    return call


def test_formats_are_those_of_the_package():
    assert tuple(FORMATS) == export.KINDS


def test_torchscript_with_the_table(run, model, tmp_path):
    arguments = ("--checkpoint", model, "--format", "torchscript", "--output", tmp_path / "out")
    status, out, err = run(*arguments, "--check")
    assert status == 0, err
    assert f"written: {tmp_path / 'out' / 'model.ts'}, for any size" in out and "8 pictures at 64x64" in out
    assert "│ torchscript │ any size │" in out and "Dice with reference" in out
    found = torch.jit.load(tmp_path / "out" / "model.ts")(torch.zeros(1, 3, 32, 96))
    assert found.shape == (1, 1, 32, 96)


def test_onnx_int8_of_pixels(run, model, tmp_path):
    pytest.importorskip("onnx", reason="make exports")
    pytest.importorskip("onnxruntime", reason="make exports")
    arguments = ("--checkpoint", model, "--format", "onnx-int8", "--output", tmp_path, "--calibration", 2)
    status, out, err = run(*arguments, "--with_pre_post", "--size", 64, "--check")
    assert status == 0, err
    assert (tmp_path / "model_int8.onnx").is_file() and "│ onnx-int8 │" in out


@pytest.mark.parametrize(
    ("settings", "arguments", "side"),
    [
        ({}, (), 64),  # as the model was trained
        ({"input_size": 50}, (), 64),  # the next multiple of 32
        ({"tile": 32}, (), 32),  # windows of large pictures
        ({"input_size": [64, 64]}, (), 64),
        ({"input_size": [64, 96]}, (), "32*n"),  # not square
        ({}, ("--size", 96), 96),
        ({}, ("--size", "dynamic"), "32*n"),
    ],
)
def test_files_are_made_for_the_models_own_size(run, model, tmp_path, monkeypatch, settings, arguments, side):
    """The size that the writer gets and that is noted; what it writes then is tested in tests/export."""
    copy, sizes = tmp_path / "model.pt", []
    copy.write_bytes(model.read_bytes())
    copy.with_suffix(".json").write_text(json.dumps({"input_size": 64, **settings}))
    chosen = replace(FORMATS["pt2"], write=lambda network, path, size, inputs: sizes.append(size))
    monkeypatch.setitem(FORMATS, "pt2", chosen)
    status, out, err = run("--checkpoint", copy, "--format", "pt2", *arguments)
    assert status == 0, err
    assert sizes == [None if side == "32*n" else side]
    assert out.endswith("for any size" if side == "32*n" else f"for {side}x{side}")
    noted = json.loads((tmp_path / "model.pt2.json").read_text())
    assert noted["input"]["shape"] == ["batch", 3, side, side]


def test_errors_are_one_line(run, model, tmp_path):
    status, _, err = run("--checkpoint", tmp_path / "no.pt", "--format", "pt2")
    assert status == 1 and err.startswith("Error: no model at ") and err.count("\n") == 1
    arguments = ("--checkpoint", model, "--format", "torchscript", "--output", tmp_path)
    (tmp_path / "empty").mkdir()
    status, _, err = run(*arguments, "--check", tmp_path / "empty")
    assert status == 1 and "nothing to compare on" in err
    with pytest.raises(SystemExit, match="2"):
        run(*arguments, "--size", 100)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"classes": ["a"], "activation": "softmax"}, "its classes exclude each other (softmax)"),
        ({"plane": "axial"}, "is a model of volumes"),
        ({"contrast": "clahe"}, "was trained with contrast 'clahe'"),
    ],
)
def test_steps_that_a_file_cannot_hold_are_refused(run, model, tmp_path, settings, words):
    copy = tmp_path / "model.pt"
    copy.write_bytes(model.read_bytes())
    copy.with_suffix(".json").write_text(json.dumps({"input_size": 64, **settings}))
    arguments = ("--checkpoint", copy, "--format", "torchscript", "--output", tmp_path / "out")
    status, _, err = run(*arguments, "--with_pre_post")
    assert status == 1 and words in err
    assert not (tmp_path / "out").exists()


def test_help_comes_without_the_package(bundle_root):
    command = [sys.executable, "-X", "importtime", "-m", "scripts.export", "--help"]
    result = subprocess.run(command, cwd=bundle_root, capture_output=True, text=True, check=True)
    assert "--with_pre_post" in result.stdout and "monai" not in result.stderr
