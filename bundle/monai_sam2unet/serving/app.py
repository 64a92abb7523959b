"""The app: which tasks the server offers.

MONAI Label looks for a class in ``main.py`` of the app's folder whose direct base is ``MONAILabelApp``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.epistemic import Epistemic
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

from monai_sam2unet.serving.folder import BUNDLE, MODEL
from monai_sam2unet.serving.segmentation import Segmentation
from monai_sam2unet.serving.studies import Studies
from monai_sam2unet.serving.training import Training
from monai_sam2unet.serving.uncertainty import KEY, Uncertainty

__all__ = ["SAM2UNetApp"]


class SAM2UNetApp(MONAILabelApp):
    """Segmentation by the bundle's model, training of it, and the choice of the next picture.

    Args:
        app_dir: folder made by `monai_sam2unet.serving.folder.prepare`.
        studies: folder of the pictures, or address of a server of them.
        conf: what ``--conf`` says; ``skip_trainers true`` leaves out the training, ``preload true`` loads the
            model at the start.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        self.bundle = os.path.join(app_dir, BUNDLE)
        self.segmentation = Segmentation(self.bundle, dict(conf))
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=dict(conf),
            name="SAM2-UNet",
            description="Segmentation with SAM2-UNet, a MONAI bundle",
            version=self.segmentation.version,
        )

    def init_datastore(self) -> Datastore:
        """A folder of pictures, or what MONAI Label makes of an address."""
        if self.studies.startswith(("http://", "https://")):
            return super().init_datastore()
        return Studies(
            self.studies,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def init_infers(self) -> dict[str, InferTask]:
        """The one model."""
        return {MODEL: self.segmentation}

    def init_trainers(self) -> dict[str, TrainTask]:
        """Its training, unless the server is to have none."""
        if self.conf.get("skip_trainers", "false").lower() == "true":
            return {}
        return {MODEL: Training(self.bundle, self.conf)}

    def init_strategies(self) -> dict[str, Strategy]:
        """Ways to choose the next picture to label."""
        return {
            "uncertainty": Epistemic(key=KEY, desc="The picture that the model is least sure of"),
            "first": First(),
            "random": Random(),
        }

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """How sure the model is of each picture."""
        return {"uncertainty": Uncertainty(self.segmentation)}

    def infer(self, request: dict[str, Any], datastore: Any = None) -> Any:
        """Segment one picture (see MONAI Label).

        Raises:
            HTTPException: 404 if there is no such model or picture; 400 if the picture, or the model's file,
                cannot be used.
        """
        if request.get("model") not in self._infers:
            raise HTTPException(
                404, f"no model {request.get('model')!r}; there is: {', '.join(self._infers)}"
            )
        image = request.get("image")
        if isinstance(image, str) and not os.path.exists(image):
            store = datastore or self.datastore()
            if not store.get_image_uri(image):
                raise HTTPException(
                    404, f"no picture {image!r} among the {len(store.list_images())} of the studies"
                )
        return super().infer(request, datastore)
