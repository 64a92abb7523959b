"""The benchmarks' figures as MONAI metrics: in Ignite's handlers, in distributed runs and from JSON.

Each picture becomes a row of numbers of fixed width in a buffer, which MONAI gathers over all processes
before anything is averaged: the maximum of a mean curve and pooled figures come out as in one process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric, DiceMetric
from monai.utils import convert_to_tensor

from monai_sam2unet.errors import InputError
from monai_sam2unet.metrics.protocols import figures_of, find_protocol
from monai_sam2unet.metrics.rows import Layout, RowMean, Values
from monai_sam2unet.metrics.saliency import (
    Dynamic,
    e_measure,
    f_measure,
    mae,
    threshold_dice,
    threshold_iou,
)
from monai_sam2unet.metrics.structure import s_measure
from monai_sam2unet.metrics.weighted import weighted_f

__all__ = [
    "ClassDiceMetric",
    "EMeasureMetric",
    "FMeasureMetric",
    "MapErrorMetric",
    "ProtocolMetric",
    "SMeasureMetric",
    "ThresholdDiceMetric",
    "ThresholdIoUMetric",
    "WeightedFMetric",
]

KINDS = ("adaptive", "mean", "max")


class RowMetric(CumulativeIterationMetric):
    """Buffer of rows, one of each picture, whose mean gives figures.

    Predictions and masks are lists of (1, H, W), of any sizes, or batches (B, 1, H, W): maps in [0, 1] or
    uint8, not logits.

    Args:
        layout: what is measured in a picture.
        figure: the one figure that `aggregate` gives; None for all.
    """

    def __init__(self, layout: Layout, figure: str | None = None) -> None:
        super().__init__()
        self.layout = layout
        self.figure = figure

    def _compute_tensor(
        self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """Measure the pictures of a batch.

        Args:
            y_pred: (B, 1, H, W).
            y: same shape.
            kwargs: nothing is known.

        Returns:
            (B, row), float64.
        """
        if y is None or kwargs:
            raise InputError(f"y_pred and y are expected and nothing else, got y {y} and {sorted(kwargs)}")
        for name, batch in (("y_pred", y_pred), ("y", y)):
            if batch.ndim != 4 or batch.shape[1] != 1:
                raise InputError(
                    f"{name} must be (B, 1, H, W) or a list of (1, H, W), got {tuple(batch.shape)}"
                )
        if len(y_pred) != len(y):
            raise InputError(f"y_pred and y must hold equally many pictures, got {len(y_pred)} and {len(y)}")
        predictions, masks = _pictures(y_pred), _pictures(y)
        rows = torch.from_numpy(
            np.stack([self.layout.row(p, m) for p, m in zip(predictions, masks, strict=True)])
        )
        # Apple's devices have no float64
        return rows if y_pred.device.type == "mps" else rows.to(y_pred.device)

    def aggregate(self) -> Any:
        """Figures of all pictures so far, of all processes.

        Returns:
            A tensor of one number if a figure was named, else figures by name.

        Raises:
            InputError: if there was no picture.
        """
        mean = RowMean(self.layout)
        rows = self.get_buffer()
        for row in () if rows is None else rows.cpu().numpy():
            mean.add(row)
        figures = figures_of(mean)
        return figures if self.figure is None else torch.tensor(figures[self.figure], dtype=torch.float64)


class ProtocolMetric(RowMetric):
    """The figures of a named protocol, see `monai_sam2unet.metrics.score`.

    In an Ignite engine, all figures are in `engine.state.metrics` under their own names, or the one that was
    named under the handler's.

    Args:
        protocol: `paper`, `hetnet`, `masnet` or `fixed`.
        figure: name of one figure, such as `Smeasure`, to get that alone (for choosing a model).
        threshold: operating point of `fixed`.

    Example:
        >>> metric = ProtocolMetric("fixed", figure="iou")
        >>> _ = metric(torch.tensor([[[[0.9, 0.6, 0.1]]]]), torch.tensor([[[[1.0, 0.0, 0.0]]]]))
        >>> metric.aggregate().item()
        0.5
    """

    def __init__(
        self, protocol: str = "paper", figure: str | None = None, threshold: float | None = None
    ) -> None:
        layout = find_protocol(protocol, threshold)
        names = layout.figures
        if figure is not None and figure not in names:
            raise InputError(
                f"figure must be one of {', '.join(names)} of protocol {protocol!r}, got {figure!r}"
            )
        super().__init__(layout, figure)


class ClassDiceMetric(DiceMetric):
    """Mean over classes of each class's mean Dice over the pictures in which it occurs.

    In [0, 1], higher is better. MONAI's own mean is over the classes within each picture first, so that a
    frequent class counts for more. A class that never occurs has no part in the mean; NaN if none occurs.

    Example:
        >>> metric = ClassDiceMetric()
        >>> _ = metric([torch.tensor([[[1, 0]], [[0, 0]]])], [torch.tensor([[[1, 1]], [[0, 0]]])])
        >>> round(metric.aggregate().item(), 4)
        0.6667
    """

    def aggregate(self, reduction: Any = None) -> torch.Tensor:
        """The mean so far, of all processes.

        Args:
            reduction: as MONAI calls it; there is one way here.

        Returns:
            A tensor of one number.

        Raises:
            InputError: if a reduction is asked for.
        """
        if reduction is not None:
            raise InputError(f"reduction must be left out, got {reduction!r}")
        cases = self.get_buffer()
        if cases is None:
            return torch.tensor(float("nan"))
        return torch.nanmean(torch.nanmean(cases.float(), dim=0))


class SMeasureMetric(RowMetric):
    """Mean S-measure over pictures. In [0, 1], higher is better.

    Args:
        alpha: weight of the object's part.
        stretch: whether each map is stretched to its own minimum and maximum first.
    """

    def __init__(self, alpha: float = 0.5, stretch: bool = True) -> None:
        super().__init__(_single(lambda p, m: s_measure(p, m, alpha=alpha, stretch=stretch)), "mean")


class WeightedFMetric(RowMetric):
    """Mean weighted F-measure over pictures. In [0, 1], higher is better; 0 for an empty mask.

    Args:
        stretch: whether each map is stretched to its own minimum and maximum first.
    """

    def __init__(self, stretch: bool = True) -> None:
        super().__init__(_single(lambda p, m: weighted_f(p, m, stretch=stretch)), "mean")


class MapErrorMetric(RowMetric):
    """Mean absolute error (MAE) over pixels, then over pictures. In [0, 1], lower is better.

    Args:
        stretch: whether each map is stretched to its own minimum and maximum first.
    """

    def __init__(self, stretch: bool = True) -> None:
        super().__init__(_single(lambda p, m: mae(p, m, stretch=stretch)), "mean")


class FMeasureMetric(RowMetric):
    """F-measure over pictures. In [0, 1], higher is better; 0 for an empty mask.

    Args:
        kind: `adaptive`, or `mean` or `max` of the mean curve over thresholds.
        beta2: square of beta, the weight of recall against precision.
        stretch: whether each map is stretched to its own minimum and maximum first.
    """

    def __init__(self, kind: str = "max", beta2: float = 0.3, stretch: bool = True) -> None:
        super().__init__(_dynamic(lambda p, m: f_measure(p, m, beta2=beta2, stretch=stretch), kind), kind)


class EMeasureMetric(RowMetric):
    """E-measure over pictures. In [0, N / (N - 1)] for N pixels, higher is better.

    Args:
        kind: `adaptive`, or `mean` or `max` of the mean curve over thresholds.
        stretch: whether each map is stretched to its own minimum and maximum first.
    """

    def __init__(self, kind: str = "mean", stretch: bool = True) -> None:
        super().__init__(_dynamic(lambda p, m: e_measure(p, m, stretch=stretch), kind), kind)


class ThresholdDiceMetric(RowMetric):
    """Dice at all thresholds, over pictures. In [0, 1], higher is better; 0 for an empty mask.

    Args:
        kind: `adaptive`, or `mean` (the paper's "mDice") or `max` of the mean curve over thresholds.
        stretch: whether each map is stretched to its own minimum and maximum first.
    """

    def __init__(self, kind: str = "mean", stretch: bool = True) -> None:
        super().__init__(_dynamic(lambda p, m: threshold_dice(p, m, stretch=stretch), kind), kind)


class ThresholdIoUMetric(RowMetric):
    """Intersection over union at all thresholds, over pictures. In [0, 1], higher is better; 0 if empty.

    Args:
        kind: `adaptive`, or `mean` (the paper's "mIoU") or `max` of the mean curve over thresholds.
        stretch: whether each map is stretched to its own minimum and maximum first.
    """

    def __init__(self, kind: str = "mean", stretch: bool = True) -> None:
        super().__init__(_dynamic(lambda p, m: threshold_iou(p, m, stretch=stretch), kind), kind)


def _single(measure: Callable[[Any, Any], float]) -> Layout:
    """One number of each picture, averaged."""
    return Layout(("mean",), (), lambda p, m: {"mean": measure(p, m)}, dict)


def _dynamic(measure: Callable[[Any, Any], Dynamic], kind: str) -> Layout:
    """The adaptive figure and the curve of each picture, averaged."""
    if kind not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")

    def values(prediction: Any, mask: Any) -> Values:
        figures = measure(prediction, mask)
        return {"adaptive": figures.adaptive, "curve": figures.curve}

    def finish(mean: Values) -> dict[str, float]:
        curve = mean["curve"]
        return {"adaptive": mean["adaptive"], "mean": float(curve.mean()), "max": float(curve.max())}

    return Layout(("adaptive",), ("curve",), values, finish)


def _pictures(batch: torch.Tensor) -> list[torch.Tensor]:
    """The pictures of a batch, without MONAI's metadata, which slows every step."""
    plain = convert_to_tensor(batch, track_meta=False, device=torch.device("cpu"))
    return [picture[0] for picture in plain]
