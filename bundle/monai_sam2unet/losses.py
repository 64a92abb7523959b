"""Structure loss: boundary-weighted cross entropy plus boundary-weighted IoU, deeply supervised.

Source: arXiv 2408.08870, section 2 (equations of the loss), after Wei et al., F3Net, arXiv 1911.11445. For
several classes it is ours; with one class both forms of it are the paper's.

Shapes: ``B`` batch, ``K`` classes (the background is none), ``C`` output channels, ``H W`` height and width
in pixels. ``C`` is ``K`` with ``sigmoid``, ``K + 1`` with ``softmax``, whose first channel is the background.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss
from torch import Tensor, nn

from monai_sam2unet.classes import ACTIVATIONS

__all__ = ["LOSSES", "DiceCrossEntropy", "StructureLoss", "boundary_weight", "segmentation_loss"]

MODES = ("weighted", "legacy")

LOSSES = (*MODES, "dice_ce")
"""What `segmentation_loss` knows."""

WINDOW = 31
"""Side of the box, in pixels, within which a boundary makes a pixel count for more."""

AREA = (2, 3)


def segmentation_loss(
    name: str, activation: str = "sigmoid", class_weights: Sequence[float] = ()
) -> nn.Module:
    """The loss of a name, over all outputs of the network.

    Args:
        name: of `LOSSES`.
        activation: ``sigmoid`` or ``softmax``.
        class_weights: factor of each class; all 1 if empty.
    """
    if name == "dice_ce":
        return DiceCrossEntropy(activation=activation, class_weights=class_weights)
    return StructureLoss(name, activation=activation, class_weights=class_weights)


def boundary_weight(target: Tensor, counted: Tensor | None = None) -> Tensor:
    """Weight of each pixel: 1 far from boundaries, up to 6 beside them.

    Args:
        target: mask in [0, 1], (B, K, H, W), 0 where a pixel is not counted.
        counted: 1 where a pixel counts, 0 where it is ignored, (B, 1, H, W); None if all count.

    Returns:
        ``1 + 5 |box mean of target - target|`` over 31x31 pixels, zeros beyond the edge, (B, K, H, W). The
        mean is over the pixels that count: the edge of what is ignored is no boundary.
    """
    mean = _box_mean(target)
    if counted is not None:
        mean = mean / (1 - _box_mean(1 - counted)).clamp(min=1 / WINDOW**2)
    return 1 + 5 * (mean - target).abs()


class _SupervisedOutputs(nn.Module):
    """What losses over all outputs of the network share: their checks and their sum.

    Args:
        weights: factor of each output, main first; further outputs are an error, fewer are not. The
            published sum has 1 for all three.
        activation: ``sigmoid``, each class for itself, or ``softmax``, one class or background a pixel.
        class_weights: factor of each class; all 1 if empty.

    Raises:
        ValueError: if the activation is unknown, or (in `forward`) shapes or the number of outputs or of
            class weights do not fit.
    """

    def __init__(
        self,
        weights: Sequence[float] = (1.0, 1.0, 1.0),
        activation: str = "sigmoid",
        class_weights: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        self.weights = tuple(float(w) for w in weights)
        self.exclusive = activation == "softmax"
        self.class_weights = tuple(float(w) for w in class_weights)

    def _checked(
        self, outputs: Tensor | Sequence[Tensor], target: Tensor
    ) -> tuple[list[Tensor], Tensor, Tensor | None]:
        """Outputs as a list of float32, target (B, K, H, W), and which pixels count (None if all do)."""
        outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        if not 0 < len(outputs) <= len(self.weights):
            raise ValueError(f"expected 1 to {len(self.weights)} outputs, got {len(outputs)}")
        classes = outputs[0].shape[1] - self.exclusive
        if self.class_weights and len(self.class_weights) != classes:
            raise ValueError(f"expected class weights of {classes} classes, got {len(self.class_weights)}")
        for logits in outputs:
            size = (len(logits), classes, *logits.shape[2:])
            if logits.shape[1] != outputs[0].shape[1] or target.shape not in (
                size,
                (size[0], classes + 1, *size[2:]),
            ):
                raise ValueError(_unfit(logits, target, self.exclusive))
        target = target.float()
        counted = None
        if target.shape[1] > classes:
            counted = (target[:, -1:] <= 0).float()  # soft edges of what is ignored are of no class either
            target = target[:, :-1] * counted
        return [logits.float() for logits in outputs], target, counted

    def _class_mean(self, values: Tensor) -> Tensor:
        """Mean over batch and classes, (B, K), by the classes' weights."""
        if self.class_weights:
            factors = values.new_tensor(self.class_weights)
            values = values * (factors / factors.mean())
        return values.mean()

    def _sum(self, losses: Sequence[Tensor]) -> Tensor:
        """Sum over the outputs by their weights."""
        return torch.stack([w * loss for w, loss in zip(self.weights, losses, strict=False)]).sum()


class StructureLoss(_SupervisedOutputs):
    """Weighted cross entropy plus weighted IoU, summed over the network's outputs.

    With ``sigmoid`` every class has a binary cross entropy and an IoU of its own. With ``softmax`` there is
    one cross entropy over all classes and the background, where a pixel weighs as much as for the class for
    which it weighs most, and the IoU of each class but the background. Class weights, divided by their mean,
    multiply the terms of each class; in the cross entropy of ``softmax``, where the background has 1, they
    are those of PyTorch's: a weighted mean over the pixels. With one class, ``softmax`` is ``sigmoid`` of the
    difference of the two channels.

    Args:
        mode: ``weighted`` is the paper's formula. ``legacy`` is what the published code computes: its
            cross entropy is averaged before the boundary weight is applied, so that the weight cancels.
        weights: factor of each output, main first; further outputs are an error, fewer are not. The
            published sum has 1 for all three.
        activation: ``sigmoid``, each class for itself, or ``softmax``, one class or background a pixel.
        class_weights: factor of each class; all 1 if empty.

    Raises:
        ValueError: if the mode or the activation is unknown, or (in `forward`) shapes or the number of
            outputs or of class weights do not fit.

    Example:
        >>> loss = StructureLoss()
        >>> round(loss(torch.full((1, 1, 32, 32), 20.0), torch.ones(1, 1, 32, 32)).item(), 4)
        0.0
    """

    def __init__(
        self,
        mode: str = "weighted",
        weights: Sequence[float] = (1.0, 1.0, 1.0),
        activation: str = "sigmoid",
        class_weights: Sequence[float] = (),
    ) -> None:
        super().__init__(weights, activation, class_weights)
        if mode not in MODES:
            raise ValueError(f"mode must be 'weighted' or 'legacy', got {mode!r}")
        self.mode = mode

    def forward(self, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            outputs: logits, (B, C, H, W), or the list of them that the network gives in training.
            target: masks in [0, 1], soft values allowed, (B, K, H, W), or (B, K + 1, H, W), of which the last
                is above 0 where a pixel counts nowhere.

        Returns:
            Scalar, mean over batch and classes, in float32 whatever the precision of the logits.
        """
        outputs, target, counted = self._checked(outputs, target)
        boundary = boundary_weight(target, counted)  # the same for all outputs
        if counted is not None:
            boundary = boundary * counted
        return self._sum([self._one(logits, target, boundary, counted) for logits in outputs])

    def _one(self, logits: Tensor, target: Tensor, boundary: Tensor, counted: Tensor | None) -> Tensor:
        """Loss of one output."""
        if self.exclusive:
            entropy = self._entropy(logits, target, boundary, counted)
            p = logits.softmax(1)[:, 1:]
            return entropy + self._class_mean(1 - _iou(p, target, boundary))
        cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if self.mode == "weighted":
            bce = (boundary * cross_entropy).sum(AREA) / boundary.sum(AREA).clamp(min=1)
        elif counted is None:
            bce = cross_entropy.mean()
        else:
            bce = (cross_entropy * counted).sum() / (counted.sum() * target.shape[1]).clamp(min=1)
        return self._class_mean(bce + 1 - _iou(logits.sigmoid(), target, boundary))

    def _entropy(self, logits: Tensor, target: Tensor, boundary: Tensor, counted: Tensor | None) -> Tensor:
        """Cross entropy of exclusive classes, scalar."""
        shares = with_background(target)
        if self.class_weights:
            shares = shares * shares.new_tensor((1.0, *self.class_weights)).view(1, -1, 1, 1)
        entropy = -(shares * logits.log_softmax(1)).sum(1)  # (B, H, W)
        if self.mode == "weighted":
            weight = boundary.amax(1)
        else:
            weight = torch.ones_like(entropy) if counted is None else counted[:, 0]
        area = (1, 2) if self.mode == "weighted" else (0, 1, 2)
        norm = (weight * shares.sum(1)).sum(area)
        return ((weight * entropy).sum(area) / norm.clamp(min=1e-6)).mean()


class DiceCrossEntropy(_SupervisedOutputs):
    """MONAI's ``DiceCELoss``, summed over the network's outputs.

    With ``softmax`` it is that loss over all channels, Dice without the background, ``class_weights`` as its
    ``weight`` (the background has 1). With ``sigmoid`` it is the mean over the classes, by their weights, of
    the loss of each channel alone, since MONAI takes a cross entropy of exclusive classes for more than one.
    Pixels that are ignored are taken out of each picture beforehand; then the mean is over the pictures that
    have any left.

    Args:
        weights: factor of each output, main first; further outputs are an error, fewer are not.
        activation: ``sigmoid``, each class for itself, or ``softmax``, one class or background a pixel.
        class_weights: factor of each class; all 1 if empty.

    Raises:
        ValueError: as `StructureLoss`.
    """

    def __init__(
        self,
        weights: Sequence[float] = (1.0, 1.0, 1.0),
        activation: str = "sigmoid",
        class_weights: Sequence[float] = (),
    ) -> None:
        super().__init__(weights, activation, class_weights)
        if self.exclusive:
            factors = torch.tensor([1.0, *self.class_weights]) if self.class_weights else None
            self.loss = DiceCELoss(softmax=True, include_background=False, weight=factors)
        else:
            self.loss = DiceCELoss(sigmoid=True)

    def forward(self, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            outputs: logits, (B, C, H, W), or the list of them that the network gives in training.
            target: masks in [0, 1], soft values allowed, (B, K, H, W), or (B, K + 1, H, W), of which the last
                is above 0 where a pixel counts nowhere.

        Returns:
            Scalar, in float32.
        """
        outputs, target, counted = self._checked(outputs, target)
        self.loss.to(target.device)
        if self.exclusive:
            target = with_background(target)
        if counted is None:
            return self._sum([self._one(logits, target) for logits in outputs])
        return self._sum([self._without_ignored(logits, target, counted) for logits in outputs])

    def _without_ignored(self, logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
        """Loss of one output, over the pixels that count."""
        losses = [
            self._one(picture[:, kept][None], shares[:, kept][None])
            for picture, shares, kept in zip(logits, target, counted[:, 0] > 0, strict=True)
            if kept.any()
        ]
        return torch.stack(losses).mean() if losses else logits.sum() * 0

    def _one(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of one output, (B, C, *S)."""
        if self.exclusive:
            whole: Tensor = self.loss(logits, target)
            return whole
        classes = range(target.shape[1])
        losses = [self.loss(logits[:, k : k + 1], target[:, k : k + 1]) for k in classes]
        return self._class_mean(torch.stack(losses)[None])


def with_background(target: Tensor) -> Tensor:
    """Shares of background and classes in each pixel.

    Args:
        target: masks of exclusive classes in [0, 1], soft values allowed, (B, K, H, W).

    Returns:
        (B, K + 1, H, W), background first, sum 1 in every pixel.
    """
    shares = torch.cat([(1 - target.sum(1, keepdim=True)).clamp(min=0), target], dim=1)
    # masks that are resized one by one overshoot, so that their sum may exceed 1
    return shares / shares.sum(1, keepdim=True)


def _box_mean(values: Tensor) -> Tensor:
    """Mean over the box around each pixel, zeros beyond the edge, (B, K, H, W)."""
    return _box_sum(_box_sum(values, 2), 3) / WINDOW**2


def _box_sum(values: Tensor, axis: int) -> Tensor:
    """Sum over the box along one axis, zeros beyond the edge, of the same shape.

    Cumulative sums begin anew with every stretch of the box's length, which a box meets two of at most: it is
    the rest of one and the beginning of the next. So no partial sum exceeds the result's range, and float32
    is as exact for pictures of any size.
    """
    n = values.shape[axis]
    stretches = -(-n // WINDOW) + 1
    before = WINDOW // 2
    padding = (before, stretches * WINDOW - n - before)
    padded = F.pad(values, (0, 0, *padding) if axis == 2 else padding)
    padded = padded.unflatten(axis, (stretches, WINDOW))
    until = padded.cumsum(axis + 1)
    start = until - padded  # of a stretch, up to a pixel and without it
    rest = until.narrow(axis + 1, WINDOW - 1, 1) - start
    rest, start = rest.flatten(axis, axis + 1), start.flatten(axis, axis + 1)
    return rest.narrow(axis, 0, n) + start.narrow(axis, WINDOW, n)


def _iou(p: Tensor, target: Tensor, boundary: Tensor) -> Tensor:
    """Weighted IoU of each class, (B, K)."""
    intersection = (p * target * boundary).sum(AREA)
    union = ((p + target) * boundary).sum(AREA) - intersection
    # the ones keep the ratio defined where both are empty
    return (intersection + 1) / (union + 1)


def _unfit(logits: Tensor, target: Tensor, exclusive: bool) -> str:
    """What is wrong with shapes that do not fit."""
    expected = "target must have one channel less than logits" if exclusive else "logits and target must have"
    expected += ", none for the background" if exclusive else " one shape"
    return (
        f"{expected}, got {list(logits.shape)} and {list(target.shape)}; give the mask as (batch, channels, "
        "height, width)"
    )
