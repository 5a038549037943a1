"""Distils recommenders: a small, fast student that ranks as its large teachers do.

Example:
    >>> als = rk.ImplicitAls(dim=4).fit(data)
    >>> student = rk.BprMf(dim=2, train={"epochs": 2, "batch_size": 4})
    >>> small = student.distil(data, [als], method=rk.RankDistil(k=2), seed=1)
    >>> rk.evaluate({"student": small, "ALS": als}, data, metrics=["ndcg@10"]).models
    ['student', 'ALS']
"""

from . import compressors, distillers, metrics, models, split, tables
from ._experiment import compress, run
from ._rankstill import (
    Batch,
    ConfigError,
    DataError,
    Dataset,
    Model,
    Rankings,
    RankstillError,
    Report,
    Run,
    Server,
    Table,
    Teacher,
    __version__,
    evaluate,
    load,
    recommend,
    serve,
    simulate,
)
from ._settings import Compressor, Distiller, Metric, Recipe, Split
from .distillers import *  # noqa: F403
from .models import *  # noqa: F403
from .tables import *  # noqa: F403

__all__ = [
    "Batch",
    "Compressor",
    "ConfigError",
    "DataError",
    "Dataset",
    "Distiller",
    "Metric",
    "Model",
    "Rankings",
    "RankstillError",
    "Recipe",
    "Report",
    "Run",
    "Server",
    "Split",
    "Table",
    "Teacher",
    "__version__",
    "compress",
    "compressors",
    "evaluate",
    "load",
    "metrics",
    "recommend",
    "run",
    "serve",
    "simulate",
    "split",
    *distillers.__all__,
    *models.__all__,
    *tables.__all__,
]
