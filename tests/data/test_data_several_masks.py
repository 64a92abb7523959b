"""Pictures with several masks: paired, loaded as their union, checked, listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from monai_sam2unet.data import CheckError, PairingError, check_pairs, load_datalists, pair_among
from monai_sam2unet.errors import InputError
from monai_sam2unet.transforms import LoadPictured
from tests.tiny_sets import put, tiny_set


def point(path: Path, *places: tuple[int, int]) -> None:
    mask = Image.new("L", (8, 8))
    for place in places:
        mask.putpixel(place, 255)
    mask.save(path)


def test_several_masks_are_their_union(tmp_path):
    folder = tiny_set("busi").build(tmp_path)
    point(folder / "benign/benign (4)_mask.png", (1, 2))
    point(folder / "benign/benign (4)_mask_1.png", (5, 2), (1, 2))
    point(folder / "benign/benign (4)_mask_2.png")
    item = next(
        item for item in load_datalists(folder, val_fraction=0).train if item["case"] == "benign/benign (4)"
    )
    label = LoadPictured()(item)["label"]
    assert [tuple(place) for place in label[0].nonzero().tolist()] == [(2, 1), (2, 5)]  # (row, column)
    assert check_pairs([item]).empty == ()
    point(folder / "benign/benign (4)_mask.png")
    assert check_pairs([item]).empty == ()
    point(folder / "benign/benign (4)_mask_1.png")
    assert check_pairs([item]).empty == ("benign/benign (4)",)


def test_every_one_of_several_masks_is_checked(tmp_path):
    folder = tiny_set("busi").build(tmp_path)
    items = load_datalists(folder, val_fraction=0).train
    put(folder / "benign/benign (4)_mask_2.png", size=(9, 8))
    with pytest.raises(CheckError) as caught:
        check_pairs(items)
    assert caught.value.mismatched == {"benign/benign (4)": ((8, 8), (9, 8))}
    (folder / "benign/benign (4)_mask_2.png").write_text("no picture")
    with pytest.raises(CheckError) as caught:
        check_pairs(items)
    assert [path.name for path in caught.value.unreadable] == ["benign (4)_mask_2.png"]


def test_several_masks_go_through_a_datalist(tmp_path):
    from monai.data import load_decathlon_datalist

    folder = tiny_set("busi").build(tmp_path)
    lists = load_datalists(folder, val_fraction=0.2)
    path = lists.write(tmp_path / "split.json")
    assert load_datalists(folder, datalist=path) == lists
    entries = {entry["image"]: entry["label"] for entry in json.loads(path.read_text())["training"]}
    labels = {
        entry["image"]: entry["label"] for entry in json.loads(path.read_text())["validation"]
    } | entries
    assert labels["benign/benign (4).png"] == [
        "benign/benign (4)_mask.png", "benign/benign (4)_mask_1.png", "benign/benign (4)_mask_2.png",
    ]  # fmt: skip
    assert labels["benign/benign (1).png"] == "benign/benign (1)_mask.png"
    read = load_decathlon_datalist(path, True, "training", base_dir=folder)
    assert [(i["image"], i["label"]) for i in read] == [(i["image"], i["label"]) for i in lists.train]


@pytest.mark.parametrize("label", [[], ["a.png", 1], {"a": 1}, None])
def test_labels_that_are_no_paths(label, tmp_path):
    document = {"training": [{"image": "i.png", "label": label}]}
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r'training\[0\] must be .* with a list of paths as "label"'):
        load_datalists(tmp_path)


def test_a_list_of_one_mask_is_that_mask_and_a_missing_one_is_named(tmp_path):
    put(tmp_path / "i.png")
    put(tmp_path / "m.png")
    document = {"training": [{"image": "i.png", "label": ["m.png"]}]}
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    assert load_datalists(tmp_path, val_fraction=0).train[0]["label"] == str(tmp_path / "m.png")
    document["training"][0]["label"].append("n.png")
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"1 files that are not there: .*n\.png"):
        load_datalists(tmp_path, val_fraction=0)


def test_masks_among_pictures_have_one_picture_each(tmp_path):
    for name in ("a.png", "a.jpg", "a_mask.png", "b_mask.png", "b_mask_1.png"):
        put(tmp_path / name)
    with pytest.raises(PairingError) as caught:
        pair_among(tmp_path, r"(.+)_mask(?:_\d+)?")
    assert [path.name for path in caught.value.unmatched_masks] == ["b_mask.png", "b_mask_1.png"]
    assert list(caught.value.duplicates) == ["a"]
