"""What the Python package adds to the work: lists for all users, and data frames that become data sets, beside others in the same run.

    pip install . && pip install polars numpy scipy implicit
    python benches/python_throughput.py [--users 60000] [--items 25000] [--dim 32] [--rows 20000000] [--rounds 3] [--threads 2]

Lists: the k best items of each user without those of the user's history, from the same vectors (ALS on a simulated log), by `recommend`
of the package, by `implicit` (our vectors put into its ALS), and by NumPy (products in blocks of 1,024 users, `argpartition`, a sort of
the k). From a saved model to a file of lists: by the package (`rk.load`, `recommend`, Parquet by polars) and by `rankstill recommend`, a
process of its own. All lists are compared with ours: scores differ in their last digits, so a few neighbours may change places.

Data: a log of so many rows becomes a split data set, from a data frame of polars in memory and from the same as Parquet.

Every figure is the best of the rounds, in seconds; the sides alternate. Keep the machine otherwise idle.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

from peers import arguments, best_of, use_threads


def main():
    parser = arguments(__doc__)
    parser.add_argument("--users", type=int, default=60_000)
    parser.add_argument("--items", type=int, default=25_000)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--rows", type=int, default=20_000_000, help="of the log; 0 = lists only")
    args = parser.parse_args()
    use_threads(args.threads)
    os.environ["POLARS_MAX_THREADS"] = str(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        lists(args, pathlib.Path(folder))
        if args.rows:
            data_sets(args, pathlib.Path(folder) / "log.parquet")


def lists(args, folder):
    import numpy as np
    import polars as pl
    import rankstill as rk
    from scipy.sparse import csr_matrix

    log = rk.simulate(interactions=25 * args.users, users=args.users, items=args.items, seed=1)
    data = rk.Dataset(log, split=rk.split.All())
    model = rk.ImplicitAls(dim=args.dim, iterations=3).fit(data)
    model.save(folder / "model")
    rows = data.table("train", numbers=True).to_numpy()
    ones = np.ones(len(rows["user_id"]), np.float32)
    seen = csr_matrix((ones, (rows["user_id"], rows["item_id"])), shape=(data.n_users, data.n_items))
    users, items, everyone = model.user_vectors(), model.item_vectors(), np.arange(data.n_users)
    print(f"lists: {data.n_users:,} users, {data.n_items:,} items, {args.dim} dimensions, {args.k} a list, {args.threads} threads")

    def by_the_package():
        return np.array(model.recommend(k=args.k).to_numpy()["item_id"]).reshape(-1, args.k)

    def from_artefact_to_file():
        rk.load(folder / "model").recommend(k=args.k).to_polars().write_parquet(folder / "package.parquet")

    def by_the_command_line():
        command = ["recommend", folder / "model", "--all", "--k", args.k, "--out", folder / "program.parquet", "--quiet"]
        subprocess.run([sys.executable, "-m", "rankstill", *map(str, command)], check=True)

    def by_numpy():
        best = np.empty((data.n_users, args.k), np.int64)
        for begin in range(0, data.n_users, 1024):
            block = everyone[begin : begin + 1024]
            scores = users[block] @ items.T
            scores[seen[block].nonzero()] = -np.inf
            some = np.argpartition(scores, -args.k, axis=1)[:, -args.k :]
            order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
            best[block] = np.take_along_axis(some, order, axis=1)
        return best

    theirs = implicit_als(args)

    def by_implicit():
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, "blas"):  # as it asks for: it has threads of its own
            return theirs.recommend(everyone, seen, N=args.k)[0]

    names = {
        "recommend": by_the_package,
        "load_recommend_write": from_artefact_to_file,
        "rankstill_recommend": by_the_command_line,
        "numpy": by_numpy,
    }
    if theirs:
        theirs.user_factors, theirs.item_factors = users, items
        names["implicit"] = by_implicit

    found = {}

    def timed(name):
        begin = time.perf_counter()
        found[name] = names[name]()
        return [(f"{name}_seconds", time.perf_counter() - begin)]

    best = best_of(args.rounds, *(lambda name=name: timed(name) for name in names))
    ids = np.array(data.items)
    for name in ("numpy", "implicit"):
        if name in found:
            same = (ids[found[name]] == found["recommend"]).mean()
            slower = best[f"{name}_seconds"] / best["recommend_seconds"]
            print(f"{name + ' / recommend':40} {slower:6.2f}   ({same:.4%} of the places the same)")
    files = [pl.read_parquet(folder / f"{name}.parquet").sort("user_id", "rank") for name in ("program", "package")]
    same = files[0]["item_id"].equals(files[1]["item_id"]) and files[0]["score"].equals(files[1]["score"])
    slower = best["rankstill_recommend_seconds"] / best["load_recommend_write_seconds"]
    print(f"{'rankstill recommend / load, write':40} {slower:6.2f}   ({'the same lists' if same else 'OTHER LISTS'})\n")


def implicit_als(args):
    try:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        print("implicit is skipped:", error)
        return None
    with threadpool_limits(1, "blas"):
        return AlternatingLeastSquares(factors=args.dim, num_threads=args.threads)


def data_sets(args, path):
    import rankstill as rk

    frame = rk.simulate(interactions=args.rows, seed=1).to_polars()
    frame.write_parquet(path, compression="zstd", compression_level=1)
    print(f"data: {args.rows:,} rows, {frame.estimated_size() / 1e6:.0f} MB in memory, {path.stat().st_size / 1e6:.0f} MB as Parquet")
    content = {}

    def timed(name, given):
        begin = time.perf_counter()
        data = rk.Dataset(given)
        seconds = time.perf_counter() - begin
        content[name] = data.manifest["content"]
        return [(f"{name}_seconds", seconds)]

    best = best_of(args.rounds, lambda: timed("data_frame", frame), lambda: timed("parquet", path))
    same = "the same data" if content["data_frame"] == content["parquet"] else "OTHER DATA"
    print(f"{'data frame / Parquet':40} {best['data_frame_seconds'] / best['parquet_seconds']:6.2f}   ({same})")


if __name__ == "__main__":
    main()
