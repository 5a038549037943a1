"""Evaluation, runs, compression, serving."""

import json
import urllib.request

import numpy as np
import polars as pl
import pytest
import rankstill as rk


@pytest.fixture(scope="module")
def report(als, data):
    lists = als.recommend(k=20)
    return rk.evaluate(
        {"als": als, "pop": rk.Pop().fit(data), "lists": lists}, data, metrics=["ndcg@10", rk.metrics.Recall(at=10), "coverage@10"]
    )


def test_reports_hold_values(report):
    assert report.models == ["als", "pop", "lists"] and report.metrics == ["ndcg@10", "recall@10", "coverage@10"]
    assert report.value("als", "ndcg@10") == pytest.approx(report.value("lists", "ndcg@10"))
    assert report.value("als", "ndcg@10") > report.value("pop", "ndcg@10")
    assert report.table().to_polars().shape == (9, 3)
    assert json.loads(report.to_json())["cases"] == 60


def test_reports_show_themselves(report):
    assert "ndcg@10" in repr(report) and "als" in repr(report)
    page = report._repr_html_()
    assert page.startswith("<table>") and "linear-gradient" in page and "als" in page


def test_models_are_compared_case_by_case(report):
    rows = report.compare("als", "pop").to_polars()
    assert rows["metric"].to_list() == ["ndcg@10", "recall@10"]
    assert (rows["difference"] > 0).all() and (rows["p"] < 0.05).all() and (rows["p_adjusted"] >= rows["p"]).all()


def test_unknown_names_are_key_errors(report, als, data):
    with pytest.raises(KeyError, match="no model `nobody`"):
        report.compare("als", "nobody")
    with pytest.raises(KeyError, match="no metric"):
        report.value("als", "ndcg@11")
    with pytest.raises(rk.ConfigError, match="ndgc"):
        rk.evaluate({"als": als}, data, ["ndgc@10"])
    with pytest.raises(rk.ConfigError, match="part"):
        rk.evaluate({"als": als}, data, ["ndcg@10"], part="train")


def test_values_are_those_worked_out_in_numpy(als, data):
    test = data.table("test").to_polars().group_by("user_id").agg("item_id")
    recall = []
    for user, targets in test.iter_rows():
        valid = set(data.table("valid").to_polars().filter(pl.col("user_id") == user)["item_id"])
        ranked = [item for item, _ in als.recommend([user], k=40)[0] if item not in valid][:5]
        recall.append(len(set(ranked) & set(targets)) / len(targets))
    assert rk.evaluate({"als": als}, data, ["recall@5"]).value("als", "recall@5") == pytest.approx(np.mean(recall))


EXPERIMENT = """
name = "two"
[data]
path = "LOG"
[evaluate]
metrics = ["ndcg@10"]
latency_seconds = 0.0
[models.POP]
kind = "pop"
[models.ALS]
kind = "implicit_als"
dim = 4
"""


def test_a_run_is_that_of_the_command_line(tmp_path, log):
    pl.DataFrame(log).write_parquet(tmp_path / "log.parquet")
    (tmp_path / "two.toml").write_text(EXPERIMENT)
    said = []
    run = rk.run(
        tmp_path / "two.toml",
        out=tmp_path / "run",
        set={"data.path": tmp_path / "log.parquet", "seeds": [1, 2], "models": {"ALS": {"dim": 8}}},
        progress=lambda share, line: said.append(line),
    )
    assert run.report()["seeds"] == [1, 2] and "ALS" in repr(run) and run._repr_html_().startswith("<table>")
    assert run.model("ALS").config["dim"] == 8 and run.model("ALS", seed=2).card["seed"] == 2 and run.best is None
    assert (run.folder / "report.html").is_file() and said
    with pytest.raises(KeyError, match="no fitted model `X`"):
        run.model("X")
    with pytest.raises(rk.ConfigError, match="models.ALS.dimm"):
        rk.run(tmp_path / "two.toml", out=tmp_path / "other", set={"models.ALS.dimm": 8})


def test_compress_takes_what_is_in_memory(tmp_path, log, als, data):
    lists = rk.Teacher.from_scores(lambda batch: als.user_vectors()[batch.numbers] @ als.item_vectors().T, name="net")
    teachers = {"mine": als, "net": lists}
    out, frame = tmp_path / "run", pl.DataFrame(log)
    run = rk.compress(frame, out=out, teachers=teachers, effort="quick", keep=0.5, split="chronological")
    assert run.best is not None and len(run.best.recommend(k=3)[0]) == 3
    names = [model["name"] for model in run.frontier]
    assert any("mine" in name for name in names) and any("net" in name for name in names) and "ndcg@10" in repr(run)
    with pytest.raises(rk.ConfigError, match="keep"):
        rk.compress(pl.DataFrame(log), out=tmp_path / "other", keep=3)


def test_a_server_answers_until_it_is_stopped(als, data):
    with rk.serve(als, port=0) as server:
        user = data.users[0]
        with urllib.request.urlopen(f"{server.url}/v1/users/{user}/recommendations?k=3") as answer:
            items = [item["item"] for item in json.load(answer)["items"]]
    assert [str(item) for item in items] == [str(item) for item, _ in als.recommend([user], k=3)[0]]
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{server.url}/v1/models", timeout=2)
    assert server.stop()
    with pytest.raises(rk.ConfigError, match="host"):
        rk.serve(als, host="nowhere")
