"""Pairing by name, and finding pictures to predict."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from monai_sam2unet.data import Affix, PairingError, find_pictures, pair_files, pair_folders, picture_set
from monai_sam2unet.errors import InputError


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4)).save(path)
    return path


def put_all(folder: Path, *names: str) -> list[Path]:
    return [put(folder / name) for name in names]


def test_not_by_sort_order(tmp_path):
    images = put_all(tmp_path / "i", "2.png", "10.png", "1.png")
    masks = put_all(tmp_path / "m", "p10.png", "p1.png", "p2.png")
    pairs = pair_files(images, masks, tmp_path / "i", tmp_path / "m", mask_affix=Affix(prefix="p"))
    assert [(pair.key, pair.mask.name) for pair in pairs] == [
        ("1", "p1.png"),
        ("10", "p10.png"),
        ("2", "p2.png"),
    ]


def test_every_unmatched_file_is_named(tmp_path, caplog):
    put_all(tmp_path / "i", "shared.png", *(f"a{i:02d}.png" for i in range(12)))
    put_all(tmp_path / "m", "shared.png", "z.png")
    with pytest.raises(PairingError) as caught:
        pair_folders(tmp_path / "i", tmp_path / "m")
    error = caught.value
    assert [path.name for path in error.unmatched_images] == [f"a{i:02d}.png" for i in range(12)]
    assert [path.name for path in error.unmatched_masks] == ["z.png"]
    assert "12 pictures without a mask: a00.png" in str(error)
    assert "a09.png and 2 more" in str(error) and "a10.png" not in str(error)
    assert "1 mask without a picture: z.png" in str(error)
    # the message stays short; the log names all twelve
    assert all(str(tmp_path / "i" / f"a{i:02d}.png") in caplog.text for i in range(12))
    assert "masks without a picture" not in caplog.text


def test_two_files_of_one_stem(tmp_path):
    put_all(tmp_path / "i", "a.png", "a.jpg", "b.png")
    put_all(tmp_path / "m", "a.png", "b.png")
    with pytest.raises(PairingError, match=r"more than once: a\.jpg = a\.png") as caught:
        pair_folders(tmp_path / "i", tmp_path / "m", unmatched="warn")
    assert {key: [file.name for file in files] for key, files in caught.value.duplicates.items()} == {
        "a": ["a.jpg", "a.png"]
    }


def test_unmatched_may_be_a_warning(tmp_path, caplog):
    put_all(tmp_path / "i", "a.png", "b.png")
    put_all(tmp_path / "m", "a.png")
    assert [pair.key for pair in pair_folders(tmp_path / "i", tmp_path / "m", unmatched="warn")] == ["a"]
    assert "b.png" in caplog.text
    with pytest.raises(ValueError, match="unmatched must be"):
        pair_files([], [], tmp_path, tmp_path, unmatched="ignore")


def test_nothing_pairs(tmp_path):
    put_all(tmp_path / "i", "a.png")
    put_all(tmp_path / "m", "b.png")
    with pytest.raises(PairingError, match="no picture of"):
        pair_folders(tmp_path / "i", tmp_path / "m", unmatched="warn")


def test_hidden_and_other_files_are_passed_over(tmp_path):
    put_all(tmp_path / "i", "a.png", "._a.png", ".thumbs/b.png")
    (tmp_path / "i" / "readme.txt").touch()
    put_all(tmp_path / "m", "a.png")
    assert len(pair_folders(tmp_path / "i", tmp_path / "m")) == 1


def test_affixes_are_one_choice_for_the_folder(tmp_path):
    # "p1" is a picture of its own here: taking "p" off would pair it with 1.
    put_all(tmp_path / "i", "1.png", "p1.png", "2.png")
    put_all(tmp_path / "m", "1.png", "p1.png", "2.png")
    assert [pair.key for pair in pair_folders(tmp_path / "i", tmp_path / "m")] == ["1", "2", "p1"]


def test_a_stem_is_never_emptied():
    assert Affix(prefix="p").strip("p") == "p"
    assert Affix(suffix="_mask").strip("_mask") == "_mask"


def test_pictures_of_a_folder(tmp_path):
    put_all(tmp_path, "b.PNG", "a/c.jpg", ".hidden.png", ".cache/d.png")
    (tmp_path / "notes.txt").touch()
    found = picture_set(tmp_path)
    assert [found.relative(file).as_posix() for file in found.files] == ["a/c.jpg", "b.PNG"]


def test_one_file_is_kept_whatever_its_suffix(tmp_path):
    text = tmp_path / "notes.txt"
    text.touch()
    assert find_pictures(text) == [text]
    assert picture_set(str(put(tmp_path / "x[1].png"))).relative(tmp_path / "x[1].png") == Path("x[1].png")


def test_patterns(tmp_path, monkeypatch):
    put_all(tmp_path, "in/1.png", "in/deep/er/2.png", "in/3.jpg", "out/4.png")
    (tmp_path / "in" / "5.txt").touch()
    found = picture_set(f"{tmp_path}/in/**/*.png")
    assert found.root == tmp_path / "in"
    assert [found.relative(file).as_posix() for file in found.files] == ["1.png", "deep/er/2.png"]
    assert len(find_pictures(f"{tmp_path}/in/*")) == 2
    monkeypatch.chdir(tmp_path / "in")
    assert picture_set("*.jpg").relative(Path("3.jpg")) == Path("3.jpg")


@pytest.mark.parametrize("name", ["none", "none.png", "empty", "empty/*.png", "text/*"])
def test_nothing_there(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").touch()
    with pytest.raises(InputError):
        find_pictures(tmp_path / name)
