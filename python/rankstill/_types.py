"""Types of arguments, for type checkers."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Id: TypeAlias = str | int
Ids: TypeAlias = Sequence[Id] | npt.NDArray[Any] | Any
"""A list, an array or a column of ids."""
Floats: TypeAlias = npt.NDArray[np.float32]
Progress: TypeAlias = bool | Callable[[float, str], object] | None
"""`True` shows a bar; a function is called with the share that is done and a text."""
Path: TypeAlias = str | PathLike[str]


class ArrowStream(Protocol):
    """What polars, pandas, pyarrow and DuckDB hand over."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


Log: TypeAlias = ArrowStream | Mapping[str, Any] | Path | Any
"""A data frame, a table of Arrow, a sparse matrix, a dictionary of columns, or a path."""
