#!/usr/bin/env bash
# The tests of Spark and Ray: makes a virtual environment with the package, PySpark and Ray, and kills executors and nodes of clusters that
# run on this machine.
#
#   scripts/distributed.sh [OPTION OF PYTEST ...]
#
# Needs Java 17 or newer (apt install openjdk-17-jre-headless; JAVA_HOME names another place), about 1 GB of PyPI and 6 GB of memory.
# RANKSTILL_VENV names the environment (default: target/distributed); PROFILE=dev builds without the optimisations of a release.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; "$@"; }

if [[ -z ${JAVA_HOME:-} ]]; then
    for place in /usr/lib/jvm/java-17-openjdk*; do [[ -x $place/bin/java ]] && export JAVA_HOME=$place; done
fi
[[ -x ${JAVA_HOME:-}/bin/java ]] || { echo "no Java 17: install it, or set JAVA_HOME" >&2; exit 1; }

venv=${RANKSTILL_VENV:-target/distributed}
[[ -x $venv/bin/python ]] || step python3 -m venv "$venv"
export VIRTUAL_ENV=$(realpath "$venv") PATH=$(realpath "$venv")/bin:$PATH
step pip install --quiet maturin numpy "pandas<3" polars pyarrow pytest "pyspark>=4,<5" "ray>=2.40,<3"
step maturin develop --quiet --profile "${PROFILE:-release}"
step pytest -q -s -m "spark or ray" tests/python/test_spark.py tests/python/test_ray.py "$@"
