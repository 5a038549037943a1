"""What the tests of Spark and Ray share: a large artefact, and lists compared by their SHA-256."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import rankstill as rk

USERS, ITEMS, DIM, K = 60_000, 25_000, 32, 20


def large(folder: Path) -> Path:
    """A model of 60,000 users and 25,000 items in 32 dimensions, and in `whole.parquet` what the command line recommends."""
    log = rk.simulate(interactions=900_000, users=USERS, items=ITEMS, seed=1)
    data = rk.Dataset(log, split="all")
    rk.BprMf(dim=DIM, train={"epochs": 1}).fit(data, seed=1).save(folder / "artefact")
    start = time.perf_counter()
    command = [sys.executable, "-m", "rankstill", "recommend", folder / "artefact", "--all", "--k", str(K), "--out"]
    subprocess.run([*command, folder / "whole.parquet"], check=True)
    print(f"\nrankstill recommend: {time.perf_counter() - start:.1f} s")
    return folder


def sha(lists: str | Path | list) -> str:
    """Of all rows, in the order of users and ranks, whoever wrote them."""
    table = ds.dataset([str(path) for path in lists] if isinstance(lists, list) else str(lists), format="parquet").to_table()
    table = table.select(["user_id", "item_id", "rank", "score"]).sort_by([("user_id", "ascending"), ("rank", "ascending")])
    table = table.cast(pa.schema([("user_id", pa.int64()), ("item_id", pa.int64()), ("rank", pa.int32()), ("score", pa.float32())]))
    found = hashlib.sha256()
    for column in table.columns:
        found.update(column.combine_chunks().to_numpy().tobytes())
    return found.hexdigest()


def processes_below(parent: int, word: str) -> list[int]:
    """Of this process's own, those with a word in their command line."""
    parents, words = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                words[int(folder.name)] = (folder / "cmdline").read_text()
            except OSError:
                continue  # it has ended
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])

    def is_below(process: int) -> bool:
        while process in parents and process != parent:
            process = parents[process]
        return process == parent

    return [process for process, line in words.items() if word in line and process != os.getpid() and is_below(process)]
