"""The lists of the polyp experiment: who is on which side, and that nobody is on two."""

import json

import pytest

from monai_sam2unet.data import load_datalists
from scripts import polyp_split
from tests.tiny_sets import put

# frames on both sides of the borders: sequence 24 ends with 503, 26 with 546 (the set's own list of frames)
FRAMES = (1, 503, 504, 546, 547, 612)


@pytest.fixture
def sets(tmp_path):
    """The four sets, a few files of each."""

    def pair(folder, stem, suffix=".png"):
        put(tmp_path / folder / "images" / f"{stem}{suffix}")
        put(tmp_path / folder / "masks" / f"{stem}{suffix}")

    for stem in ("cju0aaaa", "cju0bbbb", "cju0cccc"):
        pair("Kvasir-SEG", stem, ".jpg")
    (tmp_path / "Kvasir-SEG" / "official_train.txt").write_text("cju0aaaa\ncju0cccc\n")
    (tmp_path / "Kvasir-SEG" / "official_val.txt").write_text("cju0bbbb\n")
    for frame in FRAMES:
        pair("CVC-ClinicDB", frame)
    for part in ("train", "val", "test"):
        pair(f"PolypGen/{part}", f"EndoCV2021_{part}")
    pair("BKAI-IGH-NeoPolyp", "0081835c")
    return tmp_path


def names(items):
    return {item["image"].rpartition("/")[2] for item in items}


def test_who_is_where(sets, tmp_path, capsys):
    assert polyp_split.main([str(sets), str(tmp_path / "out")]) == 0
    lists = {folder.name: load_datalists(folder) for folder in (tmp_path / "out").iterdir()}
    train = lists.pop("train")
    assert names(train.train) == {"cju0aaaa.jpg", "cju0cccc.jpg", "1.png", "503.png", "EndoCV2021_train.png"}
    assert names(train.validation) == {"504.png", "546.png", "EndoCV2021_val.png"}
    assert {name: names(found.test) for name, found in lists.items()} == {
        "Kvasir-val": {"cju0bbbb.jpg"},
        "ClinicDB-27-29": {"547.png", "612.png"},
        "PolypGen-test": {"EndoCV2021_test.png"},
        "BKAI": {"0081835c.png"},
    }
    assert "train: 5 training, 3 validation, 0 test pictures" in capsys.readouterr().out


def test_sequences_keep_together(sets, tmp_path):
    polyp_split.main([str(sets), str(tmp_path / "out")])
    content = json.loads((tmp_path / "out" / "ClinicDB-27-29" / "dataset.json").read_text())
    groups = {item["image"].rpartition("/")[2]: item["group"] for item in content["testing"]}
    assert groups == {"547.png": "CVC-ClinicDB-sequence-27", "612.png": "CVC-ClinicDB-sequence-29"}


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("Kvasir-SEG/official_train.txt", "Kvasir-SEG has no official lists: put official_train.txt"),
        ("PolypGen/val", "PolypGen must have the folders train, val and test"),
        ("BKAI-IGH-NeoPolyp", "BKAI-IGH-NeoPolyp"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_written(sets, tmp_path, capsys, gone, says):
    path = sets / gone
    path.rename(tmp_path / "elsewhere")
    assert polyp_split.main([str(sets), str(tmp_path / "out")]) == 1
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_on_the_real_sets(real_data, tmp_path):
    """Counts of the sets' own lists: 880 + 503 + 1237, 43 + 150, 120, 66, 150, 1000."""
    data = real_data("Kvasir-SEG").parent
    for name in ("CVC-ClinicDB", "PolypGen", "BKAI-IGH-NeoPolyp"):
        real_data(name)
    assert polyp_split.main([str(data), str(tmp_path / "out")]) == 0
    counts = {}
    for folder in (tmp_path / "out").iterdir():
        lists = load_datalists(folder)
        counts[folder.name] = (len(lists.train), len(lists.validation), len(lists.test))
    assert counts == {
        "train": (2620, 193, 0),
        "Kvasir-val": (0, 0, 120),
        "ClinicDB-27-29": (0, 0, 66),
        "PolypGen-test": (0, 0, 150),
        "BKAI": (0, 0, 1000),
    }
