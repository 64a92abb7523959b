"""How counts and long lists of names are told in a message, and how masks are named in a list."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

NAMED_AT_MOST = 10


def first_names(names: Iterable[object], limit: int = NAMED_AT_MOST, separator: str = ", ") -> str:
    """Join the first `limit` names and tell how many follow.

    Args:
        names: whatever is to be named, already in the order to be told.
        limit: how many to spell out, at least 1.
        separator: what stands between them.

    Returns:
        The names in one text.

    Example:
        >>> first_names(["a", "b", "c"], limit=2)
        'a, b and 1 more'
    """
    told = [str(name) for name in names]
    line = separator.join(told[:limit])
    return line if len(told) <= limit else f"{line} and {len(told) - limit} more"


def log_all(what: str, names: Iterable[object], limit: int = NAMED_AT_MOST) -> None:
    """Log every name, one a line, where a message tells only the first `limit` of them.

    Args:
        what: what the names are, in the plural ("pictures without a mask").
        names: all of them.
        limit: how many the message tells.
    """
    told = [str(name) for name in names]
    if len(told) > limit:
        logger.error("all %d %s:\n  %s", len(told), what, "\n  ".join(told))


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where that is due.

    Example:
        >>> counted(1, "picture"), counted(2, "picture")
        ('1 picture', '2 pictures')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def warn_of_count(title: str, expected: int | None, found: int) -> None:
    """Log a warning where a known set holds another number of pairs than it was published with."""
    if expected is not None and expected != found:
        logger.warning("%s should have %d pairs, found %d", title, expected, found)


def label_files(item: Mapping[str, Any]) -> list[Any]:
    """The masks of an item of a datalist, as they stand there: one path, or a list of several.

    Example:
        >>> label_files({"label": "a.png"}), label_files({"label": ["a.png", "b.png"]})
        (['a.png'], ['a.png', 'b.png'])
    """
    label = item["label"]
    return list(label) if isinstance(label, (list, tuple)) else [label]
