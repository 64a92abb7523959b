"""What the command lines share: errors of the user's are one line, and the exit status says how it ended."""

from __future__ import annotations

import sys
from collections.abc import Callable


def run(work: Callable[[], None]) -> int:
    """Do a command's work.

    The package is imported by the work, not by the script, since that takes seconds: ``--help`` and wrong
    arguments are to be answered at once.

    Args:
        work: what to do after the arguments are read.

    Returns:
        Exit status: 0, 1 after an error of the user's or where a package is missing, 130 after Ctrl-C.
    """
    try:
        from monai_sam2unet.errors import InputError

        try:
            work()
        except InputError as e:
            return _failed(str(e))
    except ModuleNotFoundError as e:
        return _failed(f"{e} (for {sys.executable}); run `make setup`, then `. .venv/bin/activate`")
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0


def _failed(message: str) -> int:
    """Print an error and give its exit status."""
    print(f"Error: {message}", file=sys.stderr)
    return 1
