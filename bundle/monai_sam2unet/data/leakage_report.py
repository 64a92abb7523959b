"""Files that show what a check for leakage found: a table, and the pictures side by side."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from monai_sam2unet.data.leakage import Leakage, Match, Portion
from monai_sam2unet.files import make_folder, write_atomically
from monai_sam2unet.io import open_image
from monai_sam2unet.pictures import write_png

__all__ = ["COLUMNS", "write_report"]

COLUMNS = (
    "kind", "first_set", "first_split", "first_file", "second_set", "second_split", "second_file",
    "orientation", "distance", "correlation", "group",
)  # fmt: skip

TILE = (240, 180)  # width and height of a picture on the sheet, pixels
CAPTION = 44  # height of the text below it, pixels
SHEET_COLUMNS = 3  # pairs side by side


def write_report(found: Leakage, folder: str | os.PathLike[str], pairs: int = 24) -> list[Path]:
    """Write ``leakage.csv``, a line for each match and shared group, and ``leakage.png``, the first matches.

    Args:
        found: what to write.
        folder: where to; made if missing. Files of an earlier check are replaced.
        pairs: how many matches the picture shows; it is not written if there are none.

    Returns:
        The files written.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = make_folder(folder)
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(map(_match_row, found.matches))
    table.writerows({"kind": "group", "group": g.name, **_sides(g.first, g.second)} for g in found.groups)
    written, sheet = [folder / "leakage.csv"], folder / "leakage.png"
    write_atomically(written[0], lambda file: file.write(text.getvalue().encode()))
    if shown := found.matches[:pairs]:
        write_png(sheet, _sheet(shown))
        written.append(sheet)
    else:
        sheet.unlink(missing_ok=True)  # of an earlier check
    return written


def _sides(first: Portion, second: Portion) -> dict[str, str]:
    """The cells of a line that say where its two sides stand."""
    return {
        "first_set": first.dataset, "first_split": first.split,
        "second_set": second.dataset, "second_split": second.split,
    }  # fmt: skip


def _match_row(match: Match) -> dict[str, object]:
    """A line of the table."""
    return {
        "kind": match.kind,
        **_sides(match.first.portion, match.second.portion),
        "first_file": match.first.path,
        "second_file": match.second.path,
        "orientation": match.orientation,
        "distance": match.distance,
        "correlation": f"{match.correlation:.4f}",
    }


def _sheet(matches: Sequence[Match]) -> Image.Image:
    """Pairs of pictures side by side, with their names."""
    columns = min(SHEET_COLUMNS, len(matches))
    width, height = 2 * TILE[0] + 12, TILE[1] + CAPTION
    sheet = Image.new("RGB", (columns * width, -(-len(matches) // columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for place, match in enumerate(matches):
        x, y = place % columns * width, place // columns * height
        for side, picture in enumerate((match.first, match.second)):
            left = x + side * TILE[0]
            sheet.paste(ImageOps.pad(open_image(picture.path), TILE), (left, y))
            draw.text((left + 2, y + TILE[1] + 1), f"{picture.portion}\n{picture.path.name}"[:90], "black")
        told = (
            f"{match.kind} {match.orientation} distance {match.distance} correlation {match.correlation:.3f}"
        )
        draw.text((x + 2, y + TILE[1] + 29), told, "blue")
    return sheet
