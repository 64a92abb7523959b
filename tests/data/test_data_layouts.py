"""Every layout built small, and the real sets where they are at hand."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from PIL import Image

from monai_sam2unet.data import LAYOUTS, datasets, detect, layout_named, layouts, load_datalists
from monai_sam2unet.errors import InputError


def put(path: Path, size: tuple[int, int] = (8, 6), value: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)
    return path


def put_pairs(
    root: Path, images: str, masks: str, stems, image=".png", mask=".png", mask_prefix="", mask_suffix=""
):
    for stem in stems:
        put(root / images / f"{stem}{image}")
        put(root / masks / f"{mask_prefix}{stem}{mask_suffix}{mask}")


def kvasir_stems(number: int) -> list[str]:
    return [f"cju{i:022d}" for i in range(number)]


@pytest.mark.parametrize(
    ("images", "masks"),
    [("images", "masks"), ("image", "mask"), ("imgs", "gt"), ("Images", "GT"), ("IMAGES", "Ground Truth")],
)
def test_plain_folders(tmp_path, images, masks):
    put_pairs(tmp_path, images, masks, "abcdefghij", image=".jpg")
    lists = load_datalists(tmp_path, val_fraction=0.2)
    assert (lists.dataset, len(lists.train), len(lists.validation), lists.test) == ("folders", 8, 2, [])
    item = next(item for item in lists.train + lists.validation if item["image"].endswith("a.jpg"))
    case = f"{images}/a"
    label = str(tmp_path / masks / "a.png")
    assert item == {"image": str(tmp_path / images / "a.jpg"), "label": label, "case": case, "group": case}


@pytest.mark.parametrize(
    ("prefix", "suffix"), [("", "_segmentation"), ("", "_mask"), ("mask_", ""), ("p", ""), ("", "")]
)
def test_affixes_of_masks(tmp_path, prefix, suffix):
    put_pairs(tmp_path, "images", "masks", ["1", "10", "2"], mask_prefix=prefix, mask_suffix=suffix)
    lists = load_datalists(tmp_path, val_fraction=0)
    names = {(Path(item["image"]).name, Path(item["label"]).name) for item in lists.train}
    assert names == {(f"{n}.png", f"{prefix}{n}{suffix}.png") for n in ("1", "10", "2")}


def test_subfolders_pair_and_group(tmp_path):
    put_pairs(tmp_path, "images/ann", "masks/ann", ["1", "2"])
    put_pairs(tmp_path, "images/bob", "masks/bob", ["1", "2"])
    lists = load_datalists(tmp_path, val_fraction=0.5)
    assert {item["group"] for item in lists.train} ^ {item["group"] for item in lists.validation} == {
        "images/ann",
        "images/bob",
    }


def test_lists_of_stems_go_first(tmp_path, caplog):
    put_pairs(tmp_path, "images", "masks", "abcde")
    (tmp_path / "train.txt").write_text("a\nb.png\n\n")
    (tmp_path / "val.txt").write_text("c\r\nd\r\n")
    lists = load_datalists(tmp_path, val_fraction=0.5)
    assert [Path(i["image"]).stem for i in lists.train] == ["a", "b"]
    assert [Path(i["image"]).stem for i in lists.validation] == ["c", "d"]
    assert lists.rule == "lists train.txt and val.txt"
    assert "1 pictures are in no list and not used: e" in caplog.text


@pytest.mark.parametrize(("train", "val", "says"), [("a\nzz", "b", "zz"), ("a\nb", "b", "both")])
def test_lists_of_stems_that_do_not_fit(tmp_path, train, val, says):
    put_pairs(tmp_path, "images", "masks", "abc")
    (tmp_path / "train.txt").write_text(train)
    (tmp_path / "val.txt").write_text(val)
    with pytest.raises(InputError, match=says):
        load_datalists(tmp_path)


def test_kvasir_as_published(tmp_path, caplog):
    put_pairs(tmp_path, "images", "masks", kvasir_stems(10), ".jpg", ".jpg")
    lists = load_datalists(tmp_path)
    assert (lists.dataset, len(lists.train), len(lists.validation)) == ("kvasir", 9, 1)
    assert "Kvasir-SEG should have 1000 pairs, found 10" in caplog.text


@pytest.mark.parametrize("parent", ["", "PNG/", "TIF/"])
def test_clinicdb_as_published(tmp_path, parent):
    put_pairs(tmp_path, f"{parent}Original", f"{parent}Ground Truth", range(1, 53), ".tif", ".tif")
    lists = load_datalists(tmp_path, val_fraction=0.04)
    assert lists.dataset == "clinicdb"
    # Frames 1-25, 26-50 and 51-67 are sequences 1 to 3: two frames of the third are nearest to 4 % of 52.
    assert {item["group"] for item in lists.validation} == {"CVC-ClinicDB-sequence-03"}
    assert len(lists.validation) == 2


def test_clinicdb_mirror_needs_a_marker_or_all_frames(tmp_path):
    put_pairs(tmp_path, "images", "masks", range(1, 6), ".jpg")
    assert detect(tmp_path).name == "folders"
    (tmp_path / "sequences.json").write_text("{}")
    assert detect(tmp_path).name == "clinicdb"


def test_clinicdb_table_matches_its_source(real_data):
    table = json.loads((real_data("CVC-ClinicDB") / "sequences.json").read_text())
    assert [table[str(i)][1] for i in range(1, 30)] == list(datasets.CLINICDB_LAST_FRAMES)
    firsts = [table[str(i)][0] for i in range(1, 30)]
    assert firsts == [1] + [last + 1 for last in datasets.CLINICDB_LAST_FRAMES[:-1]]


def test_bkai_with_label_maps_is_read_by_its_name(tmp_path):
    """Beside plain masks, label maps are for several classes alone: the folder itself is a plain pair."""
    for name in (
        "images/a.jpg",
        "images/b.jpg",
        *(f"{f}/{s}.png" for f in ("masks", "masks_class") for s in "ab"),
    ):
        put(tmp_path / name)
    labels = {
        name: load_datalists(tmp_path, dataset=name, val_fraction=0).train[0]["label"]
        for name in ("auto", "bkai")
    }
    assert labels == {"auto": str(tmp_path / "masks/a.png"), "bkai": str(tmp_path / "masks_class/a.png")}


def test_polypgen_by_its_stems_else_split_folders(tmp_path):
    for split in ("train", "val", "test"):
        put_pairs(
            tmp_path / "a", f"{split}/images", f"{split}/masks", [f"{split}_endocv2021_positive_1"], ".jpg"
        )
        put_pairs(tmp_path / "b", f"{split}/images", f"{split}/masks", [f"{split}1"], ".jpg")
    lists = load_datalists(tmp_path / "a")
    assert (lists.dataset, lists.rule) == ("polypgen", "official split")
    assert [item["case"] for item in lists.test] == ["test/images/test_endocv2021_positive_1"]
    assert load_datalists(tmp_path / "b").dataset == "split_folders"


def test_train_and_test_folders_keep_validation_from_train(tmp_path):
    put_pairs(tmp_path, "train/image", "train/mask", "abcd")
    put_pairs(tmp_path, "test/image", "test/mask", "efg")
    lists = load_datalists(tmp_path, val_fraction=0.25)
    assert (len(lists.train), len(lists.validation), len(lists.test)) == (3, 1, 3)
    assert {item["case"][:5] for item in lists.validation} == {"train"}


def test_pranet(tmp_path, caplog):
    put_pairs(tmp_path, "TrainDataset/image", "TrainDataset/mask", [*range(1, 31), *kvasir_stems(10)])
    for name in ("CVC-300", "CVC-ClinicDB", "CVC-ColonDB", "ETIS-LaribPolypDB", "Kvasir"):
        put_pairs(tmp_path, f"TestDataset/{name}/images", f"TestDataset/{name}/masks", ["601", "602"])
    lists = load_datalists(tmp_path)
    assert (lists.dataset, len(lists.train) + len(lists.validation), len(lists.test)) == ("pranet", 40, 10)
    assert "TestDataset/Kvasir/images/601" in {item["case"] for item in lists.test}
    groups = {item["case"]: item["group"] for item in lists.test}
    assert groups["TestDataset/CVC-ClinicDB/images/601"] == "CVC-ClinicDB-sequence-29"
    assert groups["TestDataset/CVC-300/images/601"] == "TestDataset/CVC-300/images/601"
    assert "PraNet polyp benchmark TrainDataset should have 1450 pairs, found 40" in caplog.text
    assert "PraNet polyp benchmark ETIS-LaribPolypDB should have 196 pairs, found 2" in caplog.text


def test_pranet_counts():
    counts = {part.subset: part.expected for part in layouts.PRANET.parts}
    assert counts == {
        "TrainDataset": 1450, "CVC-300": 60, "CVC-ClinicDB": 62, "CVC-ColonDB": 380,
        "ETIS-LaribPolypDB": 196, "Kvasir": 100,
    }  # fmt: skip


def test_forced_layout_and_one_that_does_not_fit(tmp_path):
    put_pairs(tmp_path, "images", "masks", kvasir_stems(3))
    assert load_datalists(tmp_path, dataset="folders", val_fraction=0).dataset == "folders"
    with pytest.raises(InputError, match=r"no PraNet.*TrainDataset.*images/ \(3 pictures\)"):
        load_datalists(tmp_path, dataset="pranet")


def test_unknown_folder_tells_what_is_there_and_what_is_known(tmp_path):
    put(tmp_path / "scans" / "a.png")
    (tmp_path / "notes.md").touch()
    with pytest.raises(InputError) as caught:
        detect(tmp_path)
    message = str(caught.value)
    assert "notes.md, scans/ (1 pictures)" in message
    assert all(layout.example in message for layout in LAYOUTS)


def test_folder_one_level_too_high(tmp_path):
    put_pairs(tmp_path, "Kvasir-SEG/images", "Kvasir-SEG/masks", "ab")
    with pytest.raises(InputError, match=r"one level down: give dataset_dir=.*Kvasir-SEG"):
        detect(tmp_path)


def test_missing_folder_file_and_unknown_name(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        detect(tmp_path / "none")
    with pytest.raises(InputError, match="is a file"):
        detect(put(tmp_path / "a.png"))
    with pytest.raises(InputError, match="known are auto, datalist, pranet, clinicdb, kvasir"):
        layout_named("kvazir")


def test_empty_folders_are_named(tmp_path):
    (tmp_path / "images").mkdir()
    put(tmp_path / "masks" / "a.png")
    with pytest.raises(InputError, match="images holds no picture"):
        load_datalists(tmp_path)


REAL = [
    ("Kvasir-SEG", "kvasir", (880, 120, 0), "official lists"),
    ("PolypGen", "polypgen", (1237, 150, 150), "official split"),
    ("Kvasir-SEG-original-5", "kvasir", (4, 1, 0), "random split, seed 0"),
    ("DRIVE", "split_folders", (18, 2, 20), "random split, seed 0"),
    ("ECSSD", "ecssd", (0, 0, 150), "test pictures only"),  # 150 of 1000, as the folder's README says
    ("CAMO", "camo", (0, 0, 100), "test pictures only"),  # 100 of the 250 test pictures
    ("BKAI-IGH-NeoPolyp", "folders", (900, 100, 0), "random split, seed 0"),
    ("BUSI-52", "folders", (47, 5, 0), "random split, seed 0"),
    ("HAM10000-36", "folders", (32, 4, 0), "random split, seed 0"),
    ("SUIM-FV-224", "folders", (57, 6, 0), "random split, seed 0"),
    ("CXR-lungs", "folders", (54, 6, 0), "random split, seed 0"),
]


@pytest.mark.parametrize(("name", "dataset", "counts", "rule"), REAL)
def test_real_sets(name, dataset, counts, rule, real_data, caplog):
    lists = load_datalists(real_data(name))
    assert (lists.dataset, lists.rule) == (dataset, rule)
    assert (len(lists.train), len(lists.validation), len(lists.test)) == counts
    assert ("should have" in caplog.text) == (name in ("Kvasir-SEG-original-5", "ECSSD", "CAMO"))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_real_clinicdb_keeps_sequences_together(seed, real_data, caplog):
    caplog.set_level(logging.WARNING)
    lists = load_datalists(real_data("CVC-ClinicDB"), seed=seed)
    train, validation = ({item["group"] for item in items} for items in (lists.train, lists.validation))
    assert not train & validation
    assert len(train | validation) == 29
    assert (len(lists.train), len(lists.validation)) == (551, 61)  # 61 is nearest to 61.2
    assert not caplog.text
