"""Throughput and latency of `rankstill serve` and of FastAPI with NumPy, under the same load generator, in turn.

    benches/setup.sh
    .venv/bin/python benches/serve_peers.py [--rounds 2] [--catalogue 25000x20] [--seconds 5] [--binary target/release/rankstill]

Both answer with the 20 best items that a user has not seen, from random vectors, with their scores, as JSON, on the same machine.
`rankstill bench serve` sends the requests: first as fast as 16 connections allow, then open loop at `--rate`, where latency counts from the
moment a request is due.

The comparison favours Rankstill, which computes on `--threads` threads. FastAPI runs as one process, and NumPy's BLAS uses `--threads` threads
for a product too small to share. For the peer at its best, start it with `OPENBLAS_NUM_THREADS=1 ... serve_peers.py --peer PORT` and
measure it with `rankstill bench serve --address 127.0.0.1:PORT`.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec

from peers import ROOT, arguments, use_threads

USERS = 1000


def main():
    parser = arguments(__doc__)
    parser.add_argument("--catalogue", default="25000x20")
    parser.add_argument("--table", default="int8", help="format of our item table: f32, f16 or int8; answers are the same")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--binary", help="a built rankstill; by default the release profile is built")
    parser.add_argument("--peer", type=int, help="only serve with FastAPI on this port")
    args = parser.parse_args()
    if args.peer:
        return peer(args.catalogue, args.peer)
    if missing := [name for name in ("fastapi", "uvicorn", "numpy") if find_spec(name) is None]:
        sys.exit(f"{', '.join(missing)} missing: benches/setup.sh installs it")
    use_threads(args.threads)
    binary = args.binary or release()
    port = free_port()
    command = [sys.executable, __file__, "--peer", str(port), "--catalogue", args.catalogue]
    with subprocess.Popen(command) as server:
        try:
            wait(port)
            ours, theirs = [], []
            for _ in range(args.rounds):
                ours.append(ask(binary, args, ["--catalogue", args.catalogue, "--table", args.table]))
                theirs.append(ask(binary, args, ["--address", f"127.0.0.1:{port}"]))
        finally:
            server.terminate()
    for at, what in enumerate(("as fast as possible", f"{args.rate} requests/s")):
        best = [max(rounds, key=lambda found: found[at]["answered_per_second"])[at] for rounds in (ours, theirs)]
        for name, found in zip(("rankstill", "FastAPI + NumPy"), best):
            ms = found["ms"]
            print(
                f"{args.catalogue} {what:>18} {name:>16}: {found['answered_per_second']:8.0f} answers/s, "
                f"p50 {ms['p50']:.2f} p99 {ms['p99']:.2f} p99.9 {ms['p99.9']:.2f} ms, {found['refused']} refused"
            )
        ratio = best[0]["answered_per_second"] / best[1]["answered_per_second"]
        print(f"{args.catalogue} {what:>18}            ratio: {ratio:.1f}")


def release():
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "rankstill-cli"], cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return f"{target}/release/rankstill"


def ask(binary, args, whom):
    """What the load generator measured: as fast as possible, and at the rate."""
    command = [binary, "bench", "serve", "--json", "--quiet", "--rate", f"0,{args.rate}", "--seconds", str(args.seconds)]
    command += ["--connections", str(args.connections), "--threads", str(args.threads), *whom]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peer(catalogue, port):
    """The same service in plain FastAPI and NumPy."""
    import numpy
    import uvicorn
    from fastapi import FastAPI

    n_items, dim = map(int, catalogue.split("x"))
    generator = numpy.random.default_rng(1)
    users = generator.standard_normal((USERS, dim), dtype=numpy.float32)
    items = generator.standard_normal((n_items, dim), dtype=numpy.float32)
    seen = generator.integers(0, n_items, (USERS, 20))
    app = FastAPI()

    @app.get("/v1/users/{user}/recommendations")
    async def recommend(user: int, k: int = 10):  # async: threads would only wait for the GIL
        scores = items @ users[user]
        scores[seen[user]] = -numpy.inf
        best = numpy.argpartition(scores, -k)[-k:]
        best = best[numpy.argsort(-scores[best])]
        return {
            "user": str(user),
            "items": [{"item": str(item), "score": float(scores[item])} for item in best.tolist()],
        }

    uvicorn.run(app, port=port, log_level="error")


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def wait(port):
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/users/1/recommendations") as answer:
                return answer.read()
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the peer did not start")


if __name__ == "__main__":
    main()
