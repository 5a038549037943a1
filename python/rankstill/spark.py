"""Spark for what outgrows one machine: lists of all users, a teacher's lists in parts, and logs that are cut before they fit.

PySpark 4 and pyarrow are needed, here and on the executors, and so is this package. Folders must be seen by the driver and by every
executor under the same path. What to set is in `docs/distributed.md`.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path

from . import _rankstill
from ._rankstill import ConfigError, DataError, Model, Teacher, load
from ._spark_cut import Cut, Work, field, filter_of, optional, split_of

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Literal, TypeAlias

    from . import tables
    from ._settings import Split

    DataFrame: TypeAlias = Any
    """A `pyspark.sql.DataFrame`; PySpark is not needed to check types."""

__all__ = ["prepare", "recommend", "record_teacher"]


def recommend(
    users: DataFrame,
    artefact: str | os.PathLike[str],
    k: int = 10,
    *,
    user: str = "user_id",
    history: str | None = None,
    seen: bool = False,
    unknown: Literal["error", "skip"] = "error",
) -> DataFrame:
    """The best `k` items of each user: the rows of `rankstill recommend`, in no order.

    Each process of the executors reads the artefact once, mapped, and has as many threads as its task has cores.

    Args:
        users: A DataFrame with a row for each user, and nobody twice.
        artefact: The folder of a fitted model. It must not be changed while the job runs.
        k: Items of a list.
        user: The column of ids, integers or strings.
        history: A column with a list of items, oldest first: then lists are by these alone, and ids may be anybody's.
        seen: Also recommend items of the history.
        unknown: Whether a user whom the artefact does not know ends the job or gets no list.

    Returns:
        A DataFrame with the column of users as it is called, `item_id`, `rank` and `score`.

    Example:
        >>> rankstill.spark.recommend(users, "artefact", k=100).write.parquet("lists")  # doctest: +SKIP
    """
    _needs_pyspark()
    from pyspark.sql import types as t

    if unknown not in ("error", "skip"):
        raise ConfigError(f"unknown: expected `error` or `skip`, found `{unknown}`")
    place = str(Path(artefact).absolute())
    digest = _digest(place)
    items = load(place, mapped=True).recommend(k=1, history=[[]]).to_numpy()["item_id"]
    given = field(users, user)
    if isinstance(given, t.StringType):
        ids: Any = t.StringType()
    elif isinstance(given, t.IntegralType):
        ids = t.LongType()
    else:
        raise TypeError(f"column `{user}`: expected ids as strings or integers, found {given.simpleString()}")
    schema = t.StructType(
        [
            t.StructField(user, ids),
            t.StructField("item_id", t.StringType() if items.dtype.kind == "O" else t.LongType()),
            t.StructField("rank", t.IntegerType()),
            t.StructField("score", t.FloatType()),
        ]
    )
    columns = [users[user].cast(ids)]
    if history is not None:
        if not isinstance(field(users, history), t.ArrayType):
            raise TypeError(f"column `{history}`: expected lists of items, found {field(users, history).simpleString()}")
        columns.append(users[history])

    def lists(batches: Iterator[Any]) -> Iterator[Any]:
        return _lists(batches, place, digest, history is not None, k, seen, unknown == "skip")

    return users.select(*columns).mapInArrow(lists, schema)


def _lists(batches: Iterator[Any], place: str, digest: str, histories: bool, k: int, seen: bool, skip: bool) -> Iterator[Any]:
    """The lists of batches of users, in a process of an executor."""
    import pyarrow as pa

    model = _model(place, digest)
    for batch in batches:
        users = batch.column(0)
        if histories:
            ranked = pa.table(model.recommend(history=batch.column(1).to_pylist(), k=k, seen=seen))
            users = users.take(ranked.column(0).combine_chunks())
        else:
            ids = users.to_pylist()
            if skip:
                known = model.knows(ids)
                ids = [one for one, is_known in zip(ids, known, strict=True) if is_known]
            ranked = pa.table(model.recommend(ids, k=k, seen=seen))
            users = ranked.column(0).combine_chunks().cast(users.type)
        item, rank, score = (ranked.column(at).combine_chunks() for at in (1, 2, 3))
        if pa.types.is_large_string(item.type):
            item = item.cast(pa.string())
        columns = [users, item, rank.cast(pa.int32()), score]
        yield pa.RecordBatch.from_arrays(columns, names=[batch.schema.names[0], "item_id", "rank", "score"])


_models: dict[str, tuple[str, Model]] = {}
"""By path: what this process has read, and of which artefact there."""


def _model(place: str, digest: str) -> Model:
    """The artefact, read once in each process."""
    kept = _models.get(place)
    if kept is None or kept[0] != digest:
        if _digest(place) != digest:
            raise DataError(f"{place}: is another artefact here than where the job was begun")
        _use_cores_of_task()
        kept = _models[place] = (digest, load(place, mapped=True))
    return kept[1]


def _digest(place: str) -> str:
    """Of an artefact's manifest, which holds those of its files."""
    import hashlib

    return hashlib.sha256((Path(place) / "manifest.json").read_bytes()).hexdigest()


def _use_cores_of_task() -> None:
    """As many threads as Spark reckons with; they are made when they are first needed."""
    from pyspark import TaskContext

    task = TaskContext.get()
    if task is not None:
        os.environ.setdefault("RAYON_NUM_THREADS", str(task.cpus()))


def record_teacher(
    spark: Any,
    teacher: Model | str | os.PathLike[str] | Callable[[], Model | Teacher],
    data: str | os.PathLike[str],
    k: int,
    out: str | os.PathLike[str],
    *,
    shards: int,
    seen: bool = False,
) -> list[Path]:
    """Records the lists of a teacher about every user of prepared data, a part in each task; `rk.Teacher.from_recorded` reads them back.

    A part that is there is kept, so the same call goes on after a failure.

    Args:
        spark: The session.
        teacher: A fitted model, the folder of one, or a function that makes a teacher, which each task calls once: functions and networks
            are made where they work.
        data: A prepared folder; each process reads it once.
        k: Items of a list.
        out: The folder of the lists.
        shards: The number of parts.
        seen: Also list items of the training part.

    Returns:
        The paths of the parts.

    Example:
        >>> rankstill.spark.record_teacher(spark, make_teacher, "data", k=100, out="said", shards=64)  # doctest: +SKIP
        >>> teacher = rk.Teacher.from_recorded("said")  # doctest: +SKIP
    """
    _needs_pyspark()
    if isinstance(teacher, (str, os.PathLike)):
        folder = str(Path(teacher).absolute())
        digest = _digest(folder)

        def make() -> Model | Teacher:
            return _model(folder, digest)

    elif isinstance(teacher, Model):

        def make() -> Model | Teacher:
            return teacher

    elif callable(teacher):
        make = teacher
    else:
        found = type(teacher).__name__
        raise TypeError(f"teacher: expected a Model, the folder of one, or a function that makes a teacher, found {found}")
    prepared, said = str(Path(data).absolute()), str(Path(out).absolute())

    def record(batches: Iterator[Any]) -> Iterator[Any]:
        return _recorded(batches, make, prepared, k, said, shards, seen)

    numbers = spark.range(1, shards + 1, 1, numPartitions=shards)
    paths = numbers.mapInArrow(record, "id long, path string").collect()
    return [Path(row["path"]) for row in sorted(paths, key=lambda row: row["id"])]


_data: dict[str, tuple[str, _rankstill.Dataset]] = {}


def _recorded(
    batches: Iterator[Any], make: Callable[[], Model | Teacher], place: str, k: int, out: str, shards: int, seen: bool
) -> Iterator[Any]:
    import pyarrow as pa

    _use_cores_of_task()
    kept = _data.get(place)
    if kept is None or kept[0] != _digest(place):
        kept = _data[place] = (_digest(place), _rankstill.Dataset(place))
    teacher = make()
    for batch in batches:
        numbers = batch.column(0).to_pylist()
        paths = [str(teacher.record(kept[1], k, out, shard=(number, shards), seen=seen)) for number in numbers]
        yield pa.RecordBatch.from_arrays([batch.column(0), pa.array(paths, pa.string())], names=["id", "path"])


def prepare(
    log: DataFrame,
    out: str | os.PathLike[str],
    *,
    user: str = "user_id",
    item: str = "item_id",
    time: str | None = None,
    weight: str | None = None,
    order: str | None = None,
    time_unit: Literal["seconds", "milliseconds", "microseconds", "nanoseconds"] | None = None,
    filter: tables.Filter | Mapping[str, Any] | None = None,
    split: Split | Mapping[str, Any] | str = "chronological",
    mask: tables.Mask | Mapping[str, Any] | None = None,
    history: tables.History | Mapping[str, Any] | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """Filters, cuts and numbers a log and writes the prepared folder that `rankstill prepare` makes of it, byte for byte but for the
    names of the files that were read.

    Spark does what needs all rows; this process then reads what is left, as training does, and writes the folder. A DataFrame has no order
    of rows. Without `order` it is by user, time, item and weight; so `rankstill prepare` gives the same folder for the log in that order.

    Args:
        log: A DataFrame with a row for each interaction.
        out: The folder. Beside it, one whose name begins with a dot holds what the work needs, a few times the log.
        user: The column of users, integers or strings.
        item: The column of items.
        time: The column of times: timestamps, dates or whole numbers. Default: `timestamp` if there is one; `""` for none.
        weight: The column of weights or ratings. Default: `weight` or `rating` if there is one; `""` for none.
        order: A column by which rows are in the order of a file. Without times it is needed.
        time_unit: The unit of times that are numbers. Default: the one in which they lie between 1990 and 2100.
        filter: As for `rk.Dataset`.
        split: `chronological`, `global_time`, `leave_one_out` (the last) or `all`. Those that draw at random draw row by row in the order
            of one machine; they are refused, and so are ready-made parts.
        mask: As for `rk.Dataset`.
        history: As for `rk.Dataset`.
        replace: Replace a prepared folder.

    Returns:
        The manifest.

    Example:
        >>> rankstill.spark.prepare(spark.read.parquet("log"), "data", filter=rk.Filter(user_core=5, item_core=5))  # doctest: +SKIP
    """
    _needs_pyspark()
    rules, kept = split_of(split), filter_of(filter)
    place = Path(out).absolute()
    if place.exists() and not (replace and (place / "manifest.json").is_file()):
        raise ConfigError(
            f"{place}: exists{' and is not a prepared data set' if replace else '; allow replacing it'}, or choose another folder"
        )
    if order is not None and order not in log.columns:
        raise KeyError(f"column `{order}` is not among {', '.join(log.columns)}")
    columns = {
        "time": optional(log, time, ["timestamp"]),
        "weight": optional(log, weight, ["weight", "rating"]),
    }
    if columns["time"] is None and order is None:
        raise ConfigError("order: a DataFrame has no order of rows; name a column of times, or one by which they are in order")
    place.parent.mkdir(parents=True, exist_ok=True)
    work = Work(place.with_name(f".{place.name}.{uuid.uuid4().hex[:16]}.spark"))
    try:
        cut = Cut(work, log, user, item, columns["time"], columns["weight"], order, time_unit)
        made = cut.run(kept, rules)
        manifest = _rankstill.made_elsewhere(
            str(work.folder),
            str(place),
            json.dumps(made),
            filter=kept,
            split=rules,
            mask=mask,
            history=history,
            replace=replace,
        )
    finally:
        shutil.rmtree(work.folder, ignore_errors=True)
    parsed: dict[str, Any] = json.loads(manifest)
    return parsed


def _needs_pyspark() -> None:
    try:
        import pyarrow  # noqa: F401
        import pyspark.sql  # noqa: F401
    except ImportError as error:
        raise ImportError(f"rankstill.spark needs PySpark 4 and pyarrow: pip install pyspark pyarrow ({error})") from error
