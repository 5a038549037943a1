"""What `rankstill.spark.prepare` leaves to Spark: filters, split and numbers of a log, with the meaning of `rankstill prepare`."""

from __future__ import annotations

import json
import math
import shutil

from . import _rankstill, split, tables
from ._rankstill import ConfigError, DataError

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any, TypeAlias

    from ._settings import Split

    DataFrame: TypeAlias = Any
    """A `pyspark.sql.DataFrame`; PySpark is not needed to check types."""

PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
YEARS = (631_152_000, 4_102_444_800)
"""1990 to 2100: numbers that lie there in a unit are times in that unit."""


def split_of(given: Split | Mapping[str, Any] | str) -> Split:
    settings = {"kind": given} if isinstance(given, str) else dict(given) if not hasattr(given, "to_dict") else given.to_dict()
    kind = settings.pop("kind", None)
    kinds = {found.kind: found for found in (getattr(split, name) for name in split.__all__)}
    if kind not in kinds:
        raise ConfigError(f"split.kind: unknown kind `{kind}`; one of: {', '.join(kinds)}")
    rules: Split = kinds[kind](**settings)
    if kind in ("random", "ready_made") or settings.get("which") == "random":
        raise ConfigError(
            f"split: `{kind}`{' at random' if kind == 'leave_one_out' else ''} is not cut by Spark; "
            "use chronological, global_time, leave_one_out (the last) or all, or `rankstill prepare`"
        )
    return rules


def filter_of(given: tables.Filter | Mapping[str, Any] | None) -> tables.Filter:
    if isinstance(given, tables.Filter):
        return given
    settings = dict(given or {})
    settings.pop("kind", None)
    return tables.Filter(**{"from_" if key == "from" else key: value for key, value in settings.items()})


def optional(log: DataFrame, given: str | None, usual: Sequence[str]) -> str | None:
    """The name of a column that a log may lack."""
    if given is None:
        return next((name for name in usual if name in log.columns), None)
    if given and given not in log.columns:
        raise KeyError(f"column `{given}` is not among {', '.join(log.columns)}")
    return given or None


class Work:
    """Rows on the disk between two steps: executors may come and go, and nothing is computed twice or otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def written(self, frame: DataFrame, name: str) -> DataFrame:
        place = (self.folder / name).as_uri()
        frame.write.parquet(place)
        return frame.sparkSession.read.parquet(place)

    def drop(self, name: str) -> None:
        shutil.rmtree(self.folder / name, ignore_errors=True)


class Cut:
    """A log, its filters and its split, in columns `user`, `item`, `time`, `weight` and `order`, as far as it has them."""

    def __init__(
        self,
        work: Work,
        log: DataFrame,
        user: str,
        item: str,
        time: str | None,
        weight: str | None,
        order: str | None,
        time_unit: str | None,
    ) -> None:
        from pyspark.sql import functions as f

        self.work = work
        columns = [_id(log, user).alias("user"), _id(log, item).alias("item")]
        self.unit = time_unit
        if time is not None:
            ticks, unit = _ticks(log, time)
            self.unit = unit or time_unit
            columns.append(ticks.alias("time"))
        if weight is not None:
            columns.append(log[weight].cast("float").alias("weight"))
        if order is not None:
            columns.append(log[order].alias("order"))
        self.names = {"user": user, "item": item, "time": time, "weight": weight}
        # The order of the file, and that of a user's rows.
        self.file = [name for name in ("order", "user", "time", "item", "weight") if name in _names(columns, log)]
        self.line = ["time", *self.file] if time is not None else self.file
        self.log = work.written(log.select(*columns), "log")
        self.f = f

    def run(self, filter: tables.Filter, rules: Split) -> dict[str, Any]:
        """Filters, cuts, numbers, and writes the parts; returns what was made."""
        f = self.f
        unit = self._check()
        rows, left = self._filtered(filter, unit)
        rows = self._parted(rows, rules, unit)
        users, items = self._numbers(rows, "user"), self._numbers(rows, "item")
        numbered = rows.join(users, "user").join(items, "item")
        columns = [f.col("user_number"), f.col("item_number"), *(f.col(name) for name in ("time", "weight") if name in rows.columns)]
        for number, name in enumerate(("train", "valid", "test")):
            part = numbered.where(f.col("part") == number)
            ordered = part.repartitionByRange("user_number").sortWithinPartitions("user_number", *self.line)
            self.work.written(ordered.select(*columns), name)
        return {
            "times": "time" in rows.columns,
            "time_unit": unit,
            "weights": "weight" in rows.columns,
            "left": left,
        }

    def _check(self) -> str:
        """Refuses rows that cannot be read, finds the unit of the times, and makes them as coarse as all allow."""
        f = self.f
        time, weight = "time" in self.log.columns, "weight" in self.log.columns
        checks = {"rows": f.count(f.lit(1))}
        for name in ("user", "item"):
            value = f.col(name)
            missing = value.isNull()
            if dict(self.log.dtypes)[name] == "string":
                missing = missing | (value == "") | value.contains("\0")
            checks[name] = f.count_if(missing)
        if weight:
            value = f.col("weight")
            checks["weight"] = f.count_if(value.isNull() | f.isnan(value) | (f.abs(value) == math.inf))
        if time:
            value = f.col("time")
            checks |= {"time": f.count_if(value.isNull()), "least": f.min(value), "most": f.max(value)}
            for unit, per_second in PER_SECOND.items():
                checks[unit] = f.count_if((value >= YEARS[0] * per_second) & (value < YEARS[1] * per_second))
            for decimals in (3, 6, 9):
                checks[f"whole {decimals}"] = f.count_if(value % 10**decimals != 0)
        found = self.log.agg(*(value.alias(name) for name, value in checks.items())).first().asDict()
        for name, what in (("user", "id"), ("item", "id"), ("time", "time"), ("weight", "finite number")):
            if found.get(name):
                raise DataError(f"column `{self.names[name]}`: {found[name]} of {found['rows']} rows have no {what}")
        if not time:
            return "seconds"
        unit = self.unit or self._unit(found)
        decimals = round(math.log10(PER_SECOND[unit]))
        coarser = next((by for by in (9, 6, 3) if by <= decimals and found[f"whole {by}"] == 0), 0)
        if coarser:
            self.log = self.log.withColumn("time", f.expr(f"time div {10**coarser}"))
        return {power: name for name, power in PER_SECOND.items()}[10 ** (decimals - coarser)]

    def _unit(self, found: dict[str, Any]) -> str:
        """The unit in which the times lie between 1990 and 2100."""
        units = [unit for unit in PER_SECOND if found[unit]]
        name = self.names["time"]
        if len(units) > 1:
            counts = ", ".join(f"{found[unit]} in {unit}" for unit in units)
            raise DataError(f"column `{name}`: the times must have one unit, found {counts}; bring them to one, or give time_unit=")
        if not units and found["rows"] and 19_900_101 <= found["least"] and found["most"] < 21_000_101:
            raise DataError(f"column `{name}`: the times look like dates, such as 20240131; make them dates, or give time_unit=")
        return units[0] if units else "seconds"

    def _size(self, rows: DataFrame) -> dict[str, int]:
        f = self.f
        sizes: dict[str, int] = (
            rows.agg(f.count(f.lit(1)).alias("rows"), f.count_distinct("user").alias("users"), f.count_distinct("item").alias("items"))
            .first()
            .asDict()
        )
        return sizes

    def _filtered(self, filter: tables.Filter, unit: str) -> tuple[DataFrame, list[tuple[str, dict[str, int]]]]:
        """The rows that filters keep, and how many each left; in the order and with the meaning of `rankstill prepare`."""
        f = self.f
        settings = filter.to_dict()
        rows, left = self.log, [("as_read", self._size(self.log))]

        def note(step: str) -> None:
            left.append((step, self._size(rows)))

        start, end = (settings.get(key) for key in ("from", "to"))
        if start is not None or end is not None:
            if "time" not in rows.columns:
                raise ConfigError(f"filter.{'to' if start is None else 'from'}: the log has no times")
            if start is not None:
                rows = rows.where(f.col("time") >= _rankstill.ticks(json.dumps(start), unit))
            if end is not None:
                rows = rows.where(f.col("time") < _rankstill.ticks(json.dumps(end), unit))
            note("window")
        if settings.get("zero_weights", "drop") == "drop" and "weight" in rows.columns:
            if not rows.where(f.col("weight") == 0).isEmpty():
                rows = rows.where(f.col("weight") != 0)
                note("zero_weights")
        if settings.get("min_rating") is not None:
            if "weight" not in rows.columns:
                raise ConfigError("filter.min_rating: the log has no ratings")
            rows = rows.where(f.col("weight") >= f.lit(settings["min_rating"]).cast("float"))
            note("min_rating")
        if settings["duplicates"] != "all":
            rows = self._written(self._without_duplicates(rows, settings["duplicates"] == "first"), "distinct")
            note("duplicates")
        if settings["min_user_count"] > 1 or settings["min_item_count"] > 1:
            rows = self._written(self._frequent(rows, settings["min_user_count"], settings["min_item_count"]), "frequent")
            note("min_count")
        if settings["user_core"] > 1 or settings["item_core"] > 1:
            rows = self._core(rows, settings["user_core"], settings["item_core"])
            note("core")
        return rows, left

    def _written(self, rows: DataFrame, name: str) -> DataFrame:
        return self.work.written(rows, name)

    def _without_duplicates(self, rows: DataFrame, first: bool) -> DataFrame:
        from pyspark.sql import Window

        f = self.f
        line = [f.col(name).asc() if first else f.col(name).desc() for name in self.line]
        place = f.row_number().over(Window.partitionBy("user", "item").orderBy(*line))
        return rows.withColumn("place", place).where("place = 1").drop("place")

    def _frequent(self, rows: DataFrame, users: int, items: int) -> DataFrame:
        """Rows of users and items with so many rows, both counted on the same ones."""
        kept = rows
        for name, least in (("user", users), ("item", items)):
            if least > 1:
                enough = rows.groupBy(name).count().where(self.f.col("count") >= least).select(name)
                kept = kept.join(enough, name, "left_semi")
        return kept

    def _core(self, rows: DataFrame, users: int, items: int) -> DataFrame:
        """The same, until all have as many: what is left does not depend on the order in which they go."""
        n, turn = rows.count(), 0
        while True:
            turn += 1
            rows = self._written(self._frequent(rows, users, items), f"core-{turn}")
            self.work.drop(f"core-{turn - 1}")
            before, n = n, rows.count()
            if n == before:
                return rows

    def _parted(self, rows: DataFrame, rules: Split, unit: str) -> DataFrame:
        """With the column `part`: 0 to train, 1 to validate, 2 to test."""
        from pyspark.sql import Window

        f = self.f
        settings = rules.to_dict()
        if rules.kind == "all":
            return self._written(rows.withColumn("part", f.lit(0)), "parted")
        if rules.kind == "global_time":
            if "time" not in rows.columns:
                raise ConfigError("split.kind: `global_time` needs times, but the log has none")
            bounds = self._moments(rows, settings, unit)
            time = f.col("time")
            part = f.when(time < bounds[0], 0).when(time < bounds[1], 1).otherwise(2)
            return self._written(rows.withColumn("part", part), "parted")
        own = Window.partitionBy("user")
        place = f.row_number().over(own.orderBy(*self.line)) - 1
        rows = rows.withColumn("place", place).withColumn("n", f.count(f.lit(1)).over(own))
        if rules.kind == "leave_one_out":
            last, n = f.col("n") - 1, f.col("n")
            part = f.when((n >= 2) & (f.col("place") == last), 2)
            if settings["valid"]:
                part = part.when((n > 2) & (f.col("place") == last - 1), 1)
            part = part.otherwise(0)
        else:
            train, valid = settings["train"], settings["train"] + settings["valid"]
            part = f.when(f.col("place") < self._share(train), 0).when(f.col("place") < self._share(valid), 1).otherwise(2)
        return self._written(rows.withColumn("part", part).drop("place", "n"), "parted")

    def _share(self, share: float) -> Any:
        """`_ceil_share` of the column `n`."""
        f = self.f
        product = f.lit(share) * f.col("n").cast("double")
        near = f.floor(product + 0.5).cast("double")
        is_near = f.abs(product - near) <= 1e-9 * f.greatest(near, f.lit(1.0))
        return f.least(f.when(is_near, near).otherwise(f.ceil(product).cast("double")), f.col("n").cast("double"))

    def _moments(self, rows: DataFrame, settings: dict[str, Any], unit: str) -> tuple[int, int]:
        """When validation and test begin."""
        test = settings.get("test_from")
        if test is not None:
            valid = settings.get("valid_from")
            valid = test if valid is None else valid
            return _rankstill.ticks(json.dumps(valid), unit), _rankstill.ticks(json.dumps(test), unit)
        n = rows.count()
        shares = (settings["train"], settings["train"] + settings["valid"])
        return self._time_at(rows, _ceil_share(shares[0], n), n), self._time_at(rows, _ceil_share(shares[1], n), n)

    def _time_at(self, rows: DataFrame, at: int, n: int) -> int:
        """The time of row `at` in order of time, from 0, by narrowing a range that holds it: exact, without sorting the rows."""
        f = self.f
        if at >= n:
            return 2**63 - 1
        least, most = rows.agg(f.min("time"), f.max("time")).first()
        buckets = 1000
        while least < most:
            width = -(-(most - least + 1) // buckets)
            within = rows.where(f.col("time").between(least, most))
            counts = within.groupBy(f.expr(f"(time - {least}L) div {width}L").alias("bucket")).count().collect()
            for row in sorted(counts, key=lambda row: row["bucket"]):
                if at < row["count"]:
                    least += row["bucket"] * width
                    most = min(least + width - 1, most)
                    break
                at -= row["count"]
        return int(least)

    def _numbers(self, rows: DataFrame, name: str) -> DataFrame:
        """Writes the ids that are kept in the order in which they first appear in the log as read; returns each with its number."""
        from pyspark.sql import Window

        f = self.f
        kept = rows.select(name).distinct()
        first = self.log.groupBy(name).agg(f.min(f.struct(*self.file)).alias("first")).join(kept, name, "left_semi")
        # One task: what it sorts are users or items, not rows.
        number = (f.row_number().over(Window.orderBy("first")) - 1).cast("int")
        numbered = self._written(first.select(name, number.alias(f"{name}_number")), f"{name}-numbers")
        ids = numbered.repartition(1).sortWithinPartitions(f"{name}_number").select(f.col(name).alias("id"))
        self._written(ids, f"{name}s")
        return numbered


def field(frame: DataFrame, name: str) -> Any:
    """The type of a column."""
    if name not in frame.columns:
        raise KeyError(f"column `{name}` is not among {', '.join(frame.columns)}")
    return frame.schema[name].dataType


def _names(columns: Sequence[Any], log: DataFrame) -> list[str]:
    names: list[str] = log.select(*columns).columns
    return names


def _id(log: DataFrame, name: str) -> Any:
    """Ids as the readers of files take them: blanks around them are not theirs, and `17.0` is 17."""
    from pyspark.sql import functions as f
    from pyspark.sql import types as t

    kind, column = field(log, name), log[name]
    if isinstance(kind, t.IntegralType):
        return column.cast("long")
    if isinstance(kind, t.StringType):
        plain = f.regexp_replace(column, r"^\p{IsWhite_Space}+|\p{IsWhite_Space}+$", "")
        return f.regexp_replace(plain, r"^(0|-?[1-9][0-9]*)\.0$", "$1")
    if isinstance(kind, (t.FloatType, t.DoubleType)):
        number = column.cast("double")
        return f.when((number == f.floor(number)) & (f.abs(number) <= 2**53), number.cast("long"))
    raise DataError(f"column `{name}`: expected ids as strings or integers, found {kind.simpleString()}")


def _ticks(log: DataFrame, name: str) -> tuple[Any, str | None]:
    """Times as whole numbers, and their unit if the column has one."""
    from pyspark.sql import functions as f
    from pyspark.sql import types as t

    kind, column = field(log, name), log[name]
    if isinstance(kind, t.TimestampType):
        return f.unix_micros(column), "microseconds"
    if isinstance(kind, t.DateType):
        return f.unix_date(column).cast("long") * 86_400, "seconds"
    if isinstance(kind, t.IntegralType):
        return column.cast("long"), None
    raise DataError(f"column `{name}`: expected timestamps, dates or whole numbers, found {kind.simpleString()}; cast it first")


def _ceil_share(share: float, n: int) -> int:
    """`ceil(share * n)`, where a product that differs from a whole number only by rounding is that number."""
    product = share * n
    near = math.floor(product + 0.5)
    whole = near if abs(product - near) <= 1e-9 * max(near, 1) else math.ceil(product)
    return min(whole, n)
