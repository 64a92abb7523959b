"""What the tests read of a run when it is over."""

from __future__ import annotations

import csv

import torch


def last(folder):
    """The state in `checkpoint_last.pt` of a run's folder."""
    return torch.load(folder / "models" / "checkpoint_last.pt", weights_only=True)


def history(folder):
    """The rows of a run's `history.csv`."""
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def input_error(error):
    """The message of the user's error that MONAI wrapped."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)
