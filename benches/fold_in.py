"""What embedding users at request time loses against training on them: nDCG@10 and recall@20 on MovieLens 100K.

    .venv/bin/python benches/fold_in.py [--binary target/release/rankstill] [--models bpr_mf,fossil]

The last fifth of each user's interactions is the test data. Every tenth user is a newcomer: one model is trained with the newcomers, one
without; both are trained on all other users. A server then recommends to the newcomers in three ways: as users of the model that was trained
with them (`trained`), by their history alone with the same model (`folded in`), and by their history with the model that never saw them
(`newcomer`). The difference between the first and the last is what retraining would gain.
"""

import json
import math
import pathlib
import subprocess
import tempfile
import urllib.request

from peers import DATA, arguments, use_threads

SETTINGS = {
    "bpr_mf": "dim = 32",
    "cml": "dim = 32",
    "light_gcn": "dim = 32\ntrain = { epochs = 40 }",
    "simplex": "dim = 32\ntrain = { epochs = 40 }",
    "implicit_als": "dim = 32\nalpha = 100.0\nl2 = 50.0\nl2_exponent = 0.0",
    "mult_vae": "train = { epochs = 40 }",
    "fossil": "dim = 32",
    "caser": "dim = 32\ntrain = { epochs = 30 }",
    "sas_rec": "dim = 32\ntrain = { epochs = 40 }",
}


def main():
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--binary", default="rankstill")
    parser.add_argument("--models", default=",".join(SETTINGS))
    args = parser.parse_args()
    use_threads(args.threads)
    names = args.models.split(",")
    train, test = split(DATA / "ml-100k" / "ml-100k.inter")
    newcomers = sorted(train, key=int)[::10]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        everybody = fit(args, folder / "all", names, train, test)
        others = {user: line for user, line in train.items() if user not in set(newcomers)}
        without = fit(args, folder / "others", names, others, test)
        print(f"{len(newcomers)} newcomers of {len(train)} users")
        print(f"{'':14} {'nDCG@10':>30} {'recall@20':>36}")
        print(f"{'':14} " + " ".join(f"{what:>11}" for what in ("trained", "folded in", "newcomer") * 2))
        for name in names:
            with Server(args.binary, everybody[name], without[name]) as ask:
                ways = [
                    lambda user: {"model": "all", "user": user},
                    lambda user: {"model": "all", "history": train[user]},
                    lambda user: {"model": "others", "history": train[user]},
                ]
                lists = [{user: ask(way(user)) for user in newcomers} for way in ways]
            figures = [mean(metric, found, test) for metric in (ndcg, recall) for found in lists]
            print(f"{name:14} " + " ".join(f"{figure:11.4f}" for figure in figures), flush=True)


def split(path):
    """Each user's items by time: the first four fifths, and the rest."""
    lines = {}
    for line in path.read_text().splitlines()[1:]:
        user, item, _, time = line.split("\t")
        lines.setdefault(user, []).append((float(time), item))
    ordered = {user: [item for _, item in sorted(line)] for user, line in lines.items()}
    cut = {user: len(line) * 4 // 5 for user, line in ordered.items()}
    return (
        {user: line[: cut[user]] for user, line in ordered.items()},
        {user: line[cut[user] :] for user, line in ordered.items()},
    )


def fit(args, folder, names, train, test):
    """Trains the models and returns their artefacts by name."""
    folder.mkdir()
    parts = {}
    for what, lines in (("train", train), ("test", test)):
        path = folder / f"{what}.tsv"
        rows = [f"{user}\t{item}\t{at}\n" for user in train for at, item in enumerate(lines[user])]
        path.write_text("user_id\titem_id\ttimestamp\n" + "".join(rows))
        parts[what] = str(path)
    models = "".join(f'[models.{name}]\nkind = "{name}"\n{SETTINGS[name]}\n' for name in names)
    (folder / "fit.toml").write_text(
        f'[data]\nparts = {{ train = "{parts["train"]}", test = "{parts["test"]}" }}\n'
        f'split = {{ kind = "ready_made" }}\n[evaluate]\nmetrics = ["ndcg@10"]\nlatency_seconds = 0.0\n{models}'
    )
    out = folder / "run"
    command = [args.binary, "run", str(folder / "fit.toml"), "--quiet", "--threads", str(args.threads), "--out", str(out)]
    subprocess.run(command, check=True)
    return {name: out / "models" / name / "seed-1" / "artefact" for name in names}


class Server:
    """Serves both models of a kind."""

    def __init__(self, binary, everybody, others):
        command = [binary, "serve", f"all={everybody}", f"others={others}", "--quiet", "--no-degrade"]
        command += ["--listen", "127.0.0.1:0", "--deadline", "60000"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1] + "/v1/recommendations"

    def __enter__(self):
        return self.ask

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def ask(self, body):
        head = {"content-type": "application/json"}
        request = urllib.request.Request(self.url, json.dumps({"k": 20, **body}).encode(), head)
        with urllib.request.urlopen(request) as answer:
            found = json.load(answer)
        return [item["item"] for item in found["items"]]


def ndcg(found, wanted):
    gains = [1 / math.log2(at + 2) for at, item in enumerate(found[:10]) if item in wanted]
    return sum(gains) / sum(1 / math.log2(at + 2) for at in range(min(10, len(wanted))))


def recall(found, wanted):
    return len(wanted.intersection(found[:20])) / len(wanted)


def mean(metric, found, test):
    return sum(metric(found[user], set(test[user])) for user in found) / len(found)


if __name__ == "__main__":
    main()
