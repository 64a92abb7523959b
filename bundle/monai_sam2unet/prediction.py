"""Segmentation from Python, with the bundle's model and exactly what ``configs/inference.json`` says."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from monai.bundle import ConfigParser
from monai.data import decollate_batch, list_data_collate

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks.weights import load_model, model_to_use
from monai_sam2unet.settings import check_settings

if TYPE_CHECKING:
    from PIL import Image

    Picture = str | os.PathLike[str] | Image.Image | npt.NDArray[np.uint8]

__all__ = ["predict"]


def predict(
    picture: Picture,
    *,
    model: str | os.PathLike[str] | None = None,
    device: str | torch.device = "auto",
    bundle_root: str | os.PathLike[str] | None = None,
    pretrained_dir: str | os.PathLike[str] | None = None,
    tile: int | None = None,
    overlap: float = 0.25,
) -> npt.NDArray[np.float32]:
    """Segment one picture.

    Args:
        picture: path of a picture file, a picture of Pillow's, or a uint8 array, (H, W) or (H, W, 3).
        model: weights; the bundle's ``models/model.pt`` if None, or while there is none the polyp model that
            comes with the bundle (a warning says so). It stays loaded for further calls.
        device: where to compute; ``auto`` takes a GPU if there is one.
        bundle_root: folder of the bundle; where this package was installed from, or else the current
            folder, if None.
        pretrained_dir: where the base file of a model lies that holds only what was trained; the bundle's
            ``models/pretrained`` if None.
        tile: side of windows at the picture's own resolution, pixels, a multiple of 32; 0 resizes the whole
            picture to the size of the training; None is as the model was trained.
        overlap: part of a window's side that it shares with the next one, from 0 to 0.9.

    Returns:
        Probability of the foreground in [0, 1], (H, W), of the picture's own size as a viewer shows it;
        (K, H, W) for a network with ``K`` > 1 outputs.

    Raises:
        InputError: if the picture or the model cannot be read, or ``tile`` or ``overlap`` is out of its
            range; the message names it.

    Example:
        >>> probability = predict("polyp.png")  # doctest: +SKIP
        >>> mask = probability >= 0.5  # doctest: +SKIP
    """
    check_settings(device, tile=tile or 0, overlap=overlap)
    root = Path(bundle_root) if bundle_root is not None else _bundle_root()
    path = Path(model if model is not None else model_to_use(root / "models", root))
    stamp = path.stat().st_mtime_ns if path.is_file() else 0  # a model trained anew is loaded anew
    folder = Path(pretrained_dir) if pretrained_dir is not None else root / "models" / "pretrained"
    parts = _parts(str(root), str(path), stamp, str(device), str(folder), tile, overlap)
    try:
        item = parts["preprocessing"]({"image": picture})
    except RuntimeError as e:  # MONAI wraps what a transform raises
        if isinstance(e.__cause__, InputError):
            raise e.__cause__ from None
        raise
    batch = list_data_collate([item])
    with torch.inference_mode():
        batch["pred"] = parts["inferer"](batch["image"].to(parts["device"]), parts["network"])
    result = parts["postprocessing"](decollate_batch(batch)[0])["probability"]
    array = np.asarray(result.cpu(), dtype=np.float32)
    return array[0] if array.shape[0] == 1 else array


@functools.lru_cache(maxsize=2)
def _parts(
    root: str, model: str, stamp: int, device: str, folder: str, tile: int | None, overlap: float
) -> dict[str, Any]:
    """The pieces of ``configs/inference.json`` that turn a picture into a mask, the network loaded."""
    parser = ConfigParser()
    parser.read_config(Path(root) / "configs" / "inference.json")
    parser.read_meta(Path(root) / "configs" / "metadata.json")
    parser.update({"bundle_root": root, "checkpoint": model, "device": device})
    parser.update({"overlap": overlap} if tile is None else {"overlap": overlap, "tile": tile})
    parser.parse()
    names = ("preprocessing", "inferer", "postprocessing", "network")
    parts = {name: parser.get_parsed_content(name) for name in names}
    load_model(parts["network"], model, folder)
    parts["network"].eval()
    return {**parts, "device": next(parts["network"].parameters()).device}


def _bundle_root() -> Path:
    """The checkout that this package is installed from, or the current folder."""
    for folder in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (folder / "configs" / "inference.json").is_file():
            return folder
    raise InputError(
        f"no bundle at {Path.cwd()}: configs/inference.json is missing; give bundle_root, the bundle's folder"
    )
