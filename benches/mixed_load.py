"""Everything at once, for ten minutes: known users, histories, batches at their limits, clients that hardly read, idle connections,
events with keys, swaps, a disk that is full for a while, and a hang-up with a restart. What must hold is stated first and checked last.

    benches/mixed_load.py [--binary target/release/rankstill] [--minutes 10]

Needs Linux, root (to mount a small disk; without it the full disk is left out, and said), and nothing beside the standard library.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PORT = 18080
# Bounds, stated before the run.
HEALTH_P99_MS = 50.0
# The models and their tables, the budget for answers that are not written yet, and the store's cache and buffers.
MEMORY_MIB = 256 + 256 + 512

EXPERIMENT = """
name = "mixed load"
seeds = [1, 2]
[data.simulate]
users = 20000
items = 25000
[models.MF]
kind = "bpr_mf"
dim = 20
train = { epochs = 1, patience = 0 }
[evaluate]
latency_seconds = 0.0
"""


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


class Load:
    def __init__(self, seconds):
        self.ends = time.monotonic() + seconds
        self.status = {}
        self.wrong = []
        self.health = []
        self.live = []
        self.acknowledged = set()
        self.down = False  # while the server is restarted on purpose
        self.disk_is_full = False
        self.refused_events = 0

    def going(self):
        return time.monotonic() < self.ends

    async def request(self, method, path, body=None, headers="", slow=False, what=""):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        except OSError as error:
            if not self.down:
                self.wrong.append(f"{what}: {error}")
            return 0, b""
        text = json.dumps(body).encode() if body is not None else b""
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {len(text)}\r\n"
        if body is not None:
            head += "content-type: application/json\r\n"
        try:
            writer.write(head.encode() + b"\r\n" + text)
            await writer.drain()
            answer = b""
            while True:
                chunk = await reader.read(512 if slow else 1 << 16)
                if not chunk:
                    break
                answer = answer[:4096] + chunk if slow else answer + chunk
                if slow:
                    await asyncio.sleep(0.5)
                    if not self.going():
                        break
            status = int(answer[9:12] or 0)
        except (OSError, ValueError):
            status, answer = 0, b""
        finally:
            writer.close()
        if status == 0 and not self.down and not slow:
            self.wrong.append(f"{what}: no answer")
        if status >= 500:
            honest = status == 503 and (b"retry-after" in answer.lower() or what == "ready")
            if not honest and not self.down:
                self.wrong.append(f"{what}: {answer[:200]!r}")
        key = (what, status)
        self.status[key] = self.status.get(key, 0) + 1
        return status, answer

    async def every(self, seconds, work):
        """Starts `work` at this pace, whether or not earlier ones have ended."""
        due = time.monotonic()
        tasks = set()
        while self.going():
            if len(tasks) < 64:
                task = asyncio.create_task(work())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            due += seconds
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*tasks, return_exceptions=True)

    async def known(self):
        user = random.randrange(20000)
        await self.request("GET", f"/v1/users/u{user}/recommendations?k=20", what="known")

    async def history(self):
        items = [f"i{random.randrange(25000)}" for _ in range(200)]
        await self.request("POST", "/v1/recommendations", {"history": items, "k": 50}, what="history")

    async def batch(self, slow=False):
        users = [{"user": f"u{random.randrange(20000)}", "k": 195} for _ in range(256)]
        await self.request("POST", "/v1/recommendations:batch", {"requests": users}, slow=slow, what="slow" if slow else "batch")

    async def event(self):
        key = f"k{random.getrandbits(60)}"
        user, item = f"u{random.randrange(20000)}", f"i{random.randrange(25000)}"
        events = [{"user": user, "item": item, "key": key}] + [
            {"user": user, "item": f"i{random.randrange(25000)}", "key": f"{key}-{at}"} for at in range(19)
        ]
        status, _ = await self.request("POST", "/v1/events", {"events": events}, what="events")
        if status == 200:
            self.acknowledged.update((e["user"], e["item"]) for e in events)
        elif status == 503:
            self.refused_events += 1

    async def is_live(self):
        began = time.monotonic()
        status, _ = await self.request("GET", "/health/live", what="live")
        if status:
            self.health.append(1e3 * (time.monotonic() - began))

    async def is_ready(self):
        began = time.monotonic()
        status, _ = await self.request("GET", "/health/ready", what="ready")
        if status:
            self.health.append(1e3 * (time.monotonic() - began))

    async def idle(self):
        while self.going():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", PORT)
            except OSError:
                await asyncio.sleep(1)
                continue
            await asyncio.sleep(random.uniform(5, 60))
            writer.close()


def resident(pid):
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


async def run(arguments, folder, disk):
    binary = arguments.binary
    models = sorted(folder.glob("run/models/MF/seed-*/artefact"))
    (folder / "admin.keys").write_text(subprocess.run(["sha256sum"], input=b"secret", capture_output=True).stdout.decode()[:64] + "\n")
    store = (disk or folder) / "events.store"
    log = open(folder / "server.log", "wb")

    def start():
        command = [binary, "serve", f"MF={models[0]}", "--listen", f"127.0.0.1:{PORT}", "--events", str(store),
                   "--admin-keys", str(folder / "admin.keys"), "--log"]
        return subprocess.Popen(command, stderr=log, stdout=log)

    server = start()
    load = Load(arguments.minutes * 60)
    for _ in range(100):
        load.down = True
        if (await load.request("GET", "/health/ready", what="start"))[0] == 200:
            break
        await asyncio.sleep(0.1)
    load.down = False
    most = [resident(server.pid)]
    print(f"at the start {most[0]:.0f} MiB; bounds: health p99 {HEALTH_P99_MS:.0f} ms, memory {MEMORY_MIB} MiB, no 5xx but 503, nothing lost", flush=True)

    async def watch():
        while load.going():
            most[0] = max(most[0], resident(server.pid))
            await asyncio.sleep(0.2)

    async def swaps():
        turn = 0
        while load.going():
            await asyncio.sleep(15)
            if load.down:
                continue
            turn += 1
            body = {"artefact": str(models[turn % len(models)])}
            await load.request("POST", "/admin/models/MF/swap", body, "authorization: Bearer secret\r\n", what="swap")

    async def full_disk():
        await asyncio.sleep(0.4 * arguments.minutes * 60)
        if disk is None:
            return
        filler = disk / "filler"
        with open(filler, "wb") as out:
            try:
                while True:
                    out.write(b"0" * 65536)
                    out.flush()
            except OSError:
                pass
        load.disk_is_full = True
        refused = load.refused_events
        # The store has room that it allocated before: events fill it.
        await asyncio.sleep(0.15 * arguments.minutes * 60)
        status, _ = await load.request("GET", "/health/ready", what="ready")
        print(f"disk full: {load.refused_events - refused} requests with events refused, ready says {status}", flush=True)
        filler.unlink()
        freed = time.monotonic()
        while load.going():
            if (await load.request("GET", "/health/ready", what="ready"))[0] == 200:
                break
            await asyncio.sleep(0.2)
        print(f"disk free again: ready after {time.monotonic() - freed:.1f} s", flush=True)

    async def hang_up():
        nonlocal server
        await asyncio.sleep(0.75 * arguments.minutes * 60)
        load.down = True
        began = time.monotonic()
        server.send_signal(signal.SIGHUP)
        while server.poll() is None:
            await asyncio.sleep(0.05)
        print(f"SIGHUP: ended with {server.returncode} after {time.monotonic() - began:.1f} s; started again", flush=True)
        server = start()
        while (await load.request("GET", "/health/ready", what="start"))[0] != 200:
            await asyncio.sleep(0.1)
        load.down = False

    await asyncio.gather(
        load.every(0.01, load.known), load.every(0.02, load.history), load.every(0.5, load.batch),
        load.every(0.02, load.event), load.every(0.05, load.is_live), load.every(0.2, load.is_ready),
        load.every(2.0, lambda: load.batch(slow=True)), *[load.idle() for _ in range(200)],
        watch(), swaps(), full_disk(), hang_up(),
    )
    server.send_signal(signal.SIGTERM)
    ended = server.wait(timeout=60)
    print(f"SIGTERM: ended with {ended}")
    out = folder / "events.tsv"
    subprocess.run([binary, "events", str(store), "--out", str(out), "--quiet"], check=True)
    rows = (line.split("\t") for line in out.read_text().splitlines()[1:])
    kept = {(row[0], row[1]) for row in rows}
    lost = load.acknowledged - kept
    by_what = {}
    for (what, status), count in sorted(load.status.items()):
        by_what.setdefault(what, []).append(f"{status}: {count}")
    for what, counts in by_what.items():
        print(f"  {what:8} {', '.join(counts)}")
    p99 = quantile(load.health, 0.99)
    print(f"health: {len(load.health)} checks, p50 {quantile(load.health, 0.5):.1f} ms, p99 {p99:.1f} ms, max {max(load.health):.1f} ms")
    print(f"memory: at most {most[0]:.0f} MiB of {MEMORY_MIB}")
    print(f"events: {len(load.acknowledged)} acknowledged, {len(lost)} lost")
    for text in load.wrong[:10]:
        print("wrong:", text)
    held = not load.wrong and p99 < HEALTH_P99_MS and most[0] < MEMORY_MIB and not lost
    print("all bounds held" if held else f"NOT all bounds held ({len(load.wrong)} wrong answers)")
    return 0 if held else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/release/rankstill")
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    folder = Path(tempfile.mkdtemp(prefix="mixed-load-"))
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(disk)], capture_output=True).returncode == 0
    if not mounted:
        print("no small disk could be mounted (not root?): the full disk is left out")
    try:
        (folder / "exp.toml").write_text(EXPERIMENT)
        subprocess.run([arguments.binary, "run", str(folder / "exp.toml"), "--out", str(folder / "run"), "--quiet"], check=True)
        return asyncio.run(run(arguments, folder, disk if mounted else None))
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(disk)])
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
