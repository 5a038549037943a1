"""Types of the extension module. What classes and functions do is in their docstrings."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from ._settings import Compressor, Distiller, Metric, Split
from ._tables import Fusion
from ._types import Floats, Ids, Log, Path, Progress
from .tables import Filter, History, Mask

__all__ = [
    "Batch",
    "ConfigError",
    "DataError",
    "Dataset",
    "Model",
    "Rankings",
    "RankstillError",
    "Report",
    "Run",
    "Server",
    "Table",
    "Teacher",
    "__version__",
    "compress",
    "distil",
    "evaluate",
    "fit",
    "load",
    "made_elsewhere",
    "main",
    "recommend",
    "resolve",
    "run",
    "serve",
    "simulate",
    "ticks",
]

__version__: str

class ConfigError(ValueError): ...
class DataError(ValueError): ...
class RankstillError(Exception): ...

@final
class Dataset:
    def __new__(
        cls,
        log: Log,
        *,
        user: str | None = None,
        item: str | None = None,
        time: str | None = None,
        weight: str | None = None,
        split: Split | Mapping[str, Any] | str | None = None,
        filter: Filter | Mapping[str, Any] | None = None,
        mask: Mask | Mapping[str, Any] | None = None,
        history: History | Mapping[str, Any] | None = None,
        valid: Log | None = None,
        test: Log | None = None,
        read: Mapping[str, Any] | None = None,
    ) -> Dataset: ...
    @property
    def users(self) -> list[Any]: ...
    @property
    def items(self) -> list[Any]: ...
    @property
    def n_users(self) -> int: ...
    @property
    def n_items(self) -> int: ...
    @property
    def manifest(self) -> dict[str, Any]: ...
    def table(self, part: Literal["train", "valid", "test"] = "train", *, numbers: bool = False) -> Table: ...

@disjoint_base
class Table:
    @property
    def columns(self) -> list[str]: ...
    @property
    def n_rows(self) -> int: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...
    def to_polars(self) -> Any: ...
    def to_pandas(self) -> Any: ...
    def to_numpy(self) -> dict[str, npt.NDArray[Any]]: ...

@final
class Rankings(Table):
    def __len__(self) -> int: ...
    def __getitem__(self, key: int, /) -> list[tuple[Any, float]]: ...

@final
class Model:
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def card(self) -> dict[str, Any]: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def serving_bytes(self) -> int: ...
    def recommend(
        self,
        users: Ids | None = None,
        *,
        k: int = 10,
        history: Sequence[Ids] | None = None,
        seen: bool = False,
        progress: Progress = None,
    ) -> Rankings: ...
    def knows(self, users: Ids) -> list[bool]: ...
    def record(
        self,
        data: Dataset,
        k: int,
        out: Path,
        *,
        shard: tuple[int, int] | None = None,
        seen: bool = False,
        progress: Progress = None,
    ) -> pathlib.Path: ...
    def item_vectors(self) -> Floats: ...
    def user_vectors(self) -> Floats: ...
    def compressed(self, how: Compressor | Mapping[str, Any] | str, *, seed: int = 1, name: str | None = None) -> Model: ...
    def save(self, path: Path, *, name: str | None = None) -> None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

def recommend(
    artefact: Path,
    out: Path,
    *,
    users: Ids | None = None,
    histories: Log | None = None,
    k: int = 10,
    seen: bool = False,
    shard: tuple[int, int] | None = None,
    shards: int | None = None,
    mapped: bool = False,
    progress: Progress = None,
) -> list[pathlib.Path]: ...
def load(path: Path, *, mapped: bool = False, text_users: bool = False, text_items: bool = False) -> Model: ...

@final
class Batch:
    @property
    def users(self) -> list[Any]: ...
    @property
    def numbers(self) -> npt.NDArray[np.int64]: ...
    @property
    def histories(self) -> list[npt.NDArray[np.int64]]: ...
    def __len__(self) -> int: ...

@final
class Teacher:
    @staticmethod
    def from_scores(function: Callable[[Batch], Any], *, name: str = "scores", batch: int = 1024) -> Teacher: ...
    @staticmethod
    def from_vectors(
        *, users: Any, items: Any, user_ids: Ids | None = None, item_ids: Ids | None = None, name: str = "vectors"
    ) -> Teacher: ...
    @staticmethod
    def from_rankings(rankings: Log | list[Log], *, name: str = "rankings") -> Teacher: ...
    @staticmethod
    def from_topk(items: Any, *, users: Ids, scores: Any | None = None, name: str = "lists") -> Teacher: ...
    @staticmethod
    def ensemble(
        members: Sequence[Model | Teacher], *, fusion: Fusion | Mapping[str, Any] | None = None, name: str = "ensemble"
    ) -> Teacher: ...
    @staticmethod
    def from_recorded(folder: Path, *, name: str | None = None) -> Teacher: ...
    def record(
        self,
        data: Dataset,
        k: int,
        out: Path,
        *,
        shard: tuple[int, int] | None = None,
        seen: bool = False,
        progress: Progress = None,
    ) -> pathlib.Path: ...
    @property
    def name(self) -> str: ...

@final
class Report:
    @property
    def models(self) -> list[str]: ...
    @property
    def metrics(self) -> list[str]: ...
    def value(self, model: str, metric: str) -> float: ...
    def compare(self, a: str, b: str) -> Table: ...
    def table(self) -> Table: ...
    def to_json(self) -> str: ...
    def _repr_html_(self) -> str: ...

def evaluate(
    rankers: Mapping[str, Model | Teacher | Table],
    data: Dataset,
    metrics: Sequence[str | Metric],
    *,
    part: Literal["test", "valid"] = "test",
    dialect: Literal["standard", "rd", "hetcomp", "recbole"] = "standard",
    progress: Progress = None,
) -> Report: ...

@final
class Run:
    @property
    def folder(self) -> Any: ...
    @property
    def best(self) -> Model | None: ...
    @property
    def frontier(self) -> list[dict[str, Any]]: ...
    def model(self, name: str, *, seed: int | None = None) -> Model: ...
    def report(self) -> dict[str, Any]: ...
    def html(self) -> str: ...
    def _repr_html_(self) -> str: ...

@final
class Server:
    @property
    def url(self) -> str: ...
    @property
    def port(self) -> int: ...
    def stop(self) -> bool: ...
    def __enter__(self) -> Server: ...
    def __exit__(
        self, kind: type[BaseException] | None = None, value: BaseException | None = None, trace: TracebackType | None = None, /
    ) -> None: ...

def serve(model: Model, *, port: int = 8080, host: str = "127.0.0.1") -> Server: ...

# Called by the Python sources of this package.

def fit(
    kind: str,
    settings: str,
    data: Dataset,
    *,
    seed: int,
    validate: str,
    states: int,
    name: str | None,
    progress: Progress,
) -> Model: ...
def distil(
    kind: str,
    settings: str,
    data: Dataset,
    teachers: Sequence[Model | Teacher | str],
    method: Distiller | Mapping[str, Any] | str | None,
    *,
    self_teaching: Mapping[str, Any] | None,
    seed: int,
    validate: str,
    name: str | None,
    progress: Progress,
) -> Model: ...
def run(experiment: Path, out: Path, overrides: Sequence[str], progress: Progress) -> Run: ...
def compress(
    log: Log,
    out: Path,
    teachers: Mapping[str, Any],
    *,
    keep: str | None,
    max_bytes: str | None,
    max_latency: str | None,
    effort: str,
    portfolio: bool,
    seeds: Sequence[int],
    columns: tuple[str | None, str | None, str | None, str | None],
    split: Any,
    filter: Any,
    progress: Progress,
) -> Run: ...
def simulate(**settings: Any) -> Table: ...
def made_elsewhere(
    parts: Path,
    out: Path,
    made: str,
    *,
    filter: Filter | Mapping[str, Any] | None,
    split: Split | Mapping[str, Any] | str,
    mask: Mask | Mapping[str, Any] | None,
    history: History | Mapping[str, Any] | None,
    replace: bool,
) -> str: ...
def resolve(list: str, kind: str, given: str) -> str: ...
def ticks(moment: str, unit: str) -> int: ...
def main(args: Sequence[str]) -> int: ...
