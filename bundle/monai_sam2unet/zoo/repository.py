"""What an entry must agree with in the repository: the changelog, the package, the tested versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import monai_sam2unet
from monai_sam2unet.zoo.findings import METADATA, Finding, read_table
from monai_sam2unet.zoo.metadata import packages

__all__ = ["check_repository", "has_unreleased_changes"]


def check_repository(root: Path) -> list[Finding]:
    """Compare the metadata with the rest of the repository.

    Args:
        root: of the repository.

    Returns:
        What differs.
    """
    meta = read_table(root / METADATA)
    if meta is None:
        return []
    return [*_check_version(root, str(meta.get("version"))), *_check_pins(root, packages(meta))]


def has_unreleased_changes(root: Path) -> bool:
    """Whether ``CHANGELOG.md`` lists changes that belong to no version yet."""
    path = root / "CHANGELOG.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    unreleased = re.search(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return unreleased is not None and re.search(r"^- ", unreleased[1], re.MULTILINE) is not None


def _check_version(root: Path, version: str) -> Iterator[Finding]:
    """The same version everywhere."""
    if monai_sam2unet.__version__ != version:
        got = f"version {version}, the package has {monai_sam2unet.__version__}"
        yield Finding(METADATA, got, "the package's", "change the one that is wrong")
    for name, line in (("CHANGELOG.md", f"## [{version}]"), ("CITATION.cff", f"version: {version}")):
        path = root / name
        if path.is_file() and not re.search(
            rf"^{re.escape(line)}", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            yield Finding(name, f"no line {line}", f"the version of {METADATA}", "add it")


def _check_pins(root: Path, named: dict[str, str]) -> Iterator[Finding]:
    """The versions that the tests ran with."""
    path = root / "constraints.txt"
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    pins = {name.strip().lower(): version for name, version in (_pin(line) for line in lines) if version}
    for package, version in named.items():
        if pins.get(package.lower()) != version:
            got = f"{package} {version}, constraints.txt has {pins.get(package.lower(), 'none')}"
            yield Finding(METADATA, got, "the version that the tests ran with", "name that")


def _pin(line: str) -> tuple[str, str]:
    """Package and version of a line; no version where it is none of a package."""
    name, _, version = line.split(";")[0].partition("==")
    return name, version.strip()
