"""What a person sees of a running training: a progress bar, a line an epoch, pictures in TensorBoard."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from ignite.handlers.tqdm_logger import ProgressBar
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from monai_sam2unet.class_pictures import class_overlay
from monai_sam2unet.classes import Classes
from monai_sam2unet.distributed import is_first
from monai_sam2unet.files import remove_leftovers, write_atomically
from monai_sam2unet.handlers.key_metric import DEFAULT_NAME, in_words
from monai_sam2unet.io import open_image
from monai_sam2unet.overlays import overlay

__all__ = ["CaseProgress", "TensorBoardOverlays", "TrainingProgress"]

logger = logging.getLogger(__name__)

BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class TrainingProgress:
    """A bar over the whole training with time left, a log line an epoch, and ``history.csv``.

    Of several processes the first one shows and writes; the loss is the mean over all.

    The bar is shown on a terminal alone, so that log files stay readable. Ignite's own begins anew with
    every epoch and so cannot tell the time left to the end. Columns of
    ``history.csv``: epoch, seconds, loss (mean of the epoch), the key metric, those of the classes if there
    are several, learning_rate.

    The rows are part of the trainer's state (``history``), where `TrainingCheckpoints` saves and restores
    them: the file of a resumed run has a row for every epoch before it, and none of another run. Other
    handlers find the learning rate of the epoch there (``learning_rate``).

    Args:
        output_dir: folder of the run.
        optimizer: whose learning rate is shown.
        evaluator: whose key metric is shown; None if nothing is validated.
        metric: name of the key metric, and of its column.
        class_metrics: names of the classes' figures, and of their columns.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        optimizer: Optimizer,
        evaluator: Engine | None = None,
        metric: str = DEFAULT_NAME,
        class_metrics: Sequence[str] = (),
    ) -> None:
        self.history = Path(output_dir) / "history.csv"
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.metric = metric
        self.class_metrics = tuple(class_metrics)
        self.losses: list[float] = []
        self.rate = 0.0
        self.started_at = self.epoch_started_at = 0.0
        self.first_epoch = 0
        self.bar: tqdm[Any] | None = None
        self.stack = contextlib.ExitStack()

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the handler that validates and before the one that saves."""
        engine.state.history = []
        engine.state_dict_user_keys.append("history")
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, engine: Engine) -> None:
        """Tidy up after a run that was killed, and say how long the way is."""
        # a training alone writes these; an evaluation into this folder may be writing its own at this moment
        if is_first():
            remove_leftovers(self.history.parent, ("datalist.json", self.history.name))
        state = engine.state
        logger.info("Training %d epochs of %d iterations", state.max_epochs, state.epoch_length)

    def epoch_started(self, engine: Engine) -> None:
        """Forget the epoch before; at the first one start the clock, and keep the history if resumed."""
        if not self.first_epoch:
            self.started_at, self.first_epoch = time.monotonic(), engine.state.epoch
            engine.state.history = self._earlier_rows(engine)
            length = engine.state.epoch_length
            total, done = engine.state.max_epochs * length, (engine.state.epoch - 1) * length
            hidden = None if is_first() else True  # None: unless there is a terminal
            self.bar = tqdm(total=total, initial=done, desc="Training", bar_format=BAR, disable=hidden)
            self.stack.callback(self.bar.close)
            if not self.bar.disable:  # log lines are to pass above the bar
                self.stack.enter_context(logging_redirect_tqdm())
        self.losses = []
        self.rate = engine.state.learning_rate = float(self.optimizer.param_groups[0]["lr"])
        self.epoch_started_at = time.monotonic()

    def iteration_completed(self, engine: Engine) -> None:
        """Note the loss and move the bar."""
        self.losses.append(_loss(engine.state.output))
        if self.bar is not None:
            self.bar.set_postfix_str(f"epoch {engine.state.epoch}, loss {self.losses[-1]:.3f}", refresh=False)
            self.bar.update()

    def epoch_completed(self, engine: Engine) -> None:
        """Write the epoch's line and the history."""
        epoch, last = engine.state.epoch, engine.state.max_epochs
        now = time.monotonic()
        validated = self.evaluator is not None and self.evaluator.state.epoch == epoch
        row: dict[str, Any] = {
            "epoch": epoch,
            "seconds": round(now - self.epoch_started_at, 1),
            "loss": round(idist.all_reduce(float(np.mean(self.losses))) / idist.get_world_size(), 5),
            **dict.fromkeys((self.metric, *self.class_metrics), ""),
            "learning_rate": f"{self.rate:.3g}",
        }
        if validated and self.evaluator is not None:
            row |= {name: round(float(self.evaluator.state.metrics[name]), 5) for name in self.class_metrics}
            row[self.metric] = round(float(self.evaluator.state.metrics[self.metric]), 5)
        engine.state.history.append(row)
        left = (now - self.started_at) / (epoch - self.first_epoch + 1) * (last - epoch)
        figure = f"  {in_words(self.metric)} {row[self.metric]:.4f}" if validated else ""
        if validated and self.class_metrics:
            of_classes = (f"{name[len(self.metric) + 1 :]} {row[name]:.4f}" for name in self.class_metrics)
            figure += f" ({', '.join(of_classes)})"
        logger.info(
            "Epoch %d/%d  loss %.4f%s  %s, about %s left",
            epoch,
            last,
            row["loss"],
            figure,
            _duration(row["seconds"]),
            _duration(left),
        )
        if is_first():
            write_atomically(self.history, lambda file: file.write(_csv(engine.state.history).encode()))

    def completed(self, engine: Engine) -> None:
        """Close the bar and give the log back."""
        self.stack.close()

    def _earlier_rows(self, engine: Engine) -> list[dict[str, Any]]:
        """Rows of the epochs before this one, as the state that was resumed from has them."""
        rows = engine.state.history
        if not rows and engine.state.epoch > 1 and self.history.is_file():  # version 0.1.0 did not save them
            rows = csv.DictReader(self.history.read_text(encoding="utf-8").splitlines())
        return [row for row in rows if int(row["epoch"]) < engine.state.epoch]


class CaseProgress:
    """A bar over the cases of an evaluation or inference, shown on a terminal alone.

    Args:
        description: what stands before the bar.
    """

    def __init__(self, description: str) -> None:
        self.description = description

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        bar = ProgressBar(persist=True, bar_format=BAR, desc=self.description, disable=None, mininterval=0.5)
        bar.attach(engine)


class TensorBoardOverlays:
    """Pictures of the first validation cases with prediction (blue) and reference (yellow), per epoch.

    Args:
        log_dir: TensorBoard's folder.
        cases: how many.
        every: epochs between two sets of pictures.
        classes: names of the classes; of several each has a colour, and the prediction is tinted alone.
    """

    def __init__(
        self, log_dir: str | os.PathLike[str], cases: int = 4, every: int = 1, classes: Sequence[str] = ()
    ) -> None:
        self.classes = Classes.of(classes)
        self.log_dir = os.fspath(log_dir)
        self.cases = cases
        self.every = every
        self.shown = 0

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator that validates."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)

    def epoch_started(self, engine: Engine) -> None:
        """Begin with the first case again."""
        self.shown = self.cases if (engine.state.epoch - 1) % self.every else 0

    def iteration_completed(self, engine: Engine) -> None:
        """Write the pictures of this batch that are still wanted."""
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            if self.shown == self.cases:
                return
            self.shown += 1
            path = item["image"].meta["filename_or_obj"]
            picture = np.asarray(open_image(path))
            masks, references = (np.asarray(output[key].cpu()) > 0 for key in ("pred", "label"))
            if self.classes.count > 1:
                drawn = class_overlay(picture, masks, self.classes, references)
            else:
                drawn = overlay(picture, masks[0], references[0])
            with _writer(self.log_dir) as writer:
                # a datalist that is not ours, such as MONAI Label's, has no names
                writer.add_image(
                    f"validation/{item.get('case', Path(path).stem)}",
                    drawn,
                    engine.state.epoch,
                    dataformats="HWC",
                )


@contextlib.contextmanager
def _writer(log_dir: str) -> Iterator[SummaryWriter]:
    """A TensorBoard writer that is closed again: an open one keeps a thread and a file."""
    writer = SummaryWriter(log_dir)
    try:
        yield writer
    finally:
        writer.close()


def _loss(output: Any) -> float:
    """The loss in a trainer's output, which is one dictionary or one per case."""
    return float((output[0] if isinstance(output, list) else output)["loss"])


def _csv(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
