"""Checkpoints of a training run: the best model, and the last state to resume from."""

from __future__ import annotations

import copy
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from monai_sam2unet.distributed import agree, is_first
from monai_sam2unet.errors import InputError
from monai_sam2unet.files import (
    check_space,
    make_folder,
    move_file,
    remove_leftovers,
    write_atomically,
    write_json,
)
from monai_sam2unet.handlers.averaging import WeightAverage
from monai_sam2unet.handlers.key_metric import DEFAULT_NAME, in_words
from monai_sam2unet.networks.tuning import merge_lora
from monai_sam2unet.networks.weights import (
    BaseFile,
    StartingWeights,
    architecture,
    load_strict,
    load_trained,
    read_checkpoint,
    trained_only,
)

__all__ = ["LAST_NAME", "MODEL_NAME", "TrainingCheckpoints"]

logger = logging.getLogger(__name__)

MODEL_NAME = "model.pt"
"""The best model: a plain state dict, as MONAI's tools expect, unless only what was trained is saved."""

SETTINGS_NAME = "model.json"
"""Settings of the run that made the best model; its epoch and figure, null while it is being replaced."""

# MONAI Label serves the weight file with the shortest name, so this one must be the longer
LAST_NAME = "checkpoint_last.pt"
"""The state after the last epoch, for resuming."""

ORIGIN = ("pretrained", "base")
"""Settings that say what the weights started from; a resumed run takes them over."""

IMPLIED = {
    "protocol": "fixed",
    "key_metric": "dice",
    "processes": 1,
    "classes": [],
    "activation": "sigmoid",
    "label_values": [],
    "label_colours": [],
    "colour_tolerance": 60,
    "ignore_index": -1,
    "class_weights": [],
}
"""Settings of runs of versions that did not record them."""

MAY_DIFFER = ("version", "threshold", *ORIGIN)
"""Settings that a resumed run may have other than the run before."""


class TrainingCheckpoints:
    """Keep the best model and the last state of a training run, and resume from the latter.

    ``model.pt`` (state dict) and ``model.json`` (settings) are written when the key metric of the
    validation improves, or after every epoch where nothing is validated. ``checkpoint_last.pt`` is written
    after every epoch: network, optimiser, schedule, scaler, epoch, best figure, and what other handlers keep
    in the trainer's state (Ignite's ``state_dict_user_keys``). An epoch that is cut short, by Ctrl-C as by
    ``kill``, is begun again from there; only in the first one does Ctrl-C save the weights reached. MONAI's
    ``CheckpointSaver`` does not write atomically.

    A process may be killed between any two writes. ``checkpoint_last.pt`` comes first and is what counts: if
    the model of its epoch was the best one, a resumed run writes ``model.pt`` again.

    Of several processes the first one writes; all read the state that they resume from.

    The random state needs no saving: every epoch is seeded by the run's seed and its number (`EpochSeed`).

    Args:
        folder: where the files go.
        network: the network being trained.
        optimizer: its optimiser.
        lr_scheduler: its schedule, stepped once an epoch.
        settings: what is written to ``model.json``, plain JSON values.
        start: what the network started from, noted in ``model.json``; None if it started from nothing.
        average: an average of the weights, which then is the model; None to take the weights as they are.
        save: ``all``, or ``trained`` to leave out of both checkpoints what the file of ``start`` gives.
        evaluator: validates; None if nothing is validated.
        metric: name of its key metric (higher is better), and of the figure in ``model.json``.
        class_metrics: names of the classes' figures, which are noted there as well.
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
        start: StartingWeights | None = None,
        average: WeightAverage | None = None,
        save: str = "all",
        evaluator: Engine | None = None,
        metric: str = DEFAULT_NAME,
        class_metrics: Sequence[str] = (),
        resume: bool = False,
    ) -> None:
        self.folder = make_folder(folder)
        self.network = network
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.settings = dict(settings)
        self.start = start
        self.average = average
        self.save = save
        self.base: BaseFile | None = None
        self.evaluator = evaluator
        self.metric = metric
        self.class_metrics = tuple(class_metrics)
        self.best_of_classes: dict[str, float | None] = dict.fromkeys(self.class_metrics)
        self.resume = resume
        self.running = False
        self.epochs_done = self.epochs_saved = 0
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
        if self.start is not None and self.start.base is not None:
            self.settings["base"] = self.start.base.reference()
            self.base = self.start.base if self.save == "trained" else None
        if is_first():
            self._prepare_folder()
        if self.resume:
            self._resume(engine)
        self.running = True

    def _prepare_folder(self) -> None:
        """See that there is space, and move the model of an earlier run out of the way unless it goes on."""
        # no other run writes these: two trainings into one folder would take each other's model away
        remove_leftovers(self.folder, (MODEL_NAME, SETTINGS_NAME, LAST_NAME))
        state = self._network_state(self.network)["network"]
        weights = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
        learning = sum(p.numel() * p.element_size() for p in self.network.parameters() if p.requires_grad)
        # best model, last state with two moments of AdamW, and one of them twice while it is replaced
        copies = 3 if self.average is None else 5
        check_space(self.folder, copies * weights + 4 * learning, "the checkpoints")
        if not self.resume:
            self._keep_previous()

    def epoch_completed(self, engine: Engine) -> None:
        """Write the last state, then the model if this epoch's is the best one."""
        metric = self._metric(engine.state.epoch)
        best = self.evaluator is None or (
            metric is not None and (self.best_metric is None or metric > self.best_metric)
        )
        if best:
            self.best_metric, self.best_epoch, self.saved = metric, engine.state.epoch, False
            self.best_of_classes = self._of_classes()
        self.epochs_done = engine.state.epoch
        self._save_last(engine)
        if best:
            self._save_model(engine)

    def completed(self, engine: Engine) -> None:
        """Say where the model is."""
        figure = "" if self.best_metric is None else f", {in_words(self.metric)} {self.best_metric:.4f}"
        logger.info("Best model: %s (epoch %d%s)", self.folder / MODEL_NAME, self.best_epoch, figure)

    def exception_raised(self, engine: Engine, error: BaseException) -> None:
        """On Ctrl-C see that there is something to go on from, and say so; every error is raised again."""
        if isinstance(error, KeyboardInterrupt) and self.running and is_first():
            # weights from within an epoch would make the resumed run another: only where there are no others
            if self.epochs_done == 0 or self.epochs_saved < self.epochs_done:
                self._save_last(engine)
            if not self.saved:
                self._save_model(engine)
            logger.warning(
                "Interrupted in epoch %d. The same command with --resume true goes on from %s: %s",
                engine.state.epoch,
                f"the end of epoch {self.epochs_done}" if self.epochs_done else "the weights reached",
                self.folder / LAST_NAME,
            )
        raise error

    def _metric(self, epoch: int) -> float | None:
        """Key metric of this epoch's validation; None if there was none or it is undefined."""
        if self.evaluator is None or self.evaluator.state.epoch != epoch:
            return None
        value = float(self.evaluator.state.metrics[self.metric])
        if value != value:
            logger.warning(
                "The %s is undefined: no validation mask has any foreground", in_words(self.metric)
            )
            return None
        return value

    def _of_classes(self) -> dict[str, float | None]:
        """Figures of the classes in the latest validation; None for a class that occurs in no picture."""
        figures = {} if self.evaluator is None else self.evaluator.state.metrics
        values = {name: float(figures.get(name, "nan")) for name in self.class_metrics}
        return {name: None if value != value else value for name, value in values.items()}

    def _save_model(self, engine: Engine) -> None:
        """Write ``model.pt`` and ``model.json``, so that no model is ever without its settings."""
        if not is_first():
            return
        content = self._network_state(self.network if self.average is None else self.average.network)
        if self.base is None:
            content = merge_lora(content["network"])
        best = {"epoch": self.best_epoch, self.metric: self.best_metric, **self.best_of_classes}
        unknown = dict.fromkeys(best)
        write_json(self.folder / SETTINGS_NAME, {**self.settings, **unknown})
        write_atomically(self.folder / MODEL_NAME, lambda file: torch.save(content, file))
        figures = best if engine.state.epoch == self.best_epoch else unknown  # else weights within an epoch
        write_json(self.folder / SETTINGS_NAME, {**self.settings, **figures})
        self.saved = True

    def _save_last(self, engine: Engine) -> None:
        """Write ``checkpoint_last.pt``."""
        if not is_first():
            return
        state = {
            **self._network_state(self.network),
            **self._average_state(),
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "scaler": engine.scaler.state_dict() if engine.scaler is not None else {},
            "engine": {name: getattr(engine.state, name) for name in engine.state_dict_user_keys},
            "epoch": self.epochs_done,
            "best_metric": self.best_metric,
            "best_epoch": self.best_epoch,
            "best_of_classes": self.best_of_classes,
            "settings": self.settings,
        }
        write_atomically(self.folder / LAST_NAME, lambda file: torch.save(state, file))
        self.epochs_saved = self.epochs_done

    def _network_state(self, network: nn.Module) -> dict[str, Any]:
        """What is saved of a network: all of it, or what was trained and what the rest comes from."""
        if self.base is None:
            return {"network": network.state_dict()}
        return {
            "network": trained_only(network, self.base),
            "base": self.base.reference(),
            "architecture": architecture(network.state_dict()),
        }

    def _average_state(self) -> dict[str, Any]:
        """What is saved of the average, if there is one."""
        if self.average is None:
            return {}
        return {"average": {**self._network_state(self.average.network), **self.average.state_dict()}}

    def _load_network(self, network: nn.Module, state: Mapping[str, Any], source: str) -> None:
        """Load what `_network_state` gave."""
        if self.base is None:
            load_strict(network, state["network"], source)
            return
        if state["base"]["sha256"] != self.base.sha256:
            raise InputError(
                f"{source}: holds what was trained from {state['base']['name']} (SHA-256 "
                f"{state['base']['sha256']}), this run starts from {self.base.name} (SHA-256 "
                f"{self.base.sha256}); name the former: --pretrained FILE"
            )
        load_trained(network, state["network"], self.base, source)

    def _resume(self, engine: Engine) -> None:
        """Load ``checkpoint_last.pt`` into everything and go on with the epoch after it."""
        path = self.folder / LAST_NAME
        state = read_checkpoint(path)
        agree(
            state["epoch"], f"the last epoch in {path}", "ckpt_dir must be one folder that all machines see"
        )
        other = {
            name: (value, self.settings[name])
            for name, value in {**IMPLIED, **state["settings"]}.items()
            if name in self.settings and name not in MAY_DIFFER and self.settings[name] != value
        }
        if other:
            names = "; ".join(f"{n}: {was} there, {now} now" for n, (was, now) in other.items())
            raise InputError(f"{path}: made by a run with other settings ({names}); resume with the same")
        self._load_network(self.network, state, str(path))
        if self.average is not None:
            # whatever it was built from: only what was trained may be in the file
            self.average.network.load_state_dict(self.network.state_dict())
            self._load_network(self.average.network, state["average"], str(path))
            self.average.load_state_dict(state["average"])
        self.settings |= {name: state["settings"][name] for name in ORIGIN if name in state["settings"]}
        # copied, since the file's tensors are mapped and the optimiser would work on them
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.lr_scheduler.load_state_dict(state["lr_scheduler"])
        if engine.scaler is not None and state["scaler"]:
            engine.scaler.load_state_dict(state["scaler"])
        for name in set(engine.state_dict_user_keys) & set(state.get("engine", {})):  # none in version 0.1.0
            setattr(engine.state, name, state["engine"][name])
        self.epochs_done = self.epochs_saved = engine.state.epoch = state["epoch"]
        engine.state.iteration = state["epoch"] * engine.state.epoch_length
        self.best_metric, self.best_epoch = state["best_metric"], state["best_epoch"]
        self.best_of_classes = state.get("best_of_classes", {})  # none before version 0.5.0
        self.saved = (self.folder / MODEL_NAME).is_file()
        if 0 < state["epoch"] == state["best_epoch"]:
            self._save_model(engine)  # the run may have been killed before it had written this model
        logger.info("Resumed after epoch %d from %s", state["epoch"], path)

    def _keep_previous(self) -> None:
        """Move an earlier run's files into ``replaced/`` so that no run overwrites another's model."""
        model, settings, last = (self.folder / name for name in (MODEL_NAME, SETTINGS_NAME, LAST_NAME))
        existing = [path for path in (model, last) if path.is_file()]
        if not existing:
            return  # settings alone tell of no model: a run was killed before it had written or moved one
        # the same folder if this is killed and done again
        made = time.strftime("%Y%m%d-%H%M%S", time.localtime(existing[0].stat().st_mtime))
        target = make_folder(self.folder / "replaced" / made)
        remove_leftovers(target, (SETTINGS_NAME,))
        # The state goes first: whoever resumes after a kill in the middle of this is told that there is none.
        # The settings are copied and removed last, so that the model has them in both places.
        if settings.is_file():
            write_atomically(target / SETTINGS_NAME, lambda file: file.write(settings.read_bytes()))
        for path in reversed(existing):
            move_file(path, target / path.name)
        settings.unlink(missing_ok=True)
        logger.info("The model of an earlier run was moved to %s", target)
