"""The table as Markdown, CSV and JSON, and the figures of each picture as CSV."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_sam2unet.benchmark.rows import HEADINGS, Row, cells, shown
from monai_sam2unet.benchmark.scoring import Run
from monai_sam2unet.benchmark.sets import EvaluationSet, check_file_names
from monai_sam2unet.files import write_atomically, write_json

__all__ = ["write_cases", "write_tables"]

COLUMNS = (
    "set", "layout", "part", "n", "protocol", "figure", "paper", "paper_n", "comparable", "ours", "sd", "low",
    "high", "undefined", "note",
)  # fmt: skip


def write_tables(folder: str | os.PathLike[str], rows: Sequence[Row], about: Mapping[str, Any]) -> list[Path]:
    """Write ``table.md``, ``table.csv`` and ``table.json``, each atomically.

    Args:
        folder: where to.
        rows: of the table.
        about: plain JSON values: ``command``, ``version``, ``date``, ``torch``, ``conventions`` (by
            protocol), ``runs`` and ``sets`` (lists).

    Returns:
        The files.
    """
    texts = {"table.md": markdown(rows, about), "table.csv": _csv(rows)}
    files = []
    for name, text in texts.items():
        files.append(Path(folder) / name)
        _write(files[-1], text)
    files.append(Path(folder) / "table.json")
    write_json(files[-1], {**about, "figures": [_plain(row) for row in rows]})
    return files


def write_cases(
    folder: str | os.PathLike[str], sets: Sequence[EvaluationSet], runs: Sequence[Run]
) -> list[Path]:
    """Write the figures of each picture that the means are of: ``cases-SET.csv``.

    Args:
        folder: where to.
        sets: those of the table.
        runs: those of the table; each picture has one line for each.

    Returns:
        The files.
    """
    check_file_names(sets)
    files = []
    for found in sets:
        columns = [
            (f"{protocol}.{figure}", values)
            for protocol, score in runs[0].scores[found.name].items()
            for figure, values in score.cases.items()
        ]
        lines: list[list[Any]] = [["run", "case", "group", *(column for column, _ in columns)]]
        for number, run in enumerate(runs, start=1):
            scores = run.scores[found.name].values()
            numbers = [values for score in scores for values in score.cases.values()]
            for item, *case in zip(found.items, *numbers, strict=True):
                lines.append([number, item["case"], item["group"], *map(_cell, case)])
        files.append(Path(folder) / f"cases-{found.file_name}.csv")
        _write(files[-1], _lines(lines))
    return files


def markdown(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """The table and what it rests on, as a page of a supplement.

    Args:
        rows: of the table.
        about: see `write_tables`.
    """
    right = {"n", "paper", "ours", "left out"}
    lines = [
        _line(HEADINGS),
        _line(["---:" if heading in right else "---" for heading in HEADINGS]),
        *(_line(cells(row)) for row in shown(rows)),
        "",
        "The column paper quotes arXiv 2408.08870. Left out: pictures that leave the figure undefined. "
        "Intervals: 95 % bootstrap over pictures, over groups (patients, sequences) where they are known.",
    ]
    if len(about["runs"]) > 1:
        lines.append(
            f"Ours: mean ± sample standard deviation over {len(about['runs'])} runs; the interval is that of "
            "each picture's mean over the runs."
        )
    lines += ["", "Protocols:", ""]
    lines += [f"- `{name}`: {text}." for name, text in about["conventions"].items()]
    lines += ["", "Sets:", ""]
    lines += [_set_line(found) for found in about["sets"]]
    lines += ["", "Runs:", ""]
    lines += [f"- {'; '.join(_facts(run))}" for run in about["runs"]]
    lines += ["", f"monai-sam2unet {about['version']}, torch {about['torch']}, {about['date']}:", ""]
    return "\n".join([*lines, f"    {about['command']}", ""])


def _line(texts: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def _set_line(found: Mapping[str, Any]) -> str:
    """What is said of a set below the table."""
    facts = [f"{found['n']} pictures ({found['part']})", f"SHA-256 `{found['sha256']}`", *found["notes"]]
    return f"- {found['name']}: {'; '.join(facts)}"


def _facts(run: Mapping[str, Any]) -> list[str]:
    """What is said of a run below the table."""
    if "predictions" in run:
        sums = "; ".join(f"{name} SHA-256 `{digest}`" for name, digest in run["sha256"].items())
        return [f"maps `{run['predictions']}`", sums, *(["resized"] if run["resize"] else [])]
    base = [f"with `{run['base']['name']}`, SHA-256 `{run['base']['sha256']}`"] if run["base"] else []
    size = f"{run['variant']}, pictures resized to {run['input_size']} pixels, {run['device']}"
    return [f"`{run['checkpoint']}`, SHA-256 `{run['sha256']}`", *base, size]


def _csv(rows: Sequence[Row]) -> str:
    """All rows, figures with six decimals; the paper's only where comparable."""
    lines: list[Sequence[Any]] = [COLUMNS]
    for row in rows:
        found, paper = row.found, row.paper
        low, high = row.interval or (math.nan, math.nan)
        lines.append(
            (
                found.name, found.layout, found.part, len(found.items), row.protocol, row.figure,
                f"{paper.value:.3f}" if paper is not None and row.comparable else "",
                "" if paper is None else paper.pictures,
                "" if paper is None else ("yes" if row.comparable else "no"),
                _cell(row.value), "" if row.sd is None else _cell(row.sd), _cell(low), _cell(high),
                row.undefined, row.note,
            )
        )  # fmt: skip
    return _lines(lines)


def _plain(row: Row) -> dict[str, Any]:
    """A row as JSON has it; None where undefined."""
    paper = row.paper
    return {
        "set": row.found.name,
        "protocol": row.protocol,
        "figure": row.figure,
        "n": len(row.found.items),
        "undefined": row.undefined,
        "ours": _number(row.value),
        "sd": None if row.sd is None else _number(row.sd),
        "runs": [_number(value) for value in row.runs],
        "mean_over_pictures": row.interval is not None,
        "interval": None if row.interval is None else [_number(value) for value in row.interval],
        "paper": None
        if paper is None
        else {
            "name": paper.name,
            "set": paper.title,
            "n": paper.pictures,
            "value": paper.value,
            "comparable": row.comparable,
            "sure": paper.sure,
        },
        "note": row.note,
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def _cell(value: float) -> str:
    """A figure in a CSV file; empty where undefined."""
    return "" if math.isnan(value) else f"{value:.6f}"


def _lines(lines: Sequence[Sequence[Any]]) -> str:
    """Text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    """Write text."""
    write_atomically(path, lambda file: file.write(text.encode()))
