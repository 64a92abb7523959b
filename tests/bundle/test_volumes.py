"""Volumes from a folder to label maps: training, evaluation and inference by the configs, on phantoms."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pytest
import torch

from monai_sam2unet import predict_volume, volume_prediction
from monai_sam2unet.data import load_volumes
from monai_sam2unet.errors import InputError
from monai_sam2unet.io import read_values
from monai_sam2unet.networks import SAM2UNet
from tests.io.phantoms import slices
from tests.io.test_volumes import ORIENTATIONS
from tests.volume_sets import AFFINE, NAMES, SHAPE, phantom, save, write_volumes

TRAINING, EVALUATION = ("train", "volume"), ("train", "volume", "volume_evaluate")
FAST = {"input_size": 32, "batch_size": 6, "max_epochs": 2, "num_workers": 0, "device": "cpu", "ema_decay": 0}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return write_volumes(tmp_path_factory.mktemp("volumes") / "set", 8)


@pytest.fixture(scope="module")
def run(workflow, bundle_root, volumes, tmp_path_factory):
    """`run(folder, **overrides)` trains quickly on the phantoms, six of them, two for validation."""
    cache = tmp_path_factory.mktemp("cache")

    def train(folder, **overrides):
        folders = {"output_dir": str(folder), "ckpt_dir": str(folder / "models"), "cache_dir": str(cache)}
        given = {**FAST, "bundle_root": str(bundle_root), "dataset_dir": str(volumes), "val_fraction": 0.25}
        made = workflow("training", TRAINING, **{**given, **folders, **overrides})
        made.run()
        return made

    return train


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    """Folder of a finished training of two classes that exclude each other."""
    folder = tmp_path_factory.mktemp("trained")
    run(folder)
    return folder


def test_training_notes_what_inference_needs(model):
    settings = json.loads((model / "models" / "model.json").read_text())
    assert settings["classes"] == list(NAMES) and settings["activation"] == "softmax"
    assert {name: settings[name] for name in ("plane", "slices", "window", "percentiles", "input_size")} == {
        "plane": "axial", "slices": 3, "window": "", "percentiles": [0.5, 99.5], "input_size": 32
    }  # fmt: skip
    with (model / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"] and 0 < float(rows[-1]["validation_dice"]) <= 1
    split = json.loads((model / "datalist.json").read_text())
    assert (len(split["training"]), len(split["validation"])) == (6, 2)


@pytest.fixture(scope="module")
def evaluated(workflow, bundle_root, volumes, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    made = workflow(
        "evaluation", EVALUATION, bundle_root=str(bundle_root), dataset_dir=str(volumes), device="cpu",
        output_dir=str(folder), ckpt_dir=str(model / "models"), num_workers=0, subset="all",
    )  # fmt: skip
    assert made.check_properties() == []
    made.run()
    return folder


def test_evaluation_reports_every_class_of_every_volume(evaluated):
    with (evaluated / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * 2 and {row["class"] for row in rows} == set(NAMES)
    first = next(row for row in rows if row["case"] == "imagesTr/case_001" and row["class"] == "tail")
    _, label = phantom(1)
    # voxels of 1 x 1.5 x 3 mm
    assert float(first["reference_ml"]) == pytest.approx((label == 2).sum() * 4.5 / 1000)
    summary = json.loads((evaluated / "summary.json").read_text())
    assert summary["cases"] == 8 and summary["unit_of_distances"] == "mm" and summary["plane"] == "axial"
    for name in NAMES:
        dice = [float(row["dice"]) for row in rows if row["class"] == name]
        assert summary["by_class"][name]["with_reference"]["dice"]["mean"] == pytest.approx(np.mean(dice))
    assert (evaluated / "cases.png").stat().st_size > 1000


def test_inference_gives_what_was_evaluated(workflow, bundle_root, volumes, model, evaluated, tmp_path):
    """The label maps, compared with the references here, have the Dice of the report."""
    made = workflow(
        "inference", ("volume_inference",), bundle_root=str(bundle_root), input=str(volumes / "imagesTr"),
        output_dir=str(tmp_path), checkpoint=str(model / "models" / "model.pt"), device="cpu",
    )  # fmt: skip
    made.run()
    assert made.check_properties() == []
    record = json.loads((tmp_path / "made_with.json").read_text())
    assert record["model"] == "model.pt" and record["plane"] == "axial" and record["slices"] == 3
    with (evaluated / "metrics.csv").open() as file:
        reported = {(row["case"], row["class"]): float(row["dice"]) for row in csv.DictReader(file)}
    for number in range(1, 9):
        image = nibabel.load(tmp_path / "label_maps" / f"case_{number:03d}.nii.gz")
        source = nibabel.load(volumes / "imagesTr" / f"case_{number:03d}.nii.gz")
        assert image.shape == SHAPE and image.get_data_dtype() == np.uint8
        assert np.array_equal(image.affine, source.affine)
        found, label = np.asanyarray(image.dataobj), phantom(number)[1]
        for value, name in enumerate(NAMES, start=1):
            both = np.sum((found == value) & (label == value))
            dice = 2 * both / (np.sum(found == value) + np.sum(label == value))
            assert reported[f"imagesTr/case_{number:03d}", name] == pytest.approx(dice, abs=1e-6)


def test_one_volume_from_python(volumes, model, bundle_root):
    path = volumes / "imagesTr" / "case_001.nii.gz"
    weights = model / "models" / "model.pt"
    label_map, affine = predict_volume(path, model=weights, device="cpu", bundle_root=bundle_root)
    assert label_map.shape == SHAPE and label_map.dtype == np.uint8 and np.array_equal(affine, AFFINE)
    assert set(np.unique(label_map)) <= {0, 1, 2}
    again, _ = predict_volume(read_values(path), model=weights, device="cpu", bundle_root=bundle_root)
    assert np.array_equal(label_map, again)


def test_a_model_of_pictures_is_refused(bundle_root, volumes, tmp_path):
    torch.save(SAM2UNet("nano", decoder_channels=32).state_dict(), tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"plane must be one of axial.*trained with volume\.json"):
        predict_volume(
            volumes / "imagesTr" / "case_001.nii.gz", model=tmp_path / "model.pt", bundle_root=bundle_root
        )


class Bright(torch.nn.Module):
    """In the place of a network: two classes by the grey level of the middle slice, bright and grey."""

    def forward(self, x):
        middle = x[:, x.shape[1] // 2] * 0.226 + 0.449  # back to 0..1
        grey = ((middle > 0.25) & (middle < 0.75)).float()
        return torch.stack([torch.full_like(middle, 0.5), (middle > 0.75).float(), grey], dim=1)


@pytest.mark.parametrize(
    ("plane", "shape"), [("axial", (32, 64, 5)), ("coronal", (32, 5, 64)), ("sagittal", (5, 32, 64))]
)
def test_masks_lie_on_their_voxels_in_all_orientations(bundle_root, tmp_path, monkeypatch, plane, shape):
    """An asymmetric phantom, in RAS+, of five slices of the network's own size, 64 rows and 32 columns."""
    write_model(tmp_path, plane, (64, 32))
    segmenter = volume_prediction.VolumeSegmenter(tmp_path / "m.pt", "cpu", bundle_root)
    monkeypatch.setitem(segmenter._parts, "network", Bright())
    monkeypatch.setattr(volume_prediction, "_kept", lambda *_: segmenter)
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(max(1, side // 16), side // 2) for side in shape)] = 1
    label[tuple(slice(side // 2 + 1, side - side // 10) for side in shape)] = 2
    values = np.choose(label, [0, 200, 100]).astype(np.int16)
    image = nibabel.Nifti1Image(values, np.diag([2.0, 1.5, 3, 1]))
    truth = nibabel.Nifti1Image(label, image.affine)
    for codes in ORIENTATIONS:
        turn = nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
        )
        stored = image.as_reoriented(turn)
        nibabel.save(stored, tmp_path / "a.nii")
        found, affine = predict_volume(tmp_path / "a.nii", model=tmp_path / "m.pt", bundle_root=bundle_root)
        assert np.array_equal(found, np.asanyarray(truth.as_reoriented(turn).dataobj)), codes
        assert np.allclose(affine, stored.affine)


def write_model(folder, plane, sides):
    """A model of one slice and two classes that says how it was trained."""
    network = SAM2UNet("nano", in_channels=1, out_channels=3, decoder_channels=32)
    torch.save(network.state_dict(), folder / "m.pt")
    settings = {"plane": plane, "input_size": list(sides), "classes": list(NAMES), "activation": "softmax"}
    (folder / "m.json").write_text(json.dumps({**settings, "threshold": 0.5, "percentiles": [0, 100]}))


def test_one_structure_of_ct_by_a_window_in_another_plane(run, workflow, bundle_root, tmp_path):
    """Sigmoid, coronal, one slice, window [100, 200]; then a series in, its label map out."""
    for number in range(1, 5):
        values, label = phantom(number)
        save(tmp_path / "set" / "images" / f"{number}.nii", values)
        save(tmp_path / "set" / "labels" / f"{number}.nii", (label == 1).astype(np.uint8) * 255)
    made = run(
        tmp_path / "run", dataset_dir=str(tmp_path / "set"), plane="coronal", slices=1, window=[100, 200],
        flips="horizontal", max_epochs=1, recipe="paper",
    )  # fmt: skip
    assert made.parser.get_parsed_content("activation") == "sigmoid"
    slices(tmp_path / "ct", [1, 0, 0, 0, 1, 0], [0.0, 3.0, 6.0])
    found, affine = predict_volume(
        tmp_path / "ct", model=tmp_path / "run" / "models" / "model.pt", bundle_root=bundle_root
    )
    assert found.shape == (6, 4, 3) and np.allclose(affine, read_values(tmp_path / "ct").affine)


def test_volumes_of_a_run_are_those_of_its_part(volumes, model):
    split = load_volumes(volumes, datalist=model / "datalist.json")
    assert not {item["case"] for item in split.train} & {item["case"] for item in split.validation}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"slices": 3, "in_channels": 5}, "in_channels must be slices, 3, got 5"),
        ({"tile": 32}, "tile and contrast are for pictures"),
        ({"contrast": "clahe"}, "tile and contrast are for pictures"),
        ({"protocol": "paper", "key_metric": "meandice"}, "protocol must be fixed and key_metric dice"),
        ({"plane": "oblique", "window": "liver!"}, "plane must be one of"),
    ],
)
def test_wrong_settings_are_named_before_any_work(workflow, bundle_root, volumes, tmp_path, wrong, words):
    with pytest.raises(RuntimeError) as caught:
        workflow("training", TRAINING, bundle_root=str(bundle_root), dataset_dir=str(volumes), **wrong)
    assert words in str(caught.value.__cause__)
