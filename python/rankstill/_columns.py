"""Columns of what is no table of Arrow: dictionaries, data frames without pyarrow, sparse matrices."""

from __future__ import annotations

from typing import Any

import numpy as np


def of(given: Any) -> list[tuple[str, Any, str | None]]:
    """The columns by name, each as an array of 64 bits or a list of strings, and the unit of its times if its type has one."""
    if hasattr(given, "tocoo"):
        return _of_matrix(given)
    if hasattr(given, "columns") and hasattr(given, "__getitem__"):  # a data frame
        given = {str(name): given[name].to_numpy() for name in given.columns}
    if not isinstance(given, dict):
        raise TypeError(
            f"expected a data frame, a table of Arrow, a sparse matrix, a dict of columns or a path, found {type(given).__name__}"
        )
    return [(name, *_plain(name, column)) for name, column in given.items()]


def _of_matrix(matrix: Any) -> list[tuple[str, Any, str | None]]:
    """Rows are users, columns are items; values that differ are weights."""
    entries = matrix.tocoo()
    columns: list[tuple[str, Any, str | None]] = [
        ("user", entries.row.astype(np.int64), None),
        ("item", entries.col.astype(np.int64), None),
    ]
    if entries.nnz and (entries.data != entries.data[0]).any():
        columns.append(("weight", entries.data.astype(np.float64), None))
    return columns


def _plain(name: str, column: Any) -> tuple[Any, str | None]:
    values = np.asarray(column)
    if values.ndim != 1:
        raise ValueError(f"column `{name}`: expected one dimension, found {values.ndim}")
    match values.dtype.kind:
        case "i" | "b":
            return values.astype(np.int64), None
        case "u" if not values.size or values.max() < 2**63:
            return values.astype(np.int64), None
        case "f":
            return values.astype(np.float64), None
        case "M":
            if np.isnat(values).any():
                raise ValueError(f"column `{name}`: expected a time, found none")
            return values.astype("datetime64[ns]").astype(np.int64), "ns"
        case "O" if values.size and isinstance(values[0], int):
            return values.astype(np.int64), None
        case "O" if any(value is None or value != value for value in values):
            row = next(row for row, value in enumerate(values, 1) if value is None or value != value)
            raise ValueError(f"row {row}: column `{name}`: expected a value, found none")
        case _:
            return [str(value) for value in values], None


def of_topk(items: Any, users: Any, scores: Any) -> dict[str, Any]:
    """A table of rankings from a row of items for each user."""
    items = np.asarray(items)
    users = np.asarray(users)
    if items.ndim != 2 or len(users) != len(items):
        raise ValueError(f"items: expected a row for each of {len(users)} users, found the shape {items.shape}")
    k = items.shape[1]
    table = {
        "user": np.repeat(users, k),
        "item": items.ravel(),
        "rank": np.tile(np.arange(1, k + 1), len(users)),
    }
    if scores is not None:
        table["score"] = np.asarray(scores, np.float64).ravel()
    return table
