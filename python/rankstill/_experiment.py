"""`run` and `compress`, with Python's types."""

from __future__ import annotations

import os

from . import _rankstill

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, Literal

    from ._rankstill import Model, Run, Teacher
    from ._settings import Split
    from .tables import Filter


def run(
    experiment: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    set: Mapping[str, Any] | None = None,
    progress: bool | Callable[[float, str], object] = False,
) -> Run:
    """Runs an experiment file, or resumes it, as `rankstill run` does.

    Args:
        experiment: The file.
        out: The folder of the run.
        set: Changed settings, such as `{"seeds": [1, 2], "data.path": "my.csv"}`; tables within tables are keys too.
        progress: `True` prints what the run says; or a function of a share and a line.

    Example:
        >>> rk.run("experiments/quickstart.toml", out="runs/mine", set={"seeds": [1, 2]})  # doctest: +SKIP
    """
    from ._progress import messages

    return _rankstill.run(os.fspath(experiment), os.fspath(out), list(_lines(set or {})), messages(progress))


def _lines(settings: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """`key=value`, the value as TOML."""
    from ._settings import Settings, to_json

    for key, value in settings.items():
        # A key of a table within is one name, whatever it holds; those of the outermost are paths.
        if above and not key.replace("_", "").replace("-", "").isalnum():
            key = to_json(key)
        if isinstance(value, Settings):
            value = value.to_dict()
        if isinstance(value, dict):
            yield from _lines(value, f"{above}{key}.")
        else:
            # TOML writes numbers, texts, truth values and lists of these as JSON does.
            yield f"{above}{key}={to_json(os.fspath(value) if isinstance(value, os.PathLike) else value)}"


def compress(
    log: Any,
    *,
    out: str | os.PathLike[str] | None = None,
    teachers: Sequence[Model | Teacher | str] | Mapping[str, Model | Teacher | str] = (),
    keep: float | str | None = None,
    max_bytes: str | int | None = None,
    max_latency: str | None = None,
    effort: Literal["quick", "normal", "thorough"] = "normal",
    portfolio: bool = True,
    seed: int | Sequence[int] = 1,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    split: Split | None = None,
    filter: Filter | None = None,
    progress: bool | Callable[[float, str], object] = False,
) -> Run:
    """Finds the best small ranker for a log, as `rankstill compress` does: teachers are tried, an ensemble is chosen, students of several
    sizes are taught, and one is recommended within the budget.

    Args:
        log: As for `Dataset`.
        out: The folder of the run; an unfinished one is resumed. Default: a new temporary folder. What is in memory is written beside it.
        teachers: Your own, as candidates for the ensemble: models, teachers, or paths of artefacts and files of rankings.
        keep: The share of the ensemble's quality that the student must keep. Default: .97, unless another budget is given.
        max_bytes: The memory that it may take, such as `"5MB"` or `"40B/item"`.
        max_latency: The median time of a request, such as `"200us"`.
        effort: How much is tried.
        portfolio: Whether teachers are fitted here, too.
        seed: Of every draw; several: the final models are fitted once with each.
        user: The column of users, and so on for the other columns.
        item: The column of items.
        time: The column of times.
        weight: The column of weights.
        split: How rows are divided. Default: by time, at random where there are no times.
        filter: Which rows are kept.
        progress: `True` prints what the run says; or a function of a share and a line.

    Example:
        >>> run = rk.compress(log, keep=0.95)  # doctest: +SKIP
        >>> run.best.recommend(["ann"])  # doctest: +SKIP
    """
    from ._progress import messages

    if out is None:
        import tempfile

        out = os.path.join(tempfile.mkdtemp(prefix="rankstill-"), "run")
    named = dict(teachers) if isinstance(teachers, dict) else {_name(one, at): one for at, one in enumerate(teachers)}
    return _rankstill.compress(
        log,
        os.fspath(out),
        named,
        keep=None if keep is None else str(keep),
        max_bytes=None if max_bytes is None else str(max_bytes),
        max_latency=max_latency,
        effort=effort,
        portfolio=portfolio,
        seeds=[seed] if isinstance(seed, int) else list(seed),
        columns=(user, item, time, weight),
        split=split,
        filter=filter,
        progress=messages(progress),
    )


def _name(teacher: Model | Teacher | str, at: int) -> str:
    return f"{getattr(teacher, 'name', 'teacher')}-{at + 1}"
