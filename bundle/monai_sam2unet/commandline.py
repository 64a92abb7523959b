"""What makes ``python -m monai.bundle run`` pleasant: short error messages, and no misspelt ids.

Called by the first lines of ``initialize`` in every config.
"""

from __future__ import annotations

import difflib
import inspect
import json
import logging
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from monai.bundle import ConfigWorkflow

from monai_sam2unet.errors import InputError
from monai_sam2unet.settings import RULES, check_settings

__all__ = ["bundle_root", "check_ids", "check_values", "short_errors"]

logger = logging.getLogger(__name__)

REFERENCE = re.compile(r"[@%](\w+)")
EXPECTED = (InputError, FloatingPointError, KeyboardInterrupt)
"""Errors whose message says all: a traceback would hide it."""

RENAMED = {
    "freeze_encoder": "it became 'tuning': --tuning adapters is what true was, --tuning full what false was",
}
"""Settings of earlier versions, and what to write instead."""


def short_errors() -> None:
    """Let a program that ends by an error of the user's show its message alone, and exit with 1.

    MONAI wraps what happens within a config into a chain of errors whose last one names a config item;
    the one that the user can act on stands deep in it. Other errors keep their traceback.
    """
    if sys.excepthook is not _show:
        sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the first expected error of a chain, or the whole chain if there is none."""
    message = next((m for m in map(_message, _chain(error)) if m), None)
    if message is None:
        sys.__excepthook__(kind, error, trace)
    else:
        sys.stderr.write(f"\n{message}\n")


def _message(error: BaseException) -> str | None:
    """What to show of an expected error; None for any other."""
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted."
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


def check_ids() -> None:
    """See that every top-level id of the running config is one that means something.

    MONAI takes any ``--name value`` and passes over a misspelt one in silence. An id is accepted if one of
    the bundle's own configs has it, or if another item refers to it.

    Raises:
        InputError: naming the unknown ids, each with the closest known one.
    """
    workflow = _running_workflow()
    if workflow is None:
        return  # not started through a workflow, so there is no command line to check
    config = workflow.parser.get()
    known = {workflow.run_id, workflow.init_id, workflow.final_id, "_meta_", "save_execute_config"}
    for path in sorted(Path(workflow.config_root_path).glob("*.json")):
        if path.name != "metadata.json":
            known |= {re.split(r"::|#", name)[0] for name in json.loads(path.read_text(encoding="utf-8"))}
    used = set(REFERENCE.findall(json.dumps(config, default=str)))
    unknown = [name for name in config if name not in known | used]
    if unknown:
        raise InputError("\n       ".join(_suggestion(name, known | set(config)) for name in unknown))


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
