"""Serve the bundle in MONAI Label: python -m scripts.label_server STUDIES (--help: all arguments)."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts._run import run

ROOT = Path(__file__).resolve().parent.parent
STAND_INS = ROOT / "tests" / "serving" / "stubs"
"""A folder for each package that MONAI Label imports and that this bundle's server does without."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments, prepare the app's folder and become the server.

    Args:
        arguments: those of the command line if None.

    Returns:
        Exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    end = given.index("--") if "--" in given else len(given)
    args = _parser().parse_args(given[:end])
    return run(lambda: _serve(args, given[end + 1 :]))


def stand_ins() -> dict[str, Path]:
    """What takes the place of packages that are not installed, by their names."""
    folders = sorted(folder for folder in STAND_INS.glob("*") if folder.is_dir())
    return {folder.name: folder for folder in folders if importlib.util.find_spec(folder.name) is None}


def _parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.label_server",
        description="Serve the bundle's model in MONAI Label.",
        epilog="What comes after -- goes to its start_server, such as: -- --conf skip_trainers true",
    )
    models = ROOT / "models"
    add = parser.add_argument
    add("studies", help="folder of the pictures to label (made if missing), or address of a DICOMweb server")
    add(
        "--app", type=Path, metavar="DIR", default=ROOT / "runs" / "monailabel",
        help="the server's own files, its model among them; default: runs/monailabel of the bundle",
    )  # fmt: skip
    add(
        "--checkpoint", type=Path, metavar="FILE",
        help="model to serve from now on; default: the one served last, at first models/model.pt, else the "
        "one in the box",
    )  # fmt: skip
    add("--pretrained_dir", type=Path, default=models / "pretrained", help="where base files lie")
    add(
        "--host",
        default="127.0.0.1",
        help="default: %(default)s; 0.0.0.0 lets other machines in, without a password",
    )
    add("--port", type=int, default=8000, help="default: %(default)s")
    return parser


def _serve(args: argparse.Namespace, more: Sequence[str]) -> None:
    """Prepare, then replace this process by the server."""
    from monai_sam2unet.errors import InputError
    from monai_sam2unet.serving.folder import prepare

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if importlib.util.find_spec("monailabel") is None:
        raise InputError(
            f"MONAI Label is not installed (for {sys.executable}); install it by: make monailabel"
        )
    if not args.studies.startswith(("http://", "https://")) and Path(args.studies).is_file():
        raise InputError(f"{args.studies}: a file; give the folder of the pictures to label")
    model = prepare(args.app, ROOT, args.checkpoint, args.pretrained_dir)
    os.environ.update(_environment())
    print(f"Serving {model} at http://{args.host}:{args.port}, where its requests are described", flush=True)
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(args.app)]
    command += ["--studies", args.studies, "--host", args.host, "--port", str(args.port), *more]
    os.execv(sys.executable, command)


def _environment() -> dict[str, str]:
    """Settings of the server that it reads there: kinds of files, and where to find what is not installed."""
    from monai_sam2unet.pictures import PICTURE_SUFFIXES

    # MONAI Label finds labels by these, too, and clients send them as volumes
    suffixes = (*PICTURE_SUFFIXES, *map(str.upper, PICTURE_SUFFIXES), ".nii.gz", ".nii", ".nrrd")
    missing = stand_ins()
    if missing:
        logging.info("Not installed, and not needed here: %s (docs/monailabel.md)", ", ".join(missing))
    paths = [*map(str, missing.values()), os.environ.get("PYTHONPATH", "")]
    files = os.environ.get("MONAI_LABEL_DATASTORE_FILE_EXT", json.dumps([f"*{s}" for s in suffixes]))
    return {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "MONAI_LABEL_DATASTORE_FILE_EXT": files,
    }


if __name__ == "__main__":
    sys.exit(main())
