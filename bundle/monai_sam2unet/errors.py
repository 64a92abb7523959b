"""The one exception that tells a user what to change in what they gave."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave (a file, a folder, a setting) cannot be used.

    The message names the thing, what was got, what is expected and what to do; command lines show it
    alone, without a traceback.
    """
