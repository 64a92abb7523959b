"""Pictures and masks from a folder: recognised, paired, divided, checked; and a set drawn for trying out."""

from monai_sam2unet.data.cache import CACHES, PictureDataset
from monai_sam2unet.data.check import CheckError, PairCheck, check_pairs, unreadable
from monai_sam2unet.data.datalist import DataLists, load_datalists
from monai_sam2unet.data.datasets import detect, layout_named
from monai_sam2unet.data.demo import draw_case, ensure_demo, write_demo
from monai_sam2unet.data.joining import folders_of, join_datalists, load_joined
from monai_sam2unet.data.layouts import LAYOUTS, Layout, Part
from monai_sam2unet.data.pairing import (
    Affix,
    Pair,
    PairingError,
    pair_among,
    pair_files,
    pair_folders,
)
from monai_sam2unet.data.prepare import prepare_datalists
from monai_sam2unet.data.results import ResultsFolder, result_kinds
from monai_sam2unet.data.segmenting import PicturesToSegment
from monai_sam2unet.data.shards import Shard
from monai_sam2unet.data.slices import cut_slices
from monai_sam2unet.data.sources import PictureSet, find_pictures, picture_set
from monai_sam2unet.data.splits import split_by_group
from monai_sam2unet.data.volumes import (
    check_volumes,
    class_names,
    load_volumes,
    prepare_volumes,
    volumes_in,
)
from monai_sam2unet.data.volumes_to_segment import VolumesToSegment

__all__ = [
    "CACHES",
    "LAYOUTS",
    "Affix",
    "CheckError",
    "DataLists",
    "Layout",
    "Pair",
    "PairCheck",
    "PairingError",
    "Part",
    "PictureDataset",
    "PictureSet",
    "PicturesToSegment",
    "ResultsFolder",
    "Shard",
    "VolumesToSegment",
    "check_pairs",
    "check_volumes",
    "class_names",
    "cut_slices",
    "detect",
    "draw_case",
    "ensure_demo",
    "find_pictures",
    "folders_of",
    "join_datalists",
    "layout_named",
    "load_datalists",
    "load_joined",
    "load_volumes",
    "pair_among",
    "pair_files",
    "pair_folders",
    "picture_set",
    "prepare_datalists",
    "prepare_volumes",
    "result_kinds",
    "split_by_group",
    "unreadable",
    "volumes_in",
    "write_demo",
]
