"""Prepares the same log with Rankstill and with Polars, in turn, and prints both times and their ratio.

    benches/setup.sh
    .venv/bin/python benches/prepare_polars.py [--rows 20000000] [--rounds 3] [--threads 2] [--order time|user]

Both read one Parquet file of (user_id, item_id, timestamp), keep each user's first row of an item, remove users and items with fewer
than 10 rows until none is left, number users and items, sort each user's rows by time, cut them at ceil(0.7 n) and ceil(0.8 n), and
write train, valid and test as Parquet (zstd level 1) with the two vocabularies. Each run is a separate process, so that its peak memory
can be measured. Both must give the same counts.

Rankstill also hashes its input and output and audits the split; Polars does not.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time


def polars_prepare(path, out):
    """Polars at its best: lazy, the new streaming engine where it helps, categories as u32, no Python objects."""
    import polars as pl

    begin = time.perf_counter()
    # The earliest row of each pair, by one streaming group-by over (time, row number) packed into an integer: much faster
    # than sorting everything first for `unique(keep="first")`.
    places = 1 << 32
    log = (
        pl.scan_parquet(path)
        .with_row_index("row")
        .group_by("user_id", "item_id")
        .agg((pl.col("timestamp") * places + pl.col("row")).min().alias("first"))
        .with_columns(timestamp=pl.col("first") // places, row=pl.col("first") % places)
        .drop("first")
        .collect(engine="streaming")
    )
    while True:
        before = log.height
        log = log.filter(pl.len().over("item_id") >= 10)
        log = log.filter(pl.len().over("user_id") >= 10)
        if log.height == before:
            break
    users = log.select("user_id").unique(maintain_order=True).with_row_index("user")
    items = log.select("item_id").unique(maintain_order=True).with_row_index("item")
    by = ["user", "timestamp", "row"]
    log = (
        log.lazy()
        .join(users.lazy(), on="user_id")
        .join(items.lazy(), on="item_id")
        .select("item", *by)
        .sort(by)
        .with_columns(k=pl.int_range(pl.len()).over("user"), n=pl.len().over("user"))
        # ceil(0.7 n) in whole numbers
        .with_columns(
            part=pl.when(pl.col("k") < (pl.col("n") * 7 + 9) // 10).then(0)
            .when(pl.col("k") < (pl.col("n") * 8 + 9) // 10).then(1)
            .otherwise(2)
        )
        .select("user", "item", "timestamp", "part")
        .collect()
    )
    out.mkdir(parents=True, exist_ok=True)
    counts = []
    for part, name in enumerate(["train", "valid", "test"]):
        rows = log.filter(pl.col("part") == part).drop("part")
        rows.write_parquet(out / f"{name}.parquet", compression="zstd", compression_level=1)
        counts.append(rows.height)
    users.write_parquet(out / "users.parquet", compression="zstd", compression_level=1)
    items.write_parquet(out / "items.parquet", compression="zstd", compression_level=1)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(dict(
        seconds=seconds, peak_mib=peak, users=users.height, items=items.height,
        train=counts[0], valid=counts[1], test=counts[2],
    )))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--order", choices=["time", "user"], default="time", help="order of the log's rows")
    parser.add_argument("--folder", type=pathlib.Path, help="keep the log and the output in this folder")
    parser.add_argument("--polars", nargs=2, metavar=("LOG", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.polars:
        return polars_prepare(pathlib.Path(args.polars[0]), pathlib.Path(args.polars[1]))

    root = pathlib.Path(__file__).resolve().parent.parent
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    ours = target / "release" / "examples" / "prepare_scale"
    build = ["cargo", "build", "--release", "--quiet", "-p", "rankstill-data", "--example", "prepare_scale"]
    subprocess.run(build, cwd=root, check=True)
    threads = str(args.threads)
    environment = dict(os.environ, RAYON_NUM_THREADS=threads, POLARS_MAX_THREADS=threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / f"log-{args.rows}-{args.order}.parquet"
        if not log.exists():
            subprocess.run([ours, "simulate", log, str(args.rows)], check=True, env=environment, stdout=sys.stderr)
            if args.order == "time":
                import polars as pl

                rows = pl.read_parquet(log).sort("timestamp", maintain_order=True)
                rows.write_parquet(log, compression="zstd", compression_level=1)
                del rows
        commands = {
            "rankstill": [ours, log, folder / "rankstill"],
            "polars": [sys.executable, __file__, "--polars", log, folder / "polars"],
        }
        best, counts = {}, {}
        for round in range(args.rounds):
            for name, command in commands.items():
                done = subprocess.run(command, env=environment, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(f"{name} failed:\n{done.stderr}")
                found = json.loads(done.stdout.splitlines()[-1])
                print(f"{name:10} {json.dumps(found)}", flush=True)
                counts.setdefault(name, [found[key] for key in ("users", "items", "train", "valid", "test")])
                if name not in best or found["seconds"] < best[name]["seconds"]:
                    best[name] = found
        if counts["rankstill"] != counts["polars"]:
            sys.exit(f"different counts: {counts}")
        mine, theirs = best["rankstill"], best["polars"]
        print(
            f"{args.rows:,} rows, {threads} threads, best of {args.rounds}: "
            f"rankstill {mine['seconds']:.2f} s, {mine['peak_mib']:,} MiB; "
            f"polars {theirs['seconds']:.2f} s, {theirs['peak_mib']:,} MiB; "
            f"ratio {theirs['seconds'] / mine['seconds']:.1f}"
        )


if __name__ == "__main__":
    main()
