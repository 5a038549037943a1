"""What Spark, Ray, Slurm and Kubernetes stand on: lists in parts, and teachers that are recorded in parts."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import rankstill as rk
from conftest import blocks
from rankstill._rankstill import made_elsewhere, ticks


@pytest.fixture(scope="module")
def artefact(als, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "als"
    als.save(folder)
    return folder


def cli(*args):
    done = subprocess.run([sys.executable, "-m", "rankstill", *map(str, args)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("ending", ["parquet", "tsv", "csv", "jsonl"])
def test_lists_are_the_files_of_the_command_line(artefact, tmp_path, ending):
    ours, theirs = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    assert rk.recommend(artefact, ours, k=5, mapped=True) == [ours]
    assert cli("recommend", artefact, "--all", "--k", 5, "--out", theirs)[0] == 0
    assert ours.read_bytes() == theirs.read_bytes()


def test_parts_are_the_whole_and_are_kept(artefact, als, tmp_path):
    out = tmp_path / "lists.parquet"
    paths = [rk.recommend(artefact, out, k=5, shard=(i, 7))[0] for i in (3, 1, 7)]
    assert paths[0].name == "lists-00003-of-00007.parquet"
    stamps = [path.stat().st_mtime_ns for path in paths]
    paths = rk.recommend(artefact, out, k=5, shards=7)
    assert [path.stat().st_mtime_ns for path in (paths[2], paths[0], paths[6])] == stamps
    together = pl.concat([pl.read_parquet(path) for path in paths])
    assert together.equals(als.recommend(k=5).to_polars())
    assert cli("recommend", artefact, "--all", "--k", 5, "--out", out, "--shard", "2/7")[0] == 0, "those of the command line fit"
    with pytest.raises(rk.RankstillError, match="another model, other users or other options"):
        rk.recommend(artefact, out, k=6, shard=(1, 7))
    with pytest.raises(rk.RankstillError, match="another model, other users or other options"):
        rk.recommend(artefact, out, users=[100], k=5, shard=(1, 7))


def test_some_users_in_the_order_given(artefact, als, tmp_path):
    users = [107, 100, 159]
    (path,) = rk.recommend(artefact, tmp_path / "some.parquet", users=users, k=3, seen=True)
    assert pl.read_parquet(path).equals(als.recommend(users, k=3, seen=True).to_polars())
    with pytest.raises(KeyError, match="user `3` is not among the 60 known ones"):
        rk.recommend(artefact, tmp_path / "none.parquet", users=[100, 3])
    assert als.knows([3, 100, "100", "x"]) == [False, True, True, False]


def test_histories_of_anybody(artefact, als, tmp_path):
    log = {"user": ["new", "other", "new", "new"], "item": [1004, 1001, 1000, 5], "time": [3, 1, 2, 9]}
    (path,) = rk.recommend(artefact, tmp_path / "h.parquet", histories=log, k=4)
    found = pl.read_parquet(path)
    expected = als.recommend(history=[[1000, 1004], [1001]], k=4).to_polars()
    assert found["user_id"].to_list() == ["new"] * 4 + ["other"] * 4
    assert found.drop("user_id").equals(expected.drop("query"))
    pl.DataFrame(log).write_parquet(tmp_path / "log.parquet")
    code, said = cli("recommend", artefact, "--histories", tmp_path / "log.parquet", "--k", 4, "--out", tmp_path / "c.parquet")
    assert code == 0 and "1 rows are on items" in said, said
    assert (tmp_path / "c.parquet").read_bytes() == path.read_bytes()
    parts = [rk.recommend(artefact, tmp_path / "p.parquet", histories=log, k=4, shard=(i, 2))[0] for i in (1, 2)]
    assert pl.concat([pl.read_parquet(part) for part in parts]).equals(found)


def test_what_contradicts_itself_is_refused(artefact, tmp_path):
    out = tmp_path / "x.parquet"
    for settings, problem in [
        ({"shard": (0, 3)}, "shard: part 0 of 3"),
        ({"shard": (4, 3)}, "shard: part 4 of 3"),
        ({"shards": 0}, "shards: part 1 of 0"),
        ({"shard": (1, 2), "shards": 2}, "shard, shards"),
        ({"users": [100], "histories": {"user": [1], "item": [1000]}}, "users, histories"),
    ]:
        with pytest.raises(rk.ConfigError, match=problem):
            rk.recommend(artefact, out, **settings)
    with pytest.raises(FileNotFoundError):
        rk.recommend(tmp_path / "nothing", out)
    assert list(tmp_path.iterdir()) == []


def net(als, asked=None):
    users, items = als.user_vectors(), als.item_vectors()

    def scores(batch):
        if asked is not None:
            asked.extend(batch.numbers)
        return users[batch.numbers] @ items.T

    return rk.Teacher.from_scores(scores, name="net")


def test_a_recorded_teacher_teaches_as_it_does_itself(als, data, small, tmp_path):
    asked = []
    teacher = net(als, asked)
    paths = [teacher.record(data, 20, tmp_path / "said", shard=(i, 4)) for i in (2, 4, 1, 3)]
    assert paths[0] == tmp_path / "said" / "said-00002-of-00004.lists" and sorted(asked) == list(range(60))
    assert teacher.record(data, 20, tmp_path / "said", shard=(1, 4)) == paths[2] and len(asked) == 60, "asked once"
    recorded = rk.Teacher.from_recorded(tmp_path / "said")
    assert recorded.name == "net" and repr(rk.Teacher.from_recorded(tmp_path / "said", name="n")) == "Teacher('n')"
    method = rk.RankDistil(k=10, lambda_=2.0, weighting="position")
    vectors = [small.distil(data, one, method=method, seed=1).item_vectors() for one in (teacher, recorded)]
    assert np.array_equal(*vectors)
    both = rk.Teacher.ensemble([recorded, als], fusion={"kind": "borda"})
    assert small.distil(data, both, method=method).n_parameters == 4 * (60 + 40)
    report = rk.evaluate({"net": net(als), "recorded": recorded}, data, ["ndcg@10"])
    assert report.value("net", "ndcg@10") == report.value("recorded", "ndcg@10")


def test_parts_join_by_concatenation(als, data, tmp_path):
    whole = als.record(data, 7, tmp_path / "whole")
    parts = [als.record(data, 7, tmp_path / "parts", shard=(i, 3)).read_bytes() for i in (1, 2, 3)]
    header, row = 32, 4 * 2 * 7 + 8
    assert whole.read_bytes()[header:] == b"".join(part[header:] for part in parts)
    assert whole.stat().st_size == header + 60 * row


def test_seen_items_are_recorded_where_they_are_asked_for(als, data, tmp_path):
    als.record(data, 40, tmp_path / "all", seen=True)
    als.record(data, 40, tmp_path / "new")
    path = "said-00001-of-00001.lists"
    rows = [np.frombuffer((tmp_path / name / path).read_bytes()[32:], np.uint32).reshape(60, -1)[:, :40] for name in ("all", "new")]
    listed = [(ids != 2**32 - 1).sum() for ids in rows]
    assert listed == [60 * 40, 60 * 40 - len(data.table("train").to_numpy()["user_id"])]
    with pytest.raises(rk.RankstillError, match="another model"):
        als.record(data, 40, tmp_path / "new", seen=True)


def test_missing_doubled_and_foreign_parts_are_named(als, data, small, tmp_path):
    said = tmp_path / "said"
    with pytest.raises(FileNotFoundError, match="said.lists.parts.json"):
        rk.Teacher.from_recorded(said)
    third = als.record(data, 5, said, shard=(3, 5))

    def problem():
        with pytest.raises(rk.DataError) as caught:
            small.distil(data, rk.Teacher.from_recorded(said))
        return str(caught.value)

    assert "of 5 parts these are missing: 1, 2, 4, 5" in problem()
    for i in (1, 2, 5):
        als.record(data, 5, said, shard=(i, 5))
    fourth = said / "said-00004-of-00005.lists"
    fourth.write_bytes(third.read_bytes())
    assert "another part under this name" in problem() and fourth.name in problem()
    fourth.unlink()
    als.record(data, 5, said, shard=(4, 5))
    small.distil(data, rk.Teacher.from_recorded(said))
    (said / "said-00004-of-00006.lists").write_bytes(fourth.read_bytes())
    assert "users may be there twice" in problem()
    (said / "said-00004-of-00006.lists").unlink()
    other = rk.Dataset(blocks(seed=7))
    with pytest.raises(rk.DataError, match="recorded for other data"):
        small.distil(other, rk.Teacher.from_recorded(said))
    for settings, wrong in [({"k": 5, "shard": (9, 5)}, "shard"), ({"k": 0}, "k")]:
        with pytest.raises(rk.ConfigError, match=wrong):
            als.record(data, out=said, **settings)


def test_exceptions_of_a_teachers_function_keep_their_type_and_leave_no_part(data, tmp_path):
    class Broken(Exception):
        pass

    def broken(batch):
        raise Broken("no network")

    with pytest.raises(Broken):
        rk.Teacher.from_scores(broken).record(data, 5, tmp_path / "said")
    assert [path.name for path in (tmp_path / "said").iterdir()] == ["said.lists.parts.json"]


def test_what_another_program_has_cut_becomes_the_same_folder(log, tmp_path):
    pl.DataFrame(log).write_parquet(tmp_path / "log.parquet")
    settings = ["--set", "filter.user_core=3", "--set", "split.kind=leave_one_out"]
    assert cli("prepare", tmp_path / "log.parquet", "--out", tmp_path / "here", *settings)[0] == 0
    manifest = json.loads((tmp_path / "here" / "manifest.json").read_text())
    for name in ("train", "valid", "test", "users", "items"):
        (tmp_path / "parts" / name).mkdir(parents=True)
        rows = pl.read_parquet(tmp_path / "here" / f"{name}.parquet")
        rows = rows.with_columns(pl.col(pl.UInt32).cast(pl.Int32))  # Spark has no unsigned ones
        for part, some in enumerate((rows[: len(rows) // 3], rows[len(rows) // 3 :])):
            some.write_parquet(tmp_path / "parts" / name / f"part-0000{part}.snappy.parquet")
        (tmp_path / "parts" / name / "_SUCCESS").touch()
    steps = [step["left"] for step in manifest["filtered"]["steps"]]
    left = list(zip(("as_read", "duplicates", "core"), steps, strict=True))
    made = {"times": True, "time_unit": manifest["time_unit"], "weights": False, "left": left}

    def joined(**changes):
        given = {"filter": rk.Filter(user_core=3), "split": rk.split.LeaveOneOut(), "mask": None, "history": None, "replace": True}
        return json.loads(made_elsewhere(tmp_path / "parts", tmp_path / "there", json.dumps({**made, **changes}), **given))

    found = joined()
    assert manifest.pop("sources") and found.pop("sources") == [] and found == manifest
    for name in found["files"]:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    assert len(found["filtered"]["steps"]) == 3 and found["counts"]["test"] == 60
    with pytest.raises(KeyError, match="column `weight`"):
        joined(weights=True)
    (tmp_path / "parts" / "train" / "part-00002.parquet").write_bytes((tmp_path / "here" / "train.parquet").read_bytes())
    with pytest.raises(rk.DataError, match="part-00002.parquet: expected the columns of the file before|not ordered by user"):
        joined()
    assert ticks('"2020-10-18"', "seconds") == 1_602_979_200 and ticks('"2020-10-18T00:00:00.0005"', "milliseconds") == 1_602_979_200_001


def test_without_pyspark_the_error_says_what_to_install(artefact):
    program = f"""
import sys
sys.modules["pyspark"] = None
import rankstill.spark
try:
    rankstill.spark.recommend(None, {str(artefact)!r})
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "rankstill.spark needs PySpark 4 and pyarrow: pip install pyspark pyarrow" in done.stdout, done.stderr
