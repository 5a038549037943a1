"""Measures of a ranking."""

# Written by scripts/python_classes.py from the registries and their structs; not to be edited.

from __future__ import annotations

from ._settings import Metric

__all__ = [
    "Precision", "Recall", "Hit", "Ndcg", "NdcgGraded", "NdcgGradedExp", "Map", "Mrr",
    "Coverage", "Gini", "Popularity", "Lift", "Overlap", "Rbo",
]


class Precision(Metric):
    """Share of the first n that are targets.

    Args:
        at: Number of items of a list that count. Default: 10.

    Example:
        >>> str(rk.metrics.Precision(at=5))
        'precision@5'
    """

    __slots__ = ()
    kind = "precision"

    def __init__(self, *, at: int = 10) -> None:
        self._name(at)


class Recall(Metric):
    """Share of the targets that are among the first n.

    Args:
        at: Number of items of a list that count. Default: 10.

    Example:
        >>> str(rk.metrics.Recall(at=5))
        'recall@5'
    """

    __slots__ = ()
    kind = "recall"

    def __init__(self, *, at: int = 10) -> None:
        self._name(at)


class Hit(Metric):
    """Share of the cases with a target among the first n.

    Args:
        at: Number of items of a list that count. Default: 10.

    Example:
        >>> str(rk.metrics.Hit(at=5))
        'hit@5'
    """

    __slots__ = ()
    kind = "hit"

    def __init__(self, *, at: int = 10) -> None:
        self._name(at)


class Ndcg(Metric):
    """Targets found, discounted by rank, relative to the best possible order.

    Args:
        at: Number of items of a list that count. Default: all.

    Example:
        >>> str(rk.metrics.Ndcg(at=5))
        'ndcg@5'
    """

    __slots__ = ()
    kind = "ndcg"

    def __init__(self, *, at: int | None = None) -> None:
        self._name(at)


class NdcgGraded(Metric):
    """As ndcg, where a target counts as much as its grade (the rating or weight of the test row).

    Args:
        at: Number of items of a list that count. Default: all.

    Example:
        >>> str(rk.metrics.NdcgGraded(at=5))
        'ndcg_graded@5'
    """

    __slots__ = ()
    kind = "ndcg_graded"

    def __init__(self, *, at: int | None = None) -> None:
        self._name(at)


class NdcgGradedExp(Metric):
    """As ndcg_graded, with the gain 2^grade - 1, which sets high grades further apart.

    Args:
        at: Number of items of a list that count. Default: all.

    Example:
        >>> str(rk.metrics.NdcgGradedExp(at=5))
        'ndcg_graded_exp@5'
    """

    __slots__ = ()
    kind = "ndcg_graded_exp"

    def __init__(self, *, at: int | None = None) -> None:
        self._name(at)


class Map(Metric):
    """Mean over the targets of the precision at the rank of each.

    Args:
        at: Number of items of a list that count. Default: all.

    Example:
        >>> str(rk.metrics.Map(at=5))
        'map@5'
    """

    __slots__ = ()
    kind = "map"

    def __init__(self, *, at: int | None = None) -> None:
        self._name(at)


class Mrr(Metric):
    """1 / rank of the first target.

    Args:
        at: Number of items of a list that count. Default: all.

    Example:
        >>> str(rk.metrics.Mrr(at=5))
        'mrr@5'
    """

    __slots__ = ()
    kind = "mrr"

    def __init__(self, *, at: int | None = None) -> None:
        self._name(at)


class Coverage(Metric):
    """Share of the catalogue that is recommended to any user.

    Args:
        at: Number of items of a list that count. Default: 10.

    Example:
        >>> str(rk.metrics.Coverage(at=5))
        'coverage@5'
    """

    __slots__ = ()
    kind = "coverage"

    def __init__(self, *, at: int = 10) -> None:
        self._name(at)


class Gini(Metric):
    """How unequally items are recommended: 0 = all alike, 1 = one item to everyone.

    Args:
        at: Number of items of a list that count. Default: 10.

    Example:
        >>> str(rk.metrics.Gini(at=5))
        'gini@5'
    """

    __slots__ = ()
    kind = "gini"

    def __init__(self, *, at: int = 10) -> None:
        self._name(at)


class Popularity(Metric):
    """Number of training interactions of the recommended items.

    Args:
        at: Number of items of a list that count. Default: 10.

    Example:
        >>> str(rk.metrics.Popularity(at=5))
        'popularity@5'
    """

    __slots__ = ()
    kind = "popularity"

    def __init__(self, *, at: int = 10) -> None:
        self._name(at)


class Lift(Metric):
    """How much more popular the recommended items are than those of the users' histories.

    Args:
        at: Number of items of a list that count. Default: 10.

    Example:
        >>> str(rk.metrics.Lift(at=5))
        'lift@5'
    """

    __slots__ = ()
    kind = "lift"

    def __init__(self, *, at: int = 10) -> None:
        self._name(at)


class Overlap(Metric):
    """Share of the teacher's first n that are among the student's first n.

    Args:
        at: Number of items of a list that count. Default: 10.

    Example:
        >>> str(rk.metrics.Overlap(at=5))
        'overlap@5'
    """

    __slots__ = ()
    kind = "overlap"

    def __init__(self, *, at: int = 10) -> None:
        self._name(at)


class Rbo(Metric):
    """Rank-biased overlap with the teacher, extrapolated; rbo:0.98@50 sets p and the depth.

    Args:
        at: Number of items of a list that count. Default: all.
        p: How slowly the weight of later places falls, below 1.

    Example:
        >>> str(rk.metrics.Rbo(at=5))
        'rbo@5'
    """

    __slots__ = ()
    kind = "rbo"

    def __init__(self, *, at: int | None = None, p: float | None = None) -> None:
        self._name(at, p)
