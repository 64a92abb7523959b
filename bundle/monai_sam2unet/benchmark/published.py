"""The paper's results as data: Xiong et al., SAM2-UNet, arXiv 2408.08870, its tables of the five tasks.

They are the paper's. Ours stand beside them only where measured, and only on as many pictures.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["PAPER", "TASKS", "PaperSet", "Published", "published"]


class PaperSet(NamedTuple):
    """What the paper states of one set.

    Attributes:
        task: see `TASKS`.
        title: name of the set in the paper.
        pictures: how many it has there.
        values: figures by the paper's name.
    """

    task: str
    title: str
    pictures: int
    values: dict[str, float]


class Published(NamedTuple):
    """A figure of the paper that goes with one of ours.

    Attributes:
        name: the paper's name of it.
        title: name of the set in the paper.
        pictures: how many the set has there.
        value: as published.
        sure: whether the paper's figure is known to be this one of ours.
    """

    name: str
    title: str
    pictures: int
    value: float
    sure: bool


def _salient(title: str, pictures: int, *values: float) -> PaperSet:
    return PaperSet("salient", title, pictures, dict(zip(("S", "E", "MAE"), values, strict=True)))


def _camouflaged(title: str, pictures: int, *values: float) -> PaperSet:
    return PaperSet("camouflaged", title, pictures, dict(zip(("S", "F", "E", "MAE"), values, strict=True)))


def _marine(title: str, pictures: int, *values: float) -> PaperSet:
    names = ("mIoU", "S", "wF", "E", "MAE")
    return PaperSet("marine", title, pictures, dict(zip(names, values, strict=True)))


def _mirror(title: str, pictures: int, *values: float) -> PaperSet:
    return PaperSet("mirror", title, pictures, dict(zip(("IoU", "F", "MAE"), values, strict=True)))


def _polyp(title: str, pictures: int, *values: float) -> PaperSet:
    return PaperSet("polyp", title, pictures, dict(zip(("mDice", "mIoU"), values, strict=True)))


PAPER = {
    "duts": _salient("DUTS-TE", 5019, 0.934, 0.959, 0.020),
    "dut_omron": _salient("DUT-OMRON", 5168, 0.884, 0.912, 0.039),
    "hku_is": _salient("HKU-IS", 4447, 0.941, 0.971, 0.019),
    "pascal_s": _salient("PASCAL-S", 850, 0.894, 0.931, 0.043),
    "ecssd": _salient("ECSSD", 1000, 0.950, 0.970, 0.020),
    "chameleon": _camouflaged("CHAMELEON", 76, 0.914, 0.863, 0.961, 0.022),
    "camo": _camouflaged("CAMO", 250, 0.884, 0.861, 0.932, 0.042),
    "cod10k": _camouflaged("COD10K", 2026, 0.880, 0.789, 0.936, 0.021),
    "nc4k": _camouflaged("NC4K", 4121, 0.901, 0.863, 0.941, 0.029),
    "mas3k": _marine("MAS3K", 1141, 0.799, 0.903, 0.848, 0.943, 0.021),
    "rmas": _marine("RMAS", 500, 0.738, 0.874, 0.810, 0.944, 0.022),
    "mirror_msd": _mirror("MSD", 955, 0.918, 0.957, 0.022),
    "pmd": _mirror("PMD", 571, 0.728, 0.826, 0.027),
    "pranet/Kvasir": _polyp("Kvasir", 100, 0.928, 0.879),
    "pranet/CVC-ClinicDB": _polyp("CVC-ClinicDB", 62, 0.907, 0.856),
    "pranet/CVC-ColonDB": _polyp("CVC-ColonDB", 380, 0.808, 0.730),
    "pranet/CVC-300": _polyp("CVC-300", 60, 0.894, 0.827),
    "pranet/ETIS-LaribPolypDB": _polyp("ETIS", 196, 0.796, 0.723),
}
"""By layout (see `monai_sam2unet.data.LAYOUTS`), with the test set's name where a layout has several."""

SAME_PICTURES = {
    "cvc_colondb": "pranet/CVC-ColonDB",
    "cvc_300": "pranet/CVC-300",
    "etis": "pranet/ETIS-LaribPolypDB",
}
"""Layouts that hold a set of `PAPER` whole. Kvasir-SEG and CVC-ClinicDB do not stand here: the paper's test
pictures are a draw from them, and a draw of ours has other pictures even where it has as many."""

TASKS = {
    **{key.split("/")[0]: found.task for key, found in PAPER.items()},
    **dict.fromkeys(("kvasir", "clinicdb", "polypgen", *SAME_PICTURES), "polyp"),
}
"""Layout to task; those that are not here have none of the paper's."""

# Which of ours the paper's figure is. F and E are what its evaluation code prints under these names
# (https://github.com/WZH0120/SAM2-UNet, eval.py): the adaptive F, the mean E. The mIoU of marine animals may
# be that of their own benchmark or the mean over thresholds that this code prints.
FIGURES: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    "salient": {
        "S": (("paper", "Smeasure"),),
        "E": (("paper", "meanEm"),),
        "MAE": (("paper", "MAE"),),
    },
    "camouflaged": {
        "S": (("paper", "Smeasure"),),
        "F": (("paper", "adpFm"),),
        "E": (("paper", "meanEm"),),
        "MAE": (("paper", "MAE"),),
    },
    "marine": {
        "mIoU": (("masnet", "mIoU"), ("paper", "meaniou")),
        "S": (("masnet", "Smeasure"), ("paper", "Smeasure")),
        "wF": (("masnet", "wFmeasure"), ("paper", "wFmeasure")),
        "E": (("masnet", "meanEm"), ("paper", "meanEm")),
        "MAE": (("masnet", "MAE"), ("paper", "MAE")),
    },
    "mirror": {
        "IoU": (("hetnet", "iou"),),
        "F": (("hetnet", "f_measure"),),
        "MAE": (("hetnet", "mae"),),
    },
    "polyp": {
        "mDice": (("paper", "meandice"),),
        "mIoU": (("paper", "meaniou"),),
    },
}
UNSURE = {("marine", "mIoU")}


def published(key: str, protocol: str, figure: str) -> Published | None:
    """The paper's figure that goes with one of ours.

    Args:
        key: of the set, see `PAPER`.
        protocol: ours.
        figure: our name of it within the protocol.

    Returns:
        None where the paper states none; nothing is inferred.

    Example:
        >>> published("camo", "paper", "Smeasure").value
        0.884
    """
    found = PAPER.get(SAME_PICTURES.get(key, key))
    if found is None:
        return None
    for name, ours in FIGURES[found.task].items():
        if (protocol, figure) in ours:
            sure = (found.task, name) not in UNSURE
            return Published(name, found.title, found.pictures, found.values[name], sure)
    return None
