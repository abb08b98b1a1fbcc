#!/usr/bin/env bash
# Runs every check of the project: style, types, tests. Extra arguments go to pytest (for example: -k physics).
# Slow tests are left out; with them: scripts/test.sh -m "slow or not slow"
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh requirements-dev.txt

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy dxa_monai
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 "$@"
