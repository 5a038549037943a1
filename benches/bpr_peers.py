"""Times BPR-MF training on Gowalla (64 dimensions) in Rankstill, implicit and PyTorch, in turn, and prints the ratios.

    benches/setup.sh
    .venv/bin/python benches/bpr_peers.py [--threads 2] [--rounds 3] [--epochs 20] [--rate 0.05] [--decay 0.01]

- SGD epochs: implicit's BayesianPersonalizedRanking with the same learning rate and penalty (63 factors and an item bias),
  one negative a pair, checked to be one; Recall@20 of both after equal epochs, over all items, what a user had masked.
- Adam steps of 2,048 samples, everything that a step needs: negatives, gradients, update. PyTorch as one writes it:
  nn.Embedding, mean of -logsigmoid, and either SparseAdam on sparse gradients or Adam on dense ones. Rankstill's `sparse` mode has
  the meaning of the first, its `exact` mode that of the second. PyTorch's negatives come from one randint a step and are not
  checked against the history, which costs less than what Rankstill does.

Every figure is the best of its rounds, rounds of different programs alternating. The data is in $RANKSTILL_DATA/gowalla or
../shared/data/gowalla.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = pathlib.Path(os.environ.get("RANKSTILL_DATA", ROOT.parent / "shared" / "data")) / "gowalla"
DIM, BATCH = 64, 2048


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--decay", type=float, default=0.01)
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(args.threads)

    binary = build()
    train, test = read(DATA / "train.tsv"), read(DATA / "test.tsv")
    best = {}
    for _ in range(args.rounds):
        for name, value in [
            *ours(binary, args),
            *implicit_epochs(train, test, args),
            *torch_steps(train, args.threads),
        ]:
            better = max if "recall" in name else min
            best[name] = better(best.get(name, value), value)
    for name, value in best.items():
        print(f"{name:32} {value:.4f}")

    print()
    ratio("SGD epoch, implicit / ours", best, "implicit_epoch_seconds", "sgd_best_epoch_seconds", 4)
    ratio("Adam step, SparseAdam / ours sparse", best, "torch_sparse_adam_ms", "adam_sparse_ms_per_step", 5)
    ratio("Adam step, default Adam / ours exact", best, "torch_adam_ms", "adam_exact_ms_per_step", 10)
    if "implicit_recall" in best:
        print(f"Recall@20 after {args.epochs} epochs: ours {best['sgd_recall']:.4f}, implicit {best['implicit_recall']:.4f}")


def ratio(what, best, peer, own, goal):
    if peer in best:
        print(f"{what:38} {best[peer] / best[own]:6.2f} (goal: {goal})")


def build():
    """Builds the benchmark and returns its path."""
    command = ["cargo", "bench", "-p", "rankstill-models", "--bench", "bpr_mf", "--no-run"]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stderr
    binary = said.rsplit("(", 1)[1].split(")")[0]
    return ROOT / binary


def ours(binary, args):
    command = [binary, "--bench"]
    for name in ("threads", "epochs", "rate", "decay"):
        command += [f"--{name}", str(getattr(args, name))]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pairs = [line.split() for line in said.splitlines()]
    if not all(len(pair) == 2 for pair in pairs):
        sys.exit(said)
    return [(name, float(value)) for name, value in pairs]


def read(path):
    import numpy

    pairs = numpy.loadtxt(path, dtype=numpy.int64, skiprows=1)
    return pairs[:, 0], pairs[:, 1]


def implicit_epochs(train, test, args):
    try:
        from implicit.bpr import BayesianPersonalizedRanking
    except ImportError as error:
        print("implicit is left out:", error)
        return []
    import numpy
    import scipy.sparse

    n_users = int(max(train[0].max(), test[0].max())) + 1
    n_items = int(max(train[1].max(), test[1].max())) + 1
    matrix = scipy.sparse.csr_matrix((numpy.ones(len(train[0]), numpy.float32), train), shape=(n_users, n_items))
    model = BayesianPersonalizedRanking(
        factors=DIM - 1,
        learning_rate=args.rate,
        regularization=args.decay,
        iterations=args.epochs,
        num_threads=args.threads,
        verify_negative_samples=True,
        random_state=1,
    )
    times = []
    begin = time.perf_counter()

    def note(*_):
        times.append(time.perf_counter())

    model.fit(matrix, show_progress=False, callback=note)
    laps = [later - earlier for earlier, later in zip(times, times[1:])]
    laps = laps or [(time.perf_counter() - begin) / args.epochs]
    users = numpy.unique(test[0])
    ids, _ = model.recommend(users, matrix[users], N=20, filter_already_liked_items=True)
    targets = {}
    for user, item in zip(*test):
        targets.setdefault(int(user), set()).add(int(item))
    recall = numpy.mean([len(targets[int(u)] & set(row.tolist())) / len(targets[int(u)]) for u, row in zip(users, ids)])
    return [("implicit_epoch_seconds", min(laps)), ("implicit_recall", float(recall))]


def torch_steps(train, threads, steps=25):
    try:
        import torch
    except (ImportError, ValueError) as error:  # the latter when the wheel's libraries are not there
        print("PyTorch is left out:", error)
        return []
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    users, items = (torch.from_numpy(column) for column in train)
    n_users, n_items = int(users.max()) + 1, int(items.max()) + 1

    def milliseconds(sparse):
        user_table = torch.nn.Embedding(n_users, DIM, sparse=sparse)
        item_table = torch.nn.Embedding(n_items, DIM, sparse=sparse)
        for table in (user_table, item_table):
            torch.nn.init.normal_(table.weight, std=0.1)
        parameters = [user_table.weight, item_table.weight]
        optimizer = torch.optim.SparseAdam(parameters, lr=2e-3) if sparse else torch.optim.Adam(parameters, lr=2e-3, weight_decay=3e-5)
        order = torch.randperm(len(users))
        laps = []
        for step in range(steps):
            begin = time.perf_counter()
            rows = order[step * BATCH : (step + 1) * BATCH]
            u, i = users[rows], items[rows]
            j = torch.randint(n_items, (len(rows),))
            vectors = user_table(u)
            margin = (vectors * (item_table(i) - item_table(j))).sum(1)
            loss = -torch.nn.functional.logsigmoid(margin).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            laps.append(time.perf_counter() - begin)
        return 1e3 * sorted(laps[5:])[len(laps[5:]) // 4]

    return [("torch_sparse_adam_ms", milliseconds(True)), ("torch_adam_ms", milliseconds(False))]


if __name__ == "__main__":
    main()
