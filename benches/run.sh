#!/bin/sh
# Runs every comparison with peers from PyPI in this folder and prints ratios. Keep the machine otherwise idle.
set -eu
cd "$(dirname "$0")/.."
benches/setup.sh
for script in topk_faiss codes_faiss bpr_peers als_peers sequence_peers neural_peers hetcomp_peers prepare_polars serve_peers compress_implicit python_throughput python_teachers; do
    printf '\n== %s\n' "$script"
    .venv/bin/python "benches/$script.py"
done
