"""What takes minutes: the demonstration to its end, and real pictures."""

from __future__ import annotations

import json

import pytest
from PIL import Image, ImageOps

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demonstration(workflow, tmp_path_factory, bundle_root):
    """Folder of the demonstration, run as `make demo` runs it."""
    folder = tmp_path_factory.mktemp("demonstration")
    workflow(
        "training", bundle_root=str(bundle_root), output_dir=str(folder), ckpt_dir=str(folder / "models"),
        demo_dir=str(folder / "demo_data"), device="cpu",
    ).run()  # fmt: skip
    return folder


def test_the_demonstration_learns(demonstration):
    """At least 0.85, what the quick start promises of it."""
    settings = json.loads((demonstration / "models" / "model.json").read_text())
    assert (settings["variant"], settings["input_size"]) == ("nano", 128)
    assert settings["validation_dice"] >= 0.85


def test_real_pictures_get_masks_of_their_size(demonstration, workflow, real_data, tmp_path):
    """Kvasir-SEG as published; the model knows synthetic polyps only, so sizes alone are looked at."""
    source = real_data("Kvasir-SEG-original-5") / "images"
    workflow(
        "inference", input=str(source), ckpt_dir=str(demonstration / "models"), output_dir=str(tmp_path),
        device="cpu",
    ).run()  # fmt: skip
    pictures = sorted(source.iterdir())
    assert len(pictures) == 5
    for path in pictures:
        with Image.open(path) as picture, Image.open(tmp_path / "masks" / f"{path.stem}.png") as mask:
            assert mask.size == ImageOps.exif_transpose(picture).size


def test_training_on_real_polyps_with_negatives(train, real_data, tmp_path):
    """PolypGen's validation part as a folder pair: many sizes, several centres, some empty masks."""
    made = train(tmp_path, dataset_dir=str(real_data("PolypGen") / "val"), max_epochs=1, val_fraction=0.2)
    lists = made.parser.get_parsed_content("datalists")
    assert (len(lists.train), len(lists.validation)) == (120, 30)
    settings = json.loads((tmp_path / "models" / "model.json").read_text())
    assert 0 <= settings["validation_dice"] <= 1
