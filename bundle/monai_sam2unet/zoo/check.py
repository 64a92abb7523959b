"""All checks of an entry, whose findings are given at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from monai_sam2unet.errors import InputError
from monai_sam2unet.zoo import config_keys, files, metadata, model_card, running
from monai_sam2unet.zoo.entry import MODEL
from monai_sam2unet.zoo.findings import Finding

__all__ = ["check_entry", "check_files"]


def check_files(folder: Path, known: Mapping[str, Any] | None = None) -> list[Finding]:
    """Check what can be seen by reading an entry.

    Args:
        folder: the entry, called as in the zoo.
        known: content of the zoo's ``models/model_info.json``, if it is there.

    Returns:
        What is wrong.
    """
    found: list[Iterable[Finding]] = [
        files.check_names(folder),
        files.check_required(folder),
        files.check_large_files(folder),
        files.check_sizes(folder),
        files.check_private(folder),
        metadata.check_schema(folder),
        metadata.check_versions(folder, known),
        config_keys.check_config_keys(folder),
        model_card.check_model_card(folder),
    ]
    return [finding for findings in found for finding in findings]


def check_entry(folder: Path, known: Mapping[str, Any] | None = None) -> list[Finding]:
    """Check an entry as the zoo's continuous integration does, without a network.

    Nothing is run with an entry of which parts are missing, or whose weights cannot be read: each of the
    checks that run would say so again.

    Args:
        folder: the entry, called as in the zoo.
        known: content of the zoo's ``models/model_info.json``, if it is there.

    Returns:
        What is wrong.

    Raises:
        InputError: if there is no such folder.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one that holds configs, docs and models")
    found = [*check_files(folder, known), *metadata.check_installed(folder)]
    if not (folder / MODEL).is_file():
        found += _not_here(found)
    if not all((folder / name).is_file() for name in files.REQUIRED):
        return found
    wrong_model = [*running.check_model(folder)]
    found += wrong_model
    if not wrong_model:
        for check in (running.check_properties, running.check_in_out, running.check_export):
            found += check(folder)
    return found


def _not_here(found: Iterable[Finding]) -> list[Finding]:
    """That weights which are kept elsewhere must be here for the check, unless they are missing anyway."""
    if any(finding.file == MODEL for finding in found):
        return []
    return [Finding(MODEL, "it is listed as a large file only", "the file, to be checked", "put it there")]
