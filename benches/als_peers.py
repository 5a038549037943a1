"""Times implicit ALS on Gowalla (64 dimensions) in Rankstill and in implicit, in turn, and prints the ratio.

    benches/setup.sh
    .venv/bin/python benches/als_peers.py [--threads 2] [--rounds 3] [--iterations 15] [--alpha 40] [--l2 40] [--solver cg]

Both minimise the same loss: confidence 1 + alpha for observed pairs (for implicit this sum is its alpha), 1 for all others, the same
unscaled penalty, the same number of iterations, and three conjugate gradient steps per row ("cg") or exact solutions ("cholesky").
Rankstill's time is that of the whole fit, including the loss after each iteration; implicit's is that of `fit` without the loss. Recall@20
of both over all items, training items excluded, shows that the quality is equal.

Every figure is the best of the rounds; the programs alternate. The data are in $RANKSTILL_DATA/gowalla or ../shared/data/gowalla.
"""

import json
import os
import re
import subprocess
import sys
import time

from peers import DATA, ROOT, Log, arguments, best_of, ratio

DIM = 64


def main():
    parser = arguments(__doc__)
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--alpha", type=float, default=40.0)
    parser.add_argument("--l2", type=float, default=40.0)
    parser.add_argument("--solver", choices=["cg", "cholesky"], default="cg")
    args = parser.parse_args()
    # implicit has its own threads and warns if BLAS has threads too: its BLAS calls are small.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)

    binary, log = build(), Log("gowalla")
    best = best_of(args.rounds, lambda: ours(binary, args), lambda: peer(log, args))
    ratio(f"{args.iterations} iterations, implicit / ours", best, "implicit_seconds", "rankstill_seconds", 1)


def build():
    """Builds the example that trains on Gowalla and returns its path."""
    command = ["cargo", "build", "--release", "-p", "rankstill-models", "--example", "gowalla", "--message-format", "json"]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [json.loads(line).get("executable") for line in said.splitlines()]
    return [path for path in paths if path][-1]


def ours(binary, args):
    solver = {"kind": "conjugate_gradient", "steps": 3} if args.solver == "cg" else {"kind": "cholesky"}
    config = {
        "kind": "implicit_als",
        "dim": DIM,
        "alpha": args.alpha,
        "l2": args.l2,
        "l2_exponent": 0.0,
        "iterations": args.iterations,
        "solver": solver,
    }
    said = subprocess.run(
        [binary, json.dumps(config)], env={**os.environ, "RANKSTILL_DATA": str(DATA)}, check=True, capture_output=True, text=True
    ).stdout
    seconds = re.search(r"fitted in ([0-9.]+) s", said)
    recall = re.search(r"^recall@20 ([0-9.]+)", said, re.MULTILINE)
    if not (seconds and recall):
        sys.exit(said)
    return [("rankstill_seconds", float(seconds[1])), ("rankstill_recall", float(recall[1]))]


def peer(log, args):
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError as error:
        print("implicit is skipped:", error)
        return []
    model = AlternatingLeastSquares(
        factors=DIM,
        regularization=args.l2,
        alpha=1.0 + args.alpha,
        iterations=args.iterations,
        use_cg=args.solver == "cg",
        num_threads=args.threads,
        random_state=1,
    )
    begin = time.perf_counter()
    model.fit(log.matrix(), show_progress=False)
    seconds = time.perf_counter() - begin
    return [("implicit_seconds", seconds), ("implicit_recall", log.recall(model))]


if __name__ == "__main__":
    main()
