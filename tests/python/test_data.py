"""Logs from every kind of table and file give the same data set, in the caller's ids."""

import subprocess
import sys

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import rankstill as rk
from scipy.sparse import csr_matrix


def content(data):
    return data.manifest["content"]


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame,
        pd.DataFrame,
        pa.table,
        lambda log: pl.DataFrame(log).lazy().collect(),
        lambda log: pa.table(log).to_reader(max_chunksize=7),
        lambda log: duckdb.table("frame", connection=duckdb.connect().register("frame", pl.DataFrame(log))),
        lambda log: {name: list(column) for name, column in log.items()},
        lambda log: pl.DataFrame(log).with_columns(pl.from_epoch("timestamp").alias("timestamp")),
        lambda log: pd.DataFrame(log).assign(timestamp=lambda x: pd.to_datetime(x.timestamp, unit="s")),
        lambda log: pl.DataFrame(log).cast({"user_id": pl.Int32, "item_id": pl.UInt64}),
        lambda log: pl.DataFrame(log).cast({"user_id": pl.UInt8, "item_id": pl.Int16, "timestamp": pl.UInt32}),
        lambda log: pl.DataFrame(log).cast({"user_id": pl.Decimal(10, 2), "item_id": pl.UInt16}),
        lambda log: pa.table(log).set_column(0, "user_id", pa.array(log["user_id"]).cast(pa.decimal256(40, 3))),
        lambda log: pa.table(log).set_column(0, "user_id", pa.array(log["user_id"].astype(np.float16))),
        lambda log: pa.table(log).set_column(1, "item_id", pa.array(log["item_id"]).dictionary_encode()),
        lambda log: pa.table(log).set_column(2, "timestamp", pa.array(1000 * log["timestamp"], pa.timestamp("ms", "Europe/Rome"))),
        lambda log: pd.DataFrame(log).astype({"user_id": float}),
    ],
)
def test_the_same_log_in_any_table_is_the_same_data(table, log, data):
    assert content(rk.Dataset(table(log))) == content(data)


def test_a_file_is_read_as_by_the_command_line(tmp_path, log, data):
    frame = pl.DataFrame(log)
    frame.write_parquet(tmp_path / "log.parquet")
    frame.write_csv(tmp_path / "log.csv")
    for name in ("log.parquet", "log.csv"):
        assert content(rk.Dataset(tmp_path / name)) == content(data)
        assert content(rk.Dataset(str(tmp_path / name))) == content(data)


def test_a_prepared_folder_keeps_its_own_settings(tmp_path, log, data):
    pl.DataFrame(log).write_csv(tmp_path / "log.csv")
    prepare = [sys.executable, "-m", "rankstill", "prepare", tmp_path / "log.csv", "--out", tmp_path / "data"]
    subprocess.run(prepare, check=True, capture_output=True)
    assert content(rk.Dataset(tmp_path / "data")) == content(data)
    assert rk.Dataset(tmp_path / "data", mask=rk.Mask(test="train"), history=rk.History(test="train")).n_users == 60
    with pytest.raises(rk.ConfigError, match="is prepared already"):
        rk.Dataset(tmp_path / "data", split="random")


def test_ids_stay_the_callers_own(log):
    frame = pl.DataFrame(log)
    numbers = rk.Dataset(frame)
    texts = rk.Dataset(frame.with_columns(pl.col("user_id").cast(str), pl.col("item_id").cast(str).cast(pl.Categorical)))
    assert numbers.users[:2] == [100, 101] and texts.users[:2] == ["100", "101"]
    assert {type(item) for item in texts.items} == {str}
    for data, kind in [(numbers, int), (texts, str)]:
        lists = rk.Pop().fit(data).recommend(data.users[:2], k=3)
        assert type(lists[0][0][0]) is kind
        assert lists.to_numpy()["user_id"].tolist()[0] == data.users[0]
    # Either is understood.
    model = rk.Pop().fit(texts)
    assert model.recommend([100], k=3)[0] == model.recommend(["100"], k=3)[0]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_text_of_every_type_is_the_same_ids(kind, log):
    frame = pa.table(log).set_column(0, "user_id", pa.array([f"u{user}" for user in log["user_id"]]).cast(kind))
    assert rk.Dataset(frame.slice(5)).users[0] == f"u{log['user_id'][5]}"
    assert rk.Dataset(frame).users == [f"u{user}" for user in sorted(set(log["user_id"]))]


def test_a_dictionary_may_have_entries_that_no_row_has():
    users = pa.DictionaryArray.from_arrays(pa.array([2, 0, 2], pa.int8()), pa.array(["ann", None, "bob"]))
    nobody = pa.DictionaryArray.from_arrays(pa.array([], pa.int8()), pa.array([], pa.string()))
    table = pa.table({"user": pa.chunked_array([nobody, users]), "item": [7, 8, 8]})
    assert rk.Dataset(table, split="all").users == ["bob", "ann"]
    unknown = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["ann", None]))
    with pytest.raises(rk.DataError, match="row 2: column `user`: expected a value, found none"):
        rk.Dataset(pa.table({"user": unknown, "item": [7, 8]}))


def test_integers_of_64_bits_and_truths_are_ids():
    large = pl.DataFrame({"user": [2**64 - 1, 3], "item": [True, False]}, schema={"user": pl.UInt64, "item": pl.Boolean})
    data = rk.Dataset(large, split="all")
    assert (data.users, data.items) == ([str(2**64 - 1), "3"], [1, 0])
    with pytest.raises(rk.DataError, match="column `user`: cannot be read as ids, times or weights: its type is (Large)?List"):
        rk.Dataset(pl.DataFrame({"user": [[1], [2]], "item": [1, 2]}))


def test_words_are_ids_too():
    log = {"who": ["ann", "bob", "ann"], "what": ["tea", "tea", "milk"]}
    data = rk.Dataset(log, user="who", item="what", split=rk.split.All())
    assert (data.users, data.items) == (["ann", "bob"], ["tea", "milk"])
    assert rk.ItemCf().fit(data).recommend(["bob"], k=1)[0][0][0] == "milk"


def test_a_sparse_matrix_is_a_log():
    matrix = csr_matrix(np.array([[1, 0, 1], [0, 1, 1]]))
    data = rk.Dataset(matrix, split="all")
    assert (data.n_users, data.n_items, data.manifest["counts"]["train"]) == (2, 3, 4)
    assert not data.manifest["weights"] and rk.Dataset(2 * matrix + csr_matrix([[1, 0, 0], [0, 0, 0]]), split="all").manifest["weights"]


def test_a_ready_made_split_is_kept(log):
    frame = pl.DataFrame(log)
    train, test = frame.filter(pl.int_range(pl.len()) % 4 > 0), frame.filter(pl.int_range(pl.len()) % 4 == 0)
    data = rk.Dataset(train, test=test)
    counts = data.manifest["counts"]
    assert (counts["train"], counts["test"]) == (len(train), len(test))
    assert data.table("test").n_rows == len(test)


def test_filters_and_splits_are_classes(log):
    data = rk.Dataset(log, filter=rk.Filter(user_core=5), split=rk.split.LeaveOneOut(valid=False), mask=rk.Mask(test="train"))
    settings = data.manifest["settings"]
    assert settings["filter"]["user_core"] == 5 and settings["split"]["kind"] == "leave_one_out"
    assert data.manifest["counts"]["test"] == 60


def test_tables_hold_each_part_in_ids_or_numbers(data):
    train = data.table("train").to_polars()
    numbers = data.table("train", numbers=True).to_numpy()
    assert train.columns == ["user_id", "item_id"] and len(train) == data.manifest["counts"]["train"]
    assert [data.users[user] for user in numbers["user_id"][:20]] == train["user_id"][:20].to_list()


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(KeyError, match="columns are `a`, `b`"):
        rk.Dataset({"a": [1], "b": [2]})
    with pytest.raises(KeyError, match="column `nobody` .user."):
        rk.Dataset({"user": [1], "item": [2]}, user="nobody")
    with pytest.raises(rk.DataError, match="row 2: column `item`: expected a value, found none"):
        rk.Dataset(pl.DataFrame({"user": [1, 2], "item": [2, None]}))
    with pytest.raises(rk.DataError, match="column `item`: expected an id"):
        rk.Dataset(pl.DataFrame({"user": [1, 2], "item": [2.0, 0.5]}))
    with pytest.raises(ValueError, match="row 2: column `item`"):
        rk.Dataset({"user": ["a", "b"], "item": ["c", None]})
    with pytest.raises(TypeError, match="found int"):
        rk.Dataset(7)
    with pytest.raises(FileNotFoundError):
        rk.Dataset(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("user,item,rating\n1,2,three\n")
    with pytest.raises(rk.DataError, match=r"bad.csv:2"):
        rk.Dataset(tmp_path / "bad.csv")
    with pytest.raises(rk.ConfigError, match="split.trian"):
        rk.Dataset({"user": [1], "item": [2]}, split={"kind": "random", "trian": 0.5})
