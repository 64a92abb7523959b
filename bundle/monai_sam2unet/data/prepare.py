"""What configs call: lists of cases for a run, found, checked, said aloud and written down."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping

from monai_sam2unet.data.check import check_pairs
from monai_sam2unet.data.datalist import DataLists, load_datalists
from monai_sam2unet.data.datasets import is_layout
from monai_sam2unet.data.demo import ensure_demo
from monai_sam2unet.data.joining import Folders, load_joined
from monai_sam2unet.data.layouts import FOLDERS
from monai_sam2unet.data.listing import Listing
from monai_sam2unet.data.naming import counted
from monai_sam2unet.distributed import from_first
from monai_sam2unet.errors import InputError
from monai_sam2unet.files import make_folder
from monai_sam2unet.io import GivenWindow
from monai_sam2unet.labels import LabelReader

__all__ = ["prepare_datalists"]

logger = logging.getLogger(__name__)


def prepare_datalists(
    dataset_dir: Folders | None,
    *,
    demo_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    dataset: str = "auto",
    datalist: str | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    check: bool = True,
    to_learn_from: bool = True,
    labels: LabelReader | None = None,
    window: GivenWindow | None = None,
) -> DataLists:
    """Lists of cases for a run; the split is written to ``datalist.json`` beside the run.

    Of several processes the first one reads and writes, and the others get its lists.

    Args:
        dataset_dir: folder of the data set, or a list of several that are taken as one; empty for the
            demonstration.
        demo_dir: where the synthetic polyps of the demonstration are drawn.
        output_dir: folder of the run.
        dataset: name of the layout, or ``auto``.
        datalist: JSON list in MONAI's form; empty for none.
        val_fraction: share kept for validation, in [0, 1), where the set brings no split.
        seed: seed of the split.
        check: whether every file is read once before work begins.
        to_learn_from: whether a set of test pictures only is an error, and empty masks alone in the training
            or the validation part (where files are checked).
        labels: what reads masks; None for those of one structure.
        window: grey levels of pictures, see `monai_sam2unet.io.open_image`; "" for what files say.

    Returns:
        The lists.

    Raises:
        InputError: if folder, files or split cannot be used; the message names them.
    """

    def prepare() -> DataLists:
        lists = _load(dataset_dir, demo_dir, dataset, datalist, val_fraction, seed)
        logger.info("%s", lists.summary())
        if to_learn_from and not lists.train:
            raise InputError(_nothing_to_learn(lists, listed=bool(datalist)))
        if check:
            items = [*lists.train, *lists.validation, *lists.test]
            found = check_pairs(items, labels=labels, window=window or None)
            if to_learn_from:
                _require_foreground(lists, set(found.empty))
                _warn_of_absent(lists, found.cases)
        lists.write(make_folder(output_dir) / "datalist.json")
        return lists

    return from_first(prepare)


def _load(
    dataset_dir: Folders | None,
    demo_dir: str | os.PathLike[str],
    dataset: str,
    datalist: str | None,
    val_fraction: float,
    seed: int,
) -> DataLists:
    """Lists of the data set, or of the demonstration where no folder is given."""
    if not dataset_dir:
        if datalist or dataset != "auto":
            given = f"datalist={datalist}" if datalist else f"dataset={dataset}"
            raise InputError(f"{given} needs dataset_dir, the folder that the pictures are in")
        logger.info(
            "No --dataset_dir: this is the demonstration, by default the nano network on synthetic polyps "
            "of 128x128 pixels. Give --dataset_dir DIR for your own data."
        )
        return load_datalists(ensure_demo(demo_dir))
    return load_joined(
        dataset_dir, dataset=dataset, datalist=datalist or None, val_fraction=val_fraction, seed=seed
    )


def _nothing_to_learn(lists: DataLists, listed: bool) -> str:
    """What to do with a set that has test pictures only, for a message."""
    if not listed and is_layout(FOLDERS, Listing(lists.root)):
        way = "give --dataset folders"
    else:
        way = 'list them under "training" in a JSON file and give it as --datalist'
    return (
        f"{lists.title or lists.dataset} in {lists.root} has test pictures only: nothing to train on. An "
        f"evaluation takes it as it is; to train on these pictures all the same, {way}"
    )


def _require_foreground(lists: DataLists, empty: set[str]) -> None:
    """Raise InputError if a part has no mask to learn from, or none to choose the best epoch by."""
    for name, items in (("training", lists.train), ("validation", lists.validation)):
        if items and all(item["case"] in empty for item in items):
            raise InputError(
                f"{lists.root}: all {counted(len(items), 'mask')} of the {name} part are empty; check that "
                "they are the right files and not class numbers, or choose another --seed or --val_fraction"
            )


def _warn_of_absent(lists: DataLists, cases: Mapping[str, Collection[str]]) -> None:
    """Log a warning of each class that a part has in no picture."""
    for name, items in (("training", lists.train), ("validation", lists.validation)):
        absent = [label for label, own in cases.items() if not {item["case"] for item in items} & {*own}]
        if items and absent:
            logger.warning(
                "no picture of the %s part has the class %s: %s; check classes, label_values and the split",
                name,
                ", ".join(absent),
                "it cannot be learnt" if name == "training" else "no figure says how well it is found",
            )
