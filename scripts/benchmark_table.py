"""Evaluate a network, or ready-made maps, on any number of sets: a table beside the paper's figures.

python -m scripts.benchmark_table --checkpoint FILE --data DIR...          a network; several FILEs are seeds
python -m scripts.benchmark_table --predictions MAPS --data DIR...         8-bit maps, without any network
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts._run import run

if TYPE_CHECKING:  # loaded after the arguments are read, so that --help answers at once
    from monai_sam2unet.benchmark import EvaluationSet, Row, Run

ROOT = Path(__file__).resolve().parent.parent
PROTOCOLS = ("auto", "paper", "hetnet", "masnet", "fixed")
SUBSETS = ("auto", "train", "validation", "test", "all")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and evaluate.

    Args:
        arguments: those of the command line if None.

    Returns:
        Exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    args = _parser().parse_args(given)
    return run(lambda: _evaluate(args, shlex.join(["python", "-m", "scripts.benchmark_table", *given])))


def _parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.benchmark_table",
        description="Evaluate a network, or ready-made maps, on any number of sets, and write one table with "
        "the paper's figures beside ours.",
        epilog="docs/benchmark.md says what the figures mean and which may be compared.",
    )
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--checkpoint", nargs="+", type=Path, metavar="FILE",
        help="trained model; of several (seeds) mean and standard deviation are given",
    )  # fmt: skip
    source.add_argument(
        "--predictions", type=Path, metavar="DIR",
        help="8-bit maps called like the pictures; for several sets a subfolder each",
    )  # fmt: skip
    add = made.add_argument
    add("--data", nargs="+", type=Path, required=True, metavar="DIR", help="data folder of any known layout")
    add(
        "--subset", choices=SUBSETS, default="auto",
        help="part of each set; auto (default): the test pictures, or those for validation if there are none",
    )  # fmt: skip
    add(
        "--protocol", nargs="+", choices=PROTOCOLS, default=["auto"],
        help="how to score; auto (default): as is usual for the set",
    )  # fmt: skip
    add("--output", type=Path, metavar="DIR", help="where the table goes; default: runs/benchmark-DATE")
    add("--cases", action="store_true", help="also write the figures of each picture")
    add(
        "--save_maps", action="store_true",
        help="also write the 8-bit maps of --checkpoint, as --predictions takes them",
    )  # fmt: skip
    add("--threshold", type=_share, help="of protocol fixed; default: the model's, 0.5 for maps")
    add("--resize", action="store_true", help="resize maps of another size than their masks, bilinearly")
    add("--input_size", type=_at_least_one, help="side of the network's input, pixels; default: the model's")
    add("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    add(
        "--pretrained_dir", type=Path, default=ROOT / "models" / "pretrained", metavar="DIR",
        help="where base files of small checkpoints lie (default: models/pretrained)",
    )  # fmt: skip
    add("--batch_size", type=_at_least_one, default=1, help="pictures at once; default: 1")
    workers = min(4, os.cpu_count() or 1)
    add(
        "--num_workers",
        type=_not_negative,
        default=workers,
        help=f"threads that read, and as many that score; default: {workers}",
    )
    return made


def _at_least_one(text: str) -> int:
    """A number of the command line."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _not_negative(text: str) -> int:
    """A number of the command line."""
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {number}")
    return number


def _share(text: str) -> float:
    """A number of the command line, in [0, 1]."""
    if not 0 <= (number := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"must lie in [0, 1], got {text}")
    return number


def _evaluate(args: argparse.Namespace, command: str) -> None:
    """Evaluate, print and write."""
    from monai_sam2unet.benchmark import protocols_for, rows_of, write_cases, write_tables
    from monai_sam2unet.files import make_folder

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    sets = _sets(args)
    protocols = {found.name: protocols_for(found, args.protocol) for found in sets}
    output = args.output or ROOT / "runs" / time.strftime("benchmark-%Y%m%d-%H%M%S")
    make_folder(output)  # a place that cannot be written is to be told before the work
    runs = _runs(args, sets, protocols, output)
    rows = rows_of(sets, runs)
    about = _about(command, sets, runs)
    _show(rows, about)
    files = write_tables(output, rows, about)
    if args.cases:
        files += write_cases(output, sets, runs)
    print("written:", *files)


def _sets(args: argparse.Namespace) -> list[EvaluationSet]:
    """The sets; where a folder has no split, with the one that the models were trained with."""
    from monai_sam2unet.benchmark import load_sets
    from monai_sam2unet.errors import InputError
    from monai_sam2unet.handlers import model_settings

    settings = [model_settings(path, val_fraction=0.1, seed=0) for path in args.checkpoint or ()]
    splits = {(float(each["val_fraction"]), int(each["seed"])) for each in settings} or {(0.1, 0)}
    val_fraction, seed = min(splits)
    sets = load_sets(args.data, args.subset, val_fraction=val_fraction, seed=seed)
    drawn = [found.name for found in sets if found.drawn]
    if drawn and len(splits) > 1:
        raise InputError(
            f"{drawn[0]} has no split of its own, and the models drew different ones (val_fraction and seed "
            f"{', '.join(map(str, sorted(splits)))}): what one was validated on, another learnt from; give "
            "test pictures, or --subset all if none of the models has seen the folder"
        )
    return sets


def _runs(
    args: argparse.Namespace,
    sets: list[EvaluationSet],
    protocols: dict[str, tuple[str, ...]],
    output: Path,
) -> list[Run]:
    """The maps, or each checkpoint, on all sets."""
    from monai_sam2unet.benchmark import evaluate_maps, evaluate_network
    from monai_sam2unet.errors import InputError

    shared = {"threshold": args.threshold, "num_workers": args.num_workers}
    if args.predictions and args.save_maps:
        raise InputError("--save_maps is for --checkpoint; the maps of --predictions are there already")
    if args.predictions:
        return [evaluate_maps(args.predictions, sets, protocols, resize=args.resize, **shared)]
    if args.resize:
        raise InputError("--resize is for --predictions; a network's prediction always gets its mask's size")
    runs: list[Run] = []
    for number, path in enumerate(args.checkpoint, start=1):
        maps = output / ("maps" if len(args.checkpoint) == 1 else f"maps-{number}")
        made = evaluate_network(
            path, sets, protocols, bundle_root=ROOT, device=args.device, pretrained_dir=args.pretrained_dir,
            input_size=args.input_size, batch_size=args.batch_size,
            maps_dir=maps if args.save_maps else None, **shared,
        )  # fmt: skip
        for other in runs:
            if made.about["sha256"] == other.about["sha256"]:
                raise InputError(f"{path}: the same model is given twice; each seed counts once")
            if made.about["threshold"] != other.about["threshold"]:
                both = f"{made.about['threshold']} and {other.about['threshold']}"
                raise InputError(f"the models have thresholds {both}; give one for all, --threshold NUMBER")
        runs.append(made)
    return runs


def _about(command: str, sets: list[EvaluationSet], runs: list[Run]) -> dict[str, Any]:
    """What the table rests on."""
    import torch

    from monai_sam2unet import __version__
    from monai_sam2unet.benchmark.rows import CONVENTIONS

    used = {protocol for scores in runs[0].scores.values() for protocol in scores}
    threshold = f"{runs[0].about['threshold']:g}"
    return {
        "command": command,
        "version": __version__,
        "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "conventions": {
            name: text.replace("{threshold}", threshold) for name, text in CONVENTIONS.items() if name in used
        },
        "runs": [made.about for made in runs],
        "sets": [
            {
                "name": found.name,
                "layout": found.layout,
                "part": found.part,
                "n": len(found.items),
                "groups": len(set(found.groups)),
                "sha256": found.sha256(),
                "notes": list(dict.fromkeys(note for made in runs for note in _notes(made, found))),
            }
            for found in sets
        ],
    }


def _notes(made: Run, found: EvaluationSet) -> list[str]:
    """What a run noted of a set."""
    scores = made.scores[found.name]
    told = [f"{name}: {note}" for name, score in scores.items() for note in score.notes]
    return made.notes[found.name] + told


def _show(rows: list[Row], about: dict[str, Any]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from monai_sam2unet.benchmark.rows import HEADINGS, cells, shown

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    last = None
    for row in shown(rows):
        if last not in (None, row.found.name):
            table.add_section()
        table.add_row(*map(escape, cells(row)))
        last = row.found.name
    console = Console(highlight=False)
    console.print(table)
    for name, text in about["conventions"].items():
        console.print(f"{name}: {text}", markup=False)
    for found in about["sets"]:
        for note in found["notes"]:
            console.print(f"{found['name']}: {note}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
