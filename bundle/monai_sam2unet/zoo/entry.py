"""The folder that the zoo gets: which files of the repository belong to it, and the model."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import monai_sam2unet
from monai_sam2unet.errors import InputError
from monai_sam2unet.networks.weights import SHIPPED_NAME

__all__ = ["MODEL", "NAME", "SETTINGS", "entry_files", "find_model", "stage"]

NAME = "sam2unet_polyp_segmentation"
"""Name of the entry's folder: the zoo wants the task and the kind of data in it."""

MODEL = "models/model.pt"
SETTINGS = "models/model.json"

SHIPPED = f"models/{SHIPPED_NAME}"
"""The trained model of the repository, packed where no other is there."""

PATTERNS = (
    "LICENSE",
    "NOTICE",
    "README.md",  # the pages of docs/ refer to it
    "CHANGELOG.md",
    "CITATION.cff",
    "large_files.*",
    "configs/*.json",
    "configs/logging.conf",
    "docs/**/*",
    "models/README.md",
    "models/pretrained/README.md",
)
KINDS = ("", ".md", ".cff", ".txt", ".json", ".yml", ".yaml", ".conf", ".png", ".jpg", ".svg", ".ipynb")
"""Suffixes of what these patterns may take in."""


def find_model(root: str | os.PathLike[str], model: str | os.PathLike[str] | None = None) -> Path:
    """The trained model that an entry is made with.

    Args:
        root: of the repository.
        model: path of a weight file; if None, ``models/model.pt``, else the one that the repository ships.

    Returns:
        Its path.

    Raises:
        InputError: if there is none.
    """
    candidates = [Path(model)] if model is not None else [Path(root) / name for name in (MODEL, SHIPPED)]
    for path in candidates:
        if path.is_file():
            return path
    raise InputError(
        f"no such model: {' or '.join(map(str, candidates))}; train one, or name its file "
        "(--model FILE; with make: MODEL=FILE)"
    )


def entry_files(
    root: str | os.PathLike[str], model: str | os.PathLike[str], with_code: bool = False
) -> dict[str, Path]:
    """What belongs to an entry.

    Args:
        root: of the repository.
        model: weight file; the JSON of the same stem beside it goes with it.
        with_code: whether the package's source is part of it.

    Returns:
        Source by path within the entry, with ``/``, sorted.
    """
    root, model = Path(root), Path(model)
    found = {
        path.relative_to(root).as_posix(): path
        for pattern in PATTERNS
        for path in root.glob(pattern)
        if path.is_file() and path.suffix in KINDS and not _hidden(path.relative_to(root))
    }
    found[MODEL] = model
    if model.with_suffix(".json").is_file():
        found[SETTINGS] = model.with_suffix(".json")
    if with_code:
        package = Path(monai_sam2unet.__file__).parent
        sources = [*package.rglob("*.py"), package / "py.typed"]
        found |= {path.relative_to(package.parent).as_posix(): path for path in sources}
    return dict(sorted(found.items()))


def stage(
    root: str | os.PathLike[str],
    model: str | os.PathLike[str],
    parent: str | os.PathLike[str],
    name: str = NAME,
    with_code: bool = False,
) -> Path:
    """Copy an entry into a folder of its own, as the zoo has it under its ``models/``.

    Args:
        root: of the repository.
        model: weight file, copied to ``models/model.pt``.
        parent: where the folder is made.
        name: of the folder.
        with_code: whether the package's source is copied, too.

    Returns:
        The folder.

    Raises:
        InputError: if the root is no bundle.
    """
    folder = Path(parent) / name
    if not (Path(root) / "configs").is_dir():
        raise InputError(f"{root}: no folder configs in it, so this is no bundle; name its root")
    for inside, source in entry_files(root, model, with_code).items():
        target = folder / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return folder


def _hidden(path: Path) -> bool:
    """Whether a file, or a folder that it lies in, is one of a tool's."""
    return any(part.startswith((".", "__")) for part in path.parts)
