"""The data sets that are known, built small by hand from their published layout, not from our table.

Layouts and counts are the benchmarks' own descriptions; files are named as they are published.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image


@dataclass(frozen=True)
class Row:
    """Pairs of one part: `{}` stands for the stem. `says` is the warning of an incomplete download."""

    split: str
    image: str
    mask: str
    stems: tuple[str, ...]
    says: str
    more_masks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tiny:
    """A data set of a few files; `root` is what its folder is called."""

    name: str
    root: str
    rows: tuple[Row, ...]
    others: tuple[str, ...] = ()  # files that are no part of a pair

    def build(self, parent: Path, root: str = "") -> Path:
        folder = parent / (root or self.root)
        for row in self.rows:
            for pattern in (row.image, row.mask, *row.more_masks):
                for stem in row.stems:
                    put(folder / pattern.format(stem))
        for name in self.others:
            put(folder / name)
        return folder

    def pairs(self, folder: Path) -> dict[str, set[tuple[str, ...]]]:
        """Split to the (picture, mask, further masks) that are expected."""
        found: dict[str, set[tuple[str, ...]]] = {"training": set(), "validation": set(), "testing": set()}
        for row in self.rows:
            patterns = (row.image, row.mask, *row.more_masks)
            for stem in row.stems:
                found[row.split].add(tuple(str(folder / pattern.format(stem)) for pattern in patterns))
        return found


def put(path: Path, size: tuple[int, int] = (8, 8), value: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)
    return path


def flat(name: str, root: str, image: str, mask: str, stems: tuple[str, ...], says: str) -> Tiny:
    return Tiny(name, root, (Row("testing", image, mask, stems, says),))


def two_parts(name: str, root: str, image: str, mask: str, stems: tuple[str, ...], title: str, *counts: int):
    rows = []
    for split, folder, count in zip(("training", "testing"), ("train", "test"), counts, strict=True):
        says = f"{title} {split} should have {count} pairs, found {len(stems)}"
        rows.append(Row(split, f"{folder}/{image}", f"{folder}/{mask}", stems, says))
    return Tiny(name, root, tuple(rows))


CJU = ("cju0qkwl35piu0993l0dewei2", "cju0qoxqj9q6s0835b43399p4")  # two of Kvasir-SEG
NUMBERS = ("1", "2", "10")
FOUR = ("0001", "0002", "0010")

TINY = [
    Tiny("pranet", "polyps", (
        Row("training", "TrainDataset/image/{}.png", "TrainDataset/mask/{}.png", (*CJU, "7"),
            "TrainDataset should have 1450 pairs, found 3"),
        Row("testing", "TestDataset/CVC-300/images/{}.png", "TestDataset/CVC-300/masks/{}.png", ("149",),
            "CVC-300 should have 60 pairs, found 1"),
        Row("testing", "TestDataset/Kvasir/images/{}.png", "TestDataset/Kvasir/masks/{}.png", CJU,
            "Kvasir should have 100 pairs, found 2"),
    )),
    Tiny("kvasir", "Kvasir-SEG", (
        Row("training", "images/{}.jpg", "masks/{}.jpg", CJU, "Kvasir-SEG should have 1000 pairs, found 2"),
    )),
    Tiny("clinicdb", "CVC-ClinicDB", (
        Row("training", "Original/{}.tif", "Ground Truth/{}.tif", NUMBERS, "should have 612 pairs, found 3"),
    )),
    Tiny("clinicdb", "cvc_clinicdb", (
        Row("training", "images/{}.jpg", "masks/{}.png", NUMBERS, "should have 612 pairs, found 3"),
    )),
    Tiny("clinicdb", "clinic-png", (
        Row("training", "PNG/Original/{}.png", "PNG/Ground Truth/{}.png", NUMBERS, "612 pairs, found 3"),
    ), ("TIF/notes.png",)),
    two_parts("polypgen", "PolypGen", "images/{}.jpg", "masks/{}.png",
              ("EndoCV2021_001407", "556OLCV1_100H0004"), "PolypGen", 1237, 150),
    Tiny("bkai", "bkai-igh-neopolyp", (
        Row("training", "train/train/{}.jpeg", "train_gt/train_gt/{}.jpeg", ("0081835cf877", "00d827b8bcf1"),
            "BKAI-IGH NeoPolyp should have 1000 pairs, found 2"),
    ), ("test/test/0a5f3601ad4f13cf.jpeg",)),
    Tiny("bkai", "unpacked", (
        Row("training", "train/{}.jpeg", "train_gt/{}.jpeg", ("0081835cf877", "00d827b8bcf1"),
            "1000 pairs, found 2"),
    )),
    flat("etis", "download", "ETIS-LaribPolypDB/{}.tif", "Ground Truth/p{}.tif", NUMBERS,
         "ETIS-Larib should have 196 pairs, found 3"),
    flat("etis", "one folder", "{}.tif", "p{}.tif", NUMBERS, "ETIS-Larib should have 196 pairs, found 3"),
    flat("etis", "ETIS-Larib", "images/{}.bmp", "masks/p{}.bmp", NUMBERS, "should have 196 pairs, found 3"),
    flat("etis", "ETIS-LaribPolypDB", "images/{}.png", "masks/{}.png", NUMBERS, "196 pairs, found 3"),
    flat("cvc_colondb", "CVC-ColonDB", "images/{}.png", "masks/{}.png", NUMBERS, "380 pairs, found 3"),
    flat("cvc_300", "CVC-300", "images/{}.png", "masks/{}.png", ("149", "150"), "60 pairs, found 2"),
    Tiny("camo", "CAMO-V.1.0-CVIU2019", (
        Row("training", "Images/Train/{}.jpg", "GT/{}.png", ("camourflage_00001", "camourflage_00003"),
            "CAMO training should have 1000 pairs, found 2"),
        Row("testing", "Images/Test/{}.jpg", "GT/{}.png", ("camourflage_00012",),
            "CAMO testing should have 250 pairs, found 1"),
    )),
    Tiny("cod10k", "COD10K-v3", (
        Row("training", "Train/Image/{}.jpg", "Train/GT_Object/{}.png",
            ("COD10K-CAM-1-Aquatic-1-BatFish-1", "COD10K-CAM-3-Flying-61-Moth-3"),
            "COD10K training should have 3040 pairs, found 2"),
        Row("testing", "Test/Image/{}.jpg", "Test/GT_Object/{}.png", ("COD10K-CAM-1-Aquatic-1-BatFish-2",),
            "COD10K testing should have 2026 pairs, found 1"),
    ), ("Train/Image/COD10K-NonCAM-1-Terrestrial-1-Ant-1.jpg",)),
    flat("chameleon", "data", "Image/{}.jpg", "GT/{}.png", ("animal-1", "animal-10"), "76 pairs, found 2"),
    flat("nc4k", "NC4K", "Imgs/{}.jpg", "GT/{}.png", ("2", "10007"), "NC4K should have 4121 pairs, found 2"),
    Tiny("duts", "DUTS", (
        Row("training", "DUTS-TR/DUTS-TR-Image/{}.jpg", "DUTS-TR/DUTS-TR-Mask/{}.png",
            ("ILSVRC2012_test_00000004", "n01"), "DUTS DUTS-TR should have 10553 pairs, found 2"),
        Row("testing", "DUTS-TE/DUTS-TE-Image/{}.jpg", "DUTS-TE/DUTS-TE-Mask/{}.png",
            ("ILSVRC2012_test_00000003",), "DUTS DUTS-TE should have 5019 pairs, found 1"),
    )),
    flat("duts", "DUTS-TE", "DUTS-TE-Image/{}.jpg", "DUTS-TE-Mask/{}.png", ("sun_a", "sun_b"),
         "5019 pairs, found 2"),
    flat("ecssd", "salient", "images/{}.jpg", "ground_truth_mask/{}.png", FOUR, "1000 pairs, found 3"),
    flat("hku_is", "HKU-IS", "imgs/{}.png", "gt/{}.png", FOUR, "HKU-IS should have 4447 pairs, found 3"),
    flat("pascal_s", "PASCAL-S", "Imgs/{}.jpg", "GT/{}.png", NUMBERS, "850 pairs, found 3"),
    flat("dut_omron", "salient", "DUT-OMRON-image/{}.jpg", "pixelwiseGT-new-PNG/{}.png", ("im005", "sun_b"),
         "DUT-OMRON should have 5168 pairs, found 2"),
    two_parts("mirror_msd", "MSD", "image/{}.jpg", "mask/{}.png", ("4614_512x640", "2_640x512"),
              "MSD (mirrors)", 3063, 955),
    two_parts("pmd", "PMD", "image/{}.jpg", "mask/{}.png", ("ADE_train_0001", "b"), "PMD (mirrors)",
              5096, 571),
    two_parts("mas3k", "marine", "Image/{}.jpg", "Mask/{}.png",
              ("MAS_Arthropod_Crab_Cam_410", "MAS_MarineFish_GhostPipeFish_Com_1"), "MAS3K", 1769, 1141),
    two_parts("rmas", "RMAS", "img/{}.jpg", "label/{}.jpg", ("1", "20"), "RMAS", 2514, 500),
    Tiny("isic_2018", "skin", tuple(
        Row(split, f"ISIC2018_Task1-2_{word}_Input/{{}}.jpg",
            f"ISIC2018_Task1_{word}_GroundTruth/{{}}_segmentation.png", ("ISIC_0000000", "ISIC_0012255"),
            f"ISIC 2018 {split} should have {count} pairs, found 2")
        for split, word, count in (
            ("training", "Training", 2594), ("validation", "Validation", 100), ("testing", "Test", 1000))
    )),
    Tiny("busi", "Dataset_BUSI_with_GT", (
        Row("training", "benign/benign ({}).png", "benign/benign ({})_mask.png", ("1", "10"),
            "BUSI benign should have 437 pairs, found 3"),
        Row("training", "benign/benign ({}).png", "benign/benign ({})_mask.png", ("4",), "found 3",
            ("benign/benign ({})_mask_1.png", "benign/benign ({})_mask_2.png")),
        Row("training", "malignant/malignant ({}).png", "malignant/malignant ({})_mask.png", ("1",),
            "BUSI malignant should have 210 pairs, found 1"),
        Row("training", "normal/normal ({}).png", "normal/normal ({})_mask.png", ("1",),
            "BUSI normal should have 133 pairs, found 1"),
    )),
    Tiny("drive", "DRIVE", (
        Row("training", "training/images/{}_training.tif", "training/1st_manual/{}_manual1.gif",
            ("21", "22", "40"), "DRIVE training should have 20 pairs, found 3"),
        Row("testing", "test/images/{}_test.tif", "test/1st_manual/{}_manual1.gif", ("01", "20"),
            "DRIVE testing should have 20 pairs, found 2"),
    ), ("training/mask/21_training_mask.gif", "test/2nd_manual/01_manual2.gif")),
]  # fmt: skip


def tiny_set(name: str) -> Tiny:
    """The first set of a layout."""
    return next(tiny for tiny in TINY if tiny.name == name)
