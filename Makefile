# Everything runs in .venv, which `make setup` makes; nothing else on the machine is touched.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
RUN    := runs/demo
# The stamp carries the folder: a copied tree does not use the environment of the tree it was copied from.
STAMP  := $(VENV)/.installed-$(shell pwd | cksum | cut -d ' ' -f 1)
PIP    := $(PY) -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow oracles exports medical monailabel serving tracking bench guard test-all lint types bundle-check bundle-zip fmt clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the tested versions and the package itself

$(STAMP): constraints.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "Python 3.10 or newer is needed; name it: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into $(VENV): a few minutes the first time."
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt "setuptools>=77"
	$(PIP) install -q -c constraints.txt --no-build-isolation -e ".[dev]"
	@touch $@

demo: setup ## train, evaluate and segment on made-up pictures, from nothing
	$(PY) -m monai.bundle run training --config_file configs/train.json \
	    --output_dir $(RUN) --ckpt_dir $(RUN)/models
	$(PY) -m monai.bundle run evaluation --config_file "['configs/train.json','configs/evaluate.json']" \
	    --output_dir $(RUN)/evaluation --ckpt_dir $(RUN)/models
	$(PY) -m monai.bundle run inference --config_file configs/inference.json \
	    --input demo_data/images/0244.png --output_dir $(RUN)/segmented --ckpt_dir $(RUN)/models --overlays true
	@echo
	@echo "The report of the evaluation:  $(RUN)/evaluation"
	@echo "The segmented picture:         $(RUN)/segmented"

test: setup ## run the tests, without the slow ones
	$(PY) -m pytest -m "not slow"

# pytest ends with 5 where no test is marked slow.
slow: setup ## run the slow tests alone
	$(PY) -m pytest -m slow || test $$? -eq 5

# PySODMetrics asks for an older NumPy than ours, with which it runs too.
oracles: setup ## compare with transformers' encoder and PySODMetrics (which are installed first)
	$(PIP) install -q -c constraints.txt --no-build-isolation -e ".[oracles]"
	$(PIP) install -q -c constraints.txt --no-deps pysodmetrics==1.6.2
	$(PY) -m pytest tests/networks/weights/test_oracles.py tests/metrics/test_pysodmetrics.py

exports: setup ## run exported files in onnxruntime and OpenVINO (which are installed first)
	$(PIP) install -q -c constraints.txt --no-build-isolation -e ".[export]"
	$(PY) -m pytest -m "not slow" tests/export tests/scripts/test_export.py tests/scripts/test_speed_runtimes.py

medical: setup ## read DICOM of every compression and write it (what that needs is installed first)
	$(PIP) install -q -c constraints.txt --no-build-isolation -e ".[medical,video]"
	$(PY) -m pytest tests/io tests/segment

# Without dependencies, which exclude NumPy 2: requirements/monailabel.txt says which of them are needed.
monailabel: setup ## install MONAI Label, for scripts/monailabel.sh
	$(PIP) install -q -c constraints.txt --no-deps monailabel itk-core itk-io itk-numerics
	$(PIP) install -q -c constraints.txt -r requirements/monailabel.txt

serving: monailabel ## run a MONAI Label server (which is installed first) and ask it all it can do
	$(PY) -m pytest tests/serving

tracking: setup ## track runs with MLflow and read them back (its client is installed first)
	$(PIP) install -q -c constraints.txt --no-build-isolation -e ".[tracking]"
	$(PY) -m pytest tests/bundle/test_tracking.py

# PySODMetrics asks for an older NumPy than ours, with which it runs too.
bench: setup ## measure against plain forms of the published code: a quarter of an hour, nothing else should run
	$(PIP) install -q -c constraints.txt --no-build-isolation -e ".[export,oracles]"
	$(PIP) install -q -c constraints.txt --no-deps pysodmetrics==1.6.2
	$(PY) -m scripts.benchmark

guard: setup ## fail where something has become slow that was made fast
	$(PY) -m scripts.benchmark --guard

test-all: setup ## run all tests
	$(PY) -m pytest

lint: setup ## check style and formatting
	$(PY) -m ruff check
	$(PY) -m ruff format --check

types: setup ## check types
	$(PY) -m mypy

# MODEL=FILE names the trained model of the entry, NAME=... what it is called in the zoo.
ENTRY = $(if $(MODEL),--model "$(MODEL)") $(if $(NAME),--name "$(NAME)")

bundle-check: setup ## check without a network what the MONAI model zoo asks
	$(PY) -m scripts.zoo_check $(ENTRY)

bundle-zip: setup ## pack what the model zoo gets into dist/
	$(PY) -m scripts.zoo_zip $(ENTRY)

fmt: setup ## format, and correct what can be corrected
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

clean: ## remove the environment, caches, builds and the demonstration set (models/ and runs/ stay)
	rm -rf $(VENV) build dist bundle/*.egg-info demo_data .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
