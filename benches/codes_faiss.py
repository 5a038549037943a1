"""Times top-20 over Gowalla's 40,981 items in codes, in Rankstill and in faiss, on the same ALS vectors, one thread each, in turn.

    benches/setup.sh
    .venv/bin/python benches/codes_faiss.py [--rounds 3]

Blocks of 1,000 queries. Each side's figure is the best of its rounds. Recall is of the exact top 20; for popcount that of the other side's
list, since many items have the same distance.
"""

import pathlib
import tempfile
import time

from peers import arguments, bench, figures, use_threads

DIM, K = 64, 20


def main():
    args = arguments(__doc__).parse_args()
    use_threads(1)
    binary = bench("rankstill-models", "codes")

    import faiss
    import numpy

    faiss.omp_set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        ours = dict(figures([binary, "--bench", "--folder", folder]))
        users, items = (
            numpy.fromfile(pathlib.Path(folder) / f"{name}.f32", dtype=numpy.float32).reshape(-1, DIM)
            for name in ("users", "items")
        )
        flat = faiss.IndexFlatIP(DIM)
        flat.add(items)
        exact = flat.search(users, K)[1]

        indexes = {}
        for parts in (16, 32):
            index = faiss.IndexPQFastScan(DIM, parts, 4, faiss.METRIC_INNER_PRODUCT)
            index.train(items)
            index.add(items)
            indexes[f"pq_{parts}_16"] = (index, users)
        index = faiss.IndexPQ(DIM, 8, 8, faiss.METRIC_INNER_PRODUCT)
        index.train(items)
        index.add(items)
        indexes["pq_8_256"] = (index, users)
        binary_index = faiss.IndexBinaryFlat(DIM)
        pack = lambda rows: numpy.packbits(rows >= 0, axis=1)
        binary_index.add(pack(items))
        indexes["popcount_64"] = (binary_index, pack(users))
        lists = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIM), DIM, 256, faiss.METRIC_INNER_PRODUCT)
        lists.train(items)
        lists.add(items)
        lists.nprobe = next(
            probes for probes in range(1, 257) if recall(search_with(lists, users, probes), exact) >= ours["ivf_recall"]
        )
        indexes["ivf"] = (lists, users)

        best = {}
        for _ in range(args.rounds):
            for name, value in figures([binary, "--bench"]):
                ours[name] = min(ours[name], value) if name.endswith("_us") else value
            for name, (index, queries) in indexes.items():
                began = time.perf_counter()
                found = index.search(queries, K)[1]
                best[name] = min(best.get(name, 1e9), 1e6 * (time.perf_counter() - began) / len(queries))
                ours[f"faiss_{name}_recall"] = recall(found, exact)

    for name, value in ours.items():
        print(f"{name:32} {value:.4f}")
    print(f"faiss probes {lists.nprobe}")
    for name, value in best.items():
        print(f"{name:20} faiss {value:8.2f} us, ours {ours[name + '_us']:8.2f} us: {value / ours[name + '_us']:.2f} (goal: 1.5)")
    byte = ours["exact_int8_us"]
    print(f"popcount / exact int8: {ours['popcount_64_us'] / byte:.3f} (goal: at most 0.333), "
          f"single {ours['popcount_64_single_us'] / ours['exact_int8_single_us']:.3f}")
    print(f"PQ by shuffles / exact int8: {ours['pq_16_16_us'] / byte:.3f} (goal: at most 1), "
          f"single {ours['pq_16_16_single_us'] / ours['exact_int8_single_us']:.3f}")


def search_with(index, users, probes):
    index.nprobe = probes
    return index.search(users, K)[1]


def recall(found, exact):
    """The share of the exact lists that was found."""
    return sum(len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist())) / exact.size


if __name__ == "__main__":
    main()
