"""Measure how much faster than the published code each part is, and that it gives the same.

python -m scripts.benchmark                      everything: a quarter of an hour on two cores
python -m scripts.benchmark --parts forward loss some of it
python -m scripts.benchmark --guard              what must not become slow again: two minutes, status 1
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts._run import run

if TYPE_CHECKING:  # loaded after the arguments are read, so that --help answers at once
    from scripts.speed.timing import Comparison, Figure, Measurement

PARTS = {
    "network": "forward passes, training steps, agreement in float64, profile of a step",
    "loss": "the structure loss",
    "metrics": "figures of the benchmarks from maps",
    "data": "pictures from files to batches",
    "loading": "weights from a file to a network",
    "evaluation": "pictures to figures, without the network",
    "runtimes": "OpenVINO and ONNX Runtime",
    "growth": "cost by size, batch, threads, number of pictures",
    "accelerator": "a GPU, where there is one",
}
ROUNDS = 7


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and measure.

    Args:
        arguments: those of the command line if None.

    Returns:
        Exit status: 1 as well where results differ or a guard fails.
    """
    args = _parser().parse_args(arguments)
    failed: list[str] = []
    status = run(lambda: failed.extend(_measure(args)))
    for line in failed:
        print(f"Error: {line}", file=sys.stderr)
    return status or bool(failed)


def _parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.benchmark",
        description="Time the published way of each part, written plainly, and ours in turns, and compare "
        "what they give. Ratios depend on the machine and on what else it does: leave it alone meanwhile.",
        epilog="docs/performance.md explains the table. Parts: "
        + "; ".join(f"{name}: {what}" for name, what in PARTS.items()),
    )
    add = made.add_argument
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help="default: all")
    add("--rounds", type=_rounds, default=ROUNDS, help=f"of each comparison, at least 3; default {ROUNDS}")
    add("--threads", type=_threads, default=None, help="of PyTorch; default: all processors, with --guard 1")
    add("--guard", action="store_true", help="only what has a least ratio, by processor time")
    add("--json", type=Path, metavar="FILE", help="also write everything, every round, for programs")
    add("--markdown", action="store_true", help="print the table in Markdown")
    return made


def _rounds(text: str) -> int:
    """A number of rounds that has a median and a range."""
    if not text.isdecimal() or int(text) < 3:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 3, got {text!r}")
    return int(text)


def _threads(text: str) -> int:
    """A number of threads."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _measure(args: argparse.Namespace) -> list[str]:
    """Measure what was asked for, printing as it comes.

    Args:
        args: the arguments.

    Returns:
        What is wrong, a line for each.
    """
    import torch
    from rich.console import Console

    from monai_sam2unet.files import write_json
    from scripts.speed import report
    from scripts.speed.timing import Measurement

    torch.set_num_threads(args.threads or (1 if args.guard else os.cpu_count() or 1))
    about = report.conditions(args.rounds, "processor" if args.guard else "wall")
    console, found = Console(stderr=True), []
    for one in _found(args):
        found.append(one)
        line = " | ".join(text for text in report.row(one) if text)
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    _print(report.markdown(found) if args.markdown else None, found, about)
    if args.json:
        write_json(args.json, report.as_json(found, about))
    return [_wrong(one) for one in found if isinstance(one, Measurement) and one.failed]


def _found(args: argparse.Namespace) -> Iterator[Measurement | Figure]:
    """One measurement after the other; what it needed is given back before the next."""
    from scripts.speed.timing import Figure, measure

    clock = time.process_time if args.guard else time.perf_counter
    for part in args.parts:
        module = importlib.import_module(f"scripts.speed.{part}")
        each: Iterator[Comparison | Figure] = module.comparisons(args.guard)
        for one in each:
            if isinstance(one, Figure):
                yield one
            elif not args.guard or one.guard is not None:
                yield measure(one, args.rounds, clock)


def _print(
    lines: Sequence[str] | None, found: Sequence[Measurement | Figure], about: dict[str, object]
) -> None:
    """Print the table and its conditions."""
    from rich.console import Console
    from rich.table import Table

    from scripts.speed import report

    if lines is not None:
        print("\n".join(lines))
    else:
        table = Table()
        for number, name in enumerate(report.COLUMNS):
            table.add_column(name, no_wrap=number != 1)
        for one in found:
            table.add_row(*report.row(one))
        Console().print(table)
    print(", ".join(f"{name} {value}" for name, value in about.items()))


def _wrong(found: Measurement) -> str:
    """Why a comparison failed."""
    of = found.of
    if not found.agrees:
        return f"{of.part}, {of.name}: results differ by {of.difference:.2g}, expected at most {of.allowed:g}"
    return f"{of.part}, {of.name}: {found.ratio:.2f} times as fast as the plain form, expected {of.guard:g}"


if __name__ == "__main__":
    sys.exit(main())
