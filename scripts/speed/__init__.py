"""What `python -m scripts.benchmark` measures: the plain ways of tests/plain beside those of the package."""
