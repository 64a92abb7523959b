"""Segmentation from Python, with the bundle's model and exactly what ``configs/inference.json`` says."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.bundle import ConfigParser
from monai.data import decollate_batch, list_data_collate

from monai_sam2unet.classes import Classes
from monai_sam2unet.errors import InputError
from monai_sam2unet.io import GivenWindow
from monai_sam2unet.networks.weights import load_network, model_to_use
from monai_sam2unet.settings import check_settings

if TYPE_CHECKING:
    from PIL import Image

    Picture = str | os.PathLike[str] | Image.Image | npt.NDArray[np.uint8]

_OF_VOLUMES = "plane"  # setting that a training on slices of volumes notes

__all__ = ["Segmented", "Segmenter", "VolumeModelError", "predict"]


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
        of several classes (K, H, W), without the background.

    Raises:
        InputError: if the picture or the model cannot be read, or ``tile`` or ``overlap`` is out of its
            range; the message names it.

    Example:
        >>> probability = predict("polyp.png")  # doctest: +SKIP
        >>> mask = probability >= 0.5  # doctest: +SKIP
    """
    check_settings(device, tile=tile or 0, overlap=overlap)
    root = Path(bundle_root) if bundle_root is not None else find_bundle()
    path = Path(model if model is not None else model_to_use(root / "models", root))
    stamp = path.stat().st_mtime_ns if path.is_file() else 0  # a model trained anew is loaded anew
    folder = Path(pretrained_dir) if pretrained_dir is not None else root / "models" / "pretrained"
    segmenter = _kept(str(root), str(path), stamp, str(device), str(folder), tile, overlap)
    array = next(segmenter.segment([picture])).probability
    return array[0] if array.shape[0] == 1 else array


class VolumeModelError(InputError):
    """A model of volumes was given where one of pictures is needed."""


class Segmented(NamedTuple):
    """What `Segmenter` finds in a picture, of the picture's own size.

    Attributes:
        probability: of each class, (K, H, W), in [0, 1].
        masks: where each class is, (K, H, W).
    """

    probability: npt.NDArray[np.float32]
    masks: npt.NDArray[np.bool_]


class Segmenter:
    """A loaded model with the parts of ``configs/inference.json``, for any number of pictures.

    Args:
        model: weights, as `predict` takes them.
        device: where to compute.
        bundle_root: folder of the bundle, as `predict` takes it.
        pretrained_dir: where base files lie, as `predict` takes it.
        tile: side of windows, pixels; 0 resizes whole pictures; None is as the model was trained.
        overlap: of windows.
        batch_size: pictures that the network computes at once, or windows of one picture; None for one
            picture, and as many windows as the config says. The last bits of a result depend on it.
        threshold: probability from which a pixel counts (>=); None for that of the model.

    Attributes:
        model: path of the weights.
        classes: what the network tells apart.
        threshold: that is used.
        device: that is used.
        window: grey levels of DICOM that the model was trained with; None if there is no such.

    Raises:
        VolumeModelError: if the model is one of volumes, which `monai_sam2unet.volume_prediction` takes.
        InputError: if the model cannot be read, or a value is out of its range.

    Example:
        >>> segmenter = Segmenter(device="cpu")  # doctest: +SKIP
        >>> for found in segmenter.segment(["a.png", "b.png"]):  # doctest: +SKIP
        ...     print(found.masks.sum())
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        device: str | torch.device = "auto",
        bundle_root: str | os.PathLike[str] | None = None,
        pretrained_dir: str | os.PathLike[str] | None = None,
        tile: int | None = None,
        overlap: float = 0.25,
        batch_size: int | None = None,
        threshold: float | None = None,
    ) -> None:
        given = {"batch_size": batch_size, "threshold": threshold, "tile": tile}
        given = {name: value for name, value in given.items() if value is not None}
        check_settings(device, overlap=overlap, **given)
        root = Path(bundle_root) if bundle_root is not None else find_bundle()
        self.model = Path(model if model is not None else model_to_use(root / "models", root))
        parser = _parser(root, self.model)
        parser.update({"device": str(device), "overlap": overlap, **given})
        parser.parse()
        settings = parser.get_parsed_content("model_settings")
        _refuse_volumes(self.model, settings)
        self.classes = _classes(settings, parser.get_parsed_content("out_channels"))
        self.threshold = float(parser.get_parsed_content("threshold"))
        self.window: GivenWindow | None = parser.get_parsed_content("window") or None
        names = ("preprocessing", "inferer", "postprocessing")
        self._parts = {name: parser.get_parsed_content(name) for name in names}
        folder = Path(pretrained_dir) if pretrained_dir is not None else root / "models" / "pretrained"
        device = parser.get_parsed_content("torch_device")
        self._parts["network"] = load_network(self.model, folder).fuse().to(device)
        self.device = next(self._parts["network"].parameters()).device
        self._together = 1 if parser.get_parsed_content("tile") else batch_size or 1

    def segment(self, pictures: Iterable[Picture]) -> Iterator[Segmented]:
        """Segment pictures one after the other, or some at once, each read when its turn comes.

        Args:
            pictures: each as `predict` takes it, of any sizes.

        Returns:
            Iterator over what is found in each, in their order.

        Raises:
            InputError: if a picture cannot be read; the message names it.
        """
        batch: list[dict[str, Any]] = []
        for picture in pictures:
            batch.append(self._prepared(picture))
            if len(batch) == self._together:
                yield from self._batch(batch)
                batch = []
        if batch:  # filled up, since the last bits depend on how many are computed at once
            missing = self._together - len(batch)
            yield from self._batch(batch + [self._prepared(picture) for _ in range(missing)], missing)

    def _prepared(self, picture: Picture) -> dict[str, Any]:
        """A picture as the network takes it."""
        try:
            item: dict[str, Any] = self._parts["preprocessing"]({"image": picture})
        except RuntimeError as e:  # MONAI wraps what a transform raises
            if isinstance(e.__cause__, InputError):
                raise e.__cause__ from None
            raise
        return item

    def _batch(self, items: list[dict[str, Any]], surplus: int = 0) -> Iterator[Segmented]:
        """What is found in pictures that are computed at once, but for the last ones."""
        batch = list_data_collate(items)
        with torch.inference_mode():
            batch["pred"] = self._parts["inferer"](batch["image"].to(self.device), self._parts["network"])
        for item in decollate_batch(batch)[: len(items) - surplus]:
            found = self._parts["postprocessing"](item)
            yield Segmented(
                np.asarray(found["probability"].cpu(), dtype=np.float32),
                np.asarray(found["pred"].cpu()) > 0,
            )


@functools.lru_cache(maxsize=2)
def _kept(
    root: str, model: str, stamp: int, device: str, folder: str, tile: int | None, overlap: float
) -> Segmenter:
    """The segmenter of earlier calls, unless the model's file has changed since."""
    return Segmenter(model, device, root, folder, tile, overlap)


def _parser(root: Path, model: Path) -> ConfigParser:
    """``configs/inference.json`` for a model."""
    parser = ConfigParser()
    parser.read_config(root / "configs" / "inference.json")
    parser.read_meta(root / "configs" / "metadata.json")
    parser.update({"bundle_root": str(root), "checkpoint": str(model)})
    return parser


def _refuse_volumes(model: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a model whose pictures are slices of volumes together with their neighbours."""
    if _OF_VOLUMES in settings:
        raise VolumeModelError(
            f"{model}: is a model of volumes ({_OF_VOLUMES} {settings[_OF_VOLUMES]} in its settings), which "
            "needs more than single pictures; take a model of pictures"
        )


def _classes(settings: Mapping[str, Any], channels: int) -> Classes:
    """What the model's record says of its classes; numbers for a network of several without a record."""
    found = Classes.of(settings.get("classes") or [], settings.get("activation") or "sigmoid")
    if found.out_channels == channels:
        return found
    return Classes.of([f"class {k}" for k in range(1, channels + 1)])


def find_bundle() -> Path:
    """The checkout that this package is installed from, or the current folder."""
    for folder in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (folder / "configs" / "inference.json").is_file():
            return folder
    raise InputError(
        f"no bundle at {Path.cwd()}: configs/inference.json is missing; give bundle_root, the bundle's folder"
    )
