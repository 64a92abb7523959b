"""Measurements as rows: of a table to look at, of one in Markdown, and of a file for programs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from typing import Any

import torch

from scripts.speed.timing import Figure, Measurement

__all__ = ["COLUMNS", "as_json", "conditions", "markdown", "row"]

COLUMNS = ("part", "what", "plain", "ours", "ratio (range)", "goal", "difference")
PACKAGES = ("torch", "monai", "numpy", "pillow", "scipy", "pysodmetrics", "onnxruntime", "openvino")

Found = Measurement | Figure


def row(found: Found) -> tuple[str, ...]:
    """What a line of the table says.

    Args:
        found: what was measured.

    Returns:
        A text for each of `COLUMNS`; a figure stands where times of ours do.
    """
    if isinstance(found, Figure):
        return found.part, found.name, "", found.value, "", "", ""
    compared = found.of
    goal = "" if compared.goal is None else f"{compared.goal:g}"
    return (
        compared.part,
        compared.name,
        _time(found.plain_median),
        _time(found.ours_median),
        f"{_ratio(found.ratio)} ({_ratio(min(found.ratios))}-{_ratio(max(found.ratios))})",
        goal,
        f"{compared.difference:.0e}",
    )


def markdown(found: Sequence[Found]) -> list[str]:
    """The table in Markdown, line by line."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return lines + ["| " + " | ".join(row(one)) + " |" for one in found]


def as_json(found: Sequence[Found], about: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, for programs.

    Args:
        found: what was measured.
        about: under which conditions.

    Returns:
        ``about``, ``comparisons`` with the seconds of every round, and ``figures``.
    """
    compared = [one for one in found if isinstance(one, Measurement)]
    figures = [one for one in found if isinstance(one, Figure)]
    return {
        "about": about,
        "comparisons": [
            {
                "part": one.of.part,
                "name": one.of.name,
                "plain_seconds": one.plain,
                "ours_seconds": one.ours,
                "ratio": one.ratio,
                "rate_of_ours": one.rate,
                "unit": f"{one.of.unit}/s",
                "difference": one.of.difference,
                "goal": one.of.goal,
                "guard": one.of.guard,
            }
            for one in compared
        ],
        "figures": [{"part": one.part, "name": one.name, "value": one.value} for one in figures],
    }


def conditions(rounds: int, clock: str) -> dict[str, Any]:
    """What a figure depends on: machine, threads, versions.

    Args:
        rounds: of each comparison.
        clock: what was read: ``wall`` or ``processor`` time.
    """
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "load_at_start": load,
        "rounds": rounds,
        "clock": clock,
        "python": platform.python_version(),
        "versions": found,
    }


def _ratio(value: float) -> str:
    """Three digits."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _time(seconds: float) -> str:
    """Three digits, in the unit that suits."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1000 * seconds:.3g} ms"
