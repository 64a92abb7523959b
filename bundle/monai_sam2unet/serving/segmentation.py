"""Inference as ``configs/inference.json`` says it, for one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastapi import HTTPException
from monai.data import MetaTensor
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.utils.others.generic import name_to_device
from torch import Tensor, nn

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks.weights import load_network
from monai_sam2unet.serving.folder import served_weights
from monai_sam2unet.serving.polygons import as_annotations

__all__ = ["Segmentation", "reason_of"]


class Segmentation(BundleInferTask):
    """MONAI Label's inference with a bundle, with these differences.

    * Weights are loaded wholly or not at all; MONAI Label warns of what does not fit, and goes on.
    * A file of weights that is replaced may be of another variant: the network is built anew.
    * Requests wait for each other: the bundle's config, which all share, is parsed anew for each.
    * What a request got wrong is answered by status 400 and a sentence; MONAI Label answers 500 alone.

    Args:
        path: folder of the bundle.
        conf: the server's ``--conf``.

    Raises:
        InputError: if the model cannot be read, as soon as it is asked for.
    """

    def __init__(self, path: str, conf: Mapping[str, str]) -> None:
        self.lock = threading.RLock()
        super().__init__(path, dict(conf), add_post_restore=False, load_strict=True)
        if not self.is_valid():
            raise InputError(
                f"{path}: no bundle with a model: expected configs/inference.json, models/model.pt"
            )

    def __call__(self, request: Mapping[str, Any], callbacks: Mapping[Any, Any] | None = None) -> Any:
        """Segment the picture of a request.

        Args:
            request: MONAI Label's; ``image`` is a path, ``threshold`` a probability in (0, 1) in the place of
                the model's own.
            callbacks: see MONAI Label.

        Returns:
            The path of a PNG file of label numbers, of the picture's size, and what MONAI Label reports.

        Raises:
            HTTPException: 400 if the picture, the model's file or the threshold cannot be used.
        """
        with self.lock:
            try:
                return super().__call__(request, callbacks)
            except Exception as e:
                if (reason := reason_of(e)) is None:
                    raise
                raise HTTPException(400, reason) from e

    def pre_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable[..., Any]]:
        """Preprocessing with the settings of the model that the request names."""
        request = data or {}
        self.bundle_config["checkpoint"] = str(self.weights_of(request))
        # what the model was trained with, unless the request says otherwise
        self.bundle_config["threshold"] = _threshold(request.get("threshold"))
        return super().pre_transforms({**self.displayable_configs, **request})

    def weights_of(self, request: Mapping[str, Any]) -> Path:
        """The file of weights that a request is answered with (see `served_weights`)."""
        return served_weights(Path(self.path[0]).parent, request.get("model_filename"))

    def logits(self, request: Mapping[str, Any], turns: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        """The network's output for a picture that is turned in several ways, before anything is made of it.

        Args:
            request: as for a call.
            turns: ``T`` ways; each is done with the network's input, (1, C, H, W), and with its output again,
                which must undo it.

        Returns:
            (T, K, H, W), of the network's input size.
        """
        device = name_to_device(request.get("device", "cuda"))
        data = {**self._config, **request, "device": device}
        with self.lock, torch.inference_mode():
            image = self.run_pre_transforms(data, self.pre_transforms(data))[self.input_key]
            pixels = image.as_tensor() if isinstance(image, MetaTensor) else image
            network, infer = self._get_network(device, data), self.inferer(data)
            return torch.cat([turn(infer(turn(pixels[None].to(device)), network)) for turn in turns])

    def writer(self, data: dict[str, Any], extension: Any = None, dtype: Any = None) -> tuple[Any, Any]:
        """Write the mask; where nothing but JSON is asked for, as by CVAT, tell its outlines."""
        file, result = super().writer(data, extension, dtype)
        if data.get("output") == "json":
            result["annotations"] = as_annotations(np.asarray(data[self.output_label_key]).T, self.labels)
        return file, result

    def _get_network(self, device: str, data: Mapping[str, Any] | None) -> nn.Module:
        """The network with the weights that a request asks for, loaded once."""
        path = self.weights_of(data or {})
        stamp = path.stat().st_mtime_ns if path.is_file() else 0
        network, loaded = self._networks.get((device, path), (None, None))
        if network is None or loaded != stamp:
            # a server runs for days: somebody may copy another model over the file meanwhile
            network = load_network(path, mapped=False).fuse().to(device)
            self._networks[device, path] = (network, stamp)
        return network


def reason_of(error: BaseException | None) -> str | None:
    """What an error of the user's says; None for any other. MONAI wraps what its transforms raise."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    return None if error is None else str(error)


def _threshold(value: Any) -> Any:
    """The threshold of a request, or where the config finds that of the model."""
    if value is None:
        return "$@model_settings['threshold']"
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < 1:
        raise InputError(f"threshold must be a probability between 0 and 1, got {value!r}")
    return number
