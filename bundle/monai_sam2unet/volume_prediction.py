"""Segmentation of volumes from Python, with exactly what ``configs/volume_inference.json`` says.

Shape legend: ``K`` classes, ``X Y Z`` the axes of a volume as it is stored (of a series
columns, rows, slices).
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from monai.bundle import ConfigParser
from monai.data import decollate_batch, list_data_collate

from monai_sam2unet.classes import Classes
from monai_sam2unet.io import Volume, read_values
from monai_sam2unet.networks.weights import load_network
from monai_sam2unet.prediction import find_bundle
from monai_sam2unet.settings import check_settings

__all__ = ["VolumeSegmenter", "predict_volume"]


class VolumeSegmenter:
    """A loaded model of volumes with the parts of ``configs/volume_inference.json``.

    Args:
        model: weights trained with ``configs/volume.json``, with their ``.json`` file beside them, which has
            all settings.
        device: where to compute; ``auto`` takes a GPU if there is one.
        bundle_root: folder of the bundle; where this package was installed from, or else the current folder,
            if None.
        pretrained_dir: where the base file of a model lies that holds only what was trained; the bundle's
            ``models/pretrained`` if None.
        batch_size: slices that the network computes at once; None for what the config says.
        threshold: probability from which a voxel counts (>=), of classes that may overlap; None for that of
            the model.

    Attributes:
        model: path of the weights.
        classes: what the network tells apart.
        threshold: that is used.
        device: that is used.
        window: None, for frames are shown as their file says; the model itself applies its own.

    Raises:
        InputError: if the model cannot be read or was not trained on volumes, or a value is out of its range.
    """

    window = None

    def __init__(
        self,
        model: str | os.PathLike[str],
        device: str | torch.device = "auto",
        bundle_root: str | os.PathLike[str] | None = None,
        pretrained_dir: str | os.PathLike[str] | None = None,
        batch_size: int | None = None,
        threshold: float | None = None,
    ) -> None:
        root = Path(bundle_root) if bundle_root is not None else find_bundle()
        self.model = Path(model)
        given = {"batch_size": batch_size, "threshold": threshold}
        given = {name: value for name, value in given.items() if value is not None}
        parser = ConfigParser()
        parser.read_config(root / "configs" / "volume_inference.json")
        parser.update({"bundle_root": str(root), "checkpoint": str(model), "device": str(device), **given})
        parser.parse()
        check_settings(device, plane=parser.get_parsed_content("plane"), **given)
        names = ("preprocessing", "inferer", "postprocessing")
        self._parts = {name: parser.get_parsed_content(name) for name in names}
        self.classes = Classes.of(*(parser.get_parsed_content(name) for name in ("classes", "activation")))
        self.threshold = float(parser.get_parsed_content("threshold"))
        folder = Path(pretrained_dir) if pretrained_dir is not None else root / "models" / "pretrained"
        device = parser.get_parsed_content("torch_device")
        self._parts["network"] = load_network(self.model, folder).fuse().to(device)
        self.device = next(self._parts["network"].parameters()).device

    def segment(self, volume: Volume) -> npt.NDArray[np.bool_]:
        """Segment one volume, slice by slice.

        Args:
            volume: as `monai_sam2unet.io.read_values` gives it.

        Returns:
            Where each class is, (K, X, Y, Z).
        """
        batch = list_data_collate([self._parts["preprocessing"]({"image": volume})])
        with torch.inference_mode():
            batch["pred"] = self._parts["inferer"](batch["image"].to(self.device), self._parts["network"])
        masks = self._parts["postprocessing"](decollate_batch(batch)[0])["pred"]
        return np.asarray(masks.cpu()) > 0


def predict_volume(
    volume: str | os.PathLike[str] | Volume,
    *,
    model: str | os.PathLike[str],
    device: str | torch.device = "auto",
    bundle_root: str | os.PathLike[str] | None = None,
    pretrained_dir: str | os.PathLike[str] | None = None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Segment one volume.

    Args:
        volume: a NIfTI or NRRD file, a folder with a DICOM series, or what `monai_sam2unet.io.read_values`
            gives.
        model: weights, as `VolumeSegmenter` takes them. They stay loaded for further calls.
        device: as `VolumeSegmenter` takes it.
        bundle_root: likewise.
        pretrained_dir: likewise.

    Returns:
        The label map, (X, Y, Z): 0 for background, k for the k-th class, where classes overlap the later one;
        and the volume's affine, from indices to mm, RAS+.

    Raises:
        InputError: if the volume or the model cannot be read, or the model was not trained on volumes.

    Example:
        >>> label_map, affine = predict_volume("mr.nii.gz", model="models/model.pt")  # doctest: +SKIP
    """
    root = Path(bundle_root) if bundle_root is not None else find_bundle()
    path = Path(model)
    stamp = path.stat().st_mtime_ns if path.is_file() else 0  # a model trained anew is loaded anew
    folder = Path(pretrained_dir) if pretrained_dir is not None else root / "models" / "pretrained"
    segmenter = _kept(str(root), str(path), stamp, str(device), str(folder))
    read = volume if isinstance(volume, Volume) else read_values(volume)
    return segmenter.classes.label_map(segmenter.segment(read)), np.array(read.affine)


@functools.lru_cache(maxsize=2)
def _kept(root: str, model: str, stamp: int, device: str, folder: str) -> VolumeSegmenter:
    """The segmenter of earlier calls, unless the model's file has changed since."""
    return VolumeSegmenter(model, device, root, folder)
