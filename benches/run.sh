#!/bin/sh
# Every comparison in this folder, one after the other: our kernels and the peers from PyPI, as ratios in one run; keep
# the machine quiet meanwhile.
set -eu
cd "$(dirname "$0")/.."
benches/setup.sh
for script in topk_faiss bpr_peers als_peers sequence_peers neural_peers hetcomp_peers prepare_polars serve_peers; do
    printf '\n== %s\n' "$script"
    .venv/bin/python "benches/$script.py"
done
