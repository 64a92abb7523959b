"""Several classes from label maps to reports and masks, checked by NumPy and Pillow alone."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from monai_sam2unet import predict
from monai_sam2unet.classes import Classes
from tests.bundle.conftest import FAST

NAMES = ["disc", "bar"]
SOFTMAX = {"classes": NAMES, "activation": "softmax", "ignore_index": 255, "val_fraction": 0.25}
SIGMOID = {"classes": NAMES, "activation": "sigmoid"}


def draw(number, height=60, width=84):
    """A picture and its label map: a red disc above a green bar, which every third picture lacks."""
    y, x = np.mgrid[:height, :width]
    drawn = np.random.default_rng(number)
    picture = drawn.integers(0, 60, (height, width, 3)).astype(np.uint8)
    label_map = np.zeros((height, width), np.uint8)
    label_map[(y - 18) ** 2 + (x - 20 - 3 * (number % 5)) ** 2 < 140] = 1
    if number % 3:
        label_map[38:52, 10 + 2 * number : 60 + 2 * number] = 2
    picture[label_map == 1], picture[label_map == 2] = (220, 60, 50), (50, 200, 70)
    label_map[:, -6:] = 255
    return picture, label_map


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """Twelve pictures with label maps."""
    folder = tmp_path_factory.mktemp("shapes")
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for number in range(12):
        picture, label_map = draw(number)
        Image.fromarray(picture).save(folder / "images" / f"{number:02d}.png")
        Image.fromarray(label_map).save(folder / "masks" / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def softmax(train, shapes, tmp_path_factory):
    """Folder of a training of exclusive classes, long enough to learn their colours."""
    folder = tmp_path_factory.mktemp("softmax")
    train(folder, dataset_dir=str(shapes), max_epochs=12, learning_rate=0.003, **SOFTMAX)
    return folder


@pytest.fixture(scope="session")
def evaluated(workflow, softmax, shapes, tmp_path_factory):
    """Folder of the evaluation of that model on all pictures."""
    folder = tmp_path_factory.mktemp("evaluated")
    workflow(
        "evaluation", dataset_dir=str(shapes), ckpt_dir=str(softmax / "models"), output_dir=str(folder),
        subset="all", num_workers=0, device="cpu",
    ).run()  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def overlapping(train, shapes, tmp_path_factory):
    """Folder of a short training of classes that may overlap, each with masks of its own."""
    folder = tmp_path_factory.mktemp("sigmoid")
    entries = []
    for number in range(4):
        label_map = draw(number)[1]
        for k, name in enumerate(NAMES, start=1):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray((label_map == k).astype(np.uint8)).save(folder / name / f"{number}.png")
        masks = [str(folder / name / f"{number}.png") for name in NAMES]
        entries.append({"image": f"images/{number:02d}.png", "label": masks})
    (folder / "list.json").write_text(json.dumps({"training": entries[:3], "validation": entries[3:]}))
    data = {"dataset_dir": str(shapes), "datalist": str(folder / "list.json"), "max_epochs": 1}
    train(folder, loss="dice_ce", class_weights=[1, 2], **data, **SIGMOID)
    return folder


@pytest.fixture
def segment(workflow, shapes):
    """`segment(model folder, output folder, **settings)` segments all pictures."""

    def run(trained, folder, **settings):
        options = {"num_workers": 0, "device": "cpu", "input": str(shapes / "images"), **settings}
        workflow(
            "inference", ckpt_dir=str(trained / "models"), output_dir=str(folder),
            bundle_root=FAST["bundle_root"], **options,
        ).run()  # fmt: skip

    return run


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


# --- training


def test_history_and_settings_have_each_class(softmax):
    history = rows_of(softmax / "history.csv")
    names = ["validation_dice", *(f"validation_dice_{name}" for name in NAMES)]
    assert [name for name in history[0] if name.startswith("validation")] == names
    settings = json.loads((softmax / "models" / "model.json").read_text())
    assert (settings["classes"], settings["activation"], settings["ignore_index"]) == (NAMES, "softmax", 255)
    best = next(row for row in history if int(row["epoch"]) == settings["epoch"])
    for name in names:
        assert settings[name] == pytest.approx(float(best[name]), abs=1e-5)
    assert settings["validation_dice"] == pytest.approx(np.mean([settings[name] for name in names[1:]]))
    assert settings["validation_dice"] > 0.5, "it has learnt something, or the other tests prove little"


def test_a_resumed_training_keeps_the_figures_of_the_classes(prepare, train, shapes, tmp_path):
    data = {**SOFTMAX, "dataset_dir": str(shapes)}
    train(tmp_path, max_epochs=1, **data)
    expected = json.loads((tmp_path / "models" / "model.json").read_text())
    assert expected["validation_dice_disc"] is not None
    (tmp_path / "models" / "model.json").unlink()  # as if killed before it was written
    prepare(tmp_path, max_epochs=1, resume=True, **data).run()
    assert json.loads((tmp_path / "models" / "model.json").read_text()) == expected
    with pytest.raises(RuntimeError) as caught:
        prepare(tmp_path, max_epochs=1, resume=True, **{**data, "classes": ["a", "b"]}).run()
    assert "classes: ['disc', 'bar'] there, ['a', 'b'] now" in str(caught.value.__cause__ or caught.value)


def test_label_maps_that_mean_something_else_stop_before_the_training(prepare, shapes, tmp_path):
    made = prepare(tmp_path, dataset_dir=str(shapes), classes=["disc"], label_values=[1], val_fraction=0.25)
    with pytest.raises(RuntimeError) as caught:
        made.run()
    chain, error = "", caught.value
    while error is not None:
        chain, error = f"{chain}\n{error}", error.__cause__
    assert "masks/01.png: holds the values 2, 255, expected label numbers: 0 background, 1 disc" in chain


# --- evaluation


def test_figures_of_each_case_and_class_by_independent_means(evaluated, softmax):
    rows = rows_of(evaluated / "metrics.csv")
    assert [(row["case"], row["class"]) for row in rows[:2]] == [(rows[0]["case"], name) for name in NAMES]
    assert len(rows) == 24
    model = softmax / "models" / "model.pt"
    for number in range(12):
        picture, label_map = draw(number)
        own = [row for row in rows if row["case"].endswith(f"{number:02d}")]
        maps = predict(picture, model=model, device="cpu")
        winner = np.concatenate([1 - maps.sum(0, keepdims=True), maps]).argmax(0)
        counts = label_map != 255
        for value, row in enumerate(own, start=1):
            mask, found = (label_map == value) & counts, (winner == value) & counts
            assert int(row["ignored_pixels"]) == 60 * 6
            assert int(row["reference_pixels"]) == mask.sum()
            # float rounding may turn a pixel at which two classes are equal
            assert int(row["predicted_pixels"]) == pytest.approx(found.sum(), abs=3)
            if mask.any():
                assert float(row["dice"]) == pytest.approx(dice(mask, found), abs=5e-3)
                right = (~mask & ~found & counts).sum() / (~mask & counts).sum()
                assert float(row["specificity"]) == pytest.approx(right, abs=2e-3)
            else:
                assert row["dice"] == ""


def test_summary_agrees_with_the_rows(evaluated):
    summary = json.loads((evaluated / "summary.json").read_text())
    rows = rows_of(evaluated / "metrics.csv")
    assert (summary["classes"], summary["activation"], summary["cases"]) == (NAMES, "softmax", 12)
    means = []
    for name in NAMES:
        own = [row for row in rows if row["class"] == name]
        values = [float(row["dice"]) for row in own if row["dice"]]
        figure = summary["by_class"][name]["with_reference"]["dice"]
        assert figure["cases"] == len(values) == {"disc": 12, "bar": 8}[name]
        assert figure["mean"] == pytest.approx(np.mean(values), abs=1e-6)
        means.append(figure["mean"])
        empty = [row for row in own if row["reference_pixels"] == "0"]
        alarms = summary["by_class"][name]["without_reference"]
        assert alarms["cases"] == len(empty)
        if empty:
            area = [int(r["predicted_pixels"]) / (60 * 84 - 60 * 6) for r in empty]
            assert alarms["false_area_fraction"]["mean"] == pytest.approx(np.mean(area))
    overall = summary["mean_over_classes"]["dice"]
    assert overall["mean"] == pytest.approx(np.mean(means))
    assert overall["low"] <= overall["mean"] <= overall["high"]
    assert Image.open(evaluated / "cases.png").size[0] > 500


def test_evaluation_needs_the_classes_of_the_model(workflow, softmax, shapes, tmp_path):
    folders = {"ckpt_dir": str(softmax / "models"), "output_dir": str(tmp_path), "dataset_dir": str(shapes)}
    with pytest.raises(RuntimeError) as caught:
        workflow("evaluation", **folders, device="cpu", classes=["disc", "bar", "ring"], label_values=[])
    assert "out_channels is 3, but classes (disc, bar, ring) with activation softmax make 4" in str(
        caught.value.__cause__
    )


# --- inference


def test_exclusive_classes_become_a_label_map_with_a_palette(segment, softmax, shapes, tmp_path):
    segment(softmax, tmp_path, probabilities=True, overlays=True)
    classes = Classes.of(NAMES, "softmax")
    names = {f"{n:02d}.png" for n in range(12)}
    for folder in ("masks", "probabilities/disc", "probabilities/bar", "overlays"):
        assert {path.name for path in (tmp_path / folder).iterdir() if path.is_file()} == names
    values = set()
    for number in range(12):
        written = Image.open(tmp_path / "masks" / f"{number:02d}.png")
        assert (written.mode, written.size) == ("P", (84, 60))
        assert written.getpalette()[:9] == [0, 0, 0, *classes.colours[0], *classes.colours[1]]
        label_map, drawn = np.asarray(written), draw(number)
        values |= set(np.unique(label_map))
        maps = [
            np.asarray(Image.open(tmp_path / "probabilities" / name / f"{number:02d}.png")).astype(int)
            for name in NAMES
        ]
        for k, own in enumerate(maps, start=1):
            other = np.maximum(255 - sum(maps), maps[2 - k])
            assert (label_map[own > other + 2] == k).all() and (
                own[label_map == k] >= other[label_map == k] - 2
            ).all()
        shown = np.asarray(Image.open(tmp_path / "overlays" / f"{number:02d}.png"))
        assert shown.shape == drawn[0].shape
        assert np.array_equal(shown[label_map == 0], drawn[0][label_map == 0])
        assert (shown[label_map > 0] != drawn[0][label_map > 0]).any(axis=-1).mean() > 0.9
    assert values == {0, 1, 2}
    record = json.loads((tmp_path / "made_with.json").read_text())
    assert (record["classes"], record["activation"]) == (NAMES, "softmax")


def test_finished_pictures_have_the_results_of_all_classes(segment, overlapping, shapes, tmp_path):
    folders = [tmp_path / "masks" / name for name in NAMES]
    segment(overlapping, tmp_path, skip_finished=True)
    times = {path: path.stat().st_mtime_ns for folder in folders for path in folder.iterdir()}
    assert len(times) == 24
    for path in times:
        picture = Image.open(path)
        assert picture.mode == "L" and set(np.unique(np.asarray(picture))) <= {0, 255}
    missing = folders[1] / "03.png"
    missing.unlink()
    segment(overlapping, tmp_path, skip_finished=True)
    changed = {path for path, before in times.items() if path.stat().st_mtime_ns != before}
    assert changed == {folder / "03.png" for folder in folders}


def test_overlapping_classes_have_a_mask_each_by_their_own_threshold(segment, overlapping, shapes, tmp_path):
    segment(overlapping, tmp_path, input=str(shapes / "images" / "01.png"), threshold=0.3)
    maps = predict(shapes / "images" / "01.png", model=overlapping / "models" / "model.pt", device="cpu")
    assert maps.shape == (2, 60, 84)
    for name, probability in zip(NAMES, maps, strict=True):
        mask = np.asarray(Image.open(tmp_path / "masks" / name / "01.png")) > 0
        certain = np.abs(probability - 0.3) > 1e-4
        assert np.array_equal(mask[certain], (probability >= 0.3)[certain])


@pytest.mark.parametrize("tile", [0, 32])
def test_predict_gives_a_map_a_class(softmax, shapes, tile):
    model = softmax / "models" / "model.pt"
    maps = predict(shapes / "images" / "01.png", model=model, device="cpu", tile=tile)
    assert maps.shape == (2, 60, 84) and maps.dtype == np.float32
    assert maps.min() >= 0 and maps.sum(0).max() <= 1 + 1e-6
    if not tile:
        label_map = draw(1)[1]
        assert dice(maps[0] > 0.5, label_map == 1) > 0.5 and dice(maps[1] > 0.5, label_map == 2) > 0.5


def test_label_maps_of_tiles(segment, softmax, shapes, tmp_path):
    segment(softmax, tmp_path, input=str(shapes / "images" / "01.png"), tile=32)
    maps = predict(shapes / "images" / "01.png", model=softmax / "models" / "model.pt", device="cpu", tile=32)
    every = torch.from_numpy(np.concatenate([1 - maps.sum(0, keepdims=True), maps]))
    best = every.topk(2, dim=0).values
    certain = (best[0] - best[1] > 1e-4).numpy()
    written = np.asarray(Image.open(tmp_path / "masks" / "01.png"))
    assert np.array_equal(written[certain], every.argmax(0).numpy()[certain])
