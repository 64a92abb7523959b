"""The model that comes with the bundle, used until the user has trained one."""

from __future__ import annotations

import logging
import os
from pathlib import Path

__all__ = ["SHIPPED_NAME", "announce_shipped", "model_to_use"]

logger = logging.getLogger(__name__)

# MONAI Label lists the weight files in models/ with the shortest name first: model.pt must be the shorter
SHIPPED_NAME = "polypgen_nano.pt"
"""The model in ``models/`` of a fresh copy; a training writes ``model.pt`` and never touches it."""


def model_to_use(folder: str | os.PathLike[str], bundle_root: str | os.PathLike[str]) -> str:
    """The model that is used where none is named.

    Args:
        folder: where trainings write their model (``ckpt_dir``).
        bundle_root: folder of the bundle.

    Returns:
        Path of ``model.pt`` in the folder. If there is none, and the folder is the bundle's own ``models``,
        that of the shipped model: another folder, which somebody named, is not to be passed over.
    """
    own = Path(folder) / "model.pt"
    shipped = Path(bundle_root) / "models" / SHIPPED_NAME
    takes_shipped = (
        not own.exists() and shipped.is_file() and own.parent.resolve() == shipped.parent.resolve()
    )
    return str(shipped if takes_shipped else own)


def announce_shipped(path: str | os.PathLike[str]) -> None:
    """Warn if a model that was loaded is the shipped one: it knows polyps alone."""
    if Path(path).name == SHIPPED_NAME:
        logger.warning(
            "%s is the model that comes with the bundle: polyps in colonoscopy, for research only "
            "(models/README.md has its figures). A training of yours takes its place; --checkpoint FILE "
            "(of segment: --model FILE) names another",
            path,
        )
