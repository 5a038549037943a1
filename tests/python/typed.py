"""What a user writes, for `mypy --strict`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rankstill as rk

log: Mapping[str, list[int]] = {"user": [1, 1, 2], "item": [1, 2, 1], "time": [1, 2, 3]}
data = rk.Dataset(log, user="user", split=rk.split.LeaveOneOut(valid=False), filter=rk.Filter(user_core=1))
als: rk.Model = rk.ImplicitAls(dim=4, solver={"kind": "cholesky"}).fit(data, progress=True)


def scored(batch: rk.Batch) -> npt.NDArray[np.float32]:
    return np.zeros((len(batch), data.n_items), np.float32)


teachers: list[rk.Model | rk.Teacher] = [als, rk.Teacher.from_scores(scored)]
student = rk.BprMf(dim=2, train={"epochs": 1, "sampling": "users"}, optimizer={"kind": "adam", "learning_rate": 0.01})
small = student.distil(data, teachers, method=rk.HetComp(k=2, transfer="overall"))
report = rk.evaluate({"small": small}, data, metrics=["ndcg@10", rk.metrics.Recall(at=5)])
value: float = report.value("small", "ndcg@10")
columns: list[str] = small.recommend([1, 2], k=1).columns
files: list[Path] = rk.recommend("artefact", "lists.parquet", k=5, shard=(1, 8), mapped=True)
part: Path = rk.Teacher.from_scores(scored).record(data, k=100, out="said", shard=(1, 8))
recorded: rk.Teacher = rk.Teacher.from_recorded("said", name="net")
known: list[bool] = small.knows([1, "2"])
