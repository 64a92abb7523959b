"""Pictures and masks from a folder: recognised, paired, divided, checked; and a set drawn for trying out."""

from .check import CheckError, PairCheck, check_pairs, unreadable
from .datalist import DataLists, load_datalists
from .datasets import LAYOUTS, Layout, Part, detect, layout_named
from .demo import draw_case, ensure_demo, write_demo
from .pairing import (
    Affix,
    Pair,
    PairingError,
    PictureSet,
    find_pictures,
    pair_files,
    pair_folders,
    picture_set,
)
from .prepare import PicturesToSegment, prepare_datalists
from .splits import split_by_group

__all__ = [
    "LAYOUTS",
    "Affix",
    "CheckError",
    "DataLists",
    "Layout",
    "Pair",
    "PairCheck",
    "PairingError",
    "Part",
    "PictureSet",
    "PicturesToSegment",
    "check_pairs",
    "detect",
    "draw_case",
    "ensure_demo",
    "find_pictures",
    "layout_named",
    "load_datalists",
    "pair_files",
    "pair_folders",
    "picture_set",
    "prepare_datalists",
    "split_by_group",
    "unreadable",
    "write_demo",
]
