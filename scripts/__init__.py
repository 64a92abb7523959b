"""Thin command lines over the package: `python -m scripts.NAME --help`, from the repository root."""
