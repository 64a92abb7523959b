"""Inference and evaluation by windows at the pictures' own resolution."""

from __future__ import annotations

import csv
import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from monai_sam2unet import InputError, predict
from monai_sam2unet.data import draw_case
from monai_sam2unet.networks.weights import SHIPPED_NAME
from monai_sam2unet.settings import RULES
from tests.bundle.finished import input_error

SIZES = {"a.png": (96, 64), "wide.png": (150, 70), "sub/tall.jpg": (50, 170), "line.png": (90, 1)}
"""Name: width and height, pixels."""
LOW = 0.05  # synthetic polyps in tiny windows are not what the model in the box has learnt: it is seldom sure


class Red(nn.Module):
    """Foreground where the first channel, normalised by ImageNet's mean, is bright."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.sizes = []

    def forward(self, x):
        self.sizes.append(tuple(x.shape))
        return 10 * x[:, :1]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures of different sizes, one of them a single row."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, (name, size) in enumerate(SIZES.items()):
        (folder / name).parent.mkdir(exist_ok=True)
        picture = draw_case(index, size=(96, 96))[0]
        Image.fromarray(picture).resize(size).save(folder / name)
    return folder


@pytest.fixture
def segment(workflow, bundle_root, pictures):
    """`segment(out, **overrides)` runs inference with the model in the box, in tiles of 64."""

    def run(out, **overrides):
        given = {
            "input": str(pictures), "output_dir": str(out), "tile": 64, "batch_size": 3, "num_workers": 0,
            "checkpoint": str(bundle_root / "models" / SHIPPED_NAME), "device": "cpu",
            "threshold": LOW,
        }  # fmt: skip
        workflow("inference", **{**given, **overrides}).run()

    return run


def maps(folder, kind="probabilities"):
    files = (folder / kind).rglob("*.png")
    found = {str(p.relative_to(folder / kind)): np.asarray(Image.open(p)) for p in files}
    assert found
    return found


def test_every_picture_keeps_its_size_and_the_settings_are_noted(segment, tmp_path):
    segment(tmp_path, probabilities=True, overlays=True)
    sizes = {name.rsplit(".", 1)[0] + ".png": size[::-1] for name, size in SIZES.items()}
    for kind in ("masks", "probabilities", "overlays"):
        assert {name: m.shape[:2] for name, m in maps(tmp_path, kind).items()} == sizes
    made_with = json.loads((tmp_path / "made_with.json").read_text())
    assert (made_with["tile"], made_with["overlap"]) == (64, 0.25)


def test_a_picture_that_fits_is_computed_as_the_whole_of_that_size(segment, pictures, tmp_path):
    """96x64 pixels: `input_size` of the same size resizes nothing, and a tile of 96 is one window."""
    given = {"input": str(pictures / "a.png"), "probabilities": True, "overlays": True, "threshold": 0.005}
    segment(tmp_path / "tiled", tile=96, **given)
    segment(tmp_path / "whole", tile=0, input_size=[64, 96], batch_size=1, **given)
    for kind in ("masks", "probabilities", "overlays"):
        tiled, whole = (maps(tmp_path / name, kind)["a.png"] for name in ("tiled", "whole"))
        assert np.array_equal(tiled, whole) and len(np.unique(tiled)) > 1
    assert "tile" not in json.loads((tmp_path / "whole" / "made_with.json").read_text())


def test_nothing_comes_out_transposed_mirrored_or_resized(segment, tmp_path):
    picture = np.zeros((70, 150, 3), np.uint8)
    picture[:16, :48, 0] = picture[69, 149, 0] = picture[35, 100, 0] = 255  # single pixels, too
    Image.fromarray(picture).save(tmp_path / "corner.png")
    network = Red()
    segment(tmp_path / "out", input=str(tmp_path / "corner.png"), network=network)
    assert np.array_equal(maps(tmp_path / "out", "masks")["corner.png"] > 0, picture[..., 0] > 0)
    # windows of 64 begin every 48 pixels, the last one at the edge: 2 rows of 3, in batches of 3
    assert network.sizes == [(3, 3, 64, 64)] * 2


def test_shards_together_are_one_process(segment, tmp_path):
    segment(tmp_path / "whole", probabilities=True)
    for k in (2, 1):
        segment(tmp_path / "parts", probabilities=True, shard=f"{k}/2")
    whole, parts = maps(tmp_path / "whole"), maps(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_results_of_two_tiles_are_not_mixed(segment, tmp_path, caplog):
    segment(tmp_path, input_size=64, tile=0)
    with pytest.raises(RuntimeError) as caught:
        segment(tmp_path, input_size=64, skip_finished=True)
    assert "made with tile None, overlap None, now it is tile 64, overlap 0.25" in input_error(caught.value)
    segment(tmp_path / "tiled")
    with pytest.raises(RuntimeError) as caught:
        segment(tmp_path / "tiled", overlap=0.5, skip_finished=True)
    assert "made with overlap 0.25, now it is overlap 0.5" in input_error(caught.value)
    with caplog.at_level(logging.INFO):
        segment(tmp_path / "tiled", skip_finished=True)
    assert "nothing is left to segment, 4 finished before" in caplog.text


def test_predict_is_what_inference_writes(segment, pictures, bundle_root, tmp_path):
    segment(tmp_path, probabilities=True, overlap=0.5, batch_size=4)
    model = bundle_root / "models" / SHIPPED_NAME
    probability = predict(pictures / "wide.png", model=model, device="cpu", tile=64, overlap=0.5)
    assert probability.shape == (70, 150)
    np.testing.assert_allclose(probability, maps(tmp_path)["wide.png"] / 255, atol=0.5 / 255 + 1e-6)


def test_predict_names_what_is_wrong():
    with pytest.raises(InputError, match="tile must be 0 or a multiple of 32, got 100; nearest: 96"):
        predict(np.zeros((32, 32, 3), np.uint8), device="cpu", tile=100)
    with pytest.raises(InputError, match=f"overlap must be {RULES['overlap'][1]}, got 2"):
        predict(np.zeros((32, 32, 3), np.uint8), device="cpu", tile=32, overlap=2)


def test_evaluation_scores_what_inference_writes(workflow, bundle_root, small_set, segment, tmp_path):
    """Dice of each picture at its own size, computed from the masks that inference wrote."""
    given = {
        "dataset_dir": str(small_set), "checkpoint": str(bundle_root / "models" / SHIPPED_NAME),
        "output_dir": str(tmp_path / "report"), "tile": 128, "overlap": 0.5, "threshold": LOW,
    }  # fmt: skip
    workflow("evaluation", num_workers=0, device="cpu", **given).run()
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert (summary["tile"], summary["overlap"]) == (128, 0.5)
    rows = list(csv.DictReader((tmp_path / "report" / "metrics.csv").read_text().splitlines()))
    pairs = json.loads((tmp_path / "report" / "datalist.json").read_text())["validation"]
    segment(tmp_path / "out", input=str(small_set), tile=128, overlap=0.5, batch_size=4)
    masks = maps(tmp_path / "out", "masks")
    assert len(rows) == len(pairs) == 4
    scored = 0
    for row, pair in zip(rows, pairs, strict=True):
        label = np.asarray(Image.open(small_set / pair["label"])) > 127
        mask = masks[pair["image"].rsplit(".", 1)[0] + ".png"] > 0
        assert (int(row["height"]), int(row["width"])) == mask.shape == label.shape
        assert int(row["predicted_pixels"]) == mask.sum()
        if label.any():  # Dice is undefined without a lesion
            expected = 2 * (mask & label).sum() / (mask.sum() + label.sum())
            assert float(row["dice"]) == pytest.approx(expected, abs=1e-6)
            scored += 0 < expected < 1
    assert scored
