"""Times implicit ALS on Gowalla (64 dimensions) in Rankstill and in implicit, in turn, and prints the ratio.

    benches/setup.sh
    .venv/bin/python benches/als_peers.py [--threads 2] [--rounds 3] [--iterations 15] [--alpha 40] [--l2 40] [--solver cg]

Both minimise the same loss: confidence 1 + alpha of a pair of the log (implicit's own alpha is that, whole), 1 elsewhere, the
same unscaled penalty, the same number of iterations over both sides, three steps of conjugate gradients a row ("cg") or exact
solutions ("cholesky"). Rankstill's time is of the whole fit, its report of the loss after each iteration included; implicit's of
`fit` without a report. Recall@20 of both, over all items, what a user had masked: equal quality is part of the claim.

Every figure is the best of its rounds, rounds of different programs alternating. The data is in $RANKSTILL_DATA/gowalla or
../shared/data/gowalla.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("RANKSTILL_DATA", ROOT.parent / "shared" / "data"))
DIM = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--alpha", type=float, default=40.0)
    parser.add_argument("--l2", type=float, default=40.0)
    parser.add_argument("--solver", choices=["cg", "cholesky"], default="cg")
    args = parser.parse_args()
    # implicit has threads of its own, and warns where BLAS has too: each of its calls is small.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)

    binary = build()
    best = {}
    for _ in range(args.rounds):
        for name, value in [*ours(binary, args), *peer(args)]:
            better = max if "recall" in name else min
            best[name] = better(best.get(name, value), value)
    for name, value in best.items():
        print(f"{name:24} {value:.4f}")
    if "implicit_seconds" in best:
        ratio = best["implicit_seconds"] / best["rankstill_seconds"]
        print(f"\n{args.iterations} iterations, implicit / ours   {ratio:.2f} (goal: 1)")


def build():
    """Builds the example that fits on Gowalla and returns its path."""
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
        "iterations": args.iterations,
        "solver": solver,
    }
    said = subprocess.run(
        [binary, json.dumps(config)], env={**os.environ, "RANKSTILL_DATA": str(SHARED)}, check=True, capture_output=True, text=True
    ).stdout
    seconds = re.search(r"fitted in ([0-9.]+) s", said)
    recall = re.search(r"^recall@20 ([0-9.]+)", said, re.MULTILINE)
    if not (seconds and recall):
        sys.exit(said)
    return [("rankstill_seconds", float(seconds[1])), ("rankstill_recall", float(recall[1]))]


def peer(args):
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError as error:
        print("implicit is left out:", error)
        return []
    import numpy
    import scipy.sparse

    train, test = read(SHARED / "gowalla" / "train.tsv"), read(SHARED / "gowalla" / "test.tsv")
    n_users = int(max(train[0].max(), test[0].max())) + 1
    n_items = int(max(train[1].max(), test[1].max())) + 1
    matrix = scipy.sparse.csr_matrix((numpy.ones(len(train[0]), numpy.float32), train), shape=(n_users, n_items))
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
    model.fit(matrix, show_progress=False)
    seconds = time.perf_counter() - begin

    users = numpy.unique(test[0])
    ids, _ = model.recommend(users, matrix[users], N=20, filter_already_liked_items=True)
    targets = {}
    for user, item in zip(*test):
        targets.setdefault(int(user), set()).add(int(item))
    hits = [len(targets[int(user)] & set(row.tolist())) / len(targets[int(user)]) for user, row in zip(users, ids)]
    return [("implicit_seconds", seconds), ("implicit_recall", float(numpy.mean(hits)))]


def read(path):
    import numpy

    pairs = numpy.loadtxt(path, dtype=numpy.int64, skiprows=1)
    return pairs[:, 0], pairs[:, 1]


if __name__ == "__main__":
    main()
