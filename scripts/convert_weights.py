"""Say what a weight file is, and write it in another layout, precision or container.

python -m scripts.convert_weights IN            says what it is
python -m scripts.convert_weights IN OUT        writes it in this bundle's layout
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts._run import run

if TYPE_CHECKING:  # loaded after the arguments are read, so that --help answers at once
    from monai_sam2unet.networks.weights import WeightFile
    from monai_sam2unet.networks.weights.reading import StateDict

TARGETS = ("ours", "published", "trained")
DTYPES = ("keep", "float32", "float16", "bfloat16")
PRETRAINED = Path(__file__).resolve().parent.parent / "models" / "pretrained"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and convert.

    Args:
        arguments: those of the command line if None.

    Returns:
        Exit status.
    """
    args = _parser().parse_args(arguments)
    return run(lambda: _convert(args))


def _convert(args: argparse.Namespace) -> None:
    """Say what the file is, and write it if a name to write to is given."""
    from monai_sam2unet.networks.weights import read_weights
    from monai_sam2unet.networks.weights.conversion import convert

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    source = read_weights(args.source, args.pretrained_dir)
    rows = _found(source)
    if args.target is not None:
        written = convert(
            source, args.target, to=args.to, dtype=args.dtype, base=args.base, overwrite=args.force
        )
        rows += [("", ""), *_result(args.target, args.to, written)]
    _show(rows)


def _parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.convert_weights",
        description="Say what a weight file is, and write it in another layout, precision or container.",
    )
    made.add_argument("source", metavar="IN", type=Path, help="file of any kind that the bundle knows")
    made.add_argument(
        "target", metavar="OUT", type=Path, nargs="?", help="file to write: .pt, .pth or .safetensors"
    )
    made.add_argument(
        "--to", choices=TARGETS, default="ours",
        help="layout: ours (default), published (SAM2-UNet of the paper's authors), or trained (only what "
        "the file named by --base does not give)",
    )  # fmt: skip
    made.add_argument("--dtype", choices=DTYPES, default="keep", help="precision (default: that of IN)")
    made.add_argument("--base", type=Path, help="file that the training started from, for --to trained")
    made.add_argument(
        "--pretrained_dir", type=Path, default=PRETRAINED,
        help="where base files lie, for an IN that holds only what was trained (default: models/pretrained)",
    )  # fmt: skip
    made.add_argument("--force", action="store_true", help="write over an OUT that exists")
    return made


def _found(source: WeightFile) -> list[tuple[str, str]]:
    """What was recognised and taken, in rows."""
    groups = Counter(name.split(".")[0] for name in source.unused)
    left_out = ", ".join(f"{group} {number}" for group, number in groups.items())
    rows = [
        ("file", str(source.path)),
        ("recognised as", source.kind),
        ("holds", "a whole SAM2-UNet" if source.content == "network" else "an encoder, no decoder"),
        *((name, str(value)) for name, value in source.architecture.items()),
        ("taken", _amount(source.tensors)),
        ("left out", f"{len(source.unused)} tensors ({left_out})" if source.unused else "nothing"),
    ]
    return rows + ([("completed from", str(source.base))] if source.base else [])


def _result(target: Path, to: str, written: StateDict) -> list[tuple[str, str]]:
    """What was written, in rows."""
    from monai_sam2unet.networks.weights.pretrained import sha256_of

    return [
        ("written", str(target)),
        ("layout", to),
        ("tensors", _amount(written)),
        ("size", f"{target.stat().st_size / 1e6:.1f} MB"),
        ("SHA-256", sha256_of(target)),
    ]


def _amount(tensors: StateDict) -> str:
    """Number of tensors and of values, and their types."""
    types = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values())
    values = sum(tensor.numel() for tensor in tensors.values())
    return f"{len(tensors)} tensors, {values:,} values ({', '.join(f'{n} {t}' for t, n in types.items())})"


def _show(rows: list[tuple[str, str]]) -> None:
    """Print rows as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        if row == ("", ""):
            table.add_section()
        else:
            table.add_row(*row)
    Console().print(table, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
