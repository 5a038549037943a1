"""Times the exact top-100 of all queries (Gowalla's sizes, 29,858 x 40,981) in Rankstill and in faiss' flat index, in turn.

    benches/setup.sh
    .venv/bin/python benches/topk_faiss.py [--threads 2] [--rounds 3]

Vectors are random normal, Rankstill's worst case. Rankstill excludes each query's seen items, faiss does not. Both figures are wall time, the
least of the rounds: keep the machine otherwise idle.
"""

import re
import time

from peers import arguments, bench, said_by, use_threads

N_USERS, N_ITEMS, K = 29_858, 40_981, 100


def main():
    args = arguments(__doc__).parse_args()
    use_threads(args.threads)
    binary = bench("rankstill-core", "topk")

    import faiss
    import numpy

    faiss.omp_set_num_threads(args.threads)
    for dim in (64, 20):
        generator = numpy.random.default_rng(1)
        users = generator.standard_normal((N_USERS, dim), dtype=numpy.float32)
        items = generator.standard_normal((N_ITEMS, dim), dtype=numpy.float32)
        index = faiss.IndexFlatIP(dim)
        index.add(items)
        ours, theirs, lines = [], [], []
        for _ in range(args.rounds):
            seconds, line = rankstill(binary, args.threads, dim)
            ours.append(seconds)
            lines.append(line)
            began = time.perf_counter()
            index.search(users, K)
            theirs.append(time.perf_counter() - began)
        print(lines[ours.index(min(ours))])
        print(f"d {dim:3} faiss: top-{K} {min(theirs):.3f} s, not masked")
        print(f"d {dim:3} faiss / ours, masked: {min(theirs) / min(ours):.2f}")


def rankstill(binary, threads, dim):
    """Seconds for the masked top-100 of random vectors, and the output line with them."""
    text = said_by([binary, "--bench", str(threads), str(dim)])
    line = next(line for line in text.splitlines() if " random:" in line)
    return float(re.search(r"masked ([0-9.]+) s", line).group(1)), line


if __name__ == "__main__":
    main()
