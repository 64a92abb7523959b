"""The command line of the download, against a server on this machine."""

import re
import shlex
import subprocess
import sys

import pytest

from monai_sam2unet import transfer
from monai_sam2unet.networks.weights.pretrained import PRETRAINED, PretrainedFile
from scripts import download_weights
from tests.weight_server import CONTENT, SHA256, contents, serving

TRAINING = "python -m monai.bundle run training --config_file configs/train.json --dataset_dir DIR"


@pytest.fixture
def server(monkeypatch):
    for key, file in PRETRAINED.items():
        small = PretrainedFile(file.name, "http://localhost/nowhere", SHA256, len(CONTENT))
        monkeypatch.setitem(PRETRAINED, key, small)
    with serving(monkeypatch) as server:
        yield server


def test_help_answers_at_once(bundle_root):
    """Neither torch nor MONAI is loaded for it: those take seconds."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "scripts.download_weights", "--help"],
        cwd=bundle_root,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert "argparse" in loaded
    assert not {n for n in loaded if n.split(".")[0] in ("torch", "monai", "monai_sam2unet", "numpy")}
    assert "--source URL" in done.stdout


def test_choices_are_those_of_the_table():
    expected = {(sam, v) for sam in download_weights.GENERATIONS for v in download_weights.VARIANTS}
    assert set(PRETRAINED) == expected


def test_the_default_folder_does_not_depend_on_the_current_one(bundle_root):
    assert bundle_root / "models" / "pretrained" == download_weights.FOLDER


def test_several_files(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download_weights, "FOLDER", tmp_path)
    names = ["tiny", "large", "tiny"]
    assert download_weights.main([*names, "--source", server.url]) == 0
    assert contents(tmp_path) == {"sam2_hiera_tiny.pt": CONTENT, "sam2_hiera_large.pt": CONTENT}
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[3]] == [f"{tmp_path}/sam2_hiera_{v}.pt" for v in ("tiny", "large")]
    assert [lines[2], lines[5]] == [f"  {TRAINING} --variant {v}" for v in ("tiny", "large")]


def test_the_command_names_a_file_that_training_would_not_find(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download_weights, "FOLDER", tmp_path)
    folder = tmp_path / "a folder"
    assert download_weights.main(["tiny", "--folder", str(folder), "--source", server.url]) == 0
    assert download_weights.main(["small", "--sam", "2.1", "--source", server.url]) == 0
    commands = [line for line in capsys.readouterr().out.splitlines() if TRAINING in line]
    assert shlex.split(commands[0])[-4:] == ["--variant", "tiny", "--pretrained_dir", str(folder)]
    assert commands[1].endswith(" --variant small --pretrained sam2.1")


def test_an_error_is_one_line(server, tmp_path, capsys):
    (tmp_path / "sam2_hiera_tiny.pt").write_bytes(b"wrong")
    arguments = ["tiny", "--folder", str(tmp_path), "--source", server.url]
    assert download_weights.main(arguments) == 1
    out, err = capsys.readouterr()
    assert re.fullmatch(r"Error: .*sam2_hiera_tiny\.pt is not the published file.*--force\n", err)
    assert out == ""
    assert download_weights.main([*arguments, "--force"]) == 0
    assert contents(tmp_path) == {"sam2_hiera_tiny.pt": CONTENT}


@pytest.mark.parametrize("arguments", [[], ["nano"], ["tiny", "--sam", "3"], ["tiny", "--sorce", "x"]])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        download_weights.main(arguments)
    assert caught.value.code == 2
    assert "python -m scripts.download_weights: error: " in capsys.readouterr().err


def test_an_interruption(server, tmp_path, monkeypatch, capsys, caplog):
    class Bar(transfer.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "tqdm", Bar)
    assert download_weights.main(["tiny", "--folder", str(tmp_path), "--source", server.url]) == 130
    assert capsys.readouterr().err.endswith("Interrupted.\n")
    assert "tiny.pt.part: the same command goes on from there" in caplog.text
    assert list(contents(tmp_path)) == ["sam2_hiera_tiny.pt.part"]


def test_a_python_without_the_package(monkeypatch, capsys):
    """`None` in `sys.modules` makes Python say that there is no such module."""
    monkeypatch.setitem(sys.modules, "monai_sam2unet.errors", None)
    assert download_weights.main(["tiny"]) == 1
    assert re.match(r"Error: .*monai_sam2unet.*; run `make setup`", capsys.readouterr().err)
