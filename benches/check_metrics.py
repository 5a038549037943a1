"""Checks Rankstill's metrics against independent ones, from files alone.

    python benches/check_metrics.py --test test.tsv --rankings rankings.tsv --metrics metrics.json [--train train.tsv]

`test.tsv` has the columns user_id and item_id, `rankings.tsv` also rank; `metrics.json` is the output of `rankstill evaluate --json`:
{"metrics": {"ndcg@10": 0.1, ...}}, optionally with {"dialects": {"rd": {...}}}. Every value is computed again from its definition with
NumPy and, if it is installed, with ranx (`pip install ranx`). Exits with 1 if any value differs by more than the tolerance.
"""
import argparse
import collections
import csv
import json
import sys

import numpy as np


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="," if path.endswith(".csv") else "\t", quoting=csv.QUOTE_NONE):
            yield {key.split(":")[0]: value for key, value in row.items()}


def load(test_path, rankings_path):
    test = collections.OrderedDict()
    for row in read(test_path):
        test.setdefault(row["user_id"], set()).add(row["item_id"])
    lists = collections.defaultdict(list)
    for row in read(rankings_path):
        lists[row["user_id"]].append((int(row["rank"]), row["item_id"]))
    ranked = {user: [item for _, item in sorted(pairs)] for user, pairs in lists.items()}
    return test, ranked


def discounts(n):
    return 1 / np.log2(np.arange(2, n + 2))


def value(family, n, dialect, hits, n_targets):
    """One case. `hits` has an entry for each item of the list: 1 for a target, 0 otherwise."""
    places = min(n_targets, n) if n else n_targets
    top = hits[:n] if n else hits
    if family == "precision":
        return top.sum() / n
    if family == "recall":
        return top.sum() / n_targets
    if family == "hit":
        return float(top.any())
    if family == "mrr":
        return 1 / (np.argmax(top) + 1) if top.any() else 0.0
    if family == "map":
        precisions = np.cumsum(top) / np.arange(1, len(top) + 1)
        divisor = places if dialect in ("rd", "recbole") else n_targets
        return (precisions * top).sum() / divisor
    if family == "ndcg":
        seen = top[:places] if dialect == "rd" else top
        return (seen * discounts(len(seen))).sum() / discounts(places).sum()
    return None


def gini(counts):
    """Half the relative mean absolute difference, computed as 1 - 2 * area under the Lorenz curve."""
    shares = np.cumsum(np.sort(counts)) / counts.sum()
    return 1 - (2 * shares.sum() - 1) / len(counts)


def independent(names, dialect, test, ranked, train):
    out = {}
    hits = [np.array([item in targets for item in ranked.get(user, [])], dtype=float) for user, targets in test.items()]
    counts, catalogue = collections.Counter(), None
    if train is not None:
        pairs = [(row["user_id"], row["item_id"]) for row in read(train)]
        counts.update(item for _, item in pairs)
        catalogue = sorted(set(counts).union(*test.values()))
    for name in names:
        family, _, cut = name.partition("@")
        n = int(cut) if cut else None
        if family in ("coverage", "gini", "popularity") and catalogue is not None:
            lists = [ranked.get(user, [])[:n] for user in test]
            recommended = collections.Counter(item for items in lists for item in items)
            if family == "coverage":
                out[name] = len(recommended) / len(catalogue)
            elif family == "gini":
                out[name] = gini(np.array([recommended[item] for item in catalogue], dtype=float))
            else:
                out[name] = np.mean([np.mean([counts[item] for item in items]) if items else 0 for items in lists])
            continue
        if value(family, n or 1, dialect, np.zeros(1), 1) is not None:
            cases = zip(hits, test.values())
            out[name] = float(np.mean([value(family, n, dialect, h, len(t)) for h, t in cases]))
    return out


def by_ranx(names, test, ranked):
    try:
        import ranx
    except ImportError:
        return {}
    theirs = {}
    for name in names:
        family, _, cut = name.partition("@")
        at = f"@{cut}" if cut else ""
        family = {"hit": "hit_rate"}.get(family, family)
        if family in ("precision", "recall", "hit_rate", "ndcg", "map", "mrr"):
            theirs[name] = f"{family}{at}"
    qrels = ranx.Qrels({user: {item: 1 for item in targets} for user, targets in test.items()})
    run = ranx.Run({user: {item: float(-at) for at, item in enumerate(ranked.get(user, ["-"]))} for user in test})
    found = ranx.evaluate(qrels, run, list(theirs.values()))
    return {name: float(found[other]) for name, other in theirs.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", required=True)
    parser.add_argument("--rankings", required=True)
    parser.add_argument("--metrics", required=True)
    parser.add_argument("--train", help="for coverage, Gini and popularity; the catalogue is its items and the test's")
    parser.add_argument("--tolerance", type=float, default=1e-6)
    args = parser.parse_args()
    test, ranked = load(args.test, args.rankings)
    with open(args.metrics, encoding="utf-8") as file:
        found = json.load(file)
    dialects = found.get("dialects") or {found.get("dialect", "standard"): found["metrics"]}
    worst, checked, failed = 0.0, 0, 0
    for dialect, metrics in dialects.items():
        opinions = {"numpy": independent(metrics, dialect, test, ranked, args.train)}
        if dialect == "standard":
            opinions["ranx"] = by_ranx(metrics, test, ranked)
        for who, theirs in opinions.items():
            for name, other in theirs.items():
                difference = abs(metrics[name] - other)
                worst, checked = max(worst, difference), checked + 1
                failed += not difference <= args.tolerance
                mark = "" if difference <= args.tolerance else "   <-- differs"
                print(f"{dialect:9} {name:14} {metrics[name]:.9f}  {who:5} {other:.9f}  {difference:.1e}{mark}")
    print(f"{checked} values of {len(test)} cases compared, largest difference {worst:.1e}, {failed} differ")
    if not checked:
        print("nothing could be compared")
    sys.exit(1 if failed or not checked else 0)


if __name__ == "__main__":
    main()
