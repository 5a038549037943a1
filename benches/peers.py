"""Shared by the comparisons with peers: paths, building our side, alternating rounds, ratios."""

import argparse
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = pathlib.Path(os.environ.get("RANKSTILL_DATA", ROOT.parent / "shared" / "data"))


def arguments(doc, rounds=3):
    """A parser with --threads and --rounds whose help is the script's docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=rounds)
    return parser


def use_threads(threads):
    """Sets the size of all thread pools. Must run before the peers are imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(threads)


def bench(package, name):
    """Builds a benchmark of ours and returns its path."""
    command = ["cargo", "bench", "-p", package, "--bench", name, "--no-run"]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stderr
    return ROOT / said.rsplit("(", 1)[1].split(")")[0]


def said_by(command):
    """What one of our programs prints."""
    environment = {**os.environ, "RANKSTILL_DATA": str(DATA)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def figures(command):
    """The `name value` lines that one of our programs prints."""
    said = said_by(command)
    pairs = [line.split() for line in said.splitlines()]
    found = [(pair[0], float(pair[1])) for pair in pairs if len(pair) == 2]
    return found or sys.exit(said)


def best_of(rounds, *sides):
    """Runs all sides in turn and prints the best of each figure: the largest recall or nDCG, the smallest of anything else."""
    best = {}
    for _ in range(rounds):
        for side in sides:
            for name, value in side():
                better = max if "recall" in name or "ndcg" in name else min
                best[name] = better(best.get(name, value), value)
    for name, value in best.items():
        print(f"{name:32} {value:.4f}")
    print()
    return best


def ratio(what, best, peer, own, goal):
    """Prints the peer's time divided by ours, if both are known."""
    if peer in best and own in best:
        print(f"{what:40} {best[peer] / best[own]:6.2f} (goal: {goal})")


def torch_on(threads):
    """PyTorch with a fixed seed; None if it is not installed."""
    try:
        import torch
    except (ImportError, ValueError) as error:  # ValueError when the wheel's libraries are missing
        print("PyTorch is skipped:", error)
        return None
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    return torch


class Log:
    """A log of (user, item) numbers in `train.tsv` and `test.tsv` of a data folder."""

    def __init__(self, name):
        import numpy

        def read(part):
            columns = numpy.loadtxt(DATA / name / f"{part}.tsv", dtype=numpy.int64, skiprows=1)
            return columns[:, 0], columns[:, 1]

        self.train, self.test = read("train"), read("test")
        self.n_users = int(max(self.train[0].max(), self.test[0].max())) + 1
        self.n_items = int(max(self.train[1].max(), self.test[1].max())) + 1

    def matrix(self):
        """The training part, users x items."""
        import numpy
        import scipy.sparse

        ones = numpy.ones(len(self.train[0]), numpy.float32)
        return scipy.sparse.csr_matrix((ones, self.train), shape=(self.n_users, self.n_items))

    def recall(self, model):
        """Test Recall@20 of an implicit model over all items, with the user's training items excluded."""
        import numpy

        users = numpy.unique(self.test[0])
        listed, _ = model.recommend(users, self.matrix()[users], N=20, filter_already_liked_items=True)
        targets = {}
        for user, item in zip(*self.test):
            targets.setdefault(int(user), set()).add(int(item))
        hits = [len(targets[int(user)] & set(row.tolist())) / len(targets[int(user)]) for user, row in zip(users, listed)]
        return float(numpy.mean(hits))
