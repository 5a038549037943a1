"""What else than distillation makes a fitted model small."""

# Written by scripts/python_classes.py from the registries and their structs; not to be edited.

from __future__ import annotations

from ._settings import Compressor, default

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Literal

__all__ = ["Int", "Truncate", "Sign", "Itq", "Pq", "Opq", "Prune", "Ivf", "Dmf"]


class Int(Compressor):
    """Item vectors in whole numbers of 8, 6, 4, 3, 2 or 1 bits.

    Args:
        bits: Bits of a number: 8, 6, 4, 3, 2 or 1. Default: 8.
        rotate: Whether vectors are rotated first. Default: False.

    Example:
        >>> rk.compressors.Int(bits=8).bits
        8
    """

    __slots__ = ()
    kind = "int"
    bits: int
    rotate: bool

    def __init__(
        self,
        *,
        bits: int = default(8),
        rotate: bool = default(False),
    ) -> None:
        self._read(locals())


class Truncate(Compressor):
    """Fewer dimensions: the best factors of that rank of all scores (SVD).

    Args:
        dim: Dimensions that are kept, at most the model's. Default: 16.

    Example:
        >>> rk.compressors.Truncate(dim=16).dim
        16
    """

    __slots__ = ()
    kind = "truncate"
    dim: int

    def __init__(
        self,
        *,
        dim: int = default(16),
    ) -> None:
        self._read(locals())


class Sign(Compressor):
    """A bit a dimension, or a random hyperplane, and the item's length.

    Args:
        planes: Number of random hyperplanes, and so of bits; 0 = the signs of the vectors
            themselves. Default: 0.
        users: What is kept of the users. Default: "exact".
        length: Whether items keep their length. Default: True.

    Example:
        >>> rk.compressors.Sign(planes=0).planes
        0
    """

    __slots__ = ()
    kind = "sign"
    planes: int
    users: Literal["exact", "signs"]
    length: bool

    def __init__(
        self,
        *,
        planes: int = default(0),
        users: Literal["exact", "signs"] = default("exact"),
        length: bool = default(True),
    ) -> None:
        self._read(locals())


class Itq(Compressor):
    """A bit a dimension after a learnt rotation, and the item's length (ITQ).

    Args:
        rounds: Rounds of fitting the rotation. Default: 50.
        users: What is kept of the users. Default: "exact".
        length: Whether items keep their length. Default: True.

    Example:
        >>> rk.compressors.Itq(rounds=50).rounds
        50
    """

    __slots__ = ()
    kind = "itq"
    rounds: int
    users: Literal["exact", "signs"]
    length: bool

    def __init__(
        self,
        *,
        rounds: int = default(50),
        users: Literal["exact", "signs"] = default("exact"),
        length: bool = default(True),
    ) -> None:
        self._read(locals())


class Pq(Compressor):
    """Parts of a vector as one of 256 or 16 centres (product quantisation).

    Args:
        parts: Parts that a vector is cut into. Default: 8.
        centres: Centres of a part: 256 or 16. Default: 256.
        rounds: Rounds of k-means. Default: 25.
        length: Whether items keep their length. Default: True.

    Example:
        >>> rk.compressors.Pq(parts=8).parts
        8
    """

    __slots__ = ()
    kind = "pq"
    parts: int
    centres: int
    rounds: int
    length: bool

    def __init__(
        self,
        *,
        parts: int = default(8),
        centres: int = default(256),
        rounds: int = default(25),
        length: bool = default(True),
    ) -> None:
        self._read(locals())


class Opq(Compressor):
    """The same after a learnt rotation (optimised product quantisation).

    Args:
        parts: Parts that a vector is cut into. Default: 8.
        centres: Centres of a part: 256 or 16. Default: 256.
        rounds: Rounds of k-means. Default: 25.
        length: Whether items keep their length. Default: True.

    Example:
        >>> rk.compressors.Opq(parts=8).parts
        8
    """

    __slots__ = ()
    kind = "opq"
    parts: int
    centres: int
    rounds: int
    length: bool

    def __init__(
        self,
        *,
        parts: int = default(8),
        centres: int = default(256),
        rounds: int = default(25),
        length: bool = default(True),
    ) -> None:
        self._read(locals())


class Prune(Compressor):
    """Each item's first numbers, as many as it needs, after a rotation.

    Args:
        keep: Share of the items' numbers that is kept. Default: 0.25.

    Example:
        >>> rk.compressors.Prune(keep=0.25).keep
        0.25
    """

    __slots__ = ()
    kind = "prune"
    keep: float

    def __init__(
        self,
        *,
        keep: float = default(0.25),
    ) -> None:
        self._read(locals())


class Ivf(Compressor):
    """Inverted lists of 8-bit numbers, of which a request looks into a few.

    Args:
        lists: Number of lists; 0 = the square root of the number of items. Default: 0.
        probes: Lists that a request looks into; 0 = as many as `recall` needs. Default: 0.
        recall: Share of the best 20 items that must be found, if `probes` is 0. Default: 0.95.
        rounds: Rounds of k-means. Default: 20.

    Example:
        >>> rk.compressors.Ivf(lists=0).lists
        0
    """

    __slots__ = ()
    kind = "ivf"
    lists: int
    probes: int
    recall: float
    rounds: int

    def __init__(
        self,
        *,
        lists: int = default(0),
        probes: int = default(0),
        recall: float = default(0.95),
        rounds: int = default(20),
    ) -> None:
        self._read(locals())


class Dmf(Compressor):
    """A bit a dimension on both sides, learnt from the log (Discrete Matrix Factorization).

    Args:
        rho: Weight of pairs that are not in the log. Default: 0.01.
        alpha: How much bits should be balanced. Default: 0.01.
        beta: How much bits should be independent. Default: 0.01.
        rounds: Rounds over items and users. Default: 10.
        users: What is kept of the users. Default: "signs".

    Example:
        >>> rk.compressors.Dmf(rho=0.01).rho
        0.01
    """

    __slots__ = ()
    kind = "dmf"
    rho: float
    alpha: float
    beta: float
    rounds: int
    users: Literal["exact", "signs"]

    def __init__(
        self,
        *,
        rho: float = default(0.01),
        alpha: float = default(0.01),
        beta: float = default(0.01),
        rounds: int = default(10),
        users: Literal["exact", "signs"] = default("signs"),
    ) -> None:
        self._read(locals())
