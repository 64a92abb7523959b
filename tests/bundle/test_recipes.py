"""The recipes of the paper's tasks: each overlay trains on its sets and chooses by its own figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from monai_sam2unet import predict
from monai_sam2unet.metrics import score
from scripts.benchmark_table import main as benchmark_table
from tests.bundle.finished import history, input_error
from tests.tiny_sets import tiny_set

FAST = {"variant": "nano", "pretrained": "none", "input_size": 64, "batch_size": 2, "max_epochs": 1,
        "num_workers": 0, "device": "cpu"}  # fmt: skip
FOLDERS = {  # of each recipe below data_dir, with the name of the layout
    "polyp": {".": "pranet"},
    "camouflaged": {"COD10K-v3": "cod10k", "CAMO": "camo"},
    "salient": {"DUTS": "duts"},
    "marine": {"MAS3K": "mas3k"},
    "mirror": {"MSD": "mirror_msd"},
}
FIGURES = {  # what the paper's tables of each task are about: the table of protocols in docs/metrics.md
    "polyp": ("paper", "meandice"),
    "camouflaged": ("paper", "Smeasure"),
    "salient": ("paper", "Smeasure"),
    "marine": ("masnet", "mIoU"),
    "mirror": ("hetnet", "iou"),
}
SIZES = ((40, 56), (52, 36), (48, 48))  # (height, width)


def paint(picture, mask, number):
    """A bright box on noise, and its mask, of a size that depends on the number."""
    height, width = SIZES[number % len(SIZES)]
    drawn = np.random.default_rng(number)
    truth = np.zeros((height, width), np.uint8)
    truth[6 : 20 + number, 8 : 24 + number] = 255
    colours = drawn.integers(0, 90, (height, width, 3)) + truth[..., None] // 2
    Image.fromarray(colours.astype(np.uint8)).save(picture)
    Image.fromarray(truth).save(mask)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """All sets of all recipes in one folder, each part with one more picture than the tiny set has."""
    folder = tmp_path_factory.mktemp("datasets")
    for root, name in (pair for folders in FOLDERS.values() for pair in folders.items()):
        tiny = tiny_set(name)
        tiny = replace(
            tiny, rows=tuple(replace(row, stems=(*row.stems, f"{row.stems[0]}1")) for row in tiny.rows)
        )
        place = tiny.build(folder, root)
        pairs = sorted(pair for part in tiny.pairs(place).values() for pair in part)
        for number, (picture, mask) in enumerate(pairs):
            paint(picture, mask, number)
    return folder


@pytest.fixture
def recipe(workflow, data, bundle_root, tmp_path):
    """`recipe("polyp", "strong", val_fraction=0.5)` trains into `tmp_path`; gives the workflow."""

    def run(*overlays, **settings):
        folders = {"output_dir": str(tmp_path), "ckpt_dir": str(tmp_path / "models"), "data_dir": str(data)}
        values = {**FAST, **folders, "bundle_root": str(bundle_root), **settings}
        made = workflow(
            "training", ("train", *overlays), **{k: v for k, v in values.items() if v is not None}
        )
        made.run()
        return made

    return run


def chosen(folder):
    return json.loads((folder / "models" / "model.json").read_text())


def assert_chosen_by(folder, data, protocol, figure):
    """model.json has the figure of the validation, as it is computed from the model's own predictions."""
    settings = chosen(folder)
    assert (settings["protocol"], settings["key_metric"]) == (protocol, figure)
    listed = json.loads((folder / "datalist.json").read_text())["validation"]
    assert listed
    predictions, masks = [], []
    for item in listed:
        predictions.append(predict(data / item["image"], model=folder / "models" / "model.pt"))
        masks.append(np.asarray(Image.open(data / item["label"])))
    expected = score(predictions, masks, protocol)[figure]
    # `predict` runs the fused network: rounding gives some pixel of thousands another of 256 grey levels
    assert settings[f"validation_{figure}"] == pytest.approx(expected, abs=1e-5)
    assert 0 < expected <= 1
    (row,) = history(folder)
    assert float(row[f"validation_{figure}"]) == pytest.approx(expected, abs=2e-5)  # five decimals


@pytest.mark.parametrize("name", ["polyp", "camouflaged", "salient", "marine"])
def test_a_recipe_trains_and_chooses_by_its_figure(recipe, data, tmp_path, name):
    made = recipe(name, val_fraction=0.5)
    lists = made.parser.get_parsed_content("datalists")
    assert lists.dataset == "+".join(FOLDERS[name].values())
    assert_chosen_by(tmp_path, lists.root, *FIGURES[name])
    assert data in (lists.root, lists.root.parent)


def test_mirrors_by_the_command_line(data, bundle_root, tmp_path):
    """One recipe as a user types it; the others run within this process."""
    settings = {
        **FAST,
        "val_fraction": 0.5,
        "data_dir": data,
        "output_dir": tmp_path,
        "ckpt_dir": tmp_path / "models",
    }
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file"]
    command += ["['configs/train.json','configs/mirror.json']"]
    command += [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=bundle_root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert_chosen_by(tmp_path, data / "MSD", *FIGURES["mirror"])
    assert f"validation iou {chosen(tmp_path)['validation_iou']:.4f}" in done.stdout


def test_a_row_of_the_paper_in_two_commands(recipe, data, tmp_path):
    """As docs/benchmark.md has it: the recipe validates on nothing, then the table has each test set."""
    recipe("polyp")
    assert (chosen(tmp_path)["epoch"], chosen(tmp_path)["validation_meandice"]) == (1, None)
    assert history(tmp_path)[0]["validation_meandice"] == ""
    model, table = tmp_path / "models" / "model.pt", tmp_path / "table"
    tests = str(data / "TestDataset")
    benchmark_table(["--checkpoint", str(model), "--data", tests, "--output", str(table), "--device", "cpu"])
    text = (table / "table.md").read_text()
    assert "CVC-300" in text and "Kvasir" in text and "meandice" in text


def test_evaluation_laid_over_a_recipe(recipe, workflow, data, bundle_root, tmp_path):
    recipe("marine")
    made = workflow(
        "evaluation", ("train", "marine", "evaluate"), data_dir=str(data), bundle_root=str(bundle_root),
        ckpt_dir=str(tmp_path / "models"), output_dir=str(tmp_path / "report"), device="cpu", num_workers=0,
    )  # fmt: skip
    made.run()
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert (summary["subset"], summary["cases"], summary["input_size"]) == ("test", 3, 64)
    assert 0 <= summary["with_reference"]["dice"]["mean"] <= 1


def test_the_recipes_are_the_papers(workflow, data, bundle_root, tmp_path):
    """Section 3 of the paper: 20 epochs, 50 for camouflaged objects; two scales for polyps alone."""
    for name, folders in FOLDERS.items():
        made = workflow("training", ("train", name), data_dir=str(data), bundle_root=str(bundle_root),
                        output_dir=str(tmp_path))  # fmt: skip
        of = made.parser.get_parsed_content
        assert of("max_epochs") == (50 if name == "camouflaged" else 20)
        assert of("scales") == ([1.0, 1.25] if name == "polyp" else [1.0])
        assert (of("variant"), of("pretrained"), of("val_fraction")) == ("large", "sam2", 0)
        assert (of("protocol"), of("key_metric")) == FIGURES[name]
        expected = [str(data / root) for root in folders]
        assert of("dataset_dir") == (expected if len(expected) > 1 else expected[0])


def test_a_recipe_with_the_strong_one_over_it(recipe, bundle_root, tmp_path):
    made = recipe("polyp", "strong", val_fraction=0.5)
    strong = json.loads((bundle_root / "configs" / "strong.json").read_text())
    values = {name: made.parser.get_parsed_content(name) for name in strong if name != "_desc_"}
    assert values == {**{k: v for k, v in strong.items() if k != "_desc_"}, "max_epochs": 1}
    settings = chosen(tmp_path)
    assert (settings["recipe"], settings["key_metric"], settings["scales"]) == ("strong", "meandice", [1.0])
    assert 0 < settings["validation_meandice"] <= 1


@pytest.mark.parametrize("name", FOLDERS)
def test_sets_that_are_not_there_are_named(recipe, tmp_path, name):
    with pytest.raises(RuntimeError) as caught:
        recipe(name, data_dir=str(tmp_path / "nowhere"))
    message = input_error(caught.value)
    for folder in ["TrainDataset"] if name == "polyp" else FOLDERS[name]:
        assert str(tmp_path / "nowhere" / folder) in message
    assert "--data_dir DIR" in message


def test_another_set_of_a_task(recipe, data, tmp_path):
    """RMAS in place of MAS3K: the folder itself, without data_dir."""
    place = tiny_set("rmas").build(tmp_path / "more")
    for number, (picture, mask) in enumerate(sorted(set.union(*tiny_set("rmas").pairs(place).values()))):
        paint(picture, mask, number)
    made = recipe("marine", dataset_dir=str(place), data_dir=None)
    assert made.parser.get_parsed_content("datalists").dataset == "rmas"
    with pytest.raises(RuntimeError) as caught:
        recipe("marine", dataset_dir=str(place))
    assert "setting 'data_dir' has no effect here" in input_error(caught.value)
