"""The command line that says what a weight file is and converts it."""

import subprocess
import sys

import pytest
import torch

from monai_sam2unet.networks.weights import read_weights
from monai_sam2unet.networks.weights.conversion import DTYPES, TARGETS
from scripts import convert_weights
from tests.weight_files import equal, hollow, network, sam2


@pytest.fixture
def run(capsys, monkeypatch):
    """`run(*arguments)` gives exit status, output in one line, and errors."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        status = convert_weights.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status, " ".join(out.split()), err

    return call


def test_what_a_file_is(run, golden, tmp_path):
    torch.save({"model": hollow(golden, "SAM 2", "large")}, tmp_path / "unknown.bin")
    status, out, _ = run(tmp_path / "unknown.bin")
    assert status == 0
    # 586 of 900 tensors (tests/golden), 212,149,296 parameters of SAM 2's large encoder (docs/design.md)
    assert "recognised as │ SAM 2 checkpoint" in out and "variant │ large" in out
    assert "taken │ 586 tensors, 212,149,296 values (586 float32)" in out
    assert "left out │ 314 tensors (" in out and "memory_attention 106" in out
    assert "written" not in out
    assert list(tmp_path.iterdir()) == [tmp_path / "unknown.bin"]


def test_conversion(run, tmp_path):
    torch.manual_seed(0)
    tensors = network().state_dict()
    torch.save({"module." + n: t for n, t in tensors.items()}, tmp_path / "in.pt")
    there = tmp_path / "there.safetensors"
    status, out, _ = run(tmp_path / "in.pt", there, "--to", "published", "--dtype", "float16")
    assert status == 0 and "layout │ published" in out and "SHA-256 │" in out
    status, _, err = run(there, tmp_path / "in.pt")
    assert status == 1 and err.startswith("Error: ") and "--force" in err
    status, _, _ = run(there, tmp_path / "in.pt", "--force", "--dtype", "float32")
    assert status == 0
    expected = {n: t.half().float() if t.is_floating_point() else t for n, t in tensors.items()}
    assert equal(read_weights(tmp_path / "in.pt").tensors, expected)


def test_only_what_was_trained(run, tmp_path):
    tensors = network().state_dict()
    torch.save(tensors, tmp_path / "model.pt")
    (tmp_path / "pretrained").mkdir()
    torch.save({"model": sam2(tensors)}, tmp_path / "pretrained" / "base.pt")
    base = tmp_path / "pretrained" / "base.pt"
    status, _, _ = run(tmp_path / "model.pt", tmp_path / "small.pt", "--to", "trained", "--base", base)
    assert status == 0 and (tmp_path / "small.pt").stat().st_size < (tmp_path / "model.pt").stat().st_size
    status, out, _ = run(tmp_path / "small.pt", "--pretrained_dir", base.parent)
    assert status == 0 and f"completed from │ {base}" in out
    status, _, err = run(tmp_path / "small.pt", "--pretrained_dir", tmp_path)
    assert status == 1 and "needs its base file base.pt" in err


def test_errors_are_one_line(run, tmp_path):
    (tmp_path / "page.pt").write_text("<html>not found</html>")
    status, out, err = run(tmp_path / "page.pt")
    assert (status, out) == (1, "") and err.count("\n") == 1 and "a web page" in err


def test_choices_are_those_of_the_package():
    assert (TARGETS, tuple(DTYPES)) == (convert_weights.TARGETS, convert_weights.DTYPES)


def test_help_answers_at_once(bundle_root):
    code = """
import runpy, sys
sys.argv = ["convert_weights", "--help"]
try:
    runpy.run_module("scripts.convert_weights", run_name="__main__")
finally:
    print(sorted({"torch", "monai", "rich"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=bundle_root, capture_output=True, text=True)
    assert done.returncode == 0 and "--to {ours,published,trained}" in done.stdout
    assert done.stdout.endswith("[]\n")
