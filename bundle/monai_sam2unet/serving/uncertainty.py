"""How sure the model is of each picture that nobody has labelled: what to label next."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from torch import Tensor

from monai_sam2unet.serving.segmentation import Segmentation, reason_of

__all__ = ["KEY", "Uncertainty", "entropy"]

logger = logging.getLogger(__name__)

KEY = "uncertainty"
"""Under this name the studies keep the score of a picture."""

STAMP = "uncertainty_ts"
"""And under this one when the model was written that it is of, nanoseconds."""

TURNS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x,
    lambda x: x.flip(-1),
    lambda x: x.flip(-2),
    lambda x: x.flip(-2, -1),
)
"""The picture as it is, mirrored, upside down, and both; each undoes itself. Trainings flip, too."""


def entropy(probability: Tensor) -> float:
    """Mean entropy of the pixels of a probability map, in bits.

    Args:
        probability: in [0, 1], any shape.

    Returns:
        From 0, where every pixel is certain, to 1, where every one is 0.5.

    Example:
        >>> entropy(torch.tensor([0.0, 0.5, 1.0, 0.5]))
        0.5
    """
    p = probability.double()
    bits = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)) / math.log(2)
    return float(bits.mean())


class Uncertainty(ScoringMethod):
    """Score of the pictures without a label: the entropy of the mean of the maps of the turned picture.

    Test-time augmentation (Wang et al. 2019, https://doi.org/10.1016/j.neucom.2019.01.103); MONAI Label's own
    score wants a network with dropout, of which this one has none.

    Args:
        segmentation: the model.
    """

    def __init__(self, segmentation: Segmentation) -> None:
        super().__init__("Mean entropy of the probabilities over four turns of the picture, in bits")
        self.segmentation = segmentation

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score what the present model has not scored yet, and keep the scores with the studies.

        Args:
            request: ``max_samples`` bounds their number (0 or nothing: all); ``device`` as for an inference.
            datastore: the studies.

        Returns:
            How many pictures have no label, had a score, were scored, and could not be read; the seconds.
        """
        begin = time.monotonic()
        stamp = self.segmentation.weights_of({}).stat().st_mtime_ns
        images = sorted(datastore.get_unlabeled_images())
        due = [i for i in images if datastore.get_image_info(i).get(STAMP) != stamp]
        chosen = due[: int(request.get("max_samples") or 0) or None]
        failed = 0
        for image in chosen:
            try:
                score = self.score({**request, "image": datastore.get_image_uri(image)})
            except Exception as e:
                if reason_of(e) is None:
                    raise
                logger.warning("not scored: %s", reason_of(e))
                failed, score = failed + 1, 0.0  # nobody can label it, so it comes last
            datastore.update_image_info(image, {KEY: score, STAMP: stamp})
        return {
            "total": len(images),
            "skipped": len(images) - len(due),
            "executed": len(chosen) - failed,
            "failed": failed,
            "seconds": round(time.monotonic() - begin, 3),
        }

    def score(self, request: Mapping[str, Any]) -> float:
        """Score of one picture, in bits.

        Args:
            request: ``image`` is its path.

        Raises:
            InputError: if it cannot be read, perhaps as the cause of MONAI's error.
        """
        return entropy(torch.sigmoid(self.segmentation.logits(request, TURNS)).mean(dim=0))
