"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("MPLBACKEND", "Agg")  # figures go to files, also where there is a display

# The same examples in every run; no deadline, since the first call of a network is slow.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


@pytest.fixture(scope="session")
def bundle_root() -> Path:
    """Root of the repository, which is the bundle."""
    return ROOT


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the small reference values."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """`real_data("Kvasir-SEG")` gives that data set's folder, or skips the test and says what is missing."""
    base = Path(os.environ.get("SAM2UNET_DATA") or ROOT.parent / "shared" / "data")

    def folder(name: str) -> Path:
        path = base / name
        if not path.is_dir():
            pytest.skip(f"needs {name}: no folder {path}; name its parent in SAM2UNET_DATA")
        return path

    return folder
