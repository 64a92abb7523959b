"""Segment pictures, DICOM, volumes and videos: python -m scripts.segment INPUT... -o DIR (--help: all).

The same as ``monai-sam2unet segment`` of the installed package.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sam2unet_command import main as command


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and segment.

    Args:
        arguments: those of the command line if None.

    Returns:
        Exit status.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    return command(["segment", *given], program="python -m scripts")


if __name__ == "__main__":
    sys.exit(main())
