"""The entry of the configs: JSON lists, round trips, parts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from monai_sam2unet.data import load_datalists
from monai_sam2unet.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for stem in "abcdefghij":
        for name in (f"images/{stem}.jpg", f"masks/{stem}.png"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4)).save(root / name)
    return root


def entry(stem: str, **more: str) -> dict[str, str]:
    return {"image": f"images/{stem}.jpg", "label": f"./masks/{stem}.png", **more}


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def lists_of(lists) -> tuple:
    return lists.train, lists.validation, lists.test


@pytest.mark.parametrize("val_fraction", [0.0, 0.3])
def test_round_trip_and_a_moved_folder(folder, tmp_path, val_fraction):
    first = load_datalists(folder, val_fraction=val_fraction, seed=5)
    path = first.write(tmp_path / "run" / "split.json")
    again = load_datalists(folder, datalist=path, val_fraction=0.1, seed=9)
    assert again == first
    assert again.summary() == first.summary()
    moved = Path(shutil.move(folder, tmp_path / "moved"))
    other = load_datalists(moved, datalist=path)
    for old, new in zip(lists_of(first), lists_of(other), strict=True):
        assert [(i["case"], i["group"]) for i in old] == [(i["case"], i["group"]) for i in new]
        assert [i["image"].replace(str(folder), str(moved)) for i in old] == [i["image"] for i in new]
    assert [file.name for file in path.parent.iterdir()] == ["split.json"]  # no draft is left behind


def test_monai_reads_what_is_written(folder, tmp_path):
    from monai.data import load_decathlon_datalist

    lists = load_datalists(folder, val_fraction=0.2)
    path = lists.write(tmp_path / "split.json")
    for key, items in (("training", lists.train), ("validation", lists.validation)):
        read = load_decathlon_datalist(path, True, key, base_dir=folder)
        assert [(i["image"], i["label"]) for i in read] == [(i["image"], i["label"]) for i in items]


def test_summary_and_what_is_recorded(folder, tmp_path):
    lists = load_datalists(folder, val_fraction=0.2, seed=7)
    assert lists.summary() == "Folder pair: 8 training, 2 validation, 0 test pictures (random split, seed 7)"
    document = json.loads(lists.write(tmp_path / "split.json").read_text())
    assert {key: document[key] for key in ("dataset", "seed", "val_fraction", "rule")} == {
        "dataset": "folders", "seed": 7, "val_fraction": 0.2, "rule": "random split, seed 7",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["dataset.json", "datalist.json"])
@pytest.mark.parametrize("test_key", ["test", "testing"])
def test_datalist_in_the_folder(folder, name, test_key):
    write(folder / name, {"training": [entry("a", group="x"), entry("b", group="y")], test_key: [entry("c")]})
    lists = load_datalists(folder, val_fraction=0.5)
    assert (len(lists.train), len(lists.validation), len(lists.test)) == (1, 1, 1)
    assert {i["group"] for i in lists.train + lists.validation} == {"x", "y"}
    assert lists.test[0] == {
        "image": str(folder / "images/c.jpg"), "label": str(folder / "masks/c.png"),
        "case": "images/c", "group": "images/c",
    }  # fmt: skip


def test_groups_of_a_datalist_stay_together(folder):
    training = [entry(stem, group="xy"[stem > "g"]) for stem in "abcdefghij"]
    write(folder / "datalist.json", {"training": training})
    lists = load_datalists(folder, val_fraction=0.3)
    assert [item["case"][-1] for item in lists.validation] == list("hij")
    assert lists.rule == "random split by group, seed 0"


def test_a_dataset_json_of_another_kind_is_none(folder):
    write(folder / "dataset.json", {"licence": "..."})
    assert load_datalists(folder).dataset == "folders"
    with pytest.raises(InputError, match="holds no datalist"):
        load_datalists(folder, dataset="datalist")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"training": [entry("a"), entry("zz")]}, r"2 files that are not there: .*zz.jpg"),
        ({"training": [entry("a")], "validation": [entry("a")]}, "1 pictures more than once"),
        ({"training": [{"image": "images/a.jpg"}]}, r"training\[0\] must be"),
        ({"training": [{"image": ["images/a.jpg"], "label": "masks/a.png"}]}, r"training\[0\] must be"),
        ({"training": {"a": 1}}, "must be a list"),
        ({"training": []}, "lists no picture"),
        ([], "must hold an object"),
    ],
)
def test_datalists_that_cannot_be_used(folder, tmp_path, document, says):
    with pytest.raises(InputError, match=says):
        load_datalists(folder, datalist=write(tmp_path / "l.json", document))


def test_broken_and_missing_json(folder, tmp_path):
    (folder / "dataset.json").write_text('{"training": [')
    with pytest.raises(InputError, match=r"dataset.json cannot be read as JSON.*line 1"):
        load_datalists(folder)
    with pytest.raises(InputError, match=r"datalist=none\.json is not there"):
        load_datalists(folder, datalist="none.json")


def test_unlabelled_tests_are_told_and_left_out(folder, tmp_path, caplog):
    document = {"training": [entry("a")], "testing": ["images/b.jpg", {"image": "images/c.jpg"}, entry("d")]}
    lists = load_datalists(folder, datalist=write(tmp_path / "l.json", document), val_fraction=0)
    assert [item["case"] for item in lists.test] == ["images/d"]
    assert "2 entries of testing have no label" in caplog.text


def test_a_group_on_both_sides_is_told(folder, tmp_path, caplog):
    document = {"training": [entry("a", group="p1")], "validation": [entry("b", group="p1")]}
    load_datalists(folder, datalist=write(tmp_path / "l.json", document))
    assert "1 groups are in training and in validation: p1" in caplog.text


def test_cases_stay_unique(folder, tmp_path):
    shutil.copy(folder / "masks/a.png", folder / "images/a.png")
    twin = {"image": "images/a.png", "label": "masks/a.png"}
    lists = load_datalists(
        folder, datalist=write(tmp_path / "l.json", {"training": [entry("a"), twin]}), val_fraction=0
    )
    assert [(i["case"], i["group"]) for i in lists.train] == [("images/a.jpg",) * 2, ("images/a.png",) * 2]


def test_subset(folder):
    lists = load_datalists(folder, val_fraction=0.2)
    assert lists.subset("train") is lists.train
    assert lists.subset() is lists.validation and lists.part("auto") == "validation"
    assert lists.subset("all") == [*lists.train, *lists.validation]
    with pytest.raises(InputError, match="'test' holds no picture"):
        lists.subset("test")
    with pytest.raises(InputError, match="known are auto, train, validation, test"):
        lists.subset("val")
    with pytest.raises(InputError, match="'auto' holds no picture"):
        load_datalists(folder, val_fraction=0).subset()
