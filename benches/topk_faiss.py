"""Times the exact top-100 of all queries (Gowalla's sizes, 29,858 x 40,981) in Rankstill and in faiss' flat index, in turn.

    benches/setup.sh
    .venv/bin/python benches/topk_faiss.py [--threads 2] [--rounds 3]

Vectors are random normal, Rankstill's worst case. Rankstill leaves out each query's seen items, faiss does not. Both figures are
the processor time of all threads divided by their number, so that other programs disturb them little; the wall time of faiss
stands beside.
"""

import argparse
import os
import pathlib
import re
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
N_USERS, N_ITEMS, K = 29_858, 40_981, 100


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)

    import faiss
    import numpy

    faiss.omp_set_num_threads(args.threads)
    for dim in (64, 20):
        generator = numpy.random.default_rng(1)
        users = generator.standard_normal((N_USERS, dim), dtype=numpy.float32)
        items = generator.standard_normal((N_ITEMS, dim), dtype=numpy.float32)
        index = faiss.IndexFlatIP(dim)
        index.add(items)
        ours, theirs, wall, lines = [], [], [], []
        for _ in range(args.rounds):
            seconds, line = rankstill(args.threads, dim)
            ours.append(seconds)
            lines.append(line)
            began, processor = time.perf_counter(), time.process_time()
            index.search(users, K)
            wall.append(time.perf_counter() - began)
            theirs.append((time.process_time() - processor) / args.threads)
        print(lines[ours.index(min(ours))])
        print(f"d {dim:3} faiss: top-{K} {min(theirs):.3f} s (wall {min(wall):.3f} s), not masked")
        print(f"d {dim:3} faiss / ours, masked: {min(theirs) / min(ours):.2f}")


def rankstill(threads, dim):
    """Seconds for the masked top-100 of random vectors, and the line that says so."""
    command = ["cargo", "bench", "-q", "-p", "rankstill-core", "--bench", "topk", "--", str(threads), str(dim)]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    line = next(line for line in text.splitlines() if "random" in line)
    return float(re.search(r"masked ([0-9.]+) s", line).group(1)), line


if __name__ == "__main__":
    main()
