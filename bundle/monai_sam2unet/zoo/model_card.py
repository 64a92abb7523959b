"""Rules on ``docs/README.md``, in the order of the zoo's template, and ``docs/data_license.txt``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from monai_sam2unet.zoo.findings import Finding

__all__ = ["SECTIONS", "check_model_card"]

CARD = "docs/README.md"
TERMS = "docs/data_license.txt"

SECTIONS = (
    "Model Overview",
    "Data",
    "Training configuration",
    "Input",
    "Output",
    "Performance",
    "MONAI Bundle Commands",
    "References",
    "License",
)
"""Headings of any level, in this order; others may stand between them."""


def check_model_card(folder: Path) -> Iterator[Finding]:
    """Sections, links, and whether the terms of each data set of the card are stated."""
    if not (folder / CARD).is_file():
        return
    text = (folder / CARD).read_text(encoding="utf-8")
    yield from _check_sections(text)
    for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
        target = (folder / "docs" / link).resolve()
        outside = not target.is_relative_to(folder.resolve())
        if "://" not in link and (outside or not target.exists()):
            yield Finding(CARD, f"it refers to {link}", "a file of the entry", "correct or delete the link")
    if (folder / TERMS).is_file():
        terms = " ".join((folder / TERMS).read_text(encoding="utf-8").split())
        for name in _data_sets(text):
            if name not in terms:
                wanted = f"the terms of {name}, which {CARD} lists"
                yield Finding(TERMS, f"nothing on {name}", wanted, "add what the set states")


def _check_sections(text: str) -> Iterator[Finding]:
    """Headings that are missing or out of order."""
    headings = [found.strip() for found in re.findall(r"^#{1,6} +(.+)$", text, re.MULTILINE)]
    for section in SECTIONS:
        if section not in headings:
            yield Finding(CARD, f"no section {section}", f"the sections {', '.join(SECTIONS)}", "add it")
    there = [section for section in SECTIONS if section in headings]
    order = sorted(there, key=headings.index)
    if order != there:
        yield Finding(CARD, f"sections in the order {', '.join(order)}", ", ".join(there), "move them")


def _data_sets(text: str) -> list[str]:
    """Names in the first column of the tables of section Data."""
    section = re.search(r"^#+ +Data\s*\n(.*?)(?=^#+ )", text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\|([^|]+)\|", section[1], re.MULTILINE) if section else []
    cells = [re.sub(r"\(.*?\)", "", row).strip() for row in rows if not re.fullmatch(r"[\s:-]+", row)]
    return [name.strip() for cell in cells[1:] for name in cell.split(",")]  # without the table's heading
