"""An archive unpacked elsewhere is a bundle that works, by the commands of its model card."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import pytest
from PIL import Image

from monai_sam2unet.data import write_demo
from monai_sam2unet.zoo import write_archive

LOAD = (
    "from monai.bundle import load;"
    "n = load({name!r}, bundle_dir='..', device='cpu', workflow_type='inference');"
    "print('loaded', sum(t.numel() for t in n.parameters()))"
)


@pytest.mark.slow  # four new processes
def test_train_evaluate_infer_and_load(entry, tmp_path):
    write_archive(entry, tmp_path / "entry.zip")
    with zipfile.ZipFile(tmp_path / "entry.zip") as archive:
        archive.extractall(tmp_path / "bundles")
    folder = tmp_path / "bundles" / entry.name
    data = write_demo(tmp_path / "data", train=4, validation=2)
    picture = next(iter(sorted((data / "images").iterdir())))

    def call(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # parameters of nano with a decoder of 32 channels: tests/networks/test_tuning.py adds them up
    assert "loaded 1324707" in call("-c", LOAD.format(name=entry.name))
    common = "--device", "cpu", "--num_workers", "0"
    run = ("-m", "monai.bundle", "run")
    inference = "--config_file", "configs/inference.json", "--input", str(picture), "--output_dir", "out"
    call(*run, "inference", *inference, *common)
    with Image.open(picture) as given, Image.open(folder / f"out/masks/{picture.stem}.png") as mask:
        assert mask.size == given.size
    training = (
        "--config_file", "configs/train.json", "--dataset_dir", str(data), "--variant", "nano",
        "--pretrained", "none", "--input_size", "64", "--scales", "[1.0]", "--max_epochs", "1",
        "--output_dir", "trained",
    )  # fmt: skip
    before = (folder / "models/model.pt").read_bytes()
    call(*run, "training", *training, *common)
    assert (folder / "models/model.pt").read_bytes() != before
    assert json.loads((folder / "models/model.json").read_text())["epoch"] == 1
    evaluation = "--config_file", "['configs/train.json','configs/evaluate.json']", "--dataset_dir", str(data)
    call(*run, "evaluation", *evaluation, "--output_dir", "evaluated", *common)
    assert (folder / "evaluated/summary.json").is_file()
