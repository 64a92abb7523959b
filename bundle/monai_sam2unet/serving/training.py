"""Training from the labels of the studies, begun from the model that is served."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.train.bundle import BundleTrainTask

from monai_sam2unet.commandline import short_errors
from monai_sam2unet.data.check import check_pairs
from monai_sam2unet.errors import InputError
from monai_sam2unet.files import copy_file
from monai_sam2unet.handlers import model_settings
from monai_sam2unet.networks.weights import model_architecture
from monai_sam2unet.serving.folder import served_weights
from monai_sam2unet.serving.studies import as_pictures
from monai_sam2unet.settings import RULES

__all__ = ["Training"]

logger = logging.getLogger(__name__)

FROM_MODEL = ("input_size", "classes", "threshold", "mask_resize", "tuning", "lora_rank", "lora_alpha")
"""Settings of the model's own training that the next one goes on with, beside its architecture."""

OFFERED = {"learning_rate": 1e-4, "batch_size": 12}
"""Settings that MONAI Label's clients show to the user. The rate is a tenth of the recipe's, which is for a
network that is trained for the first time."""

NOT_TAKEN = ("pretrained", "max_epochs", "save", "resume")
"""Settings that MONAI Label's own requests have in another sense, or that the server sees to itself."""


class Training(BundleTrainTask):
    """MONAI Label's training of a bundle, with these differences.

    * The network, its input size and what is tuned are those of the served model.
    * It starts from the served weights, all of them, or fails; MONAI Label loads what fits.
    * The served model stays until the training has succeeded: `models/model.pt` is replaced at its end.
    * Any setting of ``train.json`` may be in the request, as on the command line.

    Args:
        path: folder of the bundle.
        conf: the server's ``--conf``.
    """

    def __init__(self, path: str, conf: Mapping[str, str]) -> None:
        super().__init__(path, dict(conf))
        self.models = Path(path) / "models"
        self.request: Mapping[str, Any] = {}
        self.run = Path()

    def config(self) -> dict[str, Any]:
        """What clients show to be chosen before a training."""
        return {**super().config(), **OFFERED}

    def stats(self) -> dict[str, Any]:
        """What the training of the served model reached, as MONAI Label's clients show it."""
        settings = model_settings(self.models / "model.pt")
        metric = next((value for name, value in settings.items() if name.startswith("validation_")), None)
        return {"epoch": settings.get("epoch"), "best_metric": metric}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, then serve what came out.

        Args:
            request: MONAI Label's ``max_epochs``, ``val_split`` (part of the labels that only choose the
                epoch), ``pretrained``, ``device``; settings of ``train.json``.
            datastore: the studies.

        Returns:
            Nothing of interest; an error ends the task.

        Raises:
            InputError: if there are no labels, or a setting is wrong.
        """
        short_errors()
        self.request = request
        self.run = Path(self.bundle_path) / "runs" / time.strftime("train-%Y%m%d-%H%M%S")
        result: dict[str, Any] = super().__call__(request, datastore)
        for name in ("model.json", "model.pt"):  # the weights last, whose date tells the server to load them
            copy_file(self.run / "models" / name, self.models / name)
        logger.info("Served from now on: %s, of %s", self.models / "model.pt", self.run)
        return result

    def _fetch_datalist(self, request: Mapping[str, Any], datastore: Datastore) -> list[dict[str, Any]]:
        """Pictures and final labels; each pair is looked at before any work is done."""
        items = as_pictures(super()._fetch_datalist(request, datastore), self.run / "labels")
        if not items:
            raise InputError("no picture of the studies has a final label; label some, then train")
        check_pairs(items)
        return items

    def _partition_datalist(
        self, datalist: list[dict[str, Any]], request: Mapping[str, Any], shuffle: bool = False
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Pictures to train on and to validate on; if all would be for validation, none is."""
        train, validation = super()._partition_datalist(datalist, request, shuffle)
        return (train, validation or []) if train else (datalist, [])

    def _load_checkpoint(self, *_: Any) -> None:
        """Nothing: the training itself loads the weights, and only if all fit."""

    def _update_overrides(self, overrides: dict[str, Any]) -> None:
        """Say what this training is, beside what MONAI Label says."""
        served = served_weights(self.models, self.request.get("model_filename"))
        settings = model_settings(served)
        start = str(served) if self.request.get("pretrained", True) else "none"
        overrides |= {name: settings[name] for name in FROM_MODEL if name in settings}
        overrides |= {**model_architecture(served), "pretrained": start, "scales": [1.0]}
        overrides |= {"output_dir": str(self.run), "ckpt_dir": str(self.run / "models")}
        # loader processes of a process of the server's own cost more than a few labels take
        overrides |= {"num_workers": 0, "max_epochs": overrides["train#trainer#max_epochs"]}
        overrides |= {
            **OFFERED,
            **{n: self.request[n] for n in RULES if n in self.request and n not in NOT_TAKEN},
        }
        overrides["device"] = str(overrides["device"])
        logger.info("Training settings: %s", {k: v for k, v in overrides.items() if k in RULES})
