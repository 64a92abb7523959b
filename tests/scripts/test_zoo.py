"""The command lines that check and pack an entry of the model zoo."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile

import pytest
import torch

from monai_sam2unet import __version__
from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.zoo import metadata as rules
from monai_sam2unet.zoo import running, stage
from scripts import zoo_check, zoo_zip


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "small.pt"
    torch.save(SAM2UNet("nano", decoder_channels=32).state_dict(), path)
    path.with_suffix(".json").write_text('{"variant": "nano", "input_size": 64, "threshold": 0.5}')
    return path


@pytest.fixture
def as_named(bundle_root, monkeypatch):
    """Let all packages be installed as the metadata says, whatever the tests run with."""
    named = rules.packages(json.loads((bundle_root / "configs/metadata.json").read_text()))
    monkeypatch.setattr(rules.metadata, "version", named.__getitem__)
    return named


@pytest.fixture
def quick(monkeypatch):
    """Leave out what tests/zoo/test_running.py tests."""
    for name in ("check_properties", "check_in_out", "check_export"):
        monkeypatch.setattr(running, name, lambda folder: [])


def test_the_repository_passes(model, as_named, capsys):
    assert zoo_check.main(["--model", str(model)]) == 0
    assert capsys.readouterr().out == "Nothing to be corrected.\n"


def test_findings(model, as_named, quick, bundle_root, tmp_path, capsys):
    folder = stage(bundle_root, model, tmp_path, "polyps")
    (folder / "LICENSE").unlink()
    (folder / "docs/data_license.txt").write_text("")
    (folder / "models/other.pt").touch()
    (tmp_path / "info.json").write_text(json.dumps({f"polyps_v{__version__}": {}}))
    assert zoo_check.main([str(folder), "--model_info", str(tmp_path / "info.json")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "LICENSE: it is missing; expected: the licence of the bundle; add it" in lines
    assert f"the zoo has polyps in version {__version__}" in "".join(lines)
    assert lines[-1] == f"{len(lines) - 1} to be corrected."


def test_the_package_index_is_asked(model, as_named, quick, monkeypatch, capsys):
    def answer(command, **options):
        package = command[-1]
        newest = "" if package == "tqdm" else f"Available versions: 99, {as_named[package]}\n"
        return subprocess.CompletedProcess(command, 0, f"{package} (99)\n{newest}", "")

    monkeypatch.setattr(zoo_check.subprocess, "run", answer)
    assert zoo_check.main(["--model", str(model), "--online"]) == 1
    out = capsys.readouterr().out
    assert f"tqdm {as_named['tqdm']} cannot be installed" in out and "1 to be corrected." in out


def test_archive(model, as_named, quick, bundle_root, tmp_path, capsys):
    for folder in ("one", "two"):
        given = ["--model", str(model), "--name", "polyps", "--output", str(tmp_path / folder)]
        assert zoo_zip.main(given) == 0
    one, two = (tmp_path / folder / f"polyps_v{__version__}.zip" for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    out = capsys.readouterr().out
    assert f"sha1 {hashlib.sha1(one.read_bytes()).hexdigest()}" in out
    with zipfile.ZipFile(one) as archive:
        assert archive.read("polyps/models/model.pt") == model.read_bytes()
        config = (bundle_root / "configs/train.json").read_bytes()
        assert archive.read("polyps/configs/train.json") == config


def test_nothing_is_packed_that_must_be_corrected(model, as_named, quick, tmp_path, capsys):
    model.with_suffix(".json").unlink()
    assert zoo_zip.main(["--model", str(model), "--output", str(tmp_path / "out")]) == 1
    assert "models/model.json: it is missing" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("main", "arguments", "told"),
    [
        (zoo_check.main, ["--model", "nowhere.pt"], "no such model: nowhere.pt"),
        (zoo_zip.main, ["--model", "nowhere.pt"], "no such model: nowhere.pt"),
        (zoo_check.main, ["nowhere"], "no such folder"),
        (zoo_check.main, [".", "--name", "polyps"], "leave them or ENTRY out"),
        (zoo_check.main, [".", "--model_info", "nowhere.json"], "nowhere.json: not the zoo's list"),
    ],
)
def test_errors_are_one_line(main, arguments, told, capsys):
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and told in err and err.count("\n") == 1


def test_help_answers_at_once(bundle_root):
    """Neither torch nor MONAI is loaded for it: those take seconds."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "scripts.zoo_zip", "--help"],
        cwd=bundle_root,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert "scripts.zoo_check" in loaded
    assert not {n for n in loaded if n.split(".")[0] in ("torch", "monai", "monai_sam2unet", "numpy")}
    assert "--with_code" in done.stdout
