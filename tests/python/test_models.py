"""Fitting, recommending, saving, and the bytes of the command line."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import rankstill as rk


def cli(*args):
    return subprocess.run([sys.executable, "-m", "rankstill", *map(str, args)], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", [name for name in rk.models.__all__ if name != "Compressed"])
def test_every_model_fits_recommends_and_round_trips(name, data, tmp_path):
    settings = getattr(rk, name)()
    if "train" in settings.to_dict():
        settings = settings.replace(train={"epochs": 2, "batch_size": 128})
    model = settings.fit(data)
    lists = model.recommend(k=5)
    assert len(lists) == data.n_users and lists.columns == ["user_id", "item_id", "rank", "score"]
    seen = data.table("train").to_polars().group_by("user_id").agg("item_id")
    seen = dict(seen.iter_rows())
    for user, ranked in zip(data.users, lists, strict=True):
        assert len(ranked) == 5 and not {item for item, _ in ranked} & set(seen[user])
    model.save(tmp_path / "model")
    for other in (rk.load(tmp_path / "model"), rk.load(tmp_path / "model", mapped=True), pickle.loads(pickle.dumps(model))):
        assert other.recommend(k=5).to_polars().equals(lists.to_polars())


@pytest.mark.parametrize("model", [rk.Ease(), rk.ImplicitAls(dim=8), rk.BprMf(dim=8, train={"epochs": 3})], ids=lambda model: model.kind)
def test_artefacts_are_those_of_the_command_line(model, log, tmp_path):
    kind = model.kind
    pl.DataFrame(log).write_parquet(tmp_path / "log.parquet")
    changed = {"implicit_als": ["dim=8"], "bpr_mf": ["dim=8", "train.epochs=3"]}.get(kind, [])
    sets = [word for one in [*changed, "evaluate.latency_seconds=0"] for word in ("--set", one)]
    cli("train", "--model", kind, "--data", tmp_path / "log.parquet", "--out", tmp_path / "run", "--seed", 3, *sets)
    for source in (tmp_path / "log.parquet", pl.DataFrame(log)):
        model.fit(rk.Dataset(source), seed=3).save(tmp_path / "here")
        theirs = tmp_path / "run" / "models" / kind / "seed-3" / "artefact"
        assert sorted(path.name for path in theirs.iterdir()) == sorted(path.name for path in (tmp_path / "here").iterdir())
        for path in theirs.iterdir():
            assert path.read_bytes() == (tmp_path / "here" / path.name).read_bytes(), path.name


def test_recommendations_are_those_of_the_command_line(als, tmp_path):
    als.save(tmp_path / "model")
    cli("recommend", tmp_path / "model", "--all", "--k", 7, "--out", tmp_path / "lists.parquet")
    assert als.recommend(k=7).to_polars().cast({"rank": pl.UInt32}).equals(pl.read_parquet(tmp_path / "lists.parquet"))


def test_somebody_new_is_asked_by_history(als, data):
    lists = als.recommend(history=[data.items[:2], [], [data.items[0], "unknown"]], k=3)
    assert lists.columns[0] == "query" and len(lists) == 3
    assert set(lists.to_numpy()["query"]) == {0, 1, 2}
    assert data.items[0] not in [item for item, _ in lists[0]]


def test_unknown_users_are_key_errors(als):
    with pytest.raises(KeyError, match="user `7` is not among the 60"):
        als.recommend([7])
    with pytest.raises(TypeError, match="write .id."):
        als.recommend(100)
    with pytest.raises(rk.ConfigError, match="one or the other"):
        als.recommend([100], history=[[1]])
    with pytest.raises(FileNotFoundError):
        rk.load("nowhere")


def test_vectors_multiply_to_scores(als, data):
    scores = als.user_vectors() @ als.item_vectors().T
    user, (item, score) = data.users[3], als.recommend(data.users[3:4], k=1)[0][0]
    assert scores[data.users.index(user), data.items.index(item)] == pytest.approx(score, rel=1e-5)
    with pytest.raises(rk.RankstillError, match="no vectors"):
        rk.Pop().fit(data).item_vectors()


def test_ids_may_be_arrays_and_columns(als, data):
    users = data.users[:3]
    expected = als.recommend(users).to_polars()
    for given in (np.array(users), pl.Series(users), [str(user) for user in users], tuple(users)):
        assert als.recommend(given).to_polars()["item_id"].equals(expected["item_id"])


def test_the_interpreter_is_free_while_a_model_is_fitted(data):
    ran, done = [0], threading.Event()

    def count():
        while not done.is_set():
            ran[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    rk.BprMf(train={"epochs": 200, "patience": 0}).fit(data)
    done.set()
    thread.join()
    assert ran[0] > 5


def test_a_bar_is_shown(data, capfd):
    rk.BprMf(train={"epochs": 20}).fit(data, name="MF", progress=True)
    rk.evaluate({"pop": rk.Pop().fit(data)}, data, ["ndcg@10"], progress=True)
    rk.Pop().fit(data).recommend(progress=True)
    shown = capfd.readouterr().err
    assert "MF" in shown and "evaluating" in shown


def test_progress_is_told_and_its_exceptions_stop_the_fit(data):
    told = []
    rk.BprMf(train={"epochs": 400, "patience": 0, "validate_every": 1}).fit(data, progress=lambda share, note: told.append((share, note)))
    assert told and told[-1][0] == 1.0 and "epoch 400/400" in told[-1][1]

    class Enough(Exception):
        pass

    def enough(share, note):
        raise Enough(note)

    began = time.monotonic()
    with pytest.raises(Enough):
        rk.BprMf(train={"epochs": 1_000_000, "patience": 0}).fit(data, progress=enough)
    assert time.monotonic() - began < 5


INTERRUPTED = """
import os, signal, threading, time
import numpy as np, rankstill as rk
rng = np.random.default_rng(0)
n, users, items = {rows}, {users}, {items}
data = rk.Dataset({{"user": rng.integers(users, size=n), "item": (items * rng.random(n) ** 2).astype(int)}}, split="all")
settings = getattr(rk, "{name}")(**{settings})
begun = time.process_time()

def ask():
    while time.process_time() < begun + {after}:
        time.sleep(0.01)
    print("asked", time.process_time(), time.monotonic(), flush=True)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=ask, daemon=True).start()
try:
    settings.fit(data)
    print("finished", time.process_time(), time.monotonic())
except KeyboardInterrupt:
    print("stopped", time.process_time(), time.monotonic())
"""
LARGE = {"rows": 2_000_000, "users": 40_000, "items": 9_000}
TEXT = {"rows": 300_000, "users": 20_000, "items": 5_000}
ENDLESS = {"train": {"epochs": 10**6, "patience": 0}}
HEAVY = {
    "Ease": (LARGE, {}),
    "Slim": (LARGE, {}),
    "ItemCf": ({**LARGE, "rows": 4_000_000}, {}),
    "Sar": (LARGE, {}),
    "Path": (LARGE, {"low_rank": {"rank": 512}}),
    "ImplicitAls": (LARGE, {"dim": 256, "iterations": 1000}),
    "BoostedTrees": (TEXT, {"users": 0, "budget": 2.0}),
    "CfGan": ({**TEXT, "users": 5_000}, ENDLESS),
}
COUNTED = ("Pop", "UserKnn")  # one pass over the log


@pytest.mark.parametrize("name", [name for name in rk.models.__all__ if name not in ("Compressed", *COUNTED)])
def test_ctrl_c_stops_every_fit_within_a_second(name):
    size, settings = HEAVY.get(name, (TEXT, ENDLESS))
    code = INTERRUPTED.format(name=name, settings=settings, after=2.0, **size)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    moments = {word: (float(cpu), float(clock)) for word, cpu, clock in map(str.split, out.stdout.splitlines())}
    assert "stopped" in moments, (out.stdout, out.stderr)
    cpu, clock = (after - before for before, after in zip(moments["asked"], moments["stopped"], strict=True))
    print(f"{name}: {clock:.3f} s, {cpu:.3f} s of processors")
    # On a machine that is busy with other work only the time of processors says something.
    assert min(clock, cpu / os.cpu_count()) < 1.0, (clock, cpu)


def test_a_forked_child_answers(als, data):
    expected = als.recommend(k=3).to_polars()
    pid = os.fork()
    if pid == 0:
        same = als.recommend(k=3).to_polars().equals(expected) and rk.Ease().fit(data).n_parameters > 0
        os._exit(0 if same else 1)
    for _ in range(400):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(pid, signal.SIGKILL)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


def _n_lists(model):
    return len(model.recommend(k=2))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_models_go_to_other_processes(method, als):
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_n_lists, [als, als]) == [60, 60]


def test_a_model_compressed_is_a_model(data):
    coded = rk.Compressed(model=rk.ImplicitAls(dim=8), compress=rk.compressors.Int(bits=6)).fit(data)
    assert coded.kind == "compressed" and len(coded.recommend(k=3)[0]) == 3


def test_a_student_is_taught_then_compressed(tmp_path, data, als):
    student = rk.BprMf(dim=8, train={"epochs": 2}).distil(data, [als], seed=1)
    coded = student.compressed(rk.compressors.Int(bits=4), name="small")
    assert (coded.name, coded.kind) == ("small", "compressed")
    assert coded.serving_bytes < student.serving_bytes
    assert coded.card["compressed"] == student.name and coded.card["distilled"] == student.card["distilled"]
    coded.save(tmp_path / "small")
    assert rk.load(tmp_path / "small").recommend(k=3)[0] == coded.recommend(k=3)[0]
    # The same as the recipe that fits and compresses.
    recipe = rk.Compressed(model=rk.ImplicitAls(dim=8), compress=rk.compressors.Itq())
    apart = rk.ImplicitAls(dim=8).fit(data, seed=3).compressed("itq", seed=3)
    assert apart.config == recipe.fit(data, seed=3).config
    assert apart.recommend(k=3)[0] == recipe.fit(data, seed=3).recommend(k=3)[0]
    with pytest.raises(rk.ConfigError, match="bits"):
        student.compressed({"kind": "int", "bits": 5})
    with pytest.raises(rk.ConfigError, match="factored|vectors"):
        rk.Ease().fit(data).compressed("int")


def test_the_command_line_is_in_the_package(tmp_path):
    assert "light_gcn" in cli("list", "models")
    script = Path(sys.executable).with_name("rankstill")
    version = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.split()[1] == rk.__version__
    wrong = subprocess.run([script, "list", "nothing"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "there is no such list" in wrong.stderr
    assert subprocess.run([script, "--nonsense"], capture_output=True).returncode == 2
