"""What MONAI's ``--tracking mlflow`` leaves out: settings of a run, and files that say what came of it."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler

__all__ = ["complete_tracking"]

logger = logging.getLogger(__name__)

REPORT_PARTS = {
    "with_reference": ("dice", "iou", "precision", "recall", "specificity", "nsd", "hd95"),
    "without_reference": ("false_alarm_rate", "false_area_fraction"),
    "lesions": ("sensitivity", "false_positives_per_picture"),
}
"""Figures of ``summary.json`` whose means are logged, by its part."""


def complete_tracking(
    engine: Engine,
    handlers: Iterable[Any],
    settings: Mapping[str, Any],
    output_dir: str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]] = (),
    validation_handlers: Iterable[Any] = (),
    report: str | os.PathLike[str] | None = None,
) -> None:
    """Have a run that MONAI tracks with MLflow hold its settings, its config and its result.

    MONAI's runner adds an `MLFlowHandler` to each engine, which logs the figures alone. Without one among
    the handlers nothing is done.

    Args:
        engine: what is about to run, with its handlers attached.
        handlers: those handlers.
        settings: what becomes the run's parameters.
        output_dir: folder of the run; its name is the name of the run in MLflow, unless one was given.
        files: what becomes its artifacts at the end, where it is there, besides the config.
        validation_handlers: handlers of an engine that this one runs, which log into the same run.
        report: the ``summary.json`` of an evaluation; its means are logged in place of the key metric.
    """
    own = _trackers(handlers)
    for tracker in (*own, *_trackers(validation_handlers)):
        # without a name MONAI goes on in any run of the store that has not ended, another process's too
        tracker.run_name = tracker.run_name or Path(os.path.abspath(output_dir)).name
    for tracker in own:
        _TrackedRun(tracker, settings, Path(output_dir), files, report).attach(engine)


class _TrackedRun:
    """What is done around one `MLFlowHandler`; the arguments are those of `complete_tracking`."""

    def __init__(
        self,
        tracker: MLFlowHandler,
        settings: Mapping[str, Any],
        output_dir: Path,
        files: Sequence[str | os.PathLike[str]],
        report: str | os.PathLike[str] | None,
    ) -> None:
        self.tracker = tracker
        self.settings = settings
        self.output_dir = output_dir
        self.files = [Path(file) for file in files]
        self.report = None if report is None else Path(report)
        self.run_id = ""

    def attach(self, engine: Engine) -> None:
        """Register after the handler itself, so that its run is open when this one starts."""
        engine.add_event_handler(Events.STARTED, self.started)
        if self.report is not None and self.tracker.epoch_logger is None:
            self.tracker.epoch_logger = _log_nothing  # the report has that figure, and names it rightly
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self) -> None:
        """Log the settings, and say where all goes."""
        run, client = self.tracker.cur_run, self.tracker.client
        self.run_id = run.info.run_id
        known = client.get_run(self.run_id).data.params
        for name, value in self.settings.items():
            if name not in known:
                client.log_param(self.run_id, name, value)
            elif known[name] != str(value):  # a resumed run may differ in a few; MLflow refuses a change
                logger.warning("MLflow keeps %s as first logged: %s, now %s", name, known[name], value)
        # MONAI loses the path of its copy of the config where output_dir was given
        kept = [path for path in self.tracker.artifacts if path and os.path.exists(path)]
        copies = sorted(map(str, self.output_dir.glob("config_*.json")))
        self.tracker.artifacts = tuple(dict.fromkeys((*kept, *copies, *map(str, self.files))))
        logger.info(
            "MLflow: run %s of experiment %s in %s",
            run.info.run_name,
            self.tracker.experiment_name,
            re.sub(r"//[^/@]*@", "//", client.tracking_uri),  # no password into the log
        )

    def completed(self) -> None:
        """Log the figures of the report, and end the run where MONAI leaves it open, as for an evaluation."""
        if self.report is not None:
            summary = json.loads(self.report.read_text(encoding="utf-8"))
            for name, value in _means(summary):
                self.tracker.client.log_metric(self.run_id, name, value)
        self.tracker.close()


def _trackers(handlers: Iterable[Any]) -> list[MLFlowHandler]:
    """Those of the handlers that log to MLflow; there are none where MLflow is not used."""
    return [handler for handler in handlers if isinstance(handler, MLFlowHandler)]


def _means(summary: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Name and mean of each figure of a report that is defined; of several classes also by class."""
    if "by_class" in summary:
        means = ((name, figure["mean"]) for name, figure in summary["mean_over_classes"].items())
        yield from ((name, mean) for name, mean in means if mean is not None)
        for label, own in summary["by_class"].items():
            yield from ((f"{name}_{label}", mean) for name, mean in _means(own))
        return
    for part, names in REPORT_PARTS.items():
        for name in names:
            mean = summary.get(part, {}).get(name, {}).get("mean")  # a report of volumes has fewer
            if mean is not None:
                yield name, mean


def _log_nothing(_: Engine) -> None:
    """Take the place of MONAI's log of ``engine.state.metrics``."""
