"""The layouts that are known, as a table.

A layout says where pictures and masks lie, how many pairs a complete download holds, under which terms it
may be used, and by what it is told from others. Folder names are compared without regard to case.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "gt", "gts", "ground truth", "ground_truth", "ground_truth_mask",
                "labels", "label")  # fmt: skip

Folders = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Part:
    """One folder of pictures with its folder of masks.

    Attributes:
        split: "training" (divided further where no part is "validation"), "validation" or "testing".
        folders: (pictures, masks) relative to the data set's folder, as published; the first that is
            there counts. Both may be the same folder, where `mask_names` tells masks from pictures.
        expected: pairs of a complete download; None where any number is right.
        subset: name of the part within its split, for messages.
        frames: numeric stems are frames of CVC-ClinicDB.
        other_folders: spellings of mirrors, looked for after `folders`.
        keep: what the stems that are used look like (``*`` stands for anything); "" for all.
        mask_names: pattern of the stems of masks that lie among the pictures; its first group is the
            picture's stem. Several masks of one picture are one mask: their union.
    """

    split: str
    folders: Folders
    expected: int | None = None
    subset: str = ""
    frames: bool = False
    other_folders: Folders = ()
    keep: str = ""
    mask_names: str = ""


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk.

    A folder is recognised as one if a part is there and one of `distinct` is, too; or if the stems fit, and
    they are `telling` in folders as published, or `folder_name` or `marker` or the count fits as well.

    Attributes:
        name: what `dataset=` takes.
        title: what messages say.
        terms: terms of use in a word.
        example: the layout in a line, for messages.
        parts: where pairs lie.
        distinct: files or folders whose presence tells the data set.
        stems: pattern that nearly all picture stems match; "" where stems tell nothing.
        telling: whether no other set has such stems.
        folder_name: pattern of the name of the set's folder, in lower case without ``-``, ``_``, ``.``
            and spaces.
        marker: file or folder that no other set with such stems has.
        stem_lists: (training, validation) text files of stems that make an official split.
        refused: why the set is recognised and yet not read, and what to do; "" for sets that are read.
    """

    name: str
    title: str
    terms: str
    example: str
    parts: tuple[Part, ...] = ()
    distinct: tuple[str, ...] = ()
    stems: str = ""
    telling: bool = True
    folder_name: str = ""
    marker: str = ""
    stem_lists: tuple[tuple[str, str], ...] = ()
    refused: str = ""

    @property
    def expected(self) -> int | None:
        """Pairs of a complete download; None where any number is right."""
        counts = [part.expected for part in self.parts]
        return sum(count for count in counts if count is not None) if any(counts) else None


def _pairs(parent: str = "") -> Folders:
    return tuple(
        (f"{parent}{image}", f"{parent}{mask}") for image, mask in product(IMAGE_FOLDERS, MASK_FOLDERS)
    )


def _split_parts(
    train: int | None = None, val: int | None = None, test: int | None = None
) -> tuple[Part, ...]:
    spellings = {
        "training": (("train/", "training/"), train),
        "validation": (("val/", "valid/", "validation/"), val),
        "testing": (("test/", "testing/"), test),
    }
    return tuple(
        Part(split, tuple(pair for parent in parents for pair in _pairs(parent)), count, split)
        for split, (parents, count) in spellings.items()
    )


def _train_test(image: str, mask: str, train: int, test: int) -> tuple[Part, ...]:
    return (
        Part("training", ((f"train/{image}", f"train/{mask}"),), train, "training"),
        Part("testing", ((f"test/{image}", f"test/{mask}"),), test, "testing"),
    )


def _test_set(expected: int, *folders: tuple[str, str], mask_names: str = "") -> tuple[Part, ...]:
    return (Part("testing", folders, expected, other_folders=_pairs(), mask_names=mask_names),)


_LISTS = (("official_train.txt", "official_val.txt"), ("train.txt", "val.txt"))
_PRANET_TESTS = {
    "CVC-300": 60,
    "CVC-ClinicDB": 62,
    "CVC-ColonDB": 380,
    "ETIS-LaribPolypDB": 196,
    "Kvasir": 100,
}
_CLINICDB_FOLDERS = tuple((f"{parent}Original", f"{parent}Ground Truth") for parent in ("", "PNG/", "TIF/"))
_BUSI_COUNTS = {"benign": 437, "malignant": 210, "normal": 133}
_ISIC_COUNTS = {"Training": 2594, "Validation": 100, "Test": 1000}  # by the word in the folders' names
_DECATHLON_TASKS = (
    # name, folder, how its volumes' names begin
    ("brain_tumour", "Task01_BrainTumour", "brats"),
    ("heart", "Task02_Heart", "la"),
    ("liver", "Task03_Liver", "liver"),
    ("hippocampus", "Task04_Hippocampus", "hippocampus"),
    ("prostate", "Task05_Prostate", "prostate"),
    ("lung", "Task06_Lung", "lung"),
    ("pancreas", "Task07_Pancreas", "pancreas"),
    ("hepatic_vessel", "Task08_HepaticVessel", "hepaticvessel"),
    ("spleen", "Task09_Spleen", "spleen"),
    ("colon", "Task10_Colon", "colon"),
    ("other", "a set of the same layout", ""),
)

DATALIST = Layout(
    "datalist", "JSON datalist", "those of its pictures",
    'dataset.json or datalist.json: {"training": [{"image": "images/a.png", "label": "masks/a.png"}, ...]}',
)  # fmt: skip
PRANET = Layout(
    "pranet", "PraNet polyp benchmark", "research only",
    "TrainDataset/{images,masks}/*.png and TestDataset/{CVC-300,CVC-ClinicDB,...}/{images,masks}/*.png",
    (
        Part("training", _pairs("TrainDataset/"), 1450, "TrainDataset", frames=True),
        *(
            Part("testing", _pairs(f"TestDataset/{name}/"), count, name, frames=name == "CVC-ClinicDB")
            for name, count in _PRANET_TESTS.items()
        ),
    ),
    distinct=tuple(f"TestDataset/{name}" for name in ("CVC-300", "CVC-ColonDB", "ETIS-LaribPolypDB")),
    stems=r"(?i)\d{1,3}|cju[0-9a-z]{20,}",
)  # fmt: skip
CLINICDB = Layout(
    "clinicdb", "CVC-ClinicDB", "research and education only",
    "Original/N.tif and Ground Truth/N.tif (also below PNG/), or images/N.jpg, masks/N.png, sequences.json",
    (Part("training", (*_CLINICDB_FOLDERS, ("images", "masks")), 612, frames=True, other_folders=_pairs()),),
    distinct=("Original", "PNG/Original", "TIF/Original"),
    stems=r"\d{1,3}", telling=False, folder_name=r"(cvc)?clinicdb", marker="sequences.json",
)  # fmt: skip
KVASIR = Layout(
    "kvasir", "Kvasir-SEG", "research and education only",
    "images/cju*.jpg and masks/cju*.jpg, with or without train.txt and val.txt",
    (Part("training", _pairs(), 1000),), stems=r"(?i)cju[0-9a-z]{20,}", stem_lists=_LISTS,
)  # fmt: skip
POLYPGEN = Layout(
    "polypgen", "PolypGen", "CC BY 4.0",
    "{train,val,test}/images/*.jpg and {train,val,test}/masks/*.png",
    _split_parts(1237, 150, 150), stems=r"(?i).*(endocv2021|olcv1_\d+[hs]).*",
)  # fmt: skip
BKAI = Layout(
    "bkai", "BKAI-IGH NeoPolyp", "not stated",
    "train/*.jpeg and train_gt/*.jpeg (red neoplastic, green not), or images/*.jpg and masks_class/*.png",
    (
        Part(
            "training",
            (("train/train", "train_gt/train_gt"), ("train", "train_gt"), ("images", "masks_class")),
            1000,
        ),
    ),
    distinct=("train_gt",),
)  # fmt: skip
CVC_COLONDB = Layout(
    "cvc_colondb", "CVC-ColonDB", "not stated", "CVC-ColonDB/images/N.png and CVC-ColonDB/masks/N.png",
    _test_set(380, ("images", "masks")),
    stems=r"p?\d{1,3}", telling=False, folder_name=r"(cvc)?colondb",
)  # fmt: skip
CVC_300 = Layout(
    "cvc_300", "CVC-300", "not stated", "CVC-300/images/N.png and CVC-300/masks/N.png",
    _test_set(60, ("images", "masks")), stems=r"p?\d{1,3}", telling=False, folder_name=r"cvc300",
)  # fmt: skip
ETIS = Layout(
    "etis", "ETIS-Larib", "not stated",
    "ETIS-LaribPolypDB/N.tif and Ground Truth/pN.tif, or both in one folder (also png, bmp)",
    _test_set(
        196, ("ETIS-LaribPolypDB", "Ground Truth"), ("ETIS-LaribPolypDB", "GroundTruth"),
        ("images", "masks"), ("", ""), mask_names=r"p(\d{1,3})",
    ),
    distinct=("ETIS-LaribPolypDB",),
    stems=r"p?\d{1,3}", telling=False, folder_name=r"etis(larib)?(polypdb)?",
)  # fmt: skip
CAMO = Layout(
    "camo", "CAMO", "to be cited", "Images/{Train,Test}/camourflage_*.jpg and GT/camourflage_*.png",
    (
        Part("training", (("Images/Train", "GT"),), 1000, "training"),
        Part("testing", (("Images/Test", "GT"),), 250, "testing"),
    ),
    stems=r"(?i)camou?r?flage_\d+",
)  # fmt: skip
COD10K = Layout(
    "cod10k", "COD10K", "not stated",
    "{Train,Test}/Image/COD10K-CAM-*.jpg and {Train,Test}/GT_Object/COD10K-CAM-*.png",
    tuple(
        Part(split, ((f"{folder}/Image", f"{folder}/GT_Object"),), count, split, keep="COD10K-CAM-*")
        for split, folder, count in (("training", "Train", 3040), ("testing", "Test", 2026))
    ),
    distinct=("Train/GT_Object", "Test/GT_Object"),
)  # fmt: skip
CHAMELEON = Layout(
    "chameleon", "CHAMELEON", "not stated", "Image/animal-N.jpg (or Imgs) and GT/animal-N.png",
    _test_set(76, ("Image", "GT"), ("Imgs", "GT")),
    stems=r"(?i)animal-\d{1,2}", folder_name=r"chameleon.*",
)  # fmt: skip
NC4K = Layout(
    "nc4k", "NC4K", "not stated", "NC4K/Imgs/N.jpg (or Image) and NC4K/GT/N.png",
    _test_set(4121, ("Imgs", "GT"), ("Image", "GT")),
    stems=r"\d{1,5}", telling=False, folder_name=r"nc4k.*",
)  # fmt: skip
DUTS = Layout(
    "duts", "DUTS", "not stated",
    "DUTS-TR/DUTS-TR-Image/*.jpg, DUTS-TR/DUTS-TR-Mask/*.png, and DUTS-TE likewise",
    tuple(
        Part(split, tuple((f"{up}{name}-Image", f"{up}{name}-Mask") for up in (f"{name}/", "")), count, name)
        for split, name, count in (("training", "DUTS-TR", 10553), ("testing", "DUTS-TE", 5019))
    ),
    distinct=("DUTS-TR/DUTS-TR-Image", "DUTS-TE/DUTS-TE-Image", "DUTS-TR-Image", "DUTS-TE-Image"),
)  # fmt: skip
ECSSD = Layout(
    "ecssd", "ECSSD", "not stated", "images/NNNN.jpg and ground_truth_mask/NNNN.png",
    _test_set(1000, ("images", "ground_truth_mask")),
    stems=r"\d{4}", telling=False, folder_name=r"ecssd", marker="ground_truth_mask",
)  # fmt: skip
HKU_IS = Layout(
    "hku_is", "HKU-IS", "not stated", "HKU-IS/imgs/NNNN.png and HKU-IS/gt/NNNN.png",
    _test_set(4447, ("imgs", "gt")), stems=r"\d{4}", telling=False, folder_name=r"hkuis",
)  # fmt: skip
PASCAL_S = Layout(
    "pascal_s", "PASCAL-S", "not stated", "PASCAL-S/Imgs/N.jpg and PASCAL-S/GT/N.png (or images, masks)",
    _test_set(850, ("Imgs", "GT")), stems=r"\d{1,3}", telling=False, folder_name=r"pascals",
)  # fmt: skip
DUT_OMRON = Layout(
    "dut_omron", "DUT-OMRON", "not stated", "DUT-OMRON-image/*.jpg and pixelwiseGT-new-PNG/*.png",
    _test_set(5168, ("DUT-OMRON-image", "pixelwiseGT-new-PNG")),
    distinct=("DUT-OMRON-image", "pixelwiseGT-new-PNG"),
)  # fmt: skip
MIRROR_MSD = Layout(
    "mirror_msd", "MSD (mirrors)", "not stated",
    "{train,test}/image/N_512x640.jpg and {train,test}/mask/N_512x640.png",
    _train_test("image", "mask", 3063, 955), stems=r"\d+_\d{3,4}x\d{3,4}",
)  # fmt: skip
MAS3K = Layout(
    "mas3k", "MAS3K", "not stated", "{train,test}/Image/MAS_*.jpg and {train,test}/Mask/MAS_*.png",
    _train_test("Image", "Mask", 1769, 1141), stems=r"(?i)MAS_[a-z]+_.+",
)  # fmt: skip
PMD = Layout(
    "pmd", "PMD (mirrors)", "not stated", "PMD/{train,test}/image/*.jpg and PMD/{train,test}/mask/*.png",
    _train_test("image", "mask", 5096, 571), stems=r".+", telling=False, folder_name=r"pmd",
)  # fmt: skip
RMAS = Layout(
    "rmas", "RMAS", "not stated", "RMAS/{train,test}/img/*.jpg and RMAS/{train,test}/label/*.jpg",
    _train_test("img", "label", 2514, 500), stems=r".+", telling=False, folder_name=r"rmas",
)  # fmt: skip
ISIC_2018 = Layout(
    "isic_2018", "ISIC 2018", "CC BY-NC 4.0",
    "ISIC2018_Task1-2_Training_Input/ISIC_*.jpg and "
    "ISIC2018_Task1_Training_GroundTruth/ISIC_*_segmentation.png; Validation and Test likewise",
    tuple(
        Part(split, tuple((f"*{word}_Input", f"*{task}{word}_GroundTruth") for task in ("Task1_", "")),
             _ISIC_COUNTS[word], split)
        for split, word in (("training", "Training"), ("validation", "Validation"), ("testing", "Test"))
    ),
    stems=r"(?i)ISIC_\d{7}",
)  # fmt: skip
BUSI = Layout(
    "busi", "BUSI", "CC0",
    '{benign,malignant,normal}/"benign (1).png" with "benign (1)_mask.png", "benign (1)_mask_1.png", ...',
    tuple(
        Part("training", ((name, name),), count, name, mask_names=r"(?i)(.+)_mask(?:_\d+)?")
        for name, count in _BUSI_COUNTS.items()
    ),
    stems=r"(?i)(benign|malignant|normal) \(\d+\)(_mask(_\d+)?)?",
)  # fmt: skip
DRIVE = Layout(
    "drive", "DRIVE", "research only",
    "{training,test}/images/NN_{training,test}.tif and {training,test}/1st_manual/NN_manual1.gif",
    tuple(
        Part(split, ((f"{folder}/images", f"{folder}/1st_manual"),), 20, split)
        for split, folder in (("training", "training"), ("testing", "test"))
    ),
    distinct=("training/1st_manual", "test/1st_manual"),
)  # fmt: skip
DECATHLON = tuple(
    Layout(
        f"decathlon_{name}", f"Medical Segmentation Decathlon, {folder}", "CC BY-SA 4.0",
        "TaskNN_Name/{imagesTr,labelsTr,imagesTs}/*.nii.gz and dataset.json (by configs/volume.json)",
        stems=f"(?i){begin}[_a-z]*\\d+(_\\d+)?" if begin else "",
        folder_name=folder.lower().replace("_", "") if begin else "",
        refused="volumes (.nii, .nii.gz) are trained on by slices. Give --config_file "
        "\"['configs/train.json','configs/volume.json']\" (docs/volumes.md)",
    )
    for name, folder, begin in _DECATHLON_TASKS
)  # fmt: skip
SPLIT_FOLDERS = Layout(
    "split_folders", "Train and test folders", "those of its pictures",
    "train/{images,masks}, and val/{images,masks} or test/{images,masks} beside it",
    _split_parts(),
)  # fmt: skip
FOLDERS = Layout(
    "folders", "Folder pair", "those of its pictures",
    "images/a.jpg and masks/a.png (also image/mask, imgs/gt, Images/GT, masks named a_mask.png)",
    (Part("training", _pairs()),), stem_lists=_LISTS,
)  # fmt: skip

# In the order in which a folder is compared with them: the particular before the general.
LAYOUTS = (
    DATALIST, PRANET, CLINICDB, KVASIR, POLYPGEN, BKAI, CVC_COLONDB, CVC_300, ETIS, CAMO, COD10K, CHAMELEON,
    NC4K, DUTS, ECSSD, HKU_IS, PASCAL_S, DUT_OMRON, MIRROR_MSD, MAS3K, PMD, RMAS, ISIC_2018, BUSI, DRIVE,
    *DECATHLON,
    SPLIT_FOLDERS, FOLDERS,
)  # fmt: skip
