"""Check without a network what the MONAI model zoo asks of a contribution.

python -m scripts.zoo_check                 checks what this repository would hand in
python -m scripts.zoo_check ENTRY           checks an unpacked entry, or another bundle's folder
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts._run import run

if TYPE_CHECKING:  # loaded after the arguments are read, so that --help answers at once
    from monai_sam2unet.zoo import Finding

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and check.

    Args:
        arguments: those of the command line if None.

    Returns:
        Exit status: 0 if the zoo would take the entry, else 1.
    """
    args = _parser().parse_args(arguments)
    findings: list[Finding] = []
    return run(lambda: findings.extend(_check(args))) or int(bool(findings))


def show(findings: Iterable[Finding]) -> None:
    """Print findings, and their number or that there is none."""
    findings = list(findings)
    for finding in findings:
        print(finding)
    print(f"{len(findings)} to be corrected." if findings else "Nothing to be corrected.")


def _parser() -> argparse.ArgumentParser:
    """The arguments."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.zoo_check",
        description="Check without a network what the MONAI model zoo asks of a contribution (docs/zoo.md).",
        epilog="Exit status: 0 if there is nothing to be corrected, else 1; 2 if the arguments are wrong.",
    )
    add = made.add_argument
    add("entry", nargs="?", type=Path, metavar="ENTRY", help="folder of an entry; default: this repository's")
    add("--model", type=Path, metavar="FILE", help="trained model of the entry; default: as zoo_zip takes it")
    add("--name", help="the entry's name in the zoo; default: sam2unet_polyp_segmentation")
    add(
        "--model_info",
        type=Path,
        metavar="FILE",
        help="models/model_info.json of the zoo's repository: see that this version is a new one",
    )
    add("--online", action="store_true", help="ask the package index for the versions (needs a network)")
    return made


def _check(args: argparse.Namespace) -> list[Finding]:
    """Check, and tell; what was found."""
    from monai_sam2unet.errors import InputError
    from monai_sam2unet.zoo import NAME, check_entry, check_repository, find_model, stage

    logging.basicConfig(level=logging.ERROR, format="%(levelname)s: %(message)s")
    if args.entry is not None and (args.model or args.name):
        raise InputError("--model and --name are for the repository's own entry; leave them or ENTRY out")
    known = None if args.model_info is None else _read(args.model_info)
    with tempfile.TemporaryDirectory() as scratch:
        if args.entry is not None:
            folder, found = args.entry, []
        else:
            folder = stage(ROOT, find_model(ROOT, args.model), scratch, args.name or NAME)
            found = check_repository(ROOT)
        found += check_entry(folder, known)
        if args.online:
            from monai_sam2unet.zoo.metadata import check_online

            found += check_online(folder, _available)
    show(found)
    return found


def _read(path: Path) -> dict[str, Any]:
    """What the zoo has."""
    from monai_sam2unet.errors import InputError

    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as e:
        raise InputError(f"{path}: not the zoo's list of models ({e}); give its model_info.json") from e


def _available(package: str) -> list[str]:
    """Versions of a package that pip finds for this Python, newest first."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "index", "versions", package]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    line = re.search(r"^Available versions: (.*)$", answer, re.MULTILINE)
    return [version.split("+")[0] for version in line[1].split(", ")] if line else []


if __name__ == "__main__":
    sys.exit(main())
