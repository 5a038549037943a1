"""Which rows of a log are kept, and the protocol of evaluation."""

# Written by scripts/python_classes.py from the registries and their structs; not to be edited.

from __future__ import annotations

from ._settings import DataTable, default

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Literal

__all__ = ["Filter", "Mask", "History"]


class Filter(DataTable):
    """Which rows of a log are kept.

    Args:
        from_: Keeps rows at this time or later: a date, a date and time, or Unix seconds.
        to: Keeps rows before this time.
        zero_weights: What to do with rows whose rating (weight) is 0. Default: "drop".
        min_rating: Keeps rows with this rating (weight) or a higher one.
        duplicates: What to do when a user interacted with an item more than once. Default:
            "first".
        min_user_count: Drops users with fewer rows, once. Default: 0.
        min_item_count: Drops items with fewer rows, once. Default: 0.
        user_core: Drops users until each has this many rows. Default: 0.
        item_core: Drops items until each has this many rows. Default: 0.

    Example:
        >>> rk.Filter(user_core=0).user_core
        0
    """

    __slots__ = ()
    kind = "filter"
    from_: str | int | None
    to: str | int | None
    zero_weights: Literal["drop", "keep"]
    min_rating: float | None
    duplicates: Literal["first", "last", "all"]
    min_user_count: int
    min_item_count: int
    user_core: int
    item_core: int

    def __init__(
        self,
        *,
        from_: str | int | None = default(None),
        to: str | int | None = default(None),
        zero_weights: Literal["drop", "keep"] = default("drop"),
        min_rating: float | None = default(None),
        duplicates: Literal["first", "last", "all"] = default("first"),
        min_user_count: int = default(0),
        min_item_count: int = default(0),
        user_core: int = default(0),
        item_core: int = default(0),
    ) -> None:
        self._read(locals())


class Mask(DataTable):
    """Items that must not be recommended, in addition to the history.

    Args:
        valid: For validation. Default: "train".
        test: For test. Default: "train+valid".

    Example:
        >>> rk.Mask().kind
        'mask'
    """

    __slots__ = ()
    kind = "mask"
    valid: Literal["train", "train+test"]
    test: Literal["train", "train+valid"]

    def __init__(
        self,
        *,
        valid: Literal["train", "train+test"] = default("train"),
        test: Literal["train", "train+valid"] = default("train+valid"),
    ) -> None:
        self._read(locals())


class History(DataTable):
    """The history of a user that the model gets.

    Args:
        test: For test; by default the items that `mask.test` names.

    Example:
        >>> rk.History().kind
        'history'
    """

    __slots__ = ()
    kind = "history"
    test: Literal["train", "train+valid"] | None

    def __init__(
        self,
        *,
        test: Literal["train", "train+valid"] | None = default(None),
    ) -> None:
        self._read(locals())
