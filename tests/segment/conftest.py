"""The command sets up the root logger as a program does; the tests after it must find pytest's again."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def logging_as_before():
    root, pydicom = logging.getLogger(), logging.getLogger("pydicom")
    handlers, level, quiet = root.handlers[:], root.level, pydicom.level
    yield
    pydicom.setLevel(quiet)
    root.handlers[:] = handlers
    root.setLevel(level)
