#!/usr/bin/env bash
# The Python package: builds it into a virtual environment, checks types and generated classes, and runs its tests and its examples. The
# example with PyTorch runs where PyTorch is installed in the environment.
#
#   scripts/python.sh [OPTION OF PYTEST ...]
#
# RANKSTILL_VENV names the environment (default: target/python); PROFILE=dev builds without the optimisations of a release.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; "$@"; }

venv=${RANKSTILL_VENV:-target/python}
[[ -x $venv/bin/python ]] || step python3 -m venv "$venv"
export VIRTUAL_ENV=$(realpath "$venv") PATH=$(realpath "$venv")/bin:$PATH
step pip install --quiet maturin numpy scipy pandas polars pyarrow duckdb implicit tqdm jsonschema pytest mypy ruff
step maturin develop --quiet --profile "${PROFILE:-release}"

step python scripts/python_classes.py --registry <(rankstill list --json) --check
step ruff check python tests/python examples/python benches/python_*.py scripts/python_classes.py scripts/experiment_schema.py scripts/results.py
step mypy --strict python/rankstill
step pytest -q "$@"
step python examples/python/run.py
