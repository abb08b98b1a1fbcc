#!/usr/bin/env bash
# Runs every check of the project: style, types, tests. Extra arguments go to pytest (for example: -k physics).
# With TESTS_ALONE=1 no style and no types. Slow tests are left out; with them: scripts/test.sh -m "slow or not slow"
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh requirements-dev.txt

if [ -z "${TESTS_ALONE:-}" ]; then
    "$VENV/bin/ruff" check .
    "$VENV/bin/ruff" format --check .
    "$VENV/bin/mypy" dxa_monai
fi
OMP_NUM_THREADS=1 "$VENV/bin/python" -m pytest -n 2 "$@"
