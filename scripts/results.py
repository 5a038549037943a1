#!/usr/bin/env python3
"""Makes the tables of the documentation from runs, so that no figure is typed.

    scripts/results.py list                      the runs of docs/results/runs.toml and what is known of each
    scripts/results.py run NAME ... [--out DIR]  makes runs (hours, some of them; what was interrupted resumes) and keeps their results
    scripts/results.py keep NAME FOLDER|FILE     keeps the results of a run that was made elsewhere, or the --json of a bench
    scripts/results.py write                     writes the tables into README.md and docs/
    scripts/results.py check                     fails if a table, or a figure in it, is not what its run gave

A table stands between `<!-- results: NAME -->` and `<!-- end -->`. Under it, its runs are named with commit, processor, threads, seeds and
time; where the code that they measure has changed since, it says so. Needs Python 3.11 and nothing else.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
FIGURES = ROOT / "docs" / "figures"
PAGES = ["README.md", "docs/results.md", "docs/results-appendix.md", "docs/compress.md", "docs/serving.md", "docs/defaults.md"]
# What decides the figures of a run, beside its command.
CODE = ["core/src", "data/src", "distill/src", "models/src", "eval/src/metric", "rankstill-cli/src/experiment"]
# What only shows them, and tests.
SHOWS = {"report.rs", "details.rs", "figure.rs", "frontier.rs", "latency.rs", "run_folder.rs", "forecast.rs", "tests.rs"}


# --- what is known -----------------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """What is kept of a run: who it was made by, and its rows by name."""

    name: str
    log: str
    made: dict
    rows: dict

    def row(self, role: str) -> dict:
        """The row that is the run's `ensemble` or `recommended`, or the best `single` one by the first metric."""
        if role == "single":
            metric = self.made["metrics"][0]
            return max((row for row in self.rows.values() if row["single"]), key=lambda row: mean(row, metric))
        return self.rows[self.made[role]]

    def alone(self, row: dict) -> dict | None:
        """The same student without a teacher."""
        name = row["name"]
        while name not in self.made["alone"] and "like" in self.rows[name]:
            name = self.rows[name]["like"]
        return self.rows.get(self.made["alone"].get(name))


def specs() -> dict:
    return tomllib.loads((RESULTS / "runs.toml").read_text())


def load(name: str) -> Run:
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise SystemExit(f"{path.relative_to(ROOT)} is missing: scripts/results.py run {name}")
    found = json.loads(path.read_text())
    rows = {row["name"]: row for row in found["rows"]}
    return Run(name, specs()[name].get("log", name), found["made"], rows)


def fingerprint(name: str, root: Path = ROOT) -> str:
    """Of the code that decides a run's figures and of its experiment file: without comments, empty lines and tests."""
    digest = hashlib.sha256()
    for folder in specs()[name].get("code", CODE):
        for path in sorted((root / "crates" / folder).rglob("*.rs")):
            if path.name in SHOWS or "/tests/" in str(path):
                continue
            text = path.read_text().split("#[cfg(test)]\nmod ")[0]
            lines = (line.strip() for line in text.splitlines())
            digest.update(path.name.encode())
            digest.update("\n".join(line for line in lines if line and not line.startswith("//")).encode())
    for word in shlex.split(specs()[name]["command"]):
        if word.startswith(("experiments/", "benches/")):
            path = root / word
            digest.update(path.read_bytes())
            while base := re.search(r'^base = "(.*)"$', path.read_text(), re.MULTILINE):
                path = path.parent / base[1]
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def fingerprint_at(commit: str, name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit, "crates", "experiments", "benches"], cwd=ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        return fingerprint(name, Path(folder))


# --- making and keeping ------------------------------------------------------------------------------------------------------------


def make(name: str, out: Path, program: str | None) -> None:
    spec = specs()[name]
    commit = git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", "--", "crates", "experiments") else "")
    if spec["command"].startswith("benches/"):
        raise SystemExit(f"{name}: on a quiet machine `python {spec['command']} --json FILE`, then `scripts/results.py keep {name} FILE`")
    measured = fingerprint(name)
    if program is None:
        subprocess.run(["cargo", "build", "--release", "-p", "rankstill-cli", "--locked"], cwd=ROOT, check=True)
        program = str(ROOT / "target" / "release" / "rankstill")
    data = Path(os.environ.get("RANKSTILL_DATA", ROOT.parent / "shared" / "data"))
    words = [word.format(data=data, out=out) for word in shlex.split(spec["command"])]
    seeds = ["--seeds", ",".join(map(str, spec["seeds"]))] if "seeds" in spec else []
    print(f"\n== {name}: rankstill {' '.join(words)}", flush=True)
    notes = out.with_name(out.name + ".timing.json")
    before = json.loads(notes.read_text()) if notes.exists() else {"seconds": 0.0, "megabytes": 0.0, "timed": False}
    if not before["timed"]:
        begin = time.monotonic()
        child = subprocess.Popen([program, *words], cwd=ROOT)
        _, status, used = os.wait4(child.pid, 0)
        before["seconds"] += time.monotonic() - begin  # the parts of a run that was interrupted add up
        before["megabytes"] = max(before["megabytes"], used.ru_maxrss / 1024)
        before["timed"] = status == 0
        notes.write_text(json.dumps(before))
        if status:
            raise SystemExit(f"{name}: failed; the same command goes on")
    if seeds:
        subprocess.run([program, *words, *seeds], cwd=ROOT, check=True)
    keep(name, out, commit, measured, before)


def keep(name: str, out: Path, commit: str, measured: str, timing: dict) -> None:
    """Condenses `report.json`: what tables show, six digits each."""
    report = json.loads((out / "report.json").read_text())
    settings = report["settings"].get("models", {})
    made = {
        "command": "rankstill " + specs()[name]["command"],
        "commit": commit,
        "code": measured,
        "date": date.today().isoformat(),
        "processor": report["machine"]["cpu"],
        "isa": report["machine"].get("isa"),
        "threads": report["machine"]["threads"],
        "seeds": report["seeds"],
        "seconds": timing.get("seconds"),
        "megabytes": timing.get("megabytes"),
        "data": report["data"].get("content"),
        "counts": report["data"].get("counts"),
        "cases": report["cases"],
        "metrics": [one["metric"] for one in report["definitions"]],
        "ensemble": report.get("ensemble"),
        "recommended": report.get("recommended"),
        "alone": {one["a"]: one["b"] for one in report["comparisons"]},
        "ensembles": report.get("ensembles", []),
        "comparisons": [
            {
                "metric": one["metric"],
                "a": one["a"],
                "b": one["b"],
                "difference": one["difference"],
                "low": one["interval"]["low"],
                "high": one["interval"]["high"],
                "p_adjusted": one["p_adjusted"],
                "p_both": (one.get("over_both") or {}).get("p_adjusted"),
                "effect": one["t_test"]["effect"],
            }
            for one in report["comparisons"]
        ],
        "figures": {},
    }
    for source, target in specs()[name].get("figures", {}).items():
        shutil.copyfile(out / source, FIGURES / target)
        made["figures"][target] = hashlib.sha256((out / source).read_bytes()).hexdigest()
    rows = []
    for model in report["models"]:
        latency, own = model["latency"] or {}, settings.get(model["name"], {})
        row = {
            "name": model["name"],
            "role": model["role"],
            "kind": model["kind"],
            "single": model.get("single", False),
            "teachers": model["teachers"],
            "parameters": model["parameters"],
            "bytes": model.get("bytes_in_memory"),
            "bytes_per_item": model.get("bytes_per_item"),
            "bytes_per_user": model.get("bytes_per_user"),
            "request_us": latency and latency["request_ms"]["median"] * 1e3,
            "request_p99_us": latency and latency["request_ms"]["p99"] * 1e3,
            "seconds": model["training"] and model["training"]["seconds"],
            "epochs": model["training"] and model["training"]["epochs"],
            "metrics": {name: {"mean": of["mean"], "deviation": of["deviation"]} for name, of in model["metrics"].items()},
        }
        if isinstance(own, dict) and "like" in own and "compress" in own:
            row["like"] = own["like"]
        rows.append({key: value for key, value in row.items() if value not in (None, {}, [])})
    lines = ",\n".join("  " + json.dumps(rounded(row)) for row in rows)
    text = '{\n"made": ' + json.dumps(rounded(made), indent=1) + ',\n"rows": [\n' + lines + "\n]\n}\n"
    path = RESULTS / f"{name}.json"
    path.with_suffix(".tmp").write_text(text)
    path.with_suffix(".tmp").replace(path)
    print(f"kept {path.relative_to(ROOT)}")


def keep_bench(name: str, file: Path, commit: str, measured: str) -> None:
    """The `--json` of a bench: who was measured on what machine, and its rows."""
    found = json.loads(file.read_text())
    made = {"command": specs()[name]["command"], "commit": commit, "code": measured, "date": date.today().isoformat(), "figures": {}}
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    made |= {"processor": cpu[1] if cpu else "unknown", "threads": found["threads"], "seeds": []}
    rows = ",\n".join("  " + json.dumps(rounded({"name": f"{row['server']}, {row['load']}", **row})) for row in found["rows"])
    path = RESULTS / f"{name}.json"
    path.write_text('{\n"made": ' + json.dumps(made, indent=1) + ',\n"rows": [\n' + rows + "\n]\n}\n")
    print(f"kept {path.relative_to(ROOT)}")


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return value


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


# --- tables ------------------------------------------------------------------------------------------------------------------------


def mean(row: dict, metric: str) -> float:
    return row["metrics"][metric]["mean"]


def number(value: float) -> str:
    """A share as papers print it: .1234."""
    return f"{value:.4f}".removeprefix("0")


def figure(row: dict, metric: str) -> str:
    """With the deviation over the seeds, where there is one."""
    of = row["metrics"][metric]
    return number(of["mean"]) + (f" ± {number(of['deviation'])}" if (of.get("deviation") or 0) >= 0.00005 else "")


def pair(row: dict, metrics: list[str], full: bool = False) -> str:
    return " / ".join(figure(row, metric) if full else number(mean(row, metric)) for metric in metrics)


def kept(row: dict, of: dict, metrics: list[str]) -> str:
    return ", ".join(f"{100 * mean(row, metric) / mean(of, metric):.1f}%" for metric in metrics)


def whole(value: float) -> str:
    return f"{value:,.0f}"


def lasted(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def markdown(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    lines = [header, ["---"] * left + ["---:"] * (len(header) - left), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def caption(runs: list[Run]) -> str:
    """Who made it, and whether that is still what the code is."""
    made = [run.made for run in runs]

    def all_of(key):
        return ", ".join(sorted({str(one[key]) for one in made if one.get(key) is not None}))

    isa = f" ({all_of('isa')})" if all_of("isa") else ""
    text = f"Commit {all_of('commit')}, {all_of('date')}; {all_of('processor')}{isa}, {all_of('threads')} threads"
    if seeds := sorted({", ".join(map(str, one["seeds"])) for one in made if one["seeds"]}, reverse=True):
        text += f"; seed{'s' if any(',' in one for one in seeds) else ''} {', some '.join(seeds)}"
    text += "."
    older = [run.name for run in runs if run.made["code"] != fingerprint(run.name)]
    if older:
        text += " The code has changed since" + (f": {', '.join(older)}." if len(older) < len(runs) else ".")
    return f"*{text}*"


LOGS = ["ml-100k", "citeulike-t", "amazon-beauty", "gowalla-tail", "gowalla"]
BOTH = ["ndcg@10", "recall@20"]
FRONTIERS = ["frontier", "frontier-gowalla", "frontier-ml-100k", "frontier-amazon-beauty"]


def compress_short() -> tuple[str, list[Run]]:
    """README: what compress gives on five public logs."""
    runs = [load(f"compress-{log}") for log in LOGS]
    rows = []
    for run in runs:
        ensemble, single, student = run.row("ensemble"), run.row("single"), run.row("recommended")
        rows.append(
            [
                run.log,
                pair(ensemble, BOTH),
                f"{single['name']} {pair(single, BOTH)}",
                f"{spoken(student['name'])} {pair(student, BOTH)}",
                kept(student, ensemble, BOTH),
                f"{whole(ensemble['bytes_per_item'])} → {whole(student['bytes_per_item'])}",
                f"{whole(ensemble['request_us'])} → {whole(student['request_us'])} us",
            ]
        )
    header = ["log", "ensemble of teachers", "best single model", "recommended student", "kept", "bytes an item", "a request"]
    return markdown(header, rows), runs


def spoken(name: str) -> str:
    """`MF-64/KD/int4` for readers who have not read on."""
    return re.sub(r"/KD/int(\d)$", r" in \1 bits", name)


def compress_full() -> tuple[str, list[Run]]:
    """docs/compress.md: the same with deviations, the student alone, time and memory."""
    runs = [load(f"compress-{log}") for log in LOGS]
    rows = []
    for run in runs:
        ensemble, single, student = run.row("ensemble"), run.row("single"), run.row("recommended")
        alone = run.alone(student)
        counts = run.made["counts"]
        rows.append(
            [
                run.log,
                whole(counts["train"] + counts["valid"] + counts["test"]),
                pair(ensemble, BOTH, True),
                f"{single['name']} {pair(single, BOTH, True)}",
                f"{student['name']} {pair(student, BOTH, True)}",
                kept(student, ensemble, BOTH),
                pair(alone, BOTH, True) if alone else "",
                f"{whole(ensemble['bytes_per_item'])} → {whole(student['bytes_per_item'])}",
                f"{whole(ensemble['request_us'])} → {whole(student['request_us'])} us",
                lasted(run.made["seconds"]) + (f", {used / 1000:.1f} GB" if (used := run.made["megabytes"]) else ""),
            ]
        )
    header = [
        "log",
        "rows",
        "ensemble",
        "best single ranker",
        "recommended",
        "kept",
        "the same alone",
        "bytes an item",
        "a request",
        "took, one seed",
    ]
    return markdown(header, rows), runs


def compress_quick() -> tuple[str, list[Run]]:
    """docs/compress.md: what the quick effort saves and costs."""
    rows, runs = [], []
    for log in LOGS:
        normal, quick = load(f"compress-{log}"), load(f"compress-{log}-quick")
        whole_student, student = normal.row("recommended"), quick.row("recommended")
        share = ", ".join(f"{100 * mean(student, metric) / mean(whole_student, metric):.1f}%" for metric in BOTH)
        took = [lasted(run.made["seconds"]) for run in (normal, quick)]
        rows.append([normal.log, f"{student['name']} {pair(student, BOTH)}", share, *took])
        runs += [quick]
    return markdown(["log", "recommended by `quick`", "of `normal`'s", "`normal` took", "`quick` took"], rows, left=2), runs


def quickstart() -> tuple[str, list[Run]]:
    run = load("quickstart")
    student, ensemble, single = run.row("recommended"), run.row("ensemble"), run.row("single")
    alone = run.alone(student)
    named = [
        ("ensemble of teachers", ensemble),
        (f"{single['name']}, the best single model", single),
        *((one["name"], one) for one in run.rows.values() if one["single"] and one is not single and one["role"] == "teacher"),
        (f"{alone['name']} alone", alone),
        (f"**{student['name']}**, recommended", student),
    ]
    rows = [
        [name, *(number(mean(row, metric)) for metric in BOTH), whole(row["bytes"]), f"{row['request_us']:.0f} us"] for name, row in named
    ]
    return markdown(["model", "nDCG@10", "Recall@20", "bytes in memory", "a request"], rows), [run]


def frontier(name: str) -> tuple[str, list[Run]]:
    """The best taught model and the best rival within so many bytes an item."""
    run = load(name)
    first, second = run.made["metrics"][:2]
    ensemble = run.rows["Ensemble"]

    def origin(row):
        while "like" in row:
            row = run.rows[row["like"]]
        return row

    taught = [row for row in run.rows.values() if origin(row)["role"] == "distilled"]
    rivals = [row for row in run.rows.values() if "like" in row and origin(row)["role"] != "distilled"]
    rows = [[whole(ensemble["bytes_per_item"]), "the ensemble", figure(ensemble, first), figure(ensemble, second), "", "", ""]]
    for limit in (300, 40, 20.5, 12.5, 8.5):
        cells = []
        for group in (taught, rivals):
            within = [row for row in group if row["bytes_per_item"] <= limit]
            best = max(within, key=lambda row: mean(row, first), default=None)
            cells += (
                [f"{best['name']} ({best['bytes_per_item']:.0f} B)", figure(best, first), figure(best, second)] if best else ["", "", ""]
            )
        rows.append([f"at most {limit:.0f}", *cells])
    names = [spoken_metric(metric) for metric in (first, second)]
    header = ["bytes an item", "the best taught", *names, "the best rival", *names]
    table = markdown(header, rows)
    for one in run.made["ensembles"]:
        chosen = ", ".join(f"{member['name']} {member['weight']}" for member in one["members"] if member["weight"])
        table += f"\n\nThe ensemble (how often each counts, seed {run.made['seeds'][0]}): {chosen}."
    return table, [run]


def spoken_metric(name: str) -> str:
    return name.replace("recall", "Recall").replace("ndcg", "nDCG")


ROLES = ["baseline", "teacher", "student", "distilled", "compressed"]


def frontier_rows(name: str) -> tuple[str, list[Run]]:
    """Every row of a chart."""
    run = load(name)
    first, second = run.made["metrics"][:2]
    ensemble = run.rows["Ensemble"]
    rows = [
        [
            f"`{row['name']}`",
            f"{row['bytes_per_item']:,.{1 if row['bytes_per_item'] < 100 else 0}f}",
            whole(row["bytes_per_user"]),
            whole(row["request_us"]) if "request_us" in row else "",
            figure(row, first),
            figure(row, second),
            kept(row, ensemble, [first]),
            lasted(row.get("seconds")),
        ]
        for row in sorted(run.rows.values(), key=lambda row: ROLES.index(row["role"]))
    ]
    names = [spoken_metric(metric) for metric in (first, second)]
    header = ["model", "bytes an item", "bytes a user", "a request, us", *names, f"of the ensemble's {names[0]}", "fitting"]
    return markdown(header, rows), [run]


# Recall@20 and nDCG@20 on LightGCN's split of Gowalla, and who says so.
PUBLISHED = {
    "POP": (0.0416, 0.0317, "BARS leaderboard"),
    "UserKNN": (None, None, ""),
    "ItemCF": (0.1570, 0.1214, "BARS leaderboard"),
    "SLIM": (0.1699, 0.1382, "BARS leaderboard"),
    "EASE": (0.1765, 0.1467, "BARS leaderboard"),
    "GF-CF": (0.1849, 0.1518, "its paper, BARS leaderboard"),
    "Turbo-CF": (0.1835, None, "its paper"),
    "BSPM-LM": (0.1901, 0.1570, "its paper"),
    "BSPM-EM": (0.1920, 0.1597, "its paper"),
    "iALS": (None, None, ""),
}


def gowalla_untrained() -> tuple[str, list[Run]]:
    run = load("frontier-gowalla")
    rows = []
    for name, (recall, ndcg, source) in PUBLISHED.items():
        row = run.rows[name]
        published = " / ".join(number(value) if value else "?" for value in (recall, ndcg)) if recall else ""
        difference = f"{100 * (mean(row, 'recall@20') / recall - 1):+.1f}%" if recall else ""
        rows.append([name, pair(row, ["recall@20", "ndcg@20"]), published, difference, source, lasted(row.get("seconds"))])
    return markdown(["model", "Recall@20 / nDCG@20", "published", "Recall: difference", "published by", "fitting"], rows), [run]


def serve_peers() -> tuple[str, list[Run]]:
    run = load("serve-peers")
    rows = []
    for row in run.rows.values():
        ms = row["ms"]
        times = "" if row["server"] == "rankstill" or row["load"] != "as fast as possible" else f"{row['ratio']:.1f}"
        rows.append([row["load"], row["server"], whole(row["answers_per_second"]), times, *(f"{ms[q]:.2f} ms" for q in ("p50", "p99"))])
    return markdown(["load", "server", "answers/s", "times fewer", "p50", "p99"], rows, left=2), [run]


TABLES = {
    "serve-peers": serve_peers,
    "compress-short": compress_short,
    "compress": compress_full,
    "compress-quick": compress_quick,
    "quickstart": quickstart,
    **{name: partial(frontier, name) for name in FRONTIERS},
    **{f"{name}-rows": partial(frontier_rows, name) for name in FRONTIERS},
    "gowalla-untrained": gowalla_untrained,
}

MARKED = re.compile(r"(<!-- results: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def rendered(page: Path) -> str:
    def table(match):
        if match[2] not in TABLES:
            raise SystemExit(f"{page.relative_to(ROOT)}: no table is called `{match[2]}`; one of: {', '.join(TABLES)}")
        text, runs = TABLES[match[2]]()
        return f"{match[1]}{text}\n\n{caption(runs)}\n{match[4]}"

    return MARKED.sub(table, page.read_text())


def write(check: bool) -> int:
    stale = []
    for page in map(ROOT.joinpath, PAGES):
        text = rendered(page)
        if text != page.read_text():
            stale.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(text)
    for path in sorted(RESULTS.glob("*.json")):
        for name, digest in json.loads(path.read_text())["made"]["figures"].items():
            if hashlib.sha256((FIGURES / name).read_bytes()).hexdigest() != digest:
                stale.append(f"docs/figures/{name}, which is not the picture of {path.stem}")
    if check and stale:
        print(f"not as measured: {'; '.join(stale)}. `scripts/results.py write` writes the tables.", file=sys.stderr)
        return 1
    print("\n".join(stale) if stale else "every table is as measured")
    return 0


def listed() -> None:
    for name, spec in specs().items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            made = json.loads(path.read_text())["made"]
            changed = "" if made["code"] == fingerprint(name) else ", the code has changed since"
            print(f"{name:28} {made['date']}, commit {made['commit']}, {lasted(made.get('seconds'))}{changed}")
        else:
            print(f"{name:28} not made: rankstill {spec['command']}")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = options.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the runs and what is known of each")
    run = commands.add_parser("run", help="makes runs and keeps their results")
    run.add_argument("names", nargs="+", choices=list(specs()), metavar="NAME")
    run.add_argument("--out", type=Path, default=ROOT / "runs" / "results", help="the folder of the runs' folders")
    run.add_argument("--program", help="the program; default: built from this folder")
    one = commands.add_parser("keep", help="keeps the results of a run made elsewhere by the same command")
    one.add_argument("name", choices=list(specs()), metavar="NAME")
    one.add_argument("folder", type=Path)
    one.add_argument("--commit", required=True, help="the commit of the program that made it")
    one.add_argument("--seconds", type=float, help="how long the first command took")
    one.add_argument("--megabytes", type=float, help="its largest memory")
    commands.add_parser("write", help="writes the tables")
    commands.add_parser("check", help="fails if a table is not what its run gave")
    given = options.parse_args()
    if given.command == "list":
        listed()
    elif given.command == "run":
        given.out.mkdir(parents=True, exist_ok=True)
        for name in given.names:
            make(name, (given.out / name).resolve(), given.program)
    elif given.command == "keep":
        measured = fingerprint_at(given.commit, given.name)
        if given.folder.is_file():
            keep_bench(given.name, given.folder, given.commit, measured)
        else:
            keep(given.name, given.folder, given.commit, measured, {"seconds": given.seconds, "megabytes": given.megabytes})
    else:
        return write(check=given.command == "check")
    return 0


if __name__ == "__main__":
    sys.exit(main())
