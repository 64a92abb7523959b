"""Every data set of the table: recognised, paired, counted, forced, and never taken for another."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from monai_sam2unet.data import (
    LAYOUTS,
    PairingError,
    check_pairs,
    detect,
    layout_named,
    load_datalists,
    prepare_datalists,
)
from monai_sam2unet.data.datasets import is_layout
from monai_sam2unet.data.listing import Listing
from monai_sam2unet.errors import InputError
from monai_sam2unet.transforms import LoadPictured
from tests.tiny_sets import FOUR, NUMBERS, TINY, Row, Tiny, flat, put, tiny_set, two_parts

IDS = [f"{tiny.name}-{tiny.root}" for tiny in TINY]
READ = {layout.name for layout in LAYOUTS if not layout.refused}


def paths(items: list[dict]) -> set[tuple[str, ...]]:
    return {(i["image"], *([i["label"]] if isinstance(i["label"], str) else i["label"])) for i in items}


def found_pairs(lists) -> dict[str, set[tuple[str, ...]]]:
    return {
        "training": paths(lists.train),
        "validation": paths(lists.validation),
        "testing": paths(lists.test),
    }


@pytest.fixture(params=TINY, ids=IDS)
def tiny(request) -> Iterator[Tiny]:
    return request.param


def test_every_layout_is_built_here():
    general = {"datalist", "split_folders", "folders"}
    assert {tiny.name for tiny in TINY} == READ - general


def test_recognised_paired_and_counted(tiny, tmp_path, caplog):
    folder = tiny.build(tmp_path)
    lists = load_datalists(folder, val_fraction=0)
    assert lists.dataset == tiny.name
    assert found_pairs(lists) == tiny.pairs(folder)
    for row in tiny.rows:
        assert row.says in caplog.text


def test_spelling_of_folders_does_not_matter(tiny, tmp_path):
    folder = tiny.build(tmp_path)
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        inner.rename(inner.with_name(inner.name.upper()))
    assert detect(folder).name == tiny.name


def test_forced_by_name_whatever_the_folder_is_called(tiny, tmp_path):
    folder = tiny.build(tmp_path, "renamed")
    lists = load_datalists(folder, dataset=tiny.name.upper(), val_fraction=0)
    assert (lists.dataset, found_pairs(lists)) == (tiny.name, tiny.pairs(folder))


def test_a_picture_without_a_mask_is_named(tiny, tmp_path):
    folder = tiny.build(tmp_path)
    row = tiny.rows[0]
    (folder / row.mask.format(row.stems[0])).unlink()
    image = Path(row.image.format(row.stems[0])).name
    with pytest.raises(PairingError) as caught:
        load_datalists(folder, dataset=tiny.name)
    assert image in [path.name for path in caught.value.unmatched_images] and image in str(caught.value)


def test_no_set_is_taken_for_another(tiny, tmp_path):
    listing = Listing(tiny.build(tmp_path))
    general = ("split_folders", "folders")
    assert {layout.name for layout in LAYOUTS if is_layout(layout, listing)} - {*general} == {tiny.name}


OWN = [
    ("images/{}.jpg", "masks/{}.png", NUMBERS),
    ("images/{}.png", "masks/p{}.png", NUMBERS),
    ("Images/{}.jpg", "GT/{}.png", ("dog", "cat")),
    ("Images/Train/{}.jpg", "GT/Train/{}.png", ("dog", "cat")),
    ("Image/{}.jpg", "GT/{}.png", ("animal-one", "animal-two")),
    ("images/{}.jpg", "masks/{}.png", ("animal-1", "animal-2")),
    ("Imgs/{}.jpg", "GT/{}.png", NUMBERS),
    ("imgs/{}.png", "gt/{}.png", FOUR),
    ("images/{}.jpg", "ground_truth_mask/{}.png", ("left", "right")),
    ("images/{}.jpg", "masks/{}.png", tuple(map(str, range(60)))),  # as many as CVC-300 has
    ("images/{}.jpg", "masks/{}_segmentation.png", ("ISIC_0000000",)),
]


@pytest.mark.parametrize(("image", "mask", "stems"), OWN)
def test_own_folder_pairs_stay_folders(image, mask, stems, tmp_path):
    folder = flat("", "own", image, mask, stems, "").build(tmp_path)
    lists = load_datalists(folder, val_fraction=0)
    assert (lists.dataset, len(lists.train), lists.test) == ("folders", len(stems), [])


@pytest.mark.parametrize(
    ("image", "mask"),
    [("image/{}.jpg", "mask/{}.png"), ("Image/{}.jpg", "Mask/{}.png"), ("img/{}.jpg", "label/{}.jpg")],
)
def test_own_train_and_test_folders_stay_so(image, mask, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    folder = two_parts("", "own", image, mask, ("1", "2"), "", 0, 0).build(tmp_path)
    assert load_datalists(folder).dataset == "split_folders"
    name = "rmas (RMAS)" if "label" in mask else "pmd (PMD (mirrors))"
    assert f"is read as split_folders. Its names fit {name} as well" in caplog.text


def test_in_doubt_the_log_names_what_could_be_forced(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    detect(flat("", "own", "Imgs/{}.jpg", "GT/{}.png", NUMBERS, "").build(tmp_path))
    assert "fit nc4k (NC4K) or pascal_s (PASCAL-S) as well: --dataset NAME forces one" in caplog.text
    caplog.clear()
    detect(flat("", "animals", "images/{}.jpg", "masks/{}.png", ("animal-1",), "").build(tmp_path))
    assert "is read as folders. Its names fit chameleon (CHAMELEON) as well" in caplog.text
    caplog.clear()
    detect(flat("", "letters", "Imgs/{}.jpg", "GT/{}.png", ("a", "b"), "").build(tmp_path))
    assert not caplog.text


def test_chameleon_and_nc4k_differ_by_names_and_folder(tmp_path):
    stems = ("animal-1", "animal-2")
    assert detect(flat("", "NC4K", "Imgs/{}.jpg", "GT/{}.png", stems, "").build(tmp_path)).name == "chameleon"
    assert (
        detect(flat("", "CHAMELEON", "Imgs/{}.jpg", "GT/{}.png", NUMBERS, "").build(tmp_path)).name
        == "folders"
    )


def touch(folder: Path, pattern: str, number: int, width: int = 1) -> None:
    for i in range(1, number + 1):
        file = folder / pattern.format(str(i).zfill(width))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@pytest.mark.parametrize(
    ("image", "mask", "number", "width", "name"),
    [
        ("images/{}.png", "masks/{}.png", 380, 1, "cvc_colondb"),
        ("images/{}.png", "masks/{}.png", 379, 1, "folders"),
        ("images/{}.png", "masks/{}.png", 612, 1, "clinicdb"),
        ("Imgs/{}.jpg", "GT/{}.png", 850, 1, "pascal_s"),
        ("Imgs/{}.jpg", "GT/{}.png", 4121, 1, "nc4k"),
        ("images/{}.jpg", "masks/{}.png", 1000, 4, "folders"),  # ECSSD's number is a round one
        ("images/{}.jpg", "masks/{}.png", 196, 1, "folders"),  # ETIS's is too small to tell
    ],
)
def test_complete_downloads_are_told_by_their_number(image, mask, number, width, name, tmp_path, caplog):
    touch(tmp_path, image, number, width)
    touch(tmp_path, mask, number, width)
    assert load_datalists(tmp_path).dataset == name
    assert "should have" not in caplog.text


def test_a_complete_pmd_is_told_by_its_number(tmp_path):
    for part, number in (("train", 5096), ("test", 571)):
        touch(tmp_path, f"{part}/image/x{{}}.jpg", number)
        (tmp_path / part / "mask").mkdir()
    assert detect(tmp_path).name == "pmd"


def test_a_large_folder_is_listed_once(tmp_path, monkeypatch):
    touch(tmp_path, "imgs/{}.png", 3000, 5)
    touch(tmp_path, "gt/{}.png", 3000, 5)
    asked = Counter()
    for name in ("listdir", "scandir"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda path, f=original: asked.update([str(path)]) or f(path))
    assert detect(tmp_path).name == "folders"
    # once for names, once (os.walk) for the pictures and those of subfolders; masks are not looked at
    assert asked[str(tmp_path)] == 1 and asked[str(tmp_path / "imgs")] <= 2
    assert asked[str(tmp_path / "gt")] == 0


def test_pranet_is_not_the_camouflaged_benchmark(tmp_path):
    # The camouflaged sets are handed round in folders of the same names.
    row = Row("training", "TrainDataset/Imgs/{}.jpg", "TrainDataset/GT/{}.png", ("camourflage_00001",), "")
    folder = Tiny("", "camouflaged", (row,), ("TestDataset/CAMO/Imgs/camourflage_00012.jpg",)).build(tmp_path)
    assert not is_layout(layout_named("pranet"), Listing(folder))


def test_cod10k_leaves_out_pictures_without_an_object(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    folder = tiny_set("cod10k").build(tmp_path)
    put(folder / "Train/GT_Object/COD10K-NonCAM-1-Terrestrial-1-Ant-1.png", value=0)
    load_datalists(folder, val_fraction=0)
    assert f"{folder}/Train/Image: 1 pictures not called COD10K-CAM-* are left out" in caplog.text
    assert f"{folder}/Train/GT_Object: 1 masks not called COD10K-CAM-* are left out" in caplog.text


def test_pascal_s_is_thresholded_at_half(tmp_path):
    mask = put(tmp_path / "m.png")
    picture = Image.new("L", (4, 1))
    picture.putdata([0, 127, 128, 255])  # half of 255 is 127.5
    picture.save(mask)
    load = LoadPictured(keys=(), mask_keys="label")
    assert load({"label": str(mask)})["label"].flatten().tolist() == [0, 0, 255, 255]


def prepare(folder: Path, tmp_path: Path, **settings):
    return prepare_datalists(folder, demo_dir=tmp_path / "demo", output_dir=tmp_path / "run", **settings)


@pytest.mark.parametrize(
    ("name", "way"),
    [("hku_is", "--dataset folders"), ("dut_omron", '"training" in a JSON file'), ("chameleon", "--dataset")],
)
def test_sets_of_test_pictures_only(name, way, tmp_path):
    folder = tiny_set(name).build(tmp_path)
    with pytest.raises(InputError, match=f"has test pictures only.*An evaluation takes it.*{way}"):
        prepare(folder, tmp_path)
    evaluated = prepare(folder, tmp_path, to_learn_from=False)
    assert evaluated.part("auto") == "test" and evaluated.subset() == evaluated.test
    with pytest.raises(InputError, match=r'"training" in a JSON file'):
        prepare(folder, tmp_path, datalist=str(tmp_path / "run" / "datalist.json"))
    if "folders" in way:
        assert len(prepare(folder, tmp_path, dataset="folders", val_fraction=0).train) == len(FOUR)


def volumes(root: Path, begin: str, suffix: str = ".nii.gz") -> Path:
    for name in (
        f"imagesTr/{begin}_001{suffix}",
        f"labelsTr/{begin}_001{suffix}",
        f"imagesTs/{begin}_2{suffix}",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    training = [{"image": f"./imagesTr/{begin}_001{suffix}", "label": f"./labelsTr/{begin}_001{suffix}"}]
    (root / "dataset.json").write_text(json.dumps({"name": begin, "training": training, "test": []}))
    return root


@pytest.mark.parametrize(
    ("root", "begin", "name"),
    [
        ("Task01_BrainTumour", "BRATS", "decathlon_brain_tumour"),
        ("Task02_Heart", "la", "decathlon_heart"),
        ("Task03_Liver", "liver", "decathlon_liver"),
        ("Task04_Hippocampus", "hippocampus", "decathlon_hippocampus"),
        ("Task05_Prostate", "prostate", "decathlon_prostate"),
        ("Task06_Lung", "lung", "decathlon_lung"),
        ("Task07_Pancreas", "pancreas", "decathlon_pancreas"),
        ("Task08_HepaticVessel", "hepaticvessel", "decathlon_hepatic_vessel"),
        ("Task09_Spleen", "spleen", "decathlon_spleen"),
        ("Task10_Colon", "colon", "decathlon_colon"),
        ("MSD", "spleen", "decathlon_spleen"),
        ("own", "case", "decathlon_other"),
    ],
)
def test_decathlon_is_recognised_and_the_config_for_it_named(root, begin, name, tmp_path):
    folder = volumes(tmp_path / root, begin)
    assert detect(folder).name == name
    with pytest.raises(InputError, match=rf"\({name}\): volumes .*configs/volume.json"):
        load_datalists(folder)
    with pytest.raises(InputError, match="volumes"):
        load_datalists(folder, dataset=name)


def test_a_parent_of_decathlon_tasks_is_told(tmp_path):
    volumes(tmp_path / "Task09_Spleen", "spleen", ".nii")
    with pytest.raises(InputError, match=r"one level down: give dataset_dir=.*Task09_Spleen"):
        detect(tmp_path)


def test_msd_names_two_sets():
    with pytest.raises(InputError, match=r"mirror_msd \(mirrors\) and the Medical.*decathlon_\*"):
        layout_named("MSD")


def test_real_decathlon(real_data):
    assert detect(real_data("MSD-Hippocampus")).name == "decathlon_hippocampus"


def test_real_camo_pairs_its_flat_masks(real_data):
    items = load_datalists(real_data("CAMO")).test
    assert all(Path(item["image"]).stem == Path(item["label"]).stem for item in items)
    assert check_pairs(items[:10]).pairs == 10


def test_every_layout_says_its_terms_and_shape():
    for layout in LAYOUTS:
        assert layout.title and layout.terms and layout.example
        assert layout.name == layout.name.lower() and layout.name.replace("_", "").isalnum()
