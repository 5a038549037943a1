"""What a user would pick instead of `rankstill compress`: implicit's ALS, BPR and cosine neighbours, with defaults and tuned.

    benches/setup.sh
    .venv/bin/python benches/compress_implicit.py [ml-100k gowalla-rd-tail amazon-beauty] [--out runs/compress] [--threads 2]

For each log `rankstill compress --effort normal --max-bytes 40B/item` runs first (a finished run in --out is used again). implicit then
fits the same training part. "tuned": as many random settings of each of its models as compress tried of all its rankers, chosen by nDCG@10 on the
same validation part; the chosen setting is fitted again on training and validation part together, as compress does. Test metrics of both
sides are computed by `rankstill evaluate`. Bytes are those of the item side: float32 vectors, or the neighbours with their weights. A
request is one user, top 20: one call of `recommend`, Python's overhead included, as that is how the package is used; ours is measured inside
the program.
"""

import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
import warnings

from peers import DATA, ROOT, arguments, use_threads

LOGS = {
    "ml-100k": "ml-100k/ml-100k.inter",
    "gowalla-rd-tail": "gowalla-rd-tail/interactions.tsv",
    "amazon-beauty": "amazon-beauty/interactions.tsv",
}
K = 20


def main():
    parser = arguments(__doc__)
    parser.add_argument("logs", nargs="*", default=list(LOGS), help=", ".join(LOGS))
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "compress")
    args = parser.parse_args()
    use_threads(args.threads)
    warnings.filterwarnings("ignore", message="Method expects CSR")  # its own conversions
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # implicit warns otherwise: its BLAS calls are small
    subprocess.run(["cargo", "build", "--release", "-p", "rankstill-cli", "--quiet"], cwd=ROOT, check=True)
    for name in args.logs:
        compare(name, args.out / name)


def rankstill(*args):
    binary = ROOT / "target" / "release" / "rankstill"
    return subprocess.run([binary, *map(str, args)], check=True, capture_output=True, text=True).stdout


def compare(name, run):
    begin = time.perf_counter()
    if not (run / "best").exists():
        rankstill("compress", DATA / LOGS[name], "--out", run, "--effort", "normal", "--max-bytes", "40B/item", "--quiet")
        (run / "minutes").write_text(f"{(time.perf_counter() - begin) / 60:.2f}")
    minutes = (run / "minutes").read_text().strip() if (run / "minutes").exists() else "?"
    report = json.loads((run / "report.json").read_text())
    rows = {row["name"]: row for row in report["models"]}
    print(f"\n{name}\n{'model':78} {'ndcg@10':>8} {'recall@20':>9} {'B/item':>8} {'us/request':>10} {'minutes':>8}")
    for label, row in (("ensemble", rows[report["ensemble"]]), ("recommended", rows[report["recommended"]])):
        quality = [row["metrics"][metric]["mean"] for metric in ("ndcg@10", "recall@20")]
        microseconds = row["latency"]["request_ms"]["median"] * 1e3
        line(f"{row['name']} ({label})", quality, row["bytes_per_item"], microseconds, minutes)

    parts = Parts(run / "data")
    trials = len(json.loads((run / "search" / "teachers.json").read_text())["models"])
    for kind, settings in SETTINGS.items():
        for tuned in (False, True):
            begin = time.perf_counter()
            chosen = tune(kind, settings, parts, trials) if tuned else {}
            model = fit(kind, chosen, parts.all)
            took = (time.perf_counter() - begin) / 60
            label = f"implicit {kind}, " + (f"best of {trials} {short(chosen)}" if tuned else "defaults")
            quality = parts.test_metrics(model, run / "data")
            line(label, quality, bytes_of(model) / parts.n_items, microseconds_of(model, parts), f"{took:.2f}")


def line(label, quality, size, microseconds, minutes):
    print(f"{label:78} {quality[0]:8.4f} {quality[1]:9.4f} {size:8.0f} {microseconds:10.1f} {minutes:>8}", flush=True)


def short(settings):
    return " ".join(f"{key}={value:g}" if isinstance(value, int) else f"{key}={value:.2g}" for key, value in settings.items())


def log_uniform(low, high):
    return lambda random: float(low * (high / low) ** random.random())


def among(*values):
    return lambda random: values[random.integers(len(values))]


# The settings that matter, around the defaults and the values that its reviewers recommend.
SETTINGS = {
    "ALS": {
        "factors": among(32, 64, 128, 256),
        "regularization": log_uniform(1e-3, 1e2),
        "alpha": log_uniform(0.5, 50),
        "iterations": among(10, 15, 30),
    },
    "BPR": {
        "factors": among(32, 64, 128, 256),
        "learning_rate": log_uniform(3e-3, 0.2),
        "regularization": log_uniform(1e-3, 0.1),
        "iterations": among(50, 100, 200),
    },
    "cosine": {"K": among(10, 20, 50, 100, 200, 500, 1000)},
}


def fit(kind, settings, matrix):
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from implicit.nearest_neighbours import CosineRecommender

    kinds = {"ALS": AlternatingLeastSquares, "BPR": BayesianPersonalizedRanking, "cosine": CosineRecommender}
    seed = {} if kind == "cosine" else {"random_state": 1}
    model = kinds[kind](**settings, **seed)
    model.fit(matrix, show_progress=False)
    return model


def tune(kind, settings, parts, trials):
    import numpy

    random = numpy.random.default_rng(1)
    tried = {}
    for _ in range(trials):
        one = {key: draw(random) for key, draw in settings.items()}
        # Small spaces come round: nothing is fitted twice.
        key = json.dumps(one)
        if key not in tried:
            tried[key] = parts.ndcg_in_validation(fit(kind, one, parts.train))
    return json.loads(max(tried, key=tried.get))


def bytes_of(model):
    if hasattr(model, "item_factors"):
        return model.item_factors.nbytes
    kept = model.similarity
    return kept.data.nbytes + kept.indices.nbytes


def microseconds_of(model, parts, requests=1000):
    seen = parts.all
    times = []
    for request in range(requests):
        user = request * 7919 % seen.shape[0]
        row = seen[user]
        begin = time.perf_counter()
        model.recommend(user, row, N=K, filter_already_liked_items=True)
        times.append((time.perf_counter() - begin) * 1e6)
    return statistics.median(times)


class Parts:
    """The parts that compress used, as matrices."""

    def __init__(self, folder):
        import polars
        import scipy.sparse

        self.ids = [polars.read_parquet(folder / f"{side}.parquet")["id"].to_list() for side in ("users", "items")]
        self.n_items = len(self.ids[1])

        def matrix(*names):
            rows = polars.concat(polars.read_parquet(folder / f"{name}.parquet") for name in names)
            rows = rows.unique(["user_number", "item_number"])
            pairs = rows["user_number"].to_numpy(), rows["item_number"].to_numpy()
            ones = [1.0] * len(rows)
            return scipy.sparse.csr_matrix((ones, pairs), shape=tuple(map(len, self.ids)), dtype="float32")

        self.train, self.valid, self.all = matrix("train"), matrix("valid"), matrix("train", "valid")
        self.test_users = sorted(set(polars.read_parquet(folder / "test.parquet")["user_number"].to_list()))

    def ndcg_in_validation(self, model, k=10):
        import numpy

        users = numpy.flatnonzero(numpy.diff(self.valid.indptr))
        listed, _ = model.recommend(users, self.train[users], N=k, filter_already_liked_items=True)
        discount = 1 / numpy.log2(numpy.arange(2, k + 2))
        total = 0.0
        for user, row in zip(users, listed):
            targets = self.valid.indices[self.valid.indptr[user] : self.valid.indptr[user + 1]]
            hits = numpy.isin(row, targets)
            total += (hits * discount[: len(row)]).sum() / discount[: min(k, len(targets))].sum()
        return total / len(users)

    def test_metrics(self, model, folder):
        import numpy

        users = numpy.array(self.test_users)
        listed, _ = model.recommend(users, self.all[users], N=K, filter_already_liked_items=True)
        user_ids, item_ids = self.ids
        with tempfile.TemporaryDirectory() as scratch:
            path = pathlib.Path(scratch) / "lists.tsv"
            with path.open("w") as file:
                file.write("user_id\titem_id\trank\n")
                for user, row in zip(users, listed):
                    ranked = ((rank, item) for rank, item in enumerate(row, 1) if item >= 0)
                    file.writelines(f"{user_ids[user]}\t{item_ids[item]}\t{rank}\n" for rank, item in ranked)
            said = rankstill("evaluate", "--test", folder, "--rankings", path, "--metrics", "ndcg@10,recall@20", "--json")
        metrics = json.loads(said)["metrics"]
        return [metrics[metric] for metric in ("ndcg@10", "recall@20")]


if __name__ == "__main__":
    main()
