"""Compare two evaluations of the same cases: difference of each figure, its 95 % interval and p value.

python -m scripts.compare_runs RUN_A RUN_B                       prints a table
python -m scripts.compare_runs RUN_A RUN_B --output diff.csv     writes it as well (.csv or .json)
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts._run import run

Rows = dict[str, dict[str, Any]]
COUNTS = ("height", "width", "reference_pixels", "predicted_pixels")
"""Columns that every version of metrics.csv of pictures has."""

VOLUME_COUNTS = ("reference_ml", "predicted_ml")
"""Columns that metrics.csv of volumes has, and by which it is told."""

REFERENCE = ("height", "width", "reference_pixels", "lesions", "reference_ml")
"""Columns that say nothing of the model: they must be equal."""

SAME = ("tolerance", "spacing", "min_lesion_area")
"""Settings that say what a figure means: with different ones there is nothing to compare."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and compare.

    Args:
        arguments: those of the command line if None.

    Returns:
        Exit status.
    """
    args = _parser().parse_args(arguments)
    return run(lambda: _compare(args))


def _compare(args: argparse.Namespace) -> None:
    """Pair the cases, print the differences, and write them if a file is named."""
    from monai_sam2unet.errors import InputError

    if args.output is not None and args.output.suffix not in (".csv", ".json"):
        raise InputError(f"--output must end in .csv or .json, got {args.output}")
    first, second = _read(args.first), _read(args.second)
    _check_same(args, first, second)
    differences = _differences(first, second)
    groups = {row["group"] for row in first.values()}
    classes = len({row.get("class") for row in first.values()})
    _show(args, differences, len(first) // classes, len(groups))
    if args.output is not None:
        _write(args.output, differences)


def _parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.compare_runs",
        description="Compare two evaluations of the same cases by a paired bootstrap.",
    )
    made.add_argument("first", metavar="RUN_A", type=Path, help="folder of an evaluation (with metrics.csv)")
    made.add_argument("second", metavar="RUN_B", type=Path, help="folder of another one, on the same cases")
    made.add_argument("--output", metavar="FILE", type=Path, help="file to write: .csv or .json")
    return made


def _read(folder: Path) -> Rows:
    """Rows of metrics.csv by case, numbers as such, NaN where a cell is empty."""
    from monai_sam2unet.errors import InputError
    from monai_sam2unet.metrics import CASE_COLUMNS, VOLUME_COLUMNS

    path = folder / "metrics.csv"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as e:
        reason = getattr(e, "strerror", None) or "no text"
        raise InputError(f"{path}: cannot be read ({reason}); give the folder of an evaluation") from e
    rows: Rows = {}
    columns: Sequence[str] = CASE_COLUMNS
    counts: Sequence[str] = COUNTS
    if table and VOLUME_COUNTS[0] in table[0]:
        columns, counts = VOLUME_COLUMNS, VOLUME_COUNTS
    for number, cells in enumerate(table, start=2):
        try:
            row: dict[str, Any] = {name: float(cells[name] or "nan") for name in columns if name in cells}
            row["group"], case = cells["group"], cells["case"]
            if "class" in cells:
                row["class"], case = cells["class"], f"{case}, {cells['class']}"
            if "ignored_pixels" in cells:
                row["ignored_pixels"] = float(cells["ignored_pixels"])
            if not all(row[name] >= 0 for name in counts):
                raise ValueError(f"one of {', '.join(counts)} is no number")
        except (KeyError, TypeError, ValueError) as e:
            raise InputError(f"{path}, line {number}: not as an evaluation writes it ({e})") from e
        if case in rows:
            raise InputError(f"{path}, line {number}: case {case} is there twice")
        rows[case] = row
    if not rows:
        raise InputError(f"{path}: holds no cases")
    return rows


def _check_same(args: argparse.Namespace, first: Rows, second: Rows) -> None:
    """See that both runs scored the same cases against the same references in the same way."""
    from monai_sam2unet.errors import InputError, listed

    problems = []
    for here, there, path in ((first, second, args.first), (second, first, args.second)):
        alone = sorted(here.keys() - there.keys())
        if alone:
            problems.append(f"only in {path}: {listed(alone)}")
    if problems:
        raise InputError(
            "the runs have different cases; evaluate both on the same subset\n       "
            + "\n       ".join(problems)
        )
    for name in ("group", *REFERENCE):
        differ = sorted(case for case in first if first[case].get(name) != second[case].get(name))
        in_both = all(name in row for rows in (first, second) for row in rows.values())
        if differ and in_both:
            raise InputError(f"{name} differs for {listed(differ)}; evaluate both runs on the same data")
    one, other = _settings(args.first), _settings(args.second)
    for name in SAME:
        if one.get(name) != other.get(name) and {name} <= one.keys() & other.keys():
            raise InputError(
                f"the runs have another {name} ({one[name]} and {other[name]}); evaluate both with the same"
            )


def _settings(folder: Path) -> dict[str, Any]:
    """What summary.json says of a run; nothing if it is not there."""
    from monai_sam2unet.errors import InputError

    path = folder / "summary.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: cannot be read as JSON ({e}); evaluate again") from e


def _differences(first: Rows, second: Rows) -> dict[str, dict[str, Any]]:
    """Difference of each figure that both runs have, of several classes by class."""
    classes = list(dict.fromkeys(row.get("class", "") for row in first.values()))
    found: dict[str, dict[str, Any]] = {}
    for label in classes:
        cases = [case for case in sorted(first) if first[case].get("class", "") == label]
        of_class = _differences_of(cases, first, second)
        found |= {f"{name} ({label})" if label else name: row for name, row in of_class.items()}
    return found


def _differences_of(cases: list[str], first: Rows, second: Rows) -> dict[str, dict[str, Any]]:
    """Difference of each figure that both runs have of these cases; undefined ones are left out."""
    import numpy as np

    from monai_sam2unet.metrics import paired_bootstrap, set_figures, volume_set_figures

    figures = volume_set_figures if VOLUME_COUNTS[0] in first[cases[0]] else set_figures
    groups = [first[case]["group"] for case in cases]
    one, other = (figures([rows[case] for case in cases]) for rows in (first, second))
    found: dict[str, dict[str, Any]] = {}
    for name, figure in one.items():
        if name not in other:
            continue
        a, b = np.array(figure.values), np.array(other[name].values)
        result = paired_bootstrap(figure.values, other[name].values, groups, weights=figure.weights)
        if result["cases"]:
            found[name] = {**result, "in_one_run_only": int((np.isnan(a) != np.isnan(b)).sum())}
    return found


def _show(args: argparse.Namespace, found: dict[str, dict[str, Any]], cases: int, groups: int) -> None:
    """Print the differences as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))  # fits into 80 columns
    for heading in ("figure", "A", "B", "B - A", "95 % interval", "p", "cases"):
        table.add_column(heading, justify="left" if heading == "figure" else "right", overflow="fold")
    notes = []
    for name, row in found.items():
        digits = 2 if name.startswith("hd95") else 4
        means = (f"{row[key]:.{digits}f}" for key in ("first", "second"))
        difference, low, high = (f"{row[key]:+.{digits}f}" for key in ("difference", "low", "high"))
        table.add_row(name, *means, difference, f"{low} to {high}", f"{row['p']:.3f}", str(row["cases"]))
        if row["in_one_run_only"]:
            notes.append(f"{name}: left out are {row['in_one_run_only']} cases that one run alone has it for")
    console = Console()
    console.print(f"A: {args.first}\nB: {args.second}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"{cases} cases in {groups} groups, paired bootstrap over groups", highlight=False)
    console.print(table, highlight=False)
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _write(path: Path, found: dict[str, dict[str, Any]]) -> None:
    """Write the differences as CSV, one figure a line, or as JSON."""
    from monai_sam2unet.files import write_atomically, write_json

    if path.suffix == ".json":
        write_json(path, found)
        return
    text = io.StringIO()
    columns = ["figure", *next(iter(found.values()))]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"figure": name, **row} for name, row in found.items())
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


if __name__ == "__main__":
    sys.exit(main())
