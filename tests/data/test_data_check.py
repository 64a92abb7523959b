"""Reading every file before training."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_sam2unet.data import CheckError, check_pairs, prepare_datalists, unreadable
from monai_sam2unet.errors import InputError
from monai_sam2unet.labels import LabelReader


def pair(root: Path, stem: str, size=(40, 30), mask_size=None, foreground=True) -> dict[str, str]:
    image, label = root / f"{stem}.jpg", root / f"{stem}.png"
    noisy = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noisy).save(image)
    mask = Image.new("L", mask_size or size)
    if foreground:
        mask.putpixel((3, 2), 255)
    mask.save(label)
    return {"image": str(image), "label": str(label), "case": stem}


def truncate(path: str) -> Path:
    file = Path(path)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return file


def test_all_is_well(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    found = check_pairs([pair(tmp_path, stem) for stem in "abc"], workers=2)
    assert (found.pairs, found.empty) == (3, ())
    assert "read 3 pairs" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def label_pair(root: Path, stem: str, values: dict[tuple[int, int], int], size=(40, 30)) -> dict[str, str]:
    item = pair(root, stem, size)
    label_map = Image.new("L", size)
    for place, value in values.items():
        label_map.putpixel(place, value)
    label_map.save(item["label"])
    return item


def test_label_maps_are_read_and_their_classes_counted(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    items = [
        label_pair(tmp_path, "a", {(3, 2): 1, (4, 2): 1, (5, 5): 2}),
        label_pair(tmp_path, "b", {(0, 0): 1, (9, 9): 255}),
        label_pair(tmp_path, "c", {(1, 1): 255}),
    ]
    found = check_pairs(items, labels=LabelReader(["one", "two", "three"], ignore_index=255))
    assert found.cases == {"one": ("a", "b"), "two": ("a",), "three": ()}
    assert found.empty == ("c",), "what is ignored is no foreground"
    # 3 pictures of 40x30: 3600 pixels, of which 3 are of class one and 1 of class two
    assert "class one: in 2 of 3 pictures, 0.08 % of all pixels" in caplog.text
    assert "class two: in 1 of 3 pictures, 0.03 % of all pixels" in caplog.text


def test_label_maps_with_values_that_mean_nothing_are_named(tmp_path):
    items = [label_pair(tmp_path, stem, {(3, 2): value}) for stem, value in (("a", 1), ("b", 7), ("c", 8))]
    with pytest.raises(CheckError) as caught:
        check_pairs(items, labels=LabelReader(["one", "two"]))
    assert set(caught.value.unreadable) == {Path(item["label"]) for item in items[1:]}
    assert "b.png: holds the values 7, expected" in str(caught.value)


def test_a_class_that_a_part_lacks_is_warned_of(tmp_path, caplog):
    folder = tmp_path / "set"
    for split, stems in (("train", "ab"), ("val", "c")):
        (folder / split).mkdir(parents=True)
        for stem in stems:
            item = label_pair(folder / split, stem, {(3, 2): 2 if stem == "b" else 1})
            for kind, key in (("images", "image"), ("masks", "label")):
                target = folder / split / kind
                target.mkdir(exist_ok=True)
                Path(item[key]).rename(target / Path(item[key]).name)
    options = {"demo_dir": "", "output_dir": tmp_path, "labels": LabelReader(["one", "two", "three"])}
    prepare_datalists(folder, **options)
    assert "no picture of the training part has the class three: it cannot be learnt" in caplog.text
    assert "no picture of the validation part has the class two, three: no figure says" in caplog.text
    caplog.clear()
    prepare_datalists(folder, **options, to_learn_from=False)
    assert "has the class" not in caplog.text


def test_every_bad_file_is_named_at_once(tmp_path):
    items = [pair(tmp_path, stem) for stem in "abcd"]
    cut = truncate(items[0]["image"])
    text = Path(items[1]["label"])
    text.write_text("not a picture")
    odd = pair(tmp_path, "e", mask_size=(30, 40))
    with pytest.raises(CheckError) as caught:
        check_pairs([*items, odd])
    assert set(caught.value.unreadable) == {cut, text}
    assert all(str(path) in reason for path, reason in caught.value.unreadable.items())
    assert caught.value.mismatched == {"e": ((40, 30), (30, 40))}
    message = str(caught.value)
    assert "2 files cannot be read" in message and str(cut) in message and str(text) in message
    assert "e (picture 40x30, mask 30x40)" in message


def test_the_message_stops_at_ten_and_the_log_goes_on(tmp_path, caplog):
    items = [pair(tmp_path, f"{i:02d}", mask_size=(9, 9)) for i in range(12)]
    with pytest.raises(CheckError, match="and 2 more") as caught:
        check_pairs(items)
    assert len(caught.value.mismatched) == 12
    assert "09 (picture" in str(caught.value) and "10 (picture" not in str(caught.value)
    assert "all 12 cases whose mask has another size" in caplog.text
    assert caplog.text.rstrip().endswith("11")


def test_missing_file(tmp_path):
    item = pair(tmp_path, "a")
    Path(item["label"]).unlink()
    with pytest.raises(CheckError, match=r"a\.png"):
        check_pairs([item])


def test_empty_masks_are_counted(tmp_path, caplog):
    items = [
        pair(tmp_path, "b", foreground=False),
        pair(tmp_path, "a", foreground=False),
        pair(tmp_path, "c"),
    ]
    assert check_pairs(items).empty == ("a", "b")
    assert "2 of 3 masks are empty" in caplog.text
    caplog.clear()
    check_pairs(items[:2])
    assert "all 2 masks are empty" in caplog.text


def test_orientation_counts_for_the_size(tmp_path):
    item = pair(tmp_path, "a", size=(40, 30), mask_size=(30, 40))
    image = Image.open(item["image"])
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees: seen upright it is 30 wide and 40 high, as the mask is
    image.save(item["image"], exif=exif)
    assert check_pairs([item]).pairs == 1


def test_unreadable(tmp_path):
    items = [pair(tmp_path, stem) for stem in "ab"]
    cut = truncate(items[1]["image"])
    found = unreadable([items[0]["image"], cut, tmp_path / "none.png"])
    assert list(found) == [cut, tmp_path / "none.png"]
    assert str(cut) in found[cut]


def test_workers(tmp_path):
    with pytest.raises(InputError, match="workers"):
        check_pairs([], workers=0)
