"""Reading every file before training."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_sam2unet.data import CheckError, check_pairs, unreadable
from monai_sam2unet.errors import InputError


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
