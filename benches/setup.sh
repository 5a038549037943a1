#!/bin/sh
# Makes .venv in the workspace's root with the peers that the scripts in benches/ compare with, at pinned versions.
# Usage: benches/setup.sh [python]      (3.10 or newer; wheels only, nothing is compiled)
set -eu
cd "$(dirname "$0")/.."
python=${1:-python3}
[ -x .venv/bin/python ] || "$python" -m venv .venv
install() { .venv/bin/pip install --quiet --only-binary :all: "$@"; }

install polars==2.1.0 numpy    # prepare_polars.py

.venv/bin/pip list --format freeze
