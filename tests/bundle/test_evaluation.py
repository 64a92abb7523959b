"""Evaluation and inference give the figures and masks they say, checked by independent means."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ignite.engine import Engine
from PIL import Image
from scipy import ndimage
from skimage import measure

from monai_sam2unet import SAM2UNet, predict
from monai_sam2unet.errors import InputError
from monai_sam2unet.handlers import CaseReport
from monai_sam2unet.networks.weights import load_model

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's


def by_hand(path, model, size=64):
    """Probability map of a picture by Pillow, NumPy and torch alone."""
    network = SAM2UNet("nano", decoder_channels=32).eval()
    load_model(network, model)
    picture = Image.open(path).convert("RGB")
    small = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)) / 255
    x = torch.from_numpy(((small - MEAN) / STD).transpose(2, 0, 1)).float()[None]
    with torch.inference_mode():
        logits = F.interpolate(network(x), size=picture.size[::-1], mode="bilinear", align_corners=False)
    return logits.sigmoid()[0, 0].numpy()


@pytest.fixture(scope="module")
def evaluated(workflow, trained, small_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    workflow(
        "evaluation", dataset_dir=str(small_set), ckpt_dir=str(trained / "models"),
        output_dir=str(folder), subset="all", num_workers=0, device="cpu",
    ).run()  # fmt: skip
    return folder


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_figures_of_each_case_by_independent_means(evaluated, small_set, trained):
    rows = read_csv(evaluated / "metrics.csv")
    assert len(rows) == 16
    for row in rows:
        name = row["case"].split("/")[1]
        mask = np.asarray(Image.open(small_set / "masks" / f"{name}.png")) >= 128
        probability = by_hand(small_set / "images" / f"{name}.png", trained / "models" / "model.pt")
        predicted = probability >= 0.5
        assert (int(row["height"]), int(row["width"])) == mask.shape
        assert int(row["reference_pixels"]) == mask.sum()
        # float rounding may turn a pixel that lies on the threshold
        assert int(row["predicted_pixels"]) == pytest.approx(predicted.sum(), abs=3)
        if not mask.any():
            assert row["dice"] == row["iou"] == row["precision"] == row["recall"] == ""
            continue
        both = (mask & predicted).sum()
        assert float(row["dice"]) == pytest.approx(2 * both / (mask.sum() + predicted.sum()), abs=2e-3)
        assert float(row["iou"]) == pytest.approx(both / (mask | predicted).sum(), abs=2e-3)


def test_summary_agrees_with_the_cases(evaluated):
    summary = json.loads((evaluated / "summary.json").read_text())
    rows = read_csv(evaluated / "metrics.csv")
    positive = [row for row in rows if row["reference_pixels"] != "0"]
    negative = [row for row in rows if row["reference_pixels"] == "0"]
    assert positive and negative, "the set must hold both kinds, or this proves nothing"
    assert summary["cases"] == len(rows)
    assert summary["with_reference"]["cases"] == len(positive)
    for name in ("dice", "iou", "precision", "recall"):
        figure = summary["with_reference"][name]
        assert figure["mean"] == pytest.approx(np.mean([float(r[name]) for r in positive]), abs=1e-6)
        assert figure["low"] <= figure["mean"] <= figure["high"]
    alarms = np.mean([int(r["predicted_pixels"]) > 0 for r in negative])
    assert summary["without_reference"]["false_alarm_rate"]["mean"] == pytest.approx(alarms)


def test_outlines_and_lesions_of_each_case_by_independent_means(evaluated, small_set, trained):
    """NSD and HD95 by SciPy's distance maps, lesions by scikit-image's components, from our own masks."""
    rows = read_csv(evaluated / "metrics.csv")
    for row in rows:
        name = row["case"].split("/")[1]
        mask = np.asarray(Image.open(small_set / "masks" / f"{name}.png")) >= 128
        predicted = by_hand(small_set / "images" / f"{name}.png", trained / "models" / "model.pt") >= 0.5
        if int(row["predicted_pixels"]) != predicted.sum():
            continue  # a pixel on the threshold may change an outline by much
        lesions, marks = (measure.label(m, connectivity=2) for m in (mask, predicted))
        shares = [predicted[lesions == i].mean() for i in range(1, lesions.max() + 1)]
        false = sum(not mask[marks == i].any() for i in range(1, marks.max() + 1))
        expected = (len(shares), sum(share >= 0.1 for share in shares), false)
        assert tuple(int(row[n]) for n in ("lesions", "lesions_found", "false_positives")) == expected
        if not (mask.any() and predicted.any()):
            assert row["hd95"] == "" and row["nsd"] == ("0.000000" if mask.any() else "")
            continue
        outlines = [m & ~ndimage.binary_erosion(m) for m in (mask, predicted)]
        away = [ndimage.distance_transform_edt(~outline) for outline in outlines]
        there, back = away[1][outlines[0]], away[0][outlines[1]]
        assert float(row["nsd"]) == pytest.approx(np.mean(np.concatenate([there, back]) <= 3), abs=1e-6)
        hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
        assert float(row["hd95"]) == pytest.approx(hd95, abs=1e-4)


def test_summary_of_outlines_and_lesions_agrees_with_the_cases(evaluated):
    summary = json.loads((evaluated / "summary.json").read_text())
    rows = read_csv(evaluated / "metrics.csv")
    positive = [row for row in rows if row["reference_pixels"] != "0"]
    nsd, hd95 = (summary["with_reference"][name] for name in ("nsd", "hd95"))
    assert nsd["cases"] == len(positive)
    assert nsd["mean"] == pytest.approx(np.mean([float(r["nsd"]) for r in positive]), abs=1e-6)
    distances = [float(r["hd95"]) for r in positive if r["hd95"]]
    assert hd95["cases"] == len(distances)
    assert hd95["cases_without_prediction"] == len(positive) - len(distances)
    assert hd95["mean"] == pytest.approx(np.mean(distances), abs=1e-6)
    assert (summary["tolerance"], summary["unit_of_distances"]) == (3, "pixels")

    lesions = summary["lesions"]
    for name, column in (("lesions", "lesions"), ("found", "lesions_found"), ("false_positives",) * 2):
        assert lesions[name] == sum(int(r[column]) for r in rows)
    assert lesions["sensitivity"]["mean"] == pytest.approx(lesions["found"] / lesions["lesions"])
    assert lesions["sensitivity"]["low"] <= lesions["sensitivity"]["mean"] <= lesions["sensitivity"]["high"]
    assert lesions["false_positives_per_picture"]["mean"] == pytest.approx(
        lesions["false_positives"] / len(rows)
    )
    for name in ("lesions", "found"):
        assert sum(size[name] for size in summary["by_size"].values()) == lesions[name]
    for size in summary["by_size"].values():
        areas = [int(r["reference_pixels"]) / (int(r["height"]) * int(r["width"])) for r in positive]
        inside = [
            float(r["dice"])
            for r, area in zip(positive, areas, strict=True)
            if size["area_from"] <= area < size["area_to"]
        ]
        assert size["dice"]["cases"] == len(inside)
        assert not inside or size["dice"]["mean"] == pytest.approx(np.mean(inside), abs=1e-6)


def test_settings_of_the_figures(workflow, trained, small_set, tmp_path, evaluated):
    """At 0.5 mm a pixel distances halve, and lesions below 10000 pixels are none."""
    workflow(
        "evaluation", dataset_dir=str(small_set), ckpt_dir=str(trained / "models"), subset="all",
        output_dir=str(tmp_path), num_workers=0, device="cpu",
        spacing=0.5, tolerance=1.5, min_lesion_area=10000,
    ).run()  # fmt: skip
    summary = json.loads((tmp_path / "summary.json").read_text())
    before = json.loads((evaluated / "summary.json").read_text())
    assert summary["unit_of_distances"] == "mm" and summary["spacing"] == 0.5
    assert summary["with_reference"]["hd95"]["mean"] == pytest.approx(
        before["with_reference"]["hd95"]["mean"] / 2
    )
    # 1.5 mm are 3 pixels
    assert summary["with_reference"]["nsd"] == pytest.approx(before["with_reference"]["nsd"])
    assert summary["with_reference"]["dice"] == before["with_reference"]["dice"]
    assert summary["lesions"]["lesions"] == 0 < before["lesions"]["lesions"]
    assert summary["lesions"]["sensitivity"]["mean"] is None


def report_on(folder, pairs, **settings):
    """Run a report over pairs of prediction and reference, as an evaluator would; gives the summary."""
    Image.new("RGB", (20, 16)).save(folder / "picture.png")
    image = types.SimpleNamespace(meta={"filename_or_obj": str(folder / "picture.png")})
    items = [{"case": f"c{i}", "image": image} for i in range(len(pairs))]
    outputs = [
        dict(zip(("pred", "label"), (torch.from_numpy(m)[None].float() for m in pair), strict=True))
        for pair in pairs
    ]
    engine = Engine(lambda engine, batch: outputs)
    CaseReport(folder, **settings).attach(engine)
    engine.run([items])
    return json.loads((folder / "summary.json").read_text())


def test_missed_pictures_are_counted_and_specks_warned_of(tmp_path, caplog):
    """One lesion is missed: HD95 says so beside its mean, NSD is 0; a single pixel is suspicious."""
    lesion, speck, nothing = (np.zeros((16, 20), bool) for _ in range(3))
    lesion[4:10, 4:10] = speck[4:10, 4:10] = speck[15, 19] = True
    with caplog.at_level(logging.INFO):
        summary = report_on(
            tmp_path, [(lesion, lesion), (nothing, lesion), (lesion, speck), (lesion, nothing)]
        )
    with_reference = summary["with_reference"]
    assert with_reference["nsd"]["cases"] == 3
    # of the speck's outline of 20 + 1 pixels and the lesion's 20 all but the speck are at distance 0
    assert with_reference["nsd"]["mean"] == pytest.approx((1 + 0 + 40 / 41) / 3)
    assert (with_reference["hd95"]["cases"], with_reference["hd95"]["cases_without_prediction"]) == (2, 1)
    assert with_reference["hd95"]["mean"] == 0  # one pixel of 21 is less than 5 %
    # the lesion of 36 of 320 pixels is large, the speck small
    assert (summary["by_size"]["large"]["lesions"], summary["by_size"]["large"]["found"]) == (3, 2)
    assert (summary["by_size"]["small"]["lesions"], summary["by_size"]["small"]["found"]) == (1, 0)
    assert "1 more have no prediction" in caplog.text
    assert "2 of 4 found (small 0/1, medium 0/0, large 2/3)" in caplog.text
    assert "1 of 4 lesions have fewer than 10 pixels" in caplog.text
    assert "false positives: 1, 0.25 per picture" in caplog.text


def test_specks_can_be_left_out(tmp_path, caplog):
    lesion = np.zeros((16, 20), bool)
    lesion[4:10, 4:10] = lesion[15, 19] = True
    summary = report_on(tmp_path, [(lesion, lesion)], min_lesion_area=10)
    assert summary["lesions"]["lesions"] == 1 and "fewer than" not in caplog.text


def test_validation_dice_of_training_is_that_of_evaluation(workflow, trained, small_set, tmp_path):
    """The figure that chose the model is the one that evaluation reports on the same pictures."""
    workflow(
        "evaluation", dataset_dir=str(small_set), ckpt_dir=str(trained / "models"), output_dir=str(tmp_path),
        num_workers=0, device="cpu",
    ).run()  # fmt: skip
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["subset"] == "validation", "the set has no test part"
    dice = summary["with_reference"]["dice"]["mean"]
    chosen = json.loads((trained / "models" / "model.json").read_text())["validation_dice"]
    assert dice == pytest.approx(chosen, abs=1e-5)


def test_the_last_state_brings_its_own_settings(workflow, trained, small_set, tmp_path):
    """`checkpoint_last.pt` has no JSON beside it; its input size is within."""
    made = workflow(
        "evaluation", dataset_dir=str(small_set), output_dir=str(tmp_path), device="cpu",
        checkpoint=str(trained / "models" / "checkpoint_last.pt"),
    )  # fmt: skip
    assert made.parser.get_parsed_content("input_size") == 64


def test_weights_without_settings_are_warned_of(workflow, trained, tmp_path, caplog):
    (tmp_path / "model.pt").write_bytes((trained / "models" / "model.pt").read_bytes())
    made = workflow("inference", input=str(tmp_path), ckpt_dir=str(tmp_path), output_dir=str(tmp_path))
    assert made.parser.get_parsed_content("input_size") == 352
    assert "no settings of its training are known, taken: input_size 352" in caplog.text


def test_figure_is_a_picture(evaluated):
    with Image.open(evaluated / "cases.png") as figure:
        figure.load()
        assert figure.width > 600 and figure.height > 400


@pytest.fixture
def asymmetric(tmp_path):
    """Pictures of several sizes and kinds; one lies on its side and says so in its EXIF data."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    grid = np.zeros((50, 90, 3), np.uint8)
    grid[:10, :, 0], grid[:, :10, 1] = 255, 255
    Image.fromarray(grid).save(folder / "wide.png")
    Image.fromarray(grid[..., 0]).save(folder / "sub" / "grey.png")
    Image.fromarray(grid).convert("P").save(folder / "sub" / "palette.png")
    turned = Image.fromarray(grid)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: 90x50 becomes 50x90
    turned.save(folder / "turned.jpg", exif=exif)
    Image.fromarray(grid[:20, :20]).save(folder / "small.png")
    Image.fromarray(grid).save(folder / "wide.jpg")
    return folder


def infer(workflow, trained, source, out, **overrides):
    made = workflow(
        "inference", input=str(source), ckpt_dir=str(trained / "models"), output_dir=str(out),
        num_workers=0, device="cpu", **overrides,
    )  # fmt: skip
    made.run()


def test_every_mask_has_its_pictures_size_and_place(workflow, trained, asymmetric, tmp_path):
    out = tmp_path / "out"
    infer(workflow, trained, asymmetric, out, probabilities=True, overlays="true", batch_size=4)
    expected = {
        "wide.png.png": (90, 50), "wide.jpg.png": (90, 50), "turned.png": (50, 90), "small.png": (20, 20),
        "sub/grey.png": (90, 50), "sub/palette.png": (90, 50),
    }  # fmt: skip
    for folder in ("masks", "probabilities", "overlays"):
        for path in (out / folder).rglob("*.png"):
            with Image.open(path) as written:
                assert written.size == expected[path.relative_to(out / folder).as_posix()]
        assert len(list((out / folder).rglob("*.png"))) == len(expected)
    assert set(np.unique(np.asarray(Image.open(out / "masks" / "turned.png")))) <= {0, 255}


class TopLeft(torch.nn.Module):
    """Stands in for the network: high logits where the picture is red and at its top left only."""

    def forward(self, x):
        return 40 * (x[:, :1] - 1.0)


def test_nothing_comes_out_transposed_or_mirrored(workflow, trained, tmp_path):
    """A red corner in a wide picture is found in the same corner of the mask, pixel for pixel."""
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:16, :48, 0] = 255
    Image.fromarray(picture).save(tmp_path / "corner.png")
    made = workflow(
        "inference", input=str(tmp_path / "corner.png"), ckpt_dir=str(trained / "models"),
        output_dir=str(tmp_path / "out"), num_workers=0, device="cpu", network=TopLeft(),
    )  # fmt: skip
    made.run()
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "corner.png")) > 0
    expected = picture[..., 0] > 0
    assert mask.shape == expected.shape
    assert (mask & expected).sum() / (mask | expected).sum() > 0.9


def test_an_unreadable_file_is_passed_over_and_named(workflow, trained, asymmetric, tmp_path):
    (asymmetric / "sub" / "text.png").write_text("not a picture")
    with pytest.raises(RuntimeError) as caught:
        infer(workflow, trained, asymmetric, tmp_path / "out")
    message = str(caught.value.__cause__)
    assert "1 file could not be read" in message and "sub/text.png" in message
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 6


def test_predict_is_what_inference_writes(bundle_root, workflow, trained, asymmetric, tmp_path):
    model = trained / "models" / "model.pt"
    infer(workflow, trained, asymmetric / "turned.jpg", tmp_path / "out", probabilities=True)
    written = np.asarray(Image.open(tmp_path / "out" / "probabilities" / "turned.png")) / 255
    probability = predict(asymmetric / "turned.jpg", model=model, device="cpu")
    assert probability.shape == (90, 50) and probability.dtype == np.float32
    np.testing.assert_allclose(probability, written, atol=0.5 / 255 + 1e-6)
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "turned.png"))
    assert np.array_equal(mask > 0, probability >= 0.5)


def test_predict_takes_paths_pictures_and_arrays(trained, asymmetric):
    model = trained / "models" / "model.pt"
    path = asymmetric / "wide.png"
    expected = by_hand(path, model)
    picture = Image.open(path)
    for given in (path, str(path), picture, np.asarray(picture)):
        np.testing.assert_allclose(predict(given, model=model, device="cpu"), expected, atol=1e-5)


@pytest.mark.parametrize("bad", ["missing.png", np.zeros((4, 4, 7), np.uint8), np.zeros((4, 4), np.float32)])
def test_predict_refuses(trained, bad):
    with pytest.raises(InputError, match=r"missing\.png|must be uint8"):
        predict(bad, model=trained / "models" / "model.pt", device="cpu")


def test_predict_without_a_model(tmp_path):
    with pytest.raises(InputError, match="no model at"):
        predict(np.zeros((32, 32, 3), np.uint8), model=tmp_path / "model.pt", device="cpu")


def run(bundle_root, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(bundle_root / "bundle"), "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *map(str, arguments)],
        cwd=bundle_root, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_command_line_of_training(bundle_root, small_set, tmp_path):
    done = run(
        bundle_root, "training", "--config_file", "configs/train.json", "--dataset_dir", small_set,
        "--variant", "nano", "--pretrained", "none", "--input_size", 64, "--max_epochs", 1,
        "--num_workers", 0, "--scales", "[1.0]", "--check_data", "false",
        "--output_dir", tmp_path / "out", "--ckpt_dir", tmp_path / "models",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Epoch 1/1" in done.stdout and "Best model" in done.stdout
    assert (tmp_path / "models" / "model.pt").is_file()


def test_command_line_of_evaluation(bundle_root, small_set, trained, tmp_path):
    done = run(
        bundle_root, "evaluation", "--config_file", "['configs/train.json','configs/evaluate.json']",
        "--dataset_dir", small_set, "--ckpt_dir", trained / "models", "--output_dir", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "dice" in done.stdout and (tmp_path / "summary.json").is_file()


def test_command_line_of_inference_names_what_failed(bundle_root, small_set, trained, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.png").write_text("not a picture")
    Image.new("RGB", (40, 30)).save(tmp_path / "in" / "black.png")
    done = run(
        bundle_root, "inference", "--config_file", "configs/inference.json", "--input", tmp_path / "in",
        "--ckpt_dir", trained / "models", "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 1
    assert "text.png" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "out" / "masks" / "black.png").is_file()


def test_command_line_says_which_setting_is_misspelt(bundle_root):
    done = run(bundle_root, "training", "--config_file", "configs/train.json", "--varaint", "tiny")
    assert done.returncode == 1
    assert "'varaint'" in done.stderr and "'variant'" in done.stderr and "Traceback" not in done.stderr


def test_undefined_figures_are_null_not_nan(workflow, trained, tmp_path):
    """Empty masks alone: no overlap figures, and JSON that every reader takes."""
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (40, 30)).save(tmp_path / "data" / kind / f"{i}.png")
    workflow(
        "evaluation", dataset_dir=str(tmp_path / "data"), ckpt_dir=str(trained / "models"),
        output_dir=str(tmp_path / "out"), subset="all", val_fraction=0.4, num_workers=0, device="cpu",
    ).run()  # fmt: skip
    text = (tmp_path / "out" / "summary.json").read_text()
    summary = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert summary["with_reference"]["cases"] == 0 and summary["with_reference"]["dice"]["mean"] is None
    assert 0 <= summary["without_reference"]["false_alarm_rate"]["mean"] <= 1
    assert not math.isnan(summary["without_reference"]["false_area_fraction"]["mean"])
