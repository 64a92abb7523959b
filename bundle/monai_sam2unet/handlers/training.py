"""Handlers of the training loop: repeatable epochs, guards against bad numbers, early stopping."""

from __future__ import annotations

import logging

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from monai.handlers import EarlyStopHandler
from monai.utils import set_determinism
from torch import nn

from monai_sam2unet.transforms import MultiScaleLoader

__all__ = ["EarlyStop", "EpochSeed", "GradientClip", "NumericalGuard"]

logger = logging.getLogger(__name__)

RANK_STEP = 15_485_863
"""From the seed of a process to that of the next: more than any number of epochs."""


class EpochSeed:
    """Seed everything random anew at the start of every epoch, from the run's seed and the epoch.

    Order of the data and augmentations of an epoch then depend on nothing that happened before it: a run
    that was resumed draws what an undisturbed one draws. Each of several processes has a seed of its own, and
    the order in which they share the data is that of the epoch.

    Args:
        seed: seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed torch, NumPy, Python and the training transforms."""
        seed = (self.seed * 100_003 + engine.state.epoch + RANK_STEP * idist.get_rank()) % 2**31
        set_determinism(seed)
        if isinstance(engine.data_loader, MultiScaleLoader):
            engine.data_loader.set_epoch(engine.state.epoch - 1)
        transform = getattr(engine.data_loader.dataset, "transform", None)
        if transform is not None:
            transform.set_random_state(seed=seed)


class NumericalGuard:
    """Stop the training as soon as the loss is not a finite number, and name the pictures of the batch."""

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; before the weights are touched."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Raise FloatingPointError if the loss is NaN or infinite."""
        loss = engine.state.output["loss"]
        if torch.isfinite(loss).all():
            return
        cases = engine.state.batch.get("case", ["unknown"])
        raise FloatingPointError(
            f"loss is {loss.item()} in epoch {engine.state.epoch}, iteration {engine.state.iteration}; "
            f"the batch holds: {', '.join(map(str, cases))}. The weights are as before this batch; "
            "look at these pictures, or lower learning_rate, or set gradient_clip (1.0) or amp (none)"
        )


class GradientClip:
    """Scale the gradients down where their total norm exceeds a bound.

    Args:
        network: whose gradients to bound.
        max_norm: bound of the L2 norm over all gradients.
    """

    def __init__(self, network: nn.Module, max_norm: float) -> None:
        self.network = network
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, between the backward pass and the optimiser's step."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Clip; with fp16 the scaler's factor is taken out first."""
        steps = engine.accumulation_steps
        position = (engine.state.iteration - 1) % engine.state.epoch_length + 1
        if position % steps != 0 and position != engine.state.epoch_length:
            return  # gradients are still accumulating
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)


class EarlyStop(EarlyStopHandler):
    """MONAI's early stopping, attached to the trainer itself so that a config needs no second step.

    Epochs that are not validated do not count. The count is part of the trainer's state (``early_stopping``),
    from which `TrainingCheckpoints` saves and restores it: a resumed run ends where an undisturbed one ends.

    Args:
        patience: validations without improvement after which training ends.
        evaluator: validates; its key metric, by which the model is chosen, is to improve (higher is better).
    """

    def __init__(self, patience: int, evaluator: Engine) -> None:
        super().__init__(patience=patience, score_function=lambda _: _key_metric(evaluator))
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the handler that restores its state."""
        self.set_trainer(engine)
        self._handler.logger = logger  # Ignite's own would print in a form of its own
        engine.state.early_stopping = {"counter": 0, "best_score": None}
        engine.state_dict_user_keys.append("early_stopping")
        engine.add_event_handler(Events.STARTED, self.started)
        # not at the end of the trainer's epoch: the count is to be complete when the state is saved there
        self.evaluator.add_event_handler(Events.COMPLETED, self)

    def started(self, engine: Engine) -> None:
        """Go on with the count that was restored; end at once if it is full."""
        count = engine.state.early_stopping
        self._handler.counter, self._handler.best_score = count["counter"], count["best_score"]
        if self._handler.counter >= self.patience:
            logger.info("Early stopping had ended this training after epoch %d", engine.state.epoch)
            engine.terminate()

    def __call__(self, engine: Engine) -> None:
        """Count a validation."""
        super().__call__(engine)
        count = {"counter": self._handler.counter, "best_score": self._handler.best_score}
        self._handler.trainer.state.early_stopping = count


def _key_metric(evaluator: Engine) -> float:
    """Key metric of the latest validation."""
    return float(evaluator.state.metrics[evaluator.state.key_metric_name])
