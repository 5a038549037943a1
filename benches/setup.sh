#!/bin/sh
# Creates .venv in the workspace's root with the peers for the scripts in benches/, at pinned versions.
# Usage: benches/setup.sh [python]      (3.11 or newer; wheels only, nothing is compiled but our own package)
set -eu
cd "$(dirname "$0")/.."
python=${1:-python3}
[ -x .venv/bin/python ] || "$python" -m venv .venv
install() { .venv/bin/pip install --quiet --only-binary :all: "$@"; }

install polars==2.1.0 numpy==2.4.6    # prepare_polars.py
install numpy==2.4.6 scipy==1.17.1 implicit==0.7.3 torch==2.15.0    # bpr_peers.py, als_peers.py, compress_implicit.py, sequence_peers.py, hetcomp_peers.py, authors_losses.py (torch installs 2 GB of GPU libraries)
install faiss-cpu==1.15.1    # topk_faiss.py, codes_faiss.py
install fastapi==0.165.0 uvicorn==0.54.0 httptools==0.9.0 uvloop==0.23.0 granian==2.8.9 orjson==3.13.0 numpy==2.4.6    # serve_peers.py
.venv/bin/pip install --quiet .    # python_throughput.py, python_teachers.py

.venv/bin/pip list --format freeze
