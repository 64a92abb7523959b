"""Find pictures and patients that stand on both sides of a split, or in two data sets.

python -m scripts.check_leakage DIR...                          compares all splits of all folders
python -m scripts.check_leakage --datalist FILE DIR DIR2...     with the split that a run used
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts._run import run

if TYPE_CHECKING:  # loaded after the arguments are read, so that --help answers at once
    from monai_sam2unet.data.datalist import DataLists
    from monai_sam2unet.data.leakage import Leakage, Match

WORST = 10
"""Pairs that are named on the screen; all are in leakage.csv."""

PAIRS = 24


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and check.

    Args:
        arguments: those of the command line if None.

    Returns:
        Exit status: 0 if nothing stands on two sides and every file was read, else 1.
    """
    args = _parser().parse_args(arguments)
    sound: list[bool] = []
    return run(lambda: sound.append(_check(args))) or int(not all(sound))


def _parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.check_leakage",
        description="Find pictures that stand, equal or nearly so, in two splits or data sets, and patients "
        "or sequences with pictures on both sides of a split.",
        epilog="Exit status: 0 if nothing stands on two sides, 1 if something does, a file cannot be read or "
        "a folder is wrong, 2 if the arguments are.",
    )
    add = parser.add_argument
    add("folders", nargs="*", type=Path, metavar="DIR", help="data folder of any known layout")
    add(
        "--datalist", nargs=2, type=Path, action="append", default=[], metavar=("FILE", "DIR"),
        help="a run's datalist.json and the folder that its paths are relative to; may be repeated",
    )  # fmt: skip
    add("--within", action="store_true", help="also list pictures that are in one split twice")
    add("--output", type=Path, metavar="DIR", help="write leakage.csv and leakage.png there")
    add("--pairs", type=_at_least_one, default=PAIRS, help=f"pairs in leakage.png; default: {PAIRS}")
    add(
        "--val_fraction",
        type=float,
        default=0.1,
        help="share drawn where a folder has no split; default: 0.1",
    )
    add("--seed", type=int, default=0, help="of that draw; default: 0")
    add("--workers", type=_at_least_one, help="threads; default: one for each processor, at most 8")
    return parser


def _at_least_one(text: str) -> int:
    """A number of the command line."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _check(args: argparse.Namespace) -> bool:
    """Compare, tell and write; whether all is well."""
    from monai_sam2unet.data.leakage import find_leakage
    from monai_sam2unet.data.leakage_report import write_report
    from monai_sam2unet.files import make_folder

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    lists = _load(args)
    if args.output:
        make_folder(args.output)  # a place that cannot be written is to be told before the work
    found = find_leakage(lists, within=args.within, workers=args.workers, progress=True)
    _show(found)
    if args.output:
        print("written:", *write_report(found, args.output, args.pairs))
    return not found.crosses and not found.unreadable


def _load(args: argparse.Namespace) -> dict[str, DataLists]:
    """The cases of every folder and list, under names that tell them apart."""
    from monai_sam2unet.data.datalist import load_datalists
    from monai_sam2unet.errors import InputError

    given: list[tuple[Path, Path | None]] = [(folder, None) for folder in args.folders]
    given += [(folder, file) for file, folder in args.datalist]
    if not given:
        raise InputError("nothing to compare: give a data folder, or --datalist FILE DIR")
    # normalised, since a name is wanted also for "." and "sets/.."
    names = [Path(os.path.abspath(folder)).name for folder, _ in given]
    lists: dict[str, DataLists] = {}
    for (folder, file), name in zip(given, names, strict=True):
        unique = name if names.count(name) == 1 else str(folder) if file is None else f"{folder} by {file}"
        if unique in lists:
            raise InputError(f"{unique} is given twice; give each folder once")
        lists[unique] = load_datalists(
            folder,
            datalist=None if file is None else file.absolute(),
            val_fraction=args.val_fraction,
            seed=args.seed,
        )
    return lists


def _show(found: Leakage) -> None:
    """Print what was found."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from monai_sam2unet.data.naming import NAMED_AT_MOST, counted, first_names

    console = Console(highlight=False, soft_wrap=True)
    splits = ", ".join(f"{portion} {number}" for portion, number in found.portions.items())
    console.print(escape(f"Compared in {found.seconds:.0f} s: {splits}"))
    counts = found.counts()
    if counts:
        table = Table("", "and", *(f"{kind}" for kind in ("exact", "near", "groups")))
        for (first, second), number in counts.items():
            cells = (str(number[kind]) for kind in ("exact", "near", "group"))
            table.add_row(escape(str(first)), escape(str(second)), *cells)
        console.print(table)
    if not found.crosses:
        console.print("Nothing stands on two sides.")
    for match in found.matches[:WORST]:
        console.print(escape(_line(match)))
    if len(found.matches) > WORST:
        console.print(f"... and {len(found.matches) - WORST} more pairs; --output DIR lists all")
    for group in found.groups[:WORST]:
        console.print(escape(f"group  {group.name}: {group.first} and {group.second}"))
    if len(found.groups) > WORST:
        console.print(f"... and {len(found.groups) - WORST} more groups; --output DIR lists all")
    if found.flat:
        told = f"{counted(len(found.flat), 'uniform picture')} compared by equal pixels alone: "
        console.print(escape(told + first_names(found.flat, NAMED_AT_MOST)))
    if found.unreadable:
        console.print(f"[bold]{counted(len(found.unreadable), 'file')} cannot be read:[/bold]")
        for reason in found.unreadable.values():
            console.print(escape(f"  {reason}"))


def _line(match: Match) -> str:
    """A pair in a line."""
    how = f" ({match.orientation})" if match.orientation else ""
    sides = " = ".join(f"{picture.portion}: {picture.path}" for picture in (match.first, match.second))
    return f"{match.kind:<6} {match.correlation:.3f} {sides}{how}"


if __name__ == "__main__":
    sys.exit(main())
