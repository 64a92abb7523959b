"""Checkpoints of a training run: the best model, and the last state to resume from."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from monai_sam2unet.errors import InputError
from monai_sam2unet.files import check_space, make_folder, write_atomically, write_json
from monai_sam2unet.networks.weights import load_strict, read_checkpoint

__all__ = ["LAST_NAME", "MODEL_NAME", "TrainingCheckpoints", "model_settings"]

logger = logging.getLogger(__name__)

MODEL_NAME = "model.pt"
"""The best model: a plain state dict, as MONAI's tools expect."""

# MONAI Label serves the weight file with the shortest name, so this one must be the longer
LAST_NAME = "checkpoint_last.pt"
"""The state after the last epoch, for resuming."""

MAY_DIFFER = ("version", "threshold", "pretrained")
"""Settings that a resumed run may have other than the run before."""


def model_settings(checkpoint: str | os.PathLike[str], **defaults: Any) -> dict[str, Any]:
    """Settings of the run that made a model.

    Args:
        checkpoint: path of the weights; a JSON file of the same stem is looked for beside it, then
            settings within it, as ``checkpoint_last.pt`` has them.
        defaults: values for what is not found; that they are taken is logged as a warning.

    Returns:
        The settings, such as ``input_size`` in pixels.

    Raises:
        InputError: if a file is there and cannot be read.
    """
    path = Path(checkpoint)
    found: Any = None
    try:
        if path.with_suffix(".json").is_file():
            found = dict(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
        elif path.is_file():
            content = read_checkpoint(path)
            found = content.get("settings") if isinstance(content, Mapping) else None
    except (OSError, ValueError, TypeError) as e:
        raise InputError(
            f"{path.with_suffix('.json')}: not the settings of a model ({e}); restore or delete the file"
        ) from e
    if found is None and path.is_file():
        assumed = ", ".join(f"{name} {value}" for name, value in defaults.items())
        logger.warning("%s: no settings of its training are known, taken: %s", path, assumed)
    return {**defaults, **(found or {})}


class TrainingCheckpoints:
    """Keep the best model and the last state of a training run, and resume from the latter.

    ``model.pt`` (state dict) and ``model.json`` (settings) are written when the key metric of the
    validation improves, or after every epoch where nothing is validated. ``checkpoint_last.pt`` is written
    after every epoch and on Ctrl-C: network, optimiser, schedule, scaler, epoch and best figure. MONAI's
    ``CheckpointSaver`` writes neither atomically nor the state of an interrupted epoch.

    The random state needs no saving: every epoch is seeded by the run's seed and its number (`EpochSeed`).

    Args:
        folder: where the files go.
        network: the network being trained.
        optimizer: its optimiser.
        lr_scheduler: its schedule, stepped once an epoch.
        settings: what is written to ``model.json``, plain JSON values.
        evaluator: validates; None if nothing is validated.
        resume: whether to go on from ``checkpoint_last.pt``.

    Raises:
        InputError: if the folder cannot be written, has too little space, or a state to resume from is
            missing or of another network.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        network: nn.Module,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler,
        settings: Mapping[str, Any],
        evaluator: Engine | None = None,
        resume: bool = False,
    ) -> None:
        self.folder = make_folder(folder)
        self.network = network
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.settings = dict(settings)
        self.evaluator = evaluator
        self.resume = resume
        self.epochs_done = 0
        self.best_metric: float | None = None
        self.best_epoch = 0
        self.saved = False

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the handlers that validate and step the schedule."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.exception_raised)

    def started(self, engine: Engine) -> None:
        """Resume, or move the model of an earlier run out of the way; see that there is space."""
        weights = sum(t.numel() * t.element_size() for t in self.network.state_dict().values())
        learning = sum(p.numel() * p.element_size() for p in self.network.parameters() if p.requires_grad)
        # best model, last state with two moments of AdamW, and one of them twice while it is replaced
        check_space(self.folder, 3 * weights + 4 * learning, "the checkpoints")
        if self.resume:
            self._resume(engine)
        else:
            self._keep_previous()

    def epoch_completed(self, engine: Engine) -> None:
        """Write the best model if this epoch's is, then the last state."""
        self.epochs_done = engine.state.epoch
        metric = self._metric(engine.state.epoch)
        if self.evaluator is None or (
            metric is not None and (self.best_metric is None or metric > self.best_metric)
        ):
            self.best_metric, self.best_epoch = metric, engine.state.epoch
            self._save_model()
        self._save_last(engine)

    def completed(self, engine: Engine) -> None:
        """Say where the model is."""
        figure = "" if self.best_metric is None else f", validation Dice {self.best_metric:.4f}"
        logger.info("Best model: %s (epoch %d%s)", self.folder / MODEL_NAME, self.best_epoch, figure)

    def exception_raised(self, engine: Engine, error: BaseException) -> None:
        """On Ctrl-C save what was learnt and say how to go on; every error is raised again."""
        if isinstance(error, KeyboardInterrupt):
            self._save_last(engine)
            if not self.saved:
                self._save_model()
            logger.warning(
                "Interrupted in epoch %d. State saved: %s. Add --resume true to the same command to go on.",
                engine.state.epoch,
                self.folder / LAST_NAME,
            )
        raise error

    def _metric(self, epoch: int) -> float | None:
        """Key metric of this epoch's validation; None if there was none or it is undefined."""
        if self.evaluator is None or self.evaluator.state.epoch != epoch:
            return None
        value = float(self.evaluator.state.metrics[self.evaluator.state.key_metric_name])
        if value != value:
            logger.warning("Validation Dice is undefined: no validation mask has any foreground")
            return None
        return value

    def _save_model(self) -> None:
        """Write ``model.pt`` and ``model.json``."""
        state_dict = self.network.state_dict()
        write_atomically(self.folder / MODEL_NAME, lambda file: torch.save(state_dict, file))
        figures = {"epoch": self.best_epoch, "validation_dice": self.best_metric}
        write_json(self.folder / "model.json", {**self.settings, **figures})
        self.saved = True

    def _save_last(self, engine: Engine) -> None:
        """Write ``checkpoint_last.pt``."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "scaler": engine.scaler.state_dict() if engine.scaler is not None else {},
            "epoch": self.epochs_done,
            "best_metric": self.best_metric,
            "best_epoch": self.best_epoch,
            "settings": self.settings,
        }
        write_atomically(self.folder / LAST_NAME, lambda file: torch.save(state, file))

    def _resume(self, engine: Engine) -> None:
        """Load ``checkpoint_last.pt`` into everything and go on with the epoch after it."""
        path = self.folder / LAST_NAME
        state = read_checkpoint(path)
        other = {
            name: (state["settings"].get(name), value)
            for name, value in self.settings.items()
            if name not in MAY_DIFFER and state["settings"].get(name) != value
        }
        if other:
            names = "; ".join(f"{n}: {was} there, {now} now" for n, (was, now) in other.items())
            raise InputError(f"{path}: made by a run with other settings ({names}); resume with the same")
        load_strict(self.network, state["network"], str(path))
        self.optimizer.load_state_dict(state["optimizer"])
        self.lr_scheduler.load_state_dict(state["lr_scheduler"])
        if engine.scaler is not None and state["scaler"]:
            engine.scaler.load_state_dict(state["scaler"])
        self.epochs_done = engine.state.epoch = state["epoch"]
        engine.state.iteration = state["epoch"] * engine.state.epoch_length
        self.best_metric, self.best_epoch = state["best_metric"], state["best_epoch"]
        self.saved = (self.folder / MODEL_NAME).is_file()
        logger.info("Resumed after epoch %d from %s", state["epoch"], path)

    def _keep_previous(self) -> None:
        """Move an earlier run's files into ``replaced/`` so that no run overwrites another's model."""
        existing = [self.folder / name for name in (MODEL_NAME, "model.json", LAST_NAME)]
        existing = [path for path in existing if path.is_file()]
        if not existing:
            return
        made = time.strftime("%Y%m%d-%H%M%S", time.localtime(existing[0].stat().st_mtime))
        target = make_folder(self.folder / "replaced" / made)
        for path in existing:
            os.replace(path, target / path.name)
        logger.info("The model of an earlier run was moved to %s", target)
