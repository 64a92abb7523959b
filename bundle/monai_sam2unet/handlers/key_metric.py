"""The figure of the validation by which the model is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.handlers import IgniteMetricHandler, MeanDice, from_engine
from torch import Tensor

from monai_sam2unet.classes import Classes
from monai_sam2unet.errors import InputError
from monai_sam2unet.metrics import ClassDiceMetric, ProtocolMetric
from monai_sam2unet.metrics.protocols import find_protocol

__all__ = ["DEFAULT_NAME", "check_key_figure", "in_words", "key_metric"]

LOWER_IS_BETTER = frozenset(("MAE", "mae", "ber", "false_alarm_rate", "false_area_fraction"))
"""Figures of the protocols by which no model can be chosen: the best one has the greatest key metric."""

DEFAULT_NAME = "validation_dice"
"""What `key_metric` calls Dice of protocol `fixed`."""


def check_key_figure(protocol: str, figure: str) -> None:
    """See that a model can be chosen by a figure of a protocol.

    Args:
        protocol: `paper`, `hetnet`, `masnet` or `fixed`.
        figure: name as `monai_sam2unet.metrics.score` gives it.

    Raises:
        InputError: if there is no such protocol, or no such figure of it of which higher is better.
    """
    figures = [name for name in find_protocol(protocol).figures if name not in LOWER_IS_BETTER]
    if figure not in figures:
        raise InputError(
            f"key_metric must be a figure of protocol {protocol!r} of which higher is better "
            f"({', '.join(figures)}), got {figure!r}"
        )


def key_metric(
    protocol: str, figure: str, threshold: float = 0.5, classes: Sequence[str] = ()
) -> dict[str, IgniteMetricHandler]:
    """The key metric of a validation, as MONAI's evaluators take it.

    Args:
        protocol: `paper`, `hetnet`, `masnet` or `fixed`.
        figure: one of its figures of which higher is better, such as `Smeasure`.
        threshold: operating point of `fixed` in (0, 1); the other protocols have their own.
        classes: names of the classes; several have Dice of `fixed` alone.

    Returns:
        One handler under the name that the figure has in every file: ``validation_`` and the figure. It takes
        ``label`` and, for Dice of `fixed`, the mask ``pred``, else the map ``probability`` from the
        engine's outputs, (1, H, W) each, of the picture's own size. For several classes the mean over the
        classes of their mean Dice, and after it one handler a class, ``validation_dice_`` and its name.

    Raises:
        InputError: as `check_key_figure`.
    """
    check_key_figure(protocol, figure)
    name = f"validation_{figure}"
    names = Classes.of(classes).names
    if len(names) > 1:
        of_classes = {f"{name}_{own}": _class_dice(slice(k, k + 1)) for k, own in enumerate(names)}
        return {name: _class_dice(slice(None)), **of_classes}
    if name == DEFAULT_NAME:
        return {name: MeanDice(output_transform=from_engine(["pred", "label"]))}
    metric = ProtocolMetric(protocol, figure, threshold if protocol == "fixed" else None)
    return {name: IgniteMetricHandler(metric, output_transform=from_engine(["probability", "label"]))}


def _class_dice(channels: slice) -> IgniteMetricHandler:
    """Dice of the masks in these channels, the mean over the classes there."""
    take: Callable[[Any], tuple[list[Tensor], ...]] = from_engine(["pred", "label"])

    def of_channels(output: Any) -> tuple[list[Tensor], ...]:
        return tuple([torch.as_tensor(masks[channels]) for masks in batch] for batch in take(output))

    return IgniteMetricHandler(ClassDiceMetric(), output_transform=of_channels)


def in_words(name: str) -> str:
    """The name of a key metric as a log line says it.

    Example:
        >>> in_words("validation_dice"), in_words("validation_f_measure")
        ('validation Dice', 'validation f_measure')
    """
    return "validation Dice" if name == DEFAULT_NAME else name.replace("_", " ", 1)
