#!/usr/bin/env bash
# Serve the bundle in MONAI Label: scripts/monailabel.sh STUDIES [--port 8000] [--checkpoint FILE] (--help: all).
# Takes the repository's .venv if there is one, else python3; PYTHON=... names another.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
command -v "$python" >/dev/null || python=python3
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m scripts.label_server "$@"
