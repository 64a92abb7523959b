"""Write the lists of the polyp experiment: one training and validation, four test sets.

python -m scripts.polyp_split DATA OUT     DATA holds Kvasir-SEG, CVC-ClinicDB, PolypGen and BKAI-IGH-NeoPolyp

Training: Kvasir-SEG's official training list, ClinicDB's sequences 1 to 24, PolypGen's training part.
Validation: ClinicDB's sequences 25 and 26, PolypGen's validation part. Test: Kvasir-SEG's official validation
list, ClinicDB's sequences 27 to 29, PolypGen's test part, and all of BKAI, of a hospital that is in no other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts._run import run

if TYPE_CHECKING:  # loaded after the arguments are read, so that --help answers at once
    from monai_sam2unet.data.datalist import DataLists, Item

TRAINING, VALIDATION, TEST = range(1, 25), range(25, 27), range(27, 30)
"""Sequences of ClinicDB."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and write the lists.

    Args:
        arguments: those of the command line if None.

    Returns:
        Exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m scripts.polyp_split",
        description="Write the lists of the polyp experiment of docs/results.md: OUT/train/dataset.json to "
        "train on, and a folder with a dataset.json for each test set.",
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder that holds the four data sets")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder to write to")
    args = parser.parse_args(arguments)
    return run(lambda: _write(args.data, args.output))


def _write(data: Path, output: Path) -> None:
    """Read the four sets and write five lists."""
    from monai_sam2unet.data.datalist import load_datalists

    names = ("Kvasir-SEG", "CVC-ClinicDB", "PolypGen", "BKAI-IGH-NeoPolyp")
    kvasir, clinicdb, polypgen, bkai = (load_datalists(data / name, val_fraction=0) for name in names)
    _check_split(kvasir, polypgen)
    train = [*kvasir.train, *_sequences(clinicdb.train, TRAINING), *polypgen.train]
    validation = [*_sequences(clinicdb.train, VALIDATION), *polypgen.validation]
    _save(output / "train", train, validation, [])
    _save(output / "Kvasir-val", [], [], kvasir.validation)
    _save(output / "ClinicDB-27-29", [], [], _sequences(clinicdb.train, TEST))
    _save(output / "PolypGen-test", [], [], polypgen.test)
    _save(output / "BKAI", [], [], bkai.subset("all"))


def _check_split(kvasir: DataLists, polypgen: DataLists) -> None:
    """Raise InputError unless the two sets have their published parts."""
    from monai_sam2unet.errors import InputError

    if not kvasir.validation:
        raise InputError(
            f"{kvasir.root} has no official lists: put official_train.txt and official_val.txt (also called "
            "train.txt and val.txt), a name in each line, beside its images"
        )
    if not (polypgen.train and polypgen.validation and polypgen.test):
        raise InputError(
            f"{polypgen.root} must have the folders train, val and test, got {polypgen.summary()}"
        )


def _sequences(items: Iterable[Item], wanted: range) -> list[Item]:
    """The frames of some sequences of ClinicDB, whose groups end in the sequence's number."""
    return [item for item in items if int(item["group"].rpartition("-")[2]) in wanted]


def _save(folder: Path, train: list[Item], validation: list[Item], test: list[Item]) -> None:
    """Write one list; its paths are absolute, since the pictures stay where they are."""
    from monai_sam2unet.data.datalist import DataLists
    from monai_sam2unet.files import make_folder

    root = make_folder(folder).resolve()
    lists = DataLists("datalist", root, train, validation, test, "polyp experiment", title=folder.name)
    lists.write(root / "dataset.json")
    print(f"{folder / 'dataset.json'}: {lists.summary()}")


if __name__ == "__main__":
    sys.exit(main())
