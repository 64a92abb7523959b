"""The one exception that tells a user what to change in what they gave, and how it lists names."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["InputError", "listed"]


class InputError(ValueError):
    """Something the user gave (a file, a folder, a setting) cannot be used.

    The message names the thing, what was got, what is expected and what to do; command lines show it
    alone, without a traceback.
    """


def listed(names: Iterable[str], most: int = 5) -> str:
    """How many names there are and the first few, for a message.

    Args:
        names: the names.
        most: how many are shown.

    Returns:
        Such as ``7 (a, b, c, d, e, ...)``.

    Example:
        >>> listed("abc", most=2)
        '3 (a, b, ...)'
    """
    names = list(names)
    return f"{len(names)} ({', '.join(names[:most])}{', ...' if len(names) > most else ''})"
