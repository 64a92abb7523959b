"""What makes ``python -m monai.bundle run`` pleasant: short error messages, and no misspelt ids.

Called by the first lines of ``initialize`` in every config.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from monai.bundle import ConfigWorkflow
from PIL import Image

from monai_sam2unet import distributed
from monai_sam2unet.data.shards import Shard
from monai_sam2unet.errors import InputError
from monai_sam2unet.settings import RULES, check_settings, flag

__all__ = [
    "bundle_root",
    "check_ids",
    "check_tracking",
    "check_values",
    "run_name",
    "run_steps",
    "sets_in",
    "short_errors",
]

logger = logging.getLogger(__name__)

REFERENCE = re.compile(r"[@%](\w+)")
EXPECTED = (InputError, FloatingPointError, KeyboardInterrupt)
"""Errors whose message says all: a traceback would hide it."""

RENAMED = {
    "freeze_encoder": "it became 'tuning': --tuning adapters is what true was, --tuning full what false was",
}
"""Settings of earlier versions, and what to write instead."""

_BEGUN: WeakKeyDictionary[ConfigWorkflow, float] = WeakKeyDictionary()
"""When each workflow first asked for the name of its run, in seconds of `time.time`."""


def short_errors() -> None:
    """Let a program that ends by an error of the user's show its message alone, and exit with 1.

    MONAI wraps what happens within a config into a chain of errors whose last one names a config item;
    the one that the user can act on stands deep in it. Other errors keep their traceback.

    Nor is he warned of large pictures, which he has named himself; `pictures` says what is too large.
    """
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    if sys.excepthook is not _show:
        sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the first expected error of a chain, or the whole chain if there is none.

    One of several processes keeps silent if another has said it already, and then ends at once.
    """
    message = next((m for m in map(_message, _chain(error)) if m), None)
    if distributed.may_say(message or repr(error)):
        if message is None:
            sys.__excepthook__(kind, error, trace)
        else:
            sys.stderr.write(f"\n{message}\n")
    distributed.leave()


def _message(error: BaseException) -> str | None:
    """What to show of an expected error; None for any other."""
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted."
    if distributed.is_loss(error):
        return distributed.LOSS
    # an error in a worker process of a loader arrives as the text of its traceback, also as an InputError
    worker = re.search(r"^(?:\w+\.)*InputError: (.*?)(?:\n\n|\n?\Z)", str(error), re.MULTILINE | re.DOTALL)
    if worker:
        return f"Error: {worker[1]}"
    return f"Error: {error}" if isinstance(error, EXPECTED) else None


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    """An error and what caused it, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def bundle_root() -> str:
    """The bundle that the running config belongs to, whatever the current folder is.

    Returns:
        The folder above the config's folder ``configs``; ``.`` where no workflow runs.
    """
    workflow = _running_workflow()
    return "." if workflow is None else str(Path(workflow.config_root_path).parent)


def run_name(kind: str) -> str:
    """Name of the running workflow's folder, such as ``train-20261121-141500``.

    It stays the same: MONAI reads the config anew after it has added handlers that track the run, and
    would give the rest of the run another folder than the copy of its config.

    Args:
        kind: what stands before the date and time of the first call.
    """
    workflow = _running_workflow()
    begun = time.time() if workflow is None else _BEGUN.setdefault(workflow, time.time())
    return time.strftime(f"{kind}-%Y%m%d-%H%M%S", time.localtime(begun))


def sets_in(data_dir: str | os.PathLike[str], *names: str) -> str | list[str]:
    """The folders of data sets below the one that they were downloaded to.

    Args:
        data_dir: that folder, ``~`` expanded.
        names: of the folders of the sets, as unpacked.

    Returns:
        The path of the one, or of each of several, as ``dataset_dir`` takes them.

    Raises:
        InputError: naming the folders that are not there.
    """
    parent = os.path.abspath(os.path.expanduser(data_dir))
    folders = [os.path.join(parent, name) for name in names]
    missing = [folder for folder in folders if not os.path.isdir(folder)]
    if missing:
        raise InputError(
            f"no such folder: {', '.join(missing)}; unpack the data there as downloaded, or name the folder "
            f"that holds {' and '.join(names)}: --data_dir DIR"
        )
    return folders[0] if len(folders) == 1 else folders


def check_ids() -> None:
    """See that every top-level id of the running config is one that means something.

    MONAI takes any ``--name value`` and passes over a misspelt one in silence. An id is accepted if one of
    the bundle's own configs has it, or if another item refers to it. One that only configs which are not
    loaded would use is refused, since setting it would change nothing.

    Raises:
        InputError: naming the unknown ids, each with the closest known one, and those without effect.
    """
    workflow = _running_workflow()
    if workflow is None:
        return  # not started through a workflow, so there is no command line to check
    config = workflow.parser.get()
    files = {
        path.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(Path(workflow.config_root_path).glob("*.json"))
        if path.name != "metadata.json"
    }
    known = {workflow.run_id, workflow.init_id, workflow.final_id, "_meta_", "save_execute_config"}
    known |= {_top(name) for content in files.values() for name in content}
    used = set(REFERENCE.findall(json.dumps(config, default=str)))
    problems = [_suggestion(name, known | set(config)) for name in config if name not in known | used]
    problems += _without_effect({n: v for n, v in config.items() if n not in used}, files, set(config))
    if problems:
        raise InputError("\n       ".join(problems))


def check_values() -> None:
    """See that every setting of the running config has a value that makes sense.

    Raises:
        InputError: naming every setting that is wrong (see `monai_sam2unet.settings.check_settings`).
    """
    workflow = _running_workflow()
    if workflow is None:
        return
    parser = workflow.parser
    values = {name: parser.get_parsed_content(name) for name in RULES if name in parser.get()}
    check_settings(parser.get_parsed_content("device"), **values)
    if "shard" in values:
        _check_folder(str(parser.get()["output_dir"]), values["shard"], flag(values["skip_finished"]))


def run_steps(name: str) -> None:
    """Run the steps listed under an id of the running config, whose parts are not built before.

    MONAI builds all that an expression refers to, even where it does not use it.

    Args:
        name: the id.
    """
    workflow = _running_workflow()
    if workflow is None:
        raise RuntimeError(f"run_steps({name!r}) is for the steps of a running bundle's config")
    for index in range(len(workflow.parser[name])):
        workflow.parser.get_parsed_content(f"{name}#{index}")


def _check_folder(output_dir: str, shard: str, skip_finished: bool) -> None:
    """Refuse a folder that is named by the clock, each process its own, where they are to share one.

    Args:
        output_dir: as the config has it, not evaluated.
        shard: the setting.
        skip_finished: the setting.
    """
    if "run_name(" in output_dir and (skip_finished or Shard(shard).count > 1):
        given = "skip_finished true" if skip_finished else f"shard {Shard(shard)}"
        raise InputError(
            f"{given} needs an output_dir that all processes share and that stays the same, got none: "
            "give --output_dir FOLDER"
        )


def check_tracking() -> None:
    """See that a run that is to be tracked with MLflow can be.

    Raises:
        InputError: naming the packages that are missing, or a store that MLflow refuses.
    """
    workflow = _running_workflow()
    if workflow is None or 'MLFlowHandler"' not in json.dumps(workflow.parser.get(), default=str):
        return
    uri = os.environ.get("MLFLOW_TRACKING_URI") or str(workflow.parser.get("tracking_uri", ""))
    needed = ["mlflow", *(["sqlalchemy", "alembic"] if "sqlite" in uri else [])]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"--tracking with MLflow needs packages that are not installed: {', '.join(missing)}; "
            "pip install mlflow-skinny sqlalchemy alembic, or leave out --tracking"
        )
    if uri and not uri.startswith("$") and ("://" not in uri or uri.startswith("file:")):
        raise InputError(
            f"tracking_uri must be a database or a server, got '{uri}': MLflow no longer writes into plain "
            "folders; give sqlite:////ABSOLUTE/PATH/mlruns.db or http://HOST:PORT"
        )


def _top(name: str) -> str:
    """The top-level id of a path such as ``train#dataloader``."""
    return re.split(r"::|#", name)[0]


def _without_effect(
    unused: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]], ids: set[str]
) -> Iterator[str]:
    """One line on each setting that belongs to configs of the bundle which are not loaded.

    Args:
        unused: ids that nothing refers to, with their values.
        files: content of the bundle's configs by name.
        ids: all top-level ids of the running config.
    """
    # MONAI does not keep which files it merged; one that can be run is among them if all its ids are there
    loaded = [content for content in files.values() if "run" in content and {*map(_top, content)} <= ids]
    for name, value in unused.items():
        owners = {file: content[name] for file, content in files.items() if name in content}
        # an overlay's own value came with the overlay: what it is for may have been set in its place
        if owners and value not in owners.values() and not any(name in content for content in loaded):
            yield (
                f"setting '{name}' has no effect here, nothing refers to it: leave it out, or give in "
                f"--config_file what it belongs to: {' or '.join(owners)}"
            )


def _suggestion(name: str, known: Iterable[str]) -> str:
    """One line on an unknown id."""
    close = difflib.get_close_matches(name, [k for k in known if k != name], n=1)
    hint = f"did you mean '{close[0]}'?" if close else "docs/configs.md lists all"
    hint = RENAMED.get(name, hint)
    return f"unknown setting '{name}' (from the command line or a config file): {hint}"


def _running_workflow() -> ConfigWorkflow | None:
    """The workflow that is evaluating the config; MONAI gives expressions no handle on it."""
    frame = inspect.currentframe()
    while frame is not None:
        candidate: Any = frame.f_locals.get("self")
        if isinstance(candidate, ConfigWorkflow):
            return candidate
        frame = frame.f_back
    return None
