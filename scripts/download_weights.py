"""Download SAM 2's published weights, from which training starts, and check them."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts._run import run

VARIANTS = ("tiny", "small", "base_plus", "large")
GENERATIONS = ("2", "2.1")
FOLDER = Path(__file__).resolve().parent.parent / "models" / "pretrained"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and download.

    Args:
        arguments: those of the command line if None.

    Returns:
        Exit status.
    """
    args = _parser().parse_args(arguments)
    return run(lambda: _download(args))


def _parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.download_weights",
        description="Download SAM 2's published weights, from which training starts, and check them. A "
        "download that was cut goes on where it stopped; a file that is there is left alone.",
        epilog="The variant nano has no published weights. Proxies are taken from HTTPS_PROXY and NO_PROXY.",
    )
    add = parser.add_argument
    add("variants", nargs="+", choices=VARIANTS, metavar="VARIANT", help=", ".join(VARIANTS))
    add("--sam", choices=GENERATIONS, default="2", help="generation; the paper used 2, the default")
    add("--folder", type=Path, default=FOLDER, help="where to; default: models/pretrained of the bundle")
    add("--source", metavar="URL", help="address of another folder that holds the files")
    add("--force", action="store_true", help="replace a file of that name that is not the published one")
    return parser


def _download(args: argparse.Namespace) -> None:
    """Download one file after the other, and say how to train from each."""
    from monai_sam2unet.networks.weights.pretrained import download, pretrained_file

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for variant in dict.fromkeys(args.variants):
        path = download(pretrained_file(args.sam, variant), args.folder, args.source, force=args.force)
        settings = "" if args.sam == "2" else f" --pretrained sam{args.sam}"
        if path.parent != FOLDER.resolve():
            settings += f" --pretrained_dir {shlex.quote(str(path.parent))}"
        print(
            f"{path}\nTo train from it, DIR being the folder of your pictures and masks:\n"
            "  python -m monai.bundle run training --config_file configs/train.json --dataset_dir DIR "
            f"--variant {variant}{settings}"
        )


if __name__ == "__main__":
    sys.exit(main())
