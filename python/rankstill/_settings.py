"""What all classes of settings are: frozen, with keywords only, checked when they are made."""

from __future__ import annotations

from . import _rankstill

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, ClassVar, Literal, Self

    from ._rankstill import Dataset, Model, Teacher

    Progress = bool | Callable[[float, str], object]


class _Default:
    """A default as it is shown in a signature; what the registry has is used."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


def default(value: Any) -> Any:
    """Marks a keyword that was not given, so that presets and recipes keep their own defaults."""
    return _Default(value)


def to_json(value: object) -> str:
    """JSON of settings in dictionaries and lists."""
    import json

    return json.dumps(value, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Settings):
        return value.to_dict()
    if hasattr(value, "tolist"):  # a number or an array of NumPy
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no setting: expected a number, text, a list, a dict or a class of settings")


class Settings:
    """Settings of one kind. They are compared and hashed by value; `replace` makes changed ones.

    Example:
        >>> rk.BprMf(dim=16) == rk.BprMf().replace(dim=16)
        True
    """

    __slots__ = ("_given", "_json")
    kind: ClassVar[str]
    _list: ClassVar[str]
    _given: Mapping[str, Any]
    _json: str

    def _read(self, given: dict[str, object]) -> None:
        """Checks the keywords of a constructor."""
        named = {key.rstrip("_"): value for key, value in given.items() if key != "self" and type(value) is not _Default}
        object.__setattr__(self, "_given", named)
        object.__setattr__(self, "_json", _rankstill.resolve(self._list, self.kind, to_json(named)))

    def to_dict(self) -> dict[str, Any]:
        """All settings, defaults included, as in an experiment file.

        Example:
            >>> rk.Pop().to_dict()
            {'kind': 'pop'}
        """
        import json

        return {"kind": self.kind, **json.loads(self._json)}

    def replace(self, **changes: object) -> Self:
        """The same settings with changes.

        Example:
            >>> rk.BprMf(dim=16).replace(item_bias=True).item_bias
            True
        """
        given = {key + "_" * _is_keyword(key): value for key, value in self._given.items()}
        return type(self)(**(given | changes))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            settings = self.to_dict()
            if name.rstrip("_") in settings:
                return settings[name.rstrip("_")]
            # An experiment file leaves it out where it is the default.
            defaults = type(self).__init__.__kwdefaults__ or {}
            if name in defaults:
                return defaults[name].value
        raise AttributeError(f"{type(self).__name__} has no setting `{name}`")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed; make another one: .replace({name}=...)")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._json == other._json

    def __hash__(self) -> int:
        return hash((self.kind, self._json))

    def __repr__(self) -> str:
        given = ", ".join(f"{key}{'_' * _is_keyword(key)}={value!r}" for key, value in self._given.items())
        return f"{type(self).__name__}({given})"

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (type(self), dict(self._given))


def _restored(kind: type[Settings], given: dict[str, object]) -> Settings:
    return kind(**{key + "_" * _is_keyword(key): value for key, value in given.items()})


def _is_keyword(name: str) -> bool:
    import keyword

    return keyword.iskeyword(name)


class Recipe(Settings):
    """Settings of a model, which can be fitted and, if it learns by gradient, taught."""

    __slots__ = ()
    _list = "models"

    def fit(
        self,
        data: Dataset,
        *,
        seed: int = 1,
        validate: str = "ndcg@10",
        states: int = 0,
        name: str | None = None,
        progress: Progress = False,
    ) -> Model:
        """Fits a model on the training part. The same log, settings and seed give the same bytes, as `rankstill train` does.

        Args:
            data: The data set.
            seed: Of every random draw.
            validate: The metric of early stopping, where there is a validation part.
            states: Record the states of training as lists of so many items, for a student of `HetComp` (which needs 100).
            name: In reports. Default: the kind.
            progress: `True` shows a bar (of `tqdm` where it is installed); or a function of the share that is done and a text.

        Example:
            >>> rk.ItemCf(neighbours=10).fit(data).kind
            'item_cf'
        """
        return _rankstill.fit(
            self.kind,
            self._json,
            data,
            seed=seed,
            validate=validate,
            states=states,
            name=name,
            progress=progress,
        )

    def distil(
        self,
        data: Dataset,
        teachers: Sequence[Model | Teacher] | Model | Teacher | Literal["self"],
        *,
        method: Distiller | Mapping[str, Any] | str | None = None,
        self_teaching: Mapping[str, Any] | None = None,
        seed: int = 1,
        validate: str = "ndcg@10",
        name: str | None = None,
        progress: Progress = False,
    ) -> Model:
        """Fits a model that learns to rank as its teachers do.

        Args:
            data: The data set.
            teachers: Fitted models and `Teacher`s; or "self": the student teaches itself.
            method: How it is taught. Default: as `rankstill distill` teaches, by `rk.Rrd(mode="direct", k=50, lambda_=1.0)`; settings that
                `BprMf` and `Fism` do not name are then those found robust for it (an ALS start, a rate by the dimensions).
            self_teaching: For a student that teaches itself, `{"warm_up": 10, "every": 5, "average": 0.9}`: after so many epochs alone its
                lists are recorded every so many epochs, those of the moving average of its parameters.
            seed: Of every random draw.
            validate: The metric of early stopping, where there is a validation part.
            name: In reports. Default: the kind.
            progress: As for `fit`.

        Example:
            >>> student = rk.BprMf(dim=4, train={"epochs": 2, "batch_size": 4})
            >>> student.distil(data, rk.ItemCf().fit(data), method=rk.RankDistil(k=2)).card["distilled"]["kind"]
            'rank_distil'
        """
        several: list[Any] = list(teachers) if isinstance(teachers, (list, tuple)) else [teachers]
        return _rankstill.distil(
            self.kind,
            to_json(self._given),
            data,
            several,
            method,
            self_teaching=self_teaching,
            seed=seed,
            validate=validate,
            name=name,
            progress=progress,
        )


class Distiller(Settings):
    """Settings of a method of distillation."""

    __slots__ = ()
    _list = "distillers"


class Compressor(Settings):
    """Settings of what makes a fitted model small; `rk.Compressed` fits and compresses."""

    __slots__ = ()
    _list = "compressors"


class Split(Settings):
    """How a log is divided."""

    __slots__ = ()
    _list = "splits"


class DataTable(Settings):
    """A table of settings of a data set."""

    __slots__ = ()
    _list = "tables"


class Metric:
    """A metric with its settings. Its text is its name in experiments, such as `ndcg@10`.

    Example:
        >>> str(rk.metrics.Ndcg(at=10))
        'ndcg@10'
    """

    __slots__ = ("_text",)
    kind: ClassVar[str]
    _text: str

    def _name(self, at: int | None, p: float | None = None) -> None:
        text = self.kind if p is None else f"{self.kind}:{p}"
        text = text if at is None else f"{text}@{at}"
        object.__setattr__(self, "_text", _rankstill.resolve("metrics", text, "{}").strip('"'))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<metric {self._text}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metric) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[object, ...]:
        return _named, (type(self), self._text)


def _named(kind: type[Metric], text: str) -> Metric:
    metric = kind.__new__(kind)
    object.__setattr__(metric, "_text", text)
    return metric
