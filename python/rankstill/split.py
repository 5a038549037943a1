"""How a log is divided into training, validation and test part."""

# Written by scripts/python_classes.py from the registries and their structs; not to be edited.

from __future__ import annotations

from ._settings import Split, default

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Literal

__all__ = ["Chronological", "RandomRatio", "LeaveOneOut", "GlobalTime", "ReadyMade", "All"]


class Chronological(Split):
    """Each user's earliest rows are for training, the next for validation, the latest for test.

    Args:
        train: Share of training rows. Default: 0.7.
        valid: Share of validation rows; the remainder is for test. Default: 0.1.
        drop_unseen_items: Drops validation and test rows of items without training rows.
            Default: False.

    Example:
        >>> rk.split.Chronological(train=0.7).train
        0.7
    """

    __slots__ = ()
    kind = "chronological"
    train: float
    valid: float
    drop_unseen_items: bool

    def __init__(
        self,
        *,
        train: float = default(0.7),
        valid: float = default(0.1),
        drop_unseen_items: bool = default(False),
    ) -> None:
        self._read(locals())


class RandomRatio(Split):
    """Each user's rows are assigned at random, in the given shares.

    Args:
        train: Share of training rows. Default: 0.7.
        valid: Share of validation rows; the remainder is for test. Default: 0.1.
        seed: Seed of the random order. Default: 0.
        drop_unseen_items: Drops validation and test rows of items without training rows.
            Default: False.

    Example:
        >>> rk.split.RandomRatio(train=0.7).train
        0.7
    """

    __slots__ = ()
    kind = "random"
    train: float
    valid: float
    seed: int
    drop_unseen_items: bool

    def __init__(
        self,
        *,
        train: float = default(0.7),
        valid: float = default(0.1),
        seed: int = default(0),
        drop_unseen_items: bool = default(False),
    ) -> None:
        self._read(locals())


class LeaveOneOut(Split):
    """Each user's last (or a random) row is for test, the one before for validation.

    Args:
        which: The test row. Default: "last".
        valid: Whether another row (for `last`, the one before) is for validation. Default:
            True.
        seed: Seed for `random`. Default: 0.
        drop_unseen_items: Drops validation and test rows of items without training rows.
            Default: False.

    Example:
        >>> rk.split.LeaveOneOut(seed=0).seed
        0
    """

    __slots__ = ()
    kind = "leave_one_out"
    which: Literal["last", "random"]
    valid: bool
    seed: int
    drop_unseen_items: bool

    def __init__(
        self,
        *,
        which: Literal["last", "random"] = default("last"),
        valid: bool = default(True),
        seed: int = default(0),
        drop_unseen_items: bool = default(False),
    ) -> None:
        self._read(locals())


class GlobalTime(Split):
    """All rows before one point in time are for training, all rows after another for test.

    Args:
        train: Share of training rows, if no times are given. Default: 0.8.
        valid: Share of validation rows, if no times are given. Default: 0.1.
        valid_from: The first time of validation: a date, a date and time, or Unix seconds.
            Defaults to `test_from` if only that is given: no validation.
        test_from: The first time of test.
        drop_unseen_items: Drops validation and test rows of items without training rows.
            Default: False.

    Example:
        >>> rk.split.GlobalTime(train=0.8).train
        0.8
    """

    __slots__ = ()
    kind = "global_time"
    train: float
    valid: float
    valid_from: str | int | None
    test_from: str | int | None
    drop_unseen_items: bool

    def __init__(
        self,
        *,
        train: float = default(0.8),
        valid: float = default(0.1),
        valid_from: str | int | None = default(None),
        test_from: str | int | None = default(None),
        drop_unseen_items: bool = default(False),
    ) -> None:
        self._read(locals())


class ReadyMade(Split):
    """The log comes as separate training, validation and test files.

    Args:
        valid_from_train: Share of each user's training rows, drawn at random, that is used for
            validation: ceil(share n) of n, but never all. Default: 0.0.
        seed: Seed of the draw. Default: 0.
        drop_unseen_items: Drops validation and test rows of items without training rows.
            Default: False.

    Example:
        >>> rk.split.ReadyMade(valid_from_train=0.0).valid_from_train
        0.0
    """

    __slots__ = ()
    kind = "ready_made"
    valid_from_train: float
    seed: int
    drop_unseen_items: bool

    def __init__(
        self,
        *,
        valid_from_train: float = default(0.0),
        seed: int = default(0),
        drop_unseen_items: bool = default(False),
    ) -> None:
        self._read(locals())


class All(Split):
    """Every row is for training: for a model that goes into service and is not measured.

    Args:
        drop_unseen_items: Drops validation and test rows of items without training rows.
            Default: False.

    Example:
        >>> rk.split.All().kind
        'all'
    """

    __slots__ = ()
    kind = "all"
    drop_unseen_items: bool

    def __init__(
        self,
        *,
        drop_unseen_items: bool = default(False),
    ) -> None:
        self._read(locals())
