"""Throughput and latency of `rankstill serve` and of two servers in Python, under the same load generator, in turn.

    benches/setup.sh
    .venv/bin/python benches/serve_peers.py [--rounds 2] [--catalogue 25000x20] [--seconds 5] [--binary target/release/rankstill] [--json FILE]

All answer with the 20 best items that a user has not seen, from random vectors, with their scores, as JSON, on the same machine.
`rankstill bench serve` sends the requests: first as fast as 16 connections allow, then open loop at `--rate`, where latency counts from the
moment a request is due.

The peers are given what makes them quick: as many worker processes as we have computing threads (`--threads`), and one BLAS thread in
each, because a product of this size is too small to share.

- **FastAPI**: FastAPI and NumPy behind uvicorn with uvloop and httptools, as services are usually written.
- **Granian**: no framework at all: an RSGI function behind Granian, a server written in Rust, with NumPy and orjson.

What we do that they do not: check the request, mask what a user did a second ago, count and time answers, fall back before a deadline. What
they do that we do not: nothing here, but their scores are float32 products over the whole catalogue, ours a pass over 8-bit vectors whose
candidates are then scored exactly; the answers are the same.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec

from peers import ROOT, arguments

USERS = 1000
PATH = "/v1/users/"
PEERS = {"FastAPI": ("fastapi", "uvicorn", "uvloop", "httptools"), "Granian": ("granian", "orjson")}


def main():
    parser = arguments(__doc__, rounds=2)
    parser.add_argument("--catalogue", default="25000x20")
    parser.add_argument("--table", default="int8", help="format of our item table: f32, f16 or int8; answers are the same")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--binary", help="a built rankstill; by default the release profile is built")
    parser.add_argument("--json", type=pathlib.Path, help="also write what was measured to this file")
    args = parser.parse_args()
    needed = ["numpy", *(name for names in PEERS.values() for name in names)]
    if missing := [name for name in needed if find_spec(name) is None]:
        sys.exit(f"{', '.join(missing)} missing: benches/setup.sh installs it")
    binary = args.binary or release()
    # uvicorn and Granian import this file in each worker.
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "CATALOGUE": args.catalogue}
    ports = {name: free_port() for name in PEERS}
    servers = [start(name, port, args.threads) for name, port in ports.items()]
    found = {"rankstill": [], **{name: [] for name in PEERS}}
    try:
        for port in ports.values():
            wait(port)
        for _ in range(args.rounds):
            found["rankstill"].append(ask(binary, args, ["--catalogue", args.catalogue, "--table", args.table]))
            for name, port in ports.items():
                found[name].append(ask(binary, args, ["--address", f"127.0.0.1:{port}"]))
    finally:
        for server in servers:
            server.terminate()
    report(args, found)


def report(args, found):
    """The round with the most answers of each, and ratios."""
    rows = []
    for at, what in enumerate(("as fast as possible", f"{args.rate} requests/s")):
        best = {name: max(rounds, key=lambda one: one[at]["answered_per_second"])[at] for name, rounds in found.items()}
        for name, one in best.items():
            ms, times = one["ms"], best["rankstill"]["answered_per_second"] / one["answered_per_second"]
            rows.append(
                {
                    "load": what,
                    "server": name,
                    "answers_per_second": one["answered_per_second"],
                    "ms": ms,
                    "refused": one["refused"],
                    "ratio": times,
                }
            )
            print(
                f"{args.catalogue} {what:>20} {name:>10}: {one['answered_per_second']:8.0f} answers/s ({times:5.1f} times), "
                f"p50 {ms['p50']:.2f} p99 {ms['p99']:.2f} p99.9 {ms['p99.9']:.2f} ms, {one['refused']} refused"
            )
    if args.json:
        args.json.write_text(json.dumps({"catalogue": args.catalogue, "threads": args.threads, "rows": rows}, indent=1) + "\n")


def release():
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "rankstill-cli"], cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return f"{target}/release/rankstill"


def ask(binary, args, whom):
    """What the load generator measured: as fast as possible, and at the rate."""
    command = [binary, "bench", "serve", "--json", "--quiet", "--rate", f"0,{args.rate}", "--seconds", str(args.seconds)]
    command += ["--connections", str(args.connections), "--threads", str(args.threads), *whom]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def start(name, port, workers):
    """A peer as a process; both find their application in this file."""
    folder = pathlib.Path(__file__).parent
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    if name == "FastAPI":
        command = [
            "uvicorn",
            "serve_peers:fastapi_application",
            "--factory",
            "--log-level",
            "error",
            "--loop",
            "uvloop",
            "--http",
            "httptools",
        ]
    else:
        command = ["granian", "serve_peers:granian_application", "--factory", "--interface", "rsgi", "--no-log"]
    return subprocess.Popen([sys.executable, "-m", *command, *options], cwd=folder)


def recommender():
    """User and k to items and scores, as one would write it in NumPy."""
    import numpy

    n_items, dim = map(int, os.environ["CATALOGUE"].split("x"))
    generator = numpy.random.default_rng(1)
    users = generator.standard_normal((USERS, dim), dtype=numpy.float32)
    items = generator.standard_normal((n_items, dim), dtype=numpy.float32)
    seen = generator.integers(0, n_items, (USERS, 20))

    def recommend(user, k):
        scores = items @ users[user]
        scores[seen[user]] = -numpy.inf
        best = numpy.argpartition(scores, -k)[-k:]
        best = best[numpy.argsort(-scores[best])]
        found = zip(best.tolist(), scores[best].tolist(), strict=True)
        return {"user": str(user), "items": [{"item": str(item), "score": score} for item, score in found]}

    return recommend


def fastapi_application():
    from fastapi import FastAPI

    app, recommend = FastAPI(), recommender()

    @app.get(PATH + "{user}/recommendations")
    async def answer(user: int, k: int = 10):  # async: threads would only wait for the GIL
        return recommend(user, k)

    return app


def granian_application():
    from urllib.parse import parse_qs

    import orjson

    recommend = recommender()
    json_type = [("content-type", "application/json")]

    async def answer(scope, protocol):
        user = int(scope.path.removeprefix(PATH).partition("/")[0])
        k = int(parse_qs(scope.query_string).get("k", ["10"])[0])
        protocol.response_bytes(200, json_type, orjson.dumps(recommend(user, k)))

    return answer


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def wait(port):
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{PATH}1/recommendations") as answer:
                return answer.read()
        except OSError:
            time.sleep(0.1)
    raise SystemExit("a peer did not start")


if __name__ == "__main__":
    main()
