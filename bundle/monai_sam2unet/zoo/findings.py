"""What a check finds wrong, and reading JSON without stopping at the first mistake."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["METADATA", "Finding", "innermost", "read_table"]

METADATA = "configs/metadata.json"


@dataclass(frozen=True)
class Finding:
    """One thing that the zoo would refuse, or that a user of the entry would trip over.

    Attributes:
        file: path within the entry, or its name for the entry as a whole.
        got: what is there.
        expected: what should be.
        remedy: what to do.

    Example:
        >>> print(Finding("LICENSE", "it is missing", "the licence of the bundle", "add it"))
        LICENSE: it is missing; expected: the licence of the bundle; add it
    """

    file: str
    got: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.got}; expected: {self.expected}; {self.remedy}"


def read_table(path: Path) -> dict[str, Any] | None:
    """The object that a JSON file holds; None if there is none, which `files` reports."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def innermost(error: BaseException) -> str:
    """The cause that MONAI wrapped into other errors, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())
