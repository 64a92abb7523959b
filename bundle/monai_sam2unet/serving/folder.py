"""The folder that MONAI Label is started with: the app, the configs, and a model of its own."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from monai_sam2unet.errors import InputError
from monai_sam2unet.files import copy_file, make_folder, write_atomically
from monai_sam2unet.networks.weights import WeightFile, architecture, convert, model_to_use, read_weights
from monai_sam2unet.networks.weights.shipped import announce_shipped

__all__ = ["BUNDLE", "MODEL", "prepare", "served_weights"]

logger = logging.getLogger(__name__)

MODEL = "sam2unet"
"""What the model is called in addresses and in clients."""

BUNDLE = os.path.join("model", MODEL)
"""Where the served bundle lies in the app's folder, as MONAI Label's own apps have it."""

MAIN = b'''"""Read by MONAI Label at its start; written anew whenever the server is started."""

from monai_sam2unet.serving.app import SAM2UNetApp

__all__ = ["SAM2UNetApp"]
'''


def prepare(
    app: str | os.PathLike[str],
    bundle_root: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None = None,
    pretrained_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Make the app's folder, or bring one up to date.

    The server trains its own copy of the model: nothing it does changes the one it was copied from. The
    weights are read with all checks and written whole, in the form that MONAI Label loads.

    Args:
        app: the folder.
        bundle_root: bundle whose configs and model are served.
        checkpoint: model to serve, any form that `read_weights` knows; takes the place of the one that the
            folder has. If None the folder's own is kept, and an empty folder gets the bundle's.
        pretrained_dir: where base files of small checkpoints lie; the bundle's ``models/pretrained`` if None.

    Returns:
        The model that will be served.

    Raises:
        InputError: if the folder holds something else, or the model cannot be read, is no whole network or
            tells several classes apart.
    """
    app, root = Path(app), Path(bundle_root)
    main = app / "main.py"
    if app.is_dir() and any(app.iterdir()) and not (main.is_file() and main.read_bytes() == MAIN):
        raise InputError(f"{app}: not empty and no app of this bundle; name another folder: --app DIR")
    make_folder(app)
    model = app / BUNDLE / "models" / "model.pt"
    if checkpoint is not None or not model.is_file():
        source = Path(checkpoint or model_to_use(root / "models", root))
        if not source.is_file():
            raise InputError(f"no model at {source}: train one first, or name another: --checkpoint FILE")
        weights = read_weights(source, Path(pretrained_dir or root / "models" / "pretrained"))
        _check_fit(weights, source)
        convert(weights, model, overwrite=True)
        announce_shipped(source)
    else:
        _check_fit(read_weights(model), model)
    for file in sorted((root / "configs").iterdir()):
        copy_file(file, app / BUNDLE / "configs" / file.name)
    write_atomically(main, lambda file: file.write(MAIN))
    return model


def served_weights(models: str | os.PathLike[str], name: Any = None) -> Path:
    """The file of weights that a request means.

    Args:
        models: folder of the served models.
        name: what a client chose. A list is what was offered to it, and not a choice: the shortest name comes
            first there, not the model.

    Returns:
        The file of this name, ``model.pt`` if none was chosen.

    Raises:
        InputError: if a file was chosen that is not there.
    """
    folder = Path(models)
    if not isinstance(name, str) or name == "model.pt":
        return folder / "model.pt"
    path = folder / os.path.basename(name)
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in folder.glob("*.pt")))
        raise InputError(f"no model {name!r} on the server; there is: {there}")
    return path


def _check_fit(weights: WeightFile, path: Path) -> None:
    """Raise InputError if a file holds an encoder alone, or tells several classes apart."""
    if weights.content != "network":
        raise InputError(f"{path}: an encoder alone; give a trained SAM2-UNet: --checkpoint FILE")
    channels = architecture(weights.tensors)["out_channels"]
    if channels != 1:
        raise InputError(
            f"{path}: gives {channels} maps, of several classes; MONAI Label is served models of one "
            "structure alone, as which labels that come back are read; segment with configs/inference.json"
        )
