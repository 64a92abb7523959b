"""Pack what the MONAI model zoo gets: configs, docs, the trained model and the licences.

python -m scripts.zoo_zip --model FILE      writes dist/NAME_vVERSION.zip
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts._run import run
from scripts.zoo_check import ROOT, show


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments, check and pack.

    Args:
        arguments: those of the command line if None.

    Returns:
        Exit status: 0 if the archive is written, else 1.
    """
    args = _parser().parse_args(arguments)
    written: list[Path] = []
    return run(lambda: written.extend(_pack(args))) or int(not written)


def _parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.zoo_zip",
        description="Check and pack an entry of the MONAI model zoo (docs/zoo.md).",
        epilog="Exit status: 0 if the archive is written, 1 if there is something to be corrected, 2 if the "
        "arguments are wrong.",
    )
    add = made.add_argument
    add(
        "--model",
        type=Path,
        metavar="FILE",
        help="trained model, packed as models/model.pt, with the JSON of its name beside it; default: "
        "models/model.pt, else the model that comes with the repository",
    )
    add("--name", help="of the entry in the zoo; default: sam2unet_polyp_segmentation")
    add("--output", type=Path, default=ROOT / "dist", metavar="DIR", help="where to; default: dist")
    add("--with_code", action="store_true", help="pack the package's source, too: it need not be installed")
    return made


def _pack(args: argparse.Namespace) -> list[Path]:
    """Check and write; the archive, or nothing if something is to be corrected."""
    from monai_sam2unet.zoo import (
        NAME,
        check_entry,
        check_repository,
        find_model,
        has_unreleased_changes,
        stage,
        write_archive,
    )

    logging.basicConfig(level=logging.ERROR, format="%(levelname)s: %(message)s")
    model = find_model(ROOT, args.model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = stage(ROOT, model, scratch, args.name or NAME, args.with_code)
        found = [*check_repository(ROOT), *check_entry(folder)]
        if found:
            show(found)
            return []
        version = json.loads((folder / "configs/metadata.json").read_text(encoding="utf-8"))["version"]
        path = args.output / f"{folder.name}_v{version}.zip"
        names = write_archive(folder, path)
    print(f"{path}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB, with the model {model}")
    print(f"sha1 {hashlib.sha1(path.read_bytes()).hexdigest()}")  # the kind that the zoo lists
    if has_unreleased_changes(ROOT):
        print(
            f"CHANGELOG.md lists changes after {version}: before handing in, give them a version, "
            "since the zoo refuses one that it has."
        )
    return [path]


if __name__ == "__main__":
    sys.exit(main())
