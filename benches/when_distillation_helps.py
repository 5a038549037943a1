"""Does distillation help, and when? Teachers x students x methods on one log, each method tuned by as many trials as the student alone.

    python3 benches/when_distillation_helps.py LOG --out runs/when/LOG [--trials 18] [--seeds 1,2,3] [--binary target/release/rankstill]

LOG is one of ml-100k, gowalla-tail, citeulike-t, amazon-beauty, gowalla (looked for in ../shared/data, or in RANKSTILL_DATA).

1. `rankstill tune` searches the settings of a matrix factorisation with 16 dimensions: alone (losses, rate, decay, first vectors), and taught by
   Ranking Distillation, RRD and HetComp from an ensemble that validation data chose. Each gets the same number of trials, by successive
   halving, on the validation part.
2. `rankstill run` fits teachers and students on training and validation part with what was found, in 8, 16 and 32 dimensions and from every teacher
   alone, and measures them once on the test part. `OUT/run/report.json` has all of it.

The rate of other sizes is that of 16 dimensions times the root of 16 / dimensions. HetComp teaches without its curriculum: counted and solved rankers have
no earlier states.
"""

import json
import math
import os
import pathlib
import subprocess
import tomllib

from peers import DATA, ROOT, arguments


def parts(folder, *names):
    return "parts = {" + ", ".join(f'{name} = "{DATA}/{folder}/{name}.tsv"' for name in names) + '}\nsplit = { kind = "ready_made" }'


LOGS = {
    "ml-100k": f'path = "{DATA}/ml-100k/ml-100k.inter"\nsplit = {{ kind = "chronological" }}',
    "gowalla-tail": f'path = "{DATA}/gowalla-rd-tail/interactions.tsv"\nsplit = {{ kind = "chronological" }}',
    "citeulike-t": parts("citeulike-t", "train", "valid", "test"),
    "amazon-beauty": f'path = "{DATA}/amazon-beauty/interactions.tsv"\nsplit = {{ kind = "chronological" }}',
    "gowalla": parts("gowalla", "train", "test"),
}
SMALL = ("ml-100k", "gowalla-tail", "citeulike-t", "amazon-beauty")  # EASE inverts a matrix of the catalogue
TEACHERS = {
    "ItemCF": 'kind = "item_cf"',
    "Path": 'kind = "path"',
    "iALS": 'kind = "implicit_als"\ndim = 128',
    "EASE": 'kind = "ease"',
    "LightGCN": 'kind = "light_gcn"\ndim = 64',
}
SIZES = (8, 16, 32)
RATE = '"optimizer.learning_rate" = { log = [1e-3, 6e-2] }\n"optimizer.weight_decay" = { log = [1e-6, 1e-2] }\nstart = { choice = ["als", "random"] }'
METHODS = {
    "alone": ("", 'loss = { choice = [{ kind = "bpr", negatives = 1 }, { kind = "softmax", negatives = 16 }, { kind = "softmax", negatives = 64 }] }'),
    "RD": (
        'kind = "rank_distil"',
        '"distill.loss" = { choice = ["point_wise", "pair_wise", "list_wise"] }\n"distill.alpha" = { uniform = [0.1, 0.9] }\n'
        '"distill.k" = { choice = [10, 20, 50] }\n"distill.lambda" = { log = [1.0, 30.0] }',
    ),
    "RRD": (
        'kind = "rrd", mode = "direct", rest = { estimated = { top = 100, sample = 1000 } }',
        '"distill.k" = { choice = [20, 50, 100] }\n"distill.lambda" = { log = [0.1, 3.0] }',
    ),
    "HetComp": (
        'kind = "het_comp", curriculum = false, rest = { estimated = { top = 100, sample = 1000 } }',
        '"distill.k" = { choice = [50, 100] }\n"distill.transfer" = { choice = ["overall", "fine"] }\n"distill.observed" = { choice = [10, 20] }',
    ),
}


def main():
    parser = arguments(__doc__)
    parser.add_argument("log", choices=LOGS)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--trials", type=int, default=18)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--binary", default=os.environ.get("RANKSTILL"), help="a built rankstill; by default the release profile is built")
    args = parser.parse_args()
    if args.binary is None:
        subprocess.run(["cargo", "build", "--release", "-p", "rankstill-cli", "--quiet"], cwd=ROOT, check=True)
        args.binary = ROOT / "target" / "release" / "rankstill"
    args.out.mkdir(parents=True, exist_ok=True)
    teachers = {name: text for name, text in TEACHERS.items() if name != "EASE" or args.log in SMALL}

    search = args.out / "search.toml"
    search.write_text(head(args.log) + tuning(args.trials) + "".join(model(name, text) for name, text in teachers.items()) + ensemble(teachers) + students())
    if not (args.out / "search" / "tuned.toml").exists():
        rankstill(args, "tune", search, "--out", args.out / "search")
    tuned = tomllib.loads((args.out / "search" / "tuned.toml").read_text())["models"]

    text = head(args.log) + "".join(model(name, text) for name, text in teachers.items()) + ensemble(teachers)
    for size in SIZES:
        for method in METHODS:
            found = tuned[named(16, method, "Ensemble")]
            rate = found["optimizer"]["learning_rate"] * math.sqrt(16 / size)
            own = found | {"dim": size, "optimizer": found["optimizer"] | {"learning_rate": rate}}
            for teacher in ["Ensemble", *teachers] if method != "alone" else [None]:
                taught = own | {"distill": own["distill"] | {"teachers": [teacher]}} if teacher else own
                text += model(named(size, method, teacher), "\n".join(f"{key} = {toml(value)}" for key, value in taught.items()))
    final = args.out / "final.toml"
    final.write_text(text)
    rankstill(args, "run", final, "--out", args.out / "run", "--seeds", args.seeds)


def head(log):
    return (
        f'name = "When distillation helps: {log}"\n\n[data]\n{LOGS[log]}\n\n[evaluate]\nmetrics = ["ndcg@10", "recall@20"]\nvalidate = "ndcg@10"\n'
        'fit_on = "train+valid"\nlatency_seconds = 0.0\n\n'
    )


def tuning(trials):
    ranges = "".join(f'[tune.models."{named(16, method, "Ensemble")}"]\n{RATE}\n{own}\n\n' for method, (_, own) in METHODS.items())
    return f'[tune]\nmethod = "halving"\ntrials = {trials}\nkeep = 3\nown = false\n\n{ranges}'


def named(size, method, teacher):
    return f"MF-{size}" if method == "alone" else f"MF-{size}/{method}/{teacher}"


def model(name, settings):
    return f'[models."{name}"]\n{settings}\n\n'


def ensemble(teachers):
    return model("Ensemble", f'kind = "ensemble"\nmembers = {json.dumps(list(teachers))}\nfusion = {{ kind = "comb_sum", cut = 200, select = 20 }}')


def students():
    text = ""
    for method, (distill, _) in METHODS.items():
        epochs = 27 if method in ("alone", "RD") else 9
        settings = (
            f'kind = "bpr_mf"\ndim = 16\nfinal_rate = 0.03\noptimizer = {{ kind = "adam", mode = "exact" }}\n'
            f"train = {{ epochs = {epochs}, batch_size = 1024, validate_every = 1, patience = 0 }}"
        )
        if distill:
            settings += f'\ndistill = {{ teachers = ["Ensemble"], {distill} }}'
        text += model(named(16, method, "Ensemble"), settings)
    return text


def toml(value):
    """Settings as one line: JSON's words are TOML's, but for tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def rankstill(args, *words):
    subprocess.run([args.binary, *map(str, words), "--threads", str(args.threads)], check=True)


if __name__ == "__main__":
    main()
