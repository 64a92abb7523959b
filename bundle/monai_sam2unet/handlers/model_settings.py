"""What is known of the training of a model."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks.weights import read_checkpoint

__all__ = ["model_settings"]

logger = logging.getLogger(__name__)


def model_settings(checkpoint: str | os.PathLike[str], **defaults: Any) -> dict[str, Any]:
    """Settings of the run that made a model.

    Args:
        checkpoint: path of the weights; a JSON file of the same stem is looked for beside it, then
            settings within it, as ``checkpoint_last.pt`` has them.
        defaults: values for what is not found; that they are taken is logged as a warning.

    Returns:
        The settings, such as ``input_size`` in pixels.

    Raises:
        InputError: if a file is there and cannot be read.
    """
    path = Path(checkpoint)
    found: Any = None
    try:
        if path.with_suffix(".json").is_file():
            found = dict(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
        elif path.is_file():
            content = read_checkpoint(path)
            found = content.get("settings") if isinstance(content, Mapping) else None
    except (OSError, ValueError, TypeError) as e:
        raise InputError(
            f"{path.with_suffix('.json')}: not the settings of a model ({e}); restore or delete the file"
        ) from e
    if found is None and path.is_file():
        assumed = ", ".join(f"{name} {value}" for name, value in defaults.items())
        logger.warning("%s: no settings of its training are known, taken: %s", path, assumed)
    return {**defaults, **(found or {})}
