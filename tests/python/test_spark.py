"""Spark: its lists are those of `rankstill recommend` whatever is killed, and what it prepares is what `rankstill prepare` does."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
import rankstill as rk

pytestmark = pytest.mark.spark
pytest.importorskip("pyspark")

import cluster  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402
from pyspark.sql import types as t  # noqa: E402
from rankstill import spark as rks  # noqa: E402
from rankstill._experiment import _lines  # noqa: E402


@pytest.fixture(scope="module")
def spark():
    os.environ["PYSPARK_PYTHON"] = sys.executable
    # Tests without a kill can run in one process: RANKSTILL_SPARK=local[2].
    master = os.environ.get("RANKSTILL_SPARK", "local-cluster[2,1,1024]")
    builder = SparkSession.builder.master(master).appName("rankstill")
    for key, value in {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.executor.memory": "1g",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "2048",
        "spark.sql.files.maxPartitionBytes": "1m",
        "spark.sql.files.openCostInBytes": "1m",
        "spark.sql.shuffle.partitions": "8",
        "spark.sql.codegen.wholeStage": "false",  # there are few rows: compiling costs more than it saves
        "spark.sql.session.timeZone": "Europe/Berlin",
        "spark.task.maxFailures": "8",
    }.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def large(spark, tmp_path_factory):
    folder = cluster.large(tmp_path_factory.mktemp("large"))
    users = spark.createDataFrame(pq.read_table(folder / "whole.parquet", columns=["user_id"]).group_by("user_id").aggregate([]))
    users.repartition(24).write.parquet(f"file://{folder}/users")
    # The first job starts the processes of Python.
    spark.range(0, 4, 1, 4).mapInArrow(lambda batches: batches, "id long").collect()
    return folder


class Killer(threading.Thread):
    """Kills an executor when some tasks of a stage of `tasks` tasks have ended."""

    def __init__(self, spark, tasks, after=3):
        super().__init__(daemon=True)
        self.tracker, self.tasks, self.after = spark.sparkContext.statusTracker(), tasks, after
        self.killed, self.ended, self.over = None, None, threading.Event()

    def run(self):
        while not self.over.is_set():
            for stage in self.tracker.getActiveStageIds():
                about = self.tracker.getStageInfo(stage)
                if about and about.numTasks == self.tasks and about.numCompletedTasks >= self.after:
                    self.ended = about.numCompletedTasks
                    self.killed = cluster.processes_below(os.getpid(), "CoarseGrainedExecutorBackend")[0]
                    os.kill(self.killed, signal.SIGKILL)
                    return
            time.sleep(0.02)


@pytest.mark.parametrize("way", ["map", "shuffle"])
@pytest.mark.parametrize("kill", [False, True], ids=["", "kill"])
def test_lists_are_those_of_one_machine(spark, large, tmp_path, way, kill):
    users = spark.read.parquet(f"file://{large}/users")
    tasks = 24
    if way == "shuffle":
        users, tasks = users.repartition(17, "user_id"), 17
    killer = Killer(spark, tasks)
    if kill:
        killer.start()
    start = time.perf_counter()
    lists = rks.recommend(users, large / "artefact", cluster.K)
    lists.write.parquet(f"file://{tmp_path}/lists")
    took = time.perf_counter() - start
    killer.over.set()
    print(f"\n{way}{', an executor killed' if kill else ''}: {took:.1f} s")
    if kill:
        killer.join()
        assert killer.killed and killer.ended < tasks, "in the middle"
        assert not os.path.exists(f"/proc/{killer.killed}/exe")
    assert cluster.sha(tmp_path / "lists") == cluster.sha(large / "whole.parquet")


def test_histories_are_those_of_the_command_line(spark, large, tmp_path):
    rng = np.random.default_rng(3)
    items = pq.read_table(large / "whole.parquet", columns=["item_id"])["item_id"].unique().to_numpy()
    histories = [[int(item) for item in rng.choice(items, rng.integers(1, 9), replace=False)] for _ in range(500)]
    histories[7].append(-5)  # unknown
    names = [f"somebody {n}" for n in range(500)]
    frame = spark.createDataFrame(list(zip(names, histories, strict=True)), "who string, items array<long>").repartition(5)
    found = rks.recommend(frame, large / "artefact", 10, user="who", history="items").toPandas()
    rows = [(name, item, at) for name, history in zip(names, histories, strict=True) for at, item in enumerate(history)]
    log = dict(zip(("user", "item", "time"), zip(*rows, strict=True), strict=True))
    (path,) = rk.recommend(large / "artefact", tmp_path / "lists.parquet", histories=log, k=10)
    expected = pq.read_table(path).to_pandas().rename(columns={"user_id": "who"})
    order = ["who", "rank"]
    found, expected = (frame.sort_values(order).reset_index(drop=True) for frame in (found, expected))
    assert found.equals(expected.astype({"rank": "int32"})) and len(found) == 5000


def test_unknown_users_end_the_job_or_get_no_list(spark, large):
    known = pq.read_table(large / "whole.parquet", columns=["user_id"])["user_id"][0].as_py()
    users = spark.createDataFrame([(known,), (-7,)], "user_id long")
    found = rks.recommend(users, large / "artefact", 3, unknown="skip").collect()
    assert [(row.user_id, row["rank"]) for row in found] == [(known, 1), (known, 2), (known, 3)]
    with pytest.raises(Exception, match="user `-7` is not among the 60000 known ones"):
        rks.recommend(users, large / "artefact", 3).collect()
    texts = users.selectExpr("cast(user_id as string) as uid", "user_id * 1.5 as score")
    assert rks.recommend(texts, large / "artefact", 1, user="uid", unknown="skip").first().uid == str(known)
    with pytest.raises(TypeError, match="column `score`: expected ids"):
        rks.recommend(texts, large / "artefact", user="score")
    with pytest.raises(KeyError, match="column `user_id` is not among uid, score"):
        rks.recommend(texts, large / "artefact")


def test_each_process_reads_the_artefact_once_with_the_threads_of_its_task(spark, large):
    from pyspark import TaskContext

    def about(batches):
        from rankstill import spark as rks

        for _ in batches:
            kept = [id(model) for _, model in rks._models.values()]
            row = [os.getpid(), kept[0] if kept else 0, int(os.environ.get("RAYON_NUM_THREADS", 0)), TaskContext.get().cpus()]
            yield pa.RecordBatch.from_pydict({name: [value] for name, value in zip("pmtc", row, strict=True)})

    users = spark.read.parquet(f"file://{large}/users")
    for _ in range(2):
        assert rks.recommend(users, large / "artefact", 1).count() == cluster.USERS
    seen = spark.range(0, 8, 1, 8).mapInArrow(about, "p long, m long, t long, c long").collect()
    assert all(row.t == row.c == 1 for row in seen if row.m) and any(row.m for row in seen)
    assert len({(row.p, row.m) for row in seen}) == len({row.p for row in seen}), "one model in each process"


def test_a_teacher_is_recorded_in_parts(spark, tmp_path):
    log = rk.simulate(interactions=20_000, users=1_000, items=500, seed=2)
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    command = [sys.executable, "-m", "rankstill", "prepare", tmp_path / "log.parquet", "--quiet", "--out", tmp_path / "data"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    data = rk.Dataset(tmp_path / "data")
    als = rk.ImplicitAls(dim=8).fit(data, seed=1)
    als.save(tmp_path / "als")
    folder = str(tmp_path / "als")

    def net():
        import rankstill as rk

        model = rk.load(folder)
        users, items = model.user_vectors(), model.item_vectors()
        return rk.Teacher.from_scores(lambda batch: users[batch.numbers] @ items.T, name="net")

    small = rk.BprMf(dim=4, train={"epochs": 3, "batch_size": 256})
    method = rk.RankDistil(k=10, lambda_=2.0)
    expected = small.distil(data, net(), method=method, seed=1).item_vectors()
    for name, teacher in [("function", net), ("model", als), ("folder", folder)]:
        out = tmp_path / name
        paths = rks.record_teacher(spark, teacher, tmp_path / "data", 20, out, shards=5)
        assert [path.name for path in paths] == [f"said-0000{i}-of-00005.lists" for i in range(1, 6)]
        recorded = rk.Teacher.from_recorded(out)
        if name == "function":
            assert np.array_equal(small.distil(data, recorded, method=method, seed=1).item_vectors(), expected)
        else:
            assert paths[2].read_bytes() == als.record(data, 20, tmp_path / f"{name} here", shard=(3, 5)).read_bytes()
    with pytest.raises(TypeError, match="a function that makes a teacher, found Teacher"):
        rks.record_teacher(spark, rk.Teacher.from_recorded(out), tmp_path / "data", 20, out, shards=5)


def rows(seed, ids, times):
    """A log with ties, repeats, weights of 0, rare users and rare items."""
    rng = np.random.default_rng(seed)
    n = 6_000
    users = (rng.pareto(1.5, n) * 20).astype(int) % 300
    items = (rng.pareto(1.2, n) * 15).astype(int) % 400
    return {
        "user_id": [ids(int(user)) for user in users],
        "item_id": [ids(int(item) + 1000) for item in items],
        "timestamp": [times(int(second)) for second in rng.integers(0, 5_000, n)],
        "weight": [float(weight) for weight in rng.integers(0, 6, n)],
    }


START = 1_600_000_000


def seconds(n):
    return START + 60 * n


def milliseconds(n):
    return datetime(2020, 9, 13, tzinfo=UTC) + timedelta(milliseconds=1_500 * n)


def untidy(n):
    """Texts that stand for fewer ids than there are texts."""
    one = n // 2
    return [f" ü{one}", f"ü{one}", f"{one}.0", f"{one}\t"][n % 4]


CASES = {
    "cores": (
        rows(1, int, seconds),
        {"filter": {"user_core": 4, "item_core": 5}, "split": {"kind": "chronological", "train": 0.7, "valid": 0.1}},
    ),
    "texts": (
        rows(2, untidy, milliseconds),
        {
            "filter": {"from": "2020-09-13T00:10:00Z", "to": "2020-09-13T02:00:00.0005Z", "duplicates": "last", "min_item_count": 3},
            "split": {"kind": "global_time", "train": 0.8, "valid": 0.1, "drop_unseen_items": True},
        },
    ),
    "left out": (
        rows(3, int, lambda n: seconds(n) * 1000),
        {
            "filter": {"min_rating": 2.0, "min_user_count": 3, "min_item_count": 2, "item_core": 2},
            "split": {"kind": "leave_one_out"},
            "mask": {"test": "train"},
            "history": {"test": "train"},
        },
    ),
    "moments": (
        rows(4, str, lambda n: date(2021, 1, 1) + timedelta(days=n // 20)),
        {
            "filter": {"zero_weights": "keep", "duplicates": "all", "user_core": 3},
            "split": {"kind": "global_time", "valid_from": "2021-05-01", "test_from": 1_625_000_000},
        },
    ),
    "everything": (rows(5, int, lambda n: n), {"split": {"kind": "all"}}),
}


def prepared_here(log, settings, folder):
    sets = [part for line in _lines(settings) for part in ("--set", line)]
    command = [sys.executable, "-m", "rankstill", "prepare", log, "--out", folder, "--quiet", *sets]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def is_same(one, other):
    """Every byte, but for the names of the files that were read."""
    for name in ("train.parquet", "valid.parquet", "test.parquet", "users.parquet", "items.parquet"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (one, other)]
    assert manifests[0].pop("sources") == [] and manifests[1].pop("sources")
    assert manifests[0] == manifests[1]


@pytest.mark.parametrize("case", CASES)
def test_what_spark_prepares_is_what_one_machine_does(spark, tmp_path, case):
    log, settings = CASES[case]
    table = pa.table(log)
    pq.write_table(table, tmp_path / "log.parquet", row_group_size=500)
    frame = spark.read.parquet(f"file://{tmp_path}/log.parquet").repartition(6)
    manifest = rks.prepare(frame, tmp_path / "spark", **settings)
    # As the page on layout says, by ids without their blanks.
    plain = [text if isinstance(text, int) else text.strip().removesuffix(".0") for text in log["user_id"]]
    items = [text if isinstance(text, int) else text.strip().removesuffix(".0") for text in log["item_id"]]
    keys = zip(plain, log["timestamp"], items, log["weight"], range(len(plain)), strict=True)
    pq.write_table(table.take([key[-1] for key in sorted(keys)]), tmp_path / "ordered.parquet")
    prepared_here(tmp_path / "ordered.parquet", settings, tmp_path / "here")
    is_same(tmp_path / "spark", tmp_path / "here")
    assert manifest["content"] == rk.Dataset(tmp_path / "spark").manifest["content"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "log.parquet", "ordered.parquet", "spark"]
    assert len(manifest["filtered"]["steps"]) >= 2 and manifest["counts"]["train"] > 100


def test_the_layout_of_the_page_is_read_as_it_is(spark, tmp_path):
    log, settings = CASES["cores"]
    frame = spark.createDataFrame(pa.table(log))
    ordered = frame.repartitionByRange(5, "user_id").sortWithinPartitions("user_id", "timestamp", "item_id", "weight")
    ordered.write.parquet(f"file://{tmp_path}/log")
    prepared_here(tmp_path / "log", settings, tmp_path / "here")
    rks.prepare(spark.read.parquet(f"file://{tmp_path}/log"), tmp_path / "spark", **settings)
    is_same(tmp_path / "spark", tmp_path / "here")


def test_a_column_can_give_the_order_of_a_file(spark, tmp_path):
    log, settings = CASES["cores"]
    table = pa.table({**log, "row": range(len(log["user_id"]))})
    settings = {**settings, "split": {"kind": "leave_one_out", "valid": False}}
    untimed = table.drop_columns(["timestamp", "row"])
    pq.write_table(untimed, tmp_path / "log.parquet")
    prepared_here(tmp_path / "log.parquet", settings, tmp_path / "here")
    frame = spark.createDataFrame(table).drop("timestamp").repartition(5, "item_id")
    rks.prepare(frame, tmp_path / "spark", order="row", **settings)
    is_same(tmp_path / "spark", tmp_path / "here")
    with pytest.raises(rk.ConfigError, match="exists; allow replacing it"):
        rks.prepare(frame, tmp_path / "spark", order="row")
    rks.prepare(frame, tmp_path / "spark", order="row", replace=True, split="all")
    assert rk.Dataset(tmp_path / "spark").manifest["counts"]["test"] == 0


def test_an_executor_that_dies_while_a_log_is_prepared_changes_nothing(spark, tmp_path):
    log, settings = CASES["cores"]
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    frame = spark.read.parquet(f"file://{tmp_path}/log.parquet")
    expected = rks.prepare(frame, tmp_path / "whole", **settings)
    killed = []

    def kill():
        # While files of the work are being written: the second step has begun.
        while not any(tmp_path.glob(".cut.*/distinct")):
            time.sleep(0.02)
        killed.append(cluster.processes_below(os.getpid(), "CoarseGrainedExecutorBackend")[0])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    found = rks.prepare(frame, tmp_path / "cut", **settings)
    thread.join(10)
    assert killed and found == expected


def test_what_spark_cannot_prepare_is_refused(spark, tmp_path):
    frame = spark.createDataFrame([(1, 2, 5, 1.0), (1, 3, 6, 0.0)], "user_id int, item_id int, timestamp long, weight double")
    out = tmp_path / "data"
    for settings, problem in [
        ({"split": "random"}, "`random` is not cut by Spark"),
        ({"split": {"kind": "leave_one_out", "which": "random"}}, "`leave_one_out` at random is not cut by Spark"),
        ({"split": "ready_made"}, "`ready_made` is not cut by Spark"),
        ({"split": "nothing"}, "unknown kind `nothing`"),
        ({"filter": {"user_kore": 3}}, "user_kore"),
        ({"time": ""}, "order: a DataFrame has no order of rows"),
        ({"time": "", "order": "item_id", "split": "global_time"}, "`global_time` needs times"),
        ({"weight": "", "filter": {"min_rating": 1.0}}, "filter.min_rating: the log has no ratings"),
        ({"filter": {"min_rating": 7.0}}, "removed all"),
    ]:
        with pytest.raises((ValueError, TypeError), match=problem):
            rks.prepare(frame, out, **settings)
    null = frame.selectExpr("if(item_id = 3, null, user_id) as user_id", "item_id", "timestamp")
    with pytest.raises(rk.DataError, match="column `user_id`: 1 of 2 rows have no id"):
        rks.prepare(null, out)
    mixed = frame.selectExpr("user_id", "item_id", "if(item_id = 2, 1600000000, 1600000000000) as timestamp")
    with pytest.raises(rk.DataError, match="1 in seconds, 1 in milliseconds"):
        rks.prepare(mixed, out)
    digits = frame.selectExpr("user_id", "item_id", "20240131 as timestamp")
    with pytest.raises(rk.DataError, match="look like dates"):
        rks.prepare(digits, out)
    texts = frame.selectExpr("user_id", "item_id", "'2024-01-31' as timestamp")
    with pytest.raises(rk.DataError, match="found string; cast it first"):
        rks.prepare(texts, out)
    with pytest.raises(KeyError, match="column `uid` is not among"):
        rks.prepare(frame, out, user="uid")
    assert isinstance(frame.schema["weight"].dataType, t.DoubleType) and list(tmp_path.iterdir()) == []
