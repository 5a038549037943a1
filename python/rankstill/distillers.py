"""The methods of distillation."""

# Written by scripts/python_classes.py from the registries and their structs; not to be edited.

from __future__ import annotations

from ._settings import Distiller, default

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal
    from ._tables import Adam, Fusion, RestEstimated, Sgd

__all__ = [
    "RankDistil", "HetComp", "Rrd", "IrRrd", "Dcd", "UnKd", "Cd", "Bd", "RceKd", "MarginMse",
    "De", "Ftd", "Htd", "ScoreKd", "Several",
]


class RankDistil(Distiller):
    """Ranking Distillation (Tang & Wang, KDD 2018): the teacher's top items as weighted extra
    positives.

    Args:
        preset: The settings from which the others take their defaults: "paper" (the default) or
            "authors_code".
        k: Length of the teacher's list, K. Default: 10.
        alpha: Weight of the distillation loss, see `LossBlend`. At 0 the student learns only
            from its own objective. Default: 0.5.
        blend: How the two losses are added. Default: "paper".
        loss: The form of the distillation loss. Default: "point_wise".
        rivals: For the pair-wise and the list-wise form: random items drawn for each item of
            the list. Default: 1.
        pass_over: What is left out of the teacher's list. Default: "labelled".
        weighting: How the positions of the teacher's list are weighted. Default: "hybrid".
        lambda_: For position weights: larger = flatter. Default: 1.0.
        mu: For discrepancy weights: larger = closer to 1 at small discrepancies. Default: 0.1.
        renormalise: Whether hybrid weights are divided by their sum. Default: True.
        warm_up: Epochs before discrepancies count. Default: 10.
        discrepancy: How the student's ranks are computed. Default: "sampled".
        epsilon: For sampled ranks: number of random items that a rank is estimated from.
            Default: 100.
        replacement: For sampled ranks: whether the random items are drawn with replacement.
            Default: False.
        population: For sampled ranks: what the estimate is scaled to. Default: "unlabelled".
        shared_samples: For sampled ranks: the rows of a batch share their random items, except
            for those that are labelled in a row. The estimate of each row keeps its distribution,
            but those of a batch are no longer independent. The student then scores few distinct
            items. Default: False.
        refresh_every: For exact ranks: epochs between two updates. Default: 5.

    Example:
        >>> rk.RankDistil(k=10).k
        10
    """

    __slots__ = ()
    kind = "rank_distil"
    preset: str | None
    k: int
    alpha: float
    blend: Literal["paper", "authors_code"]
    loss: Literal["point_wise", "pair_wise", "list_wise"]
    rivals: int
    pass_over: Literal["labelled", "targets"]
    weighting: Literal["uniform", "position", "discrepancy", "hybrid"]
    lambda_: float
    mu: float
    renormalise: bool
    warm_up: int
    discrepancy: Literal["sampled", "exact"]
    epsilon: int
    replacement: bool
    population: Literal["unlabelled", "catalogue"]
    shared_samples: bool
    refresh_every: int

    def __init__(
        self,
        *,
        preset: str | None = default(None),
        k: int = default(10),
        alpha: float = default(0.5),
        blend: Literal["paper", "authors_code"] = default("paper"),
        loss: Literal["point_wise", "pair_wise", "list_wise"] = default("point_wise"),
        rivals: int = default(1),
        pass_over: Literal["labelled", "targets"] = default("labelled"),
        weighting: Literal["uniform", "position", "discrepancy", "hybrid"] = default("hybrid"),
        lambda_: float = default(1.0),
        mu: float = default(0.1),
        renormalise: bool = default(True),
        warm_up: int = default(10),
        discrepancy: Literal["sampled", "exact"] = default("sampled"),
        epsilon: int = default(100),
        replacement: bool = default(False),
        population: Literal["unlabelled", "catalogue"] = default("unlabelled"),
        shared_samples: bool = default(False),
        refresh_every: int = default(5),
    ) -> None:
        self._read(locals())


class HetComp(Distiller):
    """HetComp (Kang et al., WWW 2023): the rankings of an ensemble, from easy to hard along its
    members' training.

    Args:
        preset: The settings from which the others take their defaults: "authors_code" (the
            default) or "paper".
        k: Length of the target list, K. The fine-grained loss orders half of it, and a tenth of
            it twice. Default: 100.
        observed: Number of the user's own items that are taught, in order. Default: 10.
        fusion: How the lists of the states are fused.
        period: Epochs between two comparisons with the student. Default: 10.
        threshold: How much closer the student must have come to a state before it becomes the
            target, as a ratio. Default: 1.05.
        decay: Multiplies the threshold after every period. Default: 0.995.
        cutoff: Cutoff of NDCG. Default: 50.
        grade: Whose rank determines the grades of NDCG. Default: "student".
        curriculum: Whether the targets go from easy to hard; otherwise they are those of the
            last states from the start. Default: True.
        transfer: Which losses. Default: "adaptive".
        overall_epochs: Epochs of the overall loss where no curriculum ends it. Default: 40.
        overall_weight: Weight of the overall loss. Default: 0.01.
        fine_weight: Weight of the fine-grained loss. Default: 0.005.
        rest: How R, the mass of all other items, is computed.
        released_defects: Restores defects of the released code; see the module. Default: False.

    Example:
        >>> rk.HetComp(k=100).k
        100
    """

    __slots__ = ()
    kind = "het_comp"
    preset: str | None
    k: int
    observed: int
    fusion: Fusion
    period: int
    threshold: float
    decay: float
    cutoff: int
    grade: Literal["student", "teacher"]
    curriculum: bool
    transfer: Literal["adaptive", "overall", "fine"]
    overall_epochs: int
    overall_weight: float
    fine_weight: float
    rest: Literal["exact"] | RestEstimated | None
    released_defects: bool

    def __init__(
        self,
        *,
        preset: str | None = default(None),
        k: int = default(100),
        observed: int = default(10),
        fusion: Fusion = default({"kind": "importance", "cut": 100, "temperature": 10.0, "stability": 100.0, "constant": 60.0, "weights": [], "select": 0, "debias": 0.0, "user_weights": 0.0}),
        period: int = default(10),
        threshold: float = default(1.05),
        decay: float = default(0.995),
        cutoff: int = default(50),
        grade: Literal["student", "teacher"] = default("student"),
        curriculum: bool = default(True),
        transfer: Literal["adaptive", "overall", "fine"] = default("adaptive"),
        overall_epochs: int = default(40),
        overall_weight: float = default(0.01),
        fine_weight: float = default(0.005),
        rest: Literal["exact"] | RestEstimated | None = default(None),
        released_defects: bool = default(False),
    ) -> None:
        self._read(locals())


class Rrd(Distiller):
    """Relaxed Ranking Distillation (Kang et al., CIKM 2020): interesting items in order, above
    uninteresting ones.

    Args:
        mode: How the lists are made. Default: "sampled".
        k: Length of the interesting list, K. Default: 40.
        l: For `sampled`: number of uninteresting items, L. Default: 40.
        window: For `sampled`: length of the teacher's list from which the interesting items are
            drawn. Default: 500.
        temperature: For `sampled`: larger = deeper into the window. Default: 10.0.
        lambda_: Weight of the distillation loss. At 0 the student learns only from its own
            objective. Default: 0.001.
        rest: For `direct`: how the mass of all other items is computed.

    Example:
        >>> rk.Rrd(k=40).k
        40
    """

    __slots__ = ()
    kind = "rrd"
    mode: Literal["sampled", "direct"]
    k: int
    l: int
    window: int
    temperature: float
    lambda_: float
    rest: Literal["exact"] | RestEstimated | None

    def __init__(
        self,
        *,
        mode: Literal["sampled", "direct"] = default("sampled"),
        k: int = default(40),
        l: int = default(40),
        window: int = default(500),
        temperature: float = default(10.0),
        lambda_: float = default(0.001),
        rest: Literal["exact"] | RestEstimated | None = default(None),
    ) -> None:
        self._read(locals())


class IrRrd(Distiller):
    """IR-RRD (Kang et al., Information Sciences 2021): RRD, and the order of an item's users.

    Args:
        mode: How `Rrd`'s items are chosen. Default: "sampled".
        k: Length of `Rrd`'s interesting list. Default: 40.
        l: Number of `Rrd`'s uninteresting items. Default: 40.
        window: Length of the teacher's list from which `Rrd`'s interesting items are drawn; the
            order of an item's users is derived from it. Default: 500.
        temperature: For both sides: larger = deeper into the window. Default: 10.0.
        lambda_: Weight of `Rrd`'s loss. Default: 0.001.
        rest: In mode `direct`: how `Rrd` computes the mass of all other items.
        user_k: Number of an item's users in order. Default: 20.
        user_l: Number of other users of an item. Default: 20.
        user_window: Number of an item's users from which those in order are drawn. Default:
            500.
        by: How an item's users are ordered. Default: "places".
        items: Maximum number of items of a batch; 0 = all. Default: 0.
        item_lambda: Weight of the loss of the item side. Default: 0.0005.

    Example:
        >>> rk.IrRrd(k=40).k
        40
    """

    __slots__ = ()
    kind = "ir_rrd"
    mode: Literal["sampled", "direct"]
    k: int
    l: int
    window: int
    temperature: float
    lambda_: float
    rest: Literal["exact"] | RestEstimated | None
    user_k: int
    user_l: int
    user_window: int
    by: Literal["places", "scores"]
    items: int
    item_lambda: float

    def __init__(
        self,
        *,
        mode: Literal["sampled", "direct"] = default("sampled"),
        k: int = default(40),
        l: int = default(40),
        window: int = default(500),
        temperature: float = default(10.0),
        lambda_: float = default(0.001),
        rest: Literal["exact"] | RestEstimated | None = default(None),
        user_k: int = default(20),
        user_l: int = default(20),
        user_window: int = default(500),
        by: Literal["places", "scores"] = default("places"),
        items: int = default(0),
        item_lambda: float = default(0.0005),
    ) -> None:
        self._read(locals())


class Dcd(Distiller):
    """Dual Correction Distillation (Lee & Kim, CIKM 2021): RRD, and items ranked too low above
    items ranked too high.

    Args:
        mode: How the items of both terms are chosen. Default: "sampled".
        k: Length of `Rrd`'s interesting list. Default: 40.
        l: Number of `Rrd`'s uninteresting items. Default: 40.
        window: Length of the teacher's list from which all items are drawn. Default: 500.
        temperature: For `Rrd`: larger = deeper into the window. Default: 10.0.
        lambda_: Weight of the distillation loss. At 0 the student learns only from its own
            objective. Default: 0.001.
        rest: In mode `direct`: how `Rrd` computes the mass of all other items.
        corrected: Maximum number of underestimated, and of overestimated items. Default: 100.
        divisor: Divisor of differences of ranks. Default: 10.0.
        floor: Minimum weight of an item in the draw. Default: 1e-05.
        correction: Weight of the correction, where RRD's is 1. Default: 1.0.
        refresh_every: Epochs between two updates of the student's ranks. Default: 1.
        item_correction: Weight of the item side, where RRD's is 1. 0 omits it, as the
            re-implementation does; otherwise the student must be a factored model. Default: 0.0.
        user_window: Number of an item's users that are ordered. Default: 500.
        by: How an item's users are ordered. Default: "places".
        items: Maximum number of items of a batch; 0 = all. Default: 1000.

    Example:
        >>> rk.Dcd(k=40).k
        40
    """

    __slots__ = ()
    kind = "dcd"
    mode: Literal["sampled", "direct"]
    k: int
    l: int
    window: int
    temperature: float
    lambda_: float
    rest: Literal["exact"] | RestEstimated | None
    corrected: int
    divisor: float
    floor: float
    correction: float
    refresh_every: int
    item_correction: float
    user_window: int
    by: Literal["places", "scores"]
    items: int

    def __init__(
        self,
        *,
        mode: Literal["sampled", "direct"] = default("sampled"),
        k: int = default(40),
        l: int = default(40),
        window: int = default(500),
        temperature: float = default(10.0),
        lambda_: float = default(0.001),
        rest: Literal["exact"] | RestEstimated | None = default(None),
        corrected: int = default(100),
        divisor: float = default(10.0),
        floor: float = default(1e-05),
        correction: float = default(1.0),
        refresh_every: int = default(1),
        item_correction: float = default(0.0),
        user_window: int = default(500),
        by: Literal["places", "scores"] = default("places"),
        items: int = default(1000),
    ) -> None:
        self._read(locals())


class UnKd(Distiller):
    """UnKD (Chen et al., WSDM 2023): the teacher's pairs within groups of items of similar
    popularity.

    Args:
        groups: Number of groups of similar popularity. Default: 4.
        pairs: Pairs of a query in an epoch, in all groups together. Default: 30.
        window: Number of items of a group's ranking from which pairs are drawn. Default: 1000.
        temperature: Larger = deeper into the window. Default: 20.0.
        depth: Length of the teacher's list over all groups. Default: 2000.
        lambda_: Weight of the distillation loss. At 0 the student learns only from its own
            objective. Default: 1.0.

    Example:
        >>> rk.UnKd(groups=4).groups
        4
    """

    __slots__ = ()
    kind = "unkd"
    groups: int
    pairs: int
    window: int
    temperature: float
    depth: int
    lambda_: float

    def __init__(
        self,
        *,
        groups: int = default(4),
        pairs: int = default(30),
        window: int = default(1000),
        temperature: float = default(20.0),
        depth: int = default(2000),
        lambda_: float = default(1.0),
    ) -> None:
        self._read(locals())


class Cd(Distiller):
    """Collaborative Distillation (Lee et al., ICDM 2019): the teacher's soft labels on items
    sampled by rank.

    Args:
        guide: Whose ranks items are sampled by. Default: "student".
        sampling: How ranks become probabilities. Default: "linear".
        gamma: For `exponential`: larger = closer to the top. Default: 10.0.
        window: Length of the teacher's list from which items are sampled. Default: 3000.
        samples: Items sampled for a case in an epoch. Default: 2.
        temperature: Divisor of the teacher's scores (T1): larger = softer labels. Default: 2.0.
        shift: Added to them before (T2). Default: 0.0.
        lambda_: Weight of the distillation loss. At 0 the student learns only from its own
            objective. Default: 0.5.
        refresh_every: For `student`: epochs between two updates of its ranks. Default: 5.

    Example:
        >>> rk.Cd(gamma=10.0).gamma
        10.0
    """

    __slots__ = ()
    kind = "cd"
    guide: Literal["none", "teacher", "student"]
    sampling: Literal["linear", "exponential"]
    gamma: float
    window: int
    samples: int
    temperature: float
    shift: float
    lambda_: float
    refresh_every: int

    def __init__(
        self,
        *,
        guide: Literal["none", "teacher", "student"] = default("student"),
        sampling: Literal["linear", "exponential"] = default("linear"),
        gamma: float = default(10.0),
        window: int = default(3000),
        samples: int = default(2),
        temperature: float = default(2.0),
        shift: float = default(0.0),
        lambda_: float = default(0.5),
        refresh_every: int = default(5),
    ) -> None:
        self._read(locals())


class Bd(Distiller):
    """Bidirectional Distillation (Kweon et al., WWW 2021): teacher and student train together
    and correct each other.

    Args:
        lambda_: Weight of the distillation loss of both models. At 0 the student learns only
            from its own objective. Default: 0.5.
        temperature: Divisor of the other model's scores: larger = softer labels. Default: 5.0.
        warm_up: Epochs in which both models learn alone. Default: 50.
        refresh_every: Epochs between two updates of ranks. Default: 10.
        to_student: How steeply the probability of drawing an item for the student grows with
            the difference of ranks. Default: 0.01.
        to_teacher: The same for the teacher. Default: 0.0001.

    Example:
        >>> rk.Bd(temperature=5.0).temperature
        5.0
    """

    __slots__ = ()
    kind = "bd"
    lambda_: float
    temperature: float
    warm_up: int
    refresh_every: int
    to_student: float
    to_teacher: float

    def __init__(
        self,
        *,
        lambda_: float = default(0.5),
        temperature: float = default(5.0),
        warm_up: int = default(50),
        refresh_every: int = default(10),
        to_student: float = default(0.01),
        to_teacher: float = default(0.0001),
    ) -> None:
        self._read(locals())


class RceKd(Distiller):
    """RCE-KD (ICLR 2026): cross-entropy on the student's top items and on a closure of the
    teacher's.

    Args:
        k: Length of the teacher's and of the student's list of top items. Default: 50.
        l: Size of the sample C. Default: 50.
        m: The sample is drawn from the student's first `m` times `k` items. Default: 4.
        temperature: For the sample: larger = more uniform. Default: 10.0.
        tau: Divisor of scores in a softmax. Default: 1.0.
        beta: Larger = more weight on the student's own top items at the same overlap. Default:
            3.0.
        window: Length of the teacher's list of scored items. Default: 1000.
        lambda_: Weight of the distillation loss. At 0 the student learns only from its own
            objective. Default: 500.0.
        refresh_every: Epochs between two updates of the student's lists. Default: 1.

    Example:
        >>> rk.RceKd(k=50).k
        50
    """

    __slots__ = ()
    kind = "rce_kd"
    k: int
    l: int
    m: int
    temperature: float
    tau: float
    beta: float
    window: int
    lambda_: float
    refresh_every: int

    def __init__(
        self,
        *,
        k: int = default(50),
        l: int = default(50),
        m: int = default(4),
        temperature: float = default(10.0),
        tau: float = default(1.0),
        beta: float = default(3.0),
        window: int = default(1000),
        lambda_: float = default(500.0),
        refresh_every: int = default(1),
    ) -> None:
        self._read(locals())


class MarginMse(Distiller):
    """Margin-MSE (Hofstätter et al., 2020): the teacher's differences between the scores of
    pairs of its items.

    Args:
        window: Length of the teacher's list. Default: 200.
        pairs: Pairs drawn from it in each epoch. Default: 40.
        temperature: For the first item of a pair: larger = deeper into the list. Default: 20.0.
        spread: The deviation of the teacher's scores within a list, after scaling; 0 leaves
            them as they are. Default: 1.0.
        lambda_: Weight of the distillation loss. At 0 the student learns only from its own
            objective. Default: 1.0.

    Example:
        >>> rk.MarginMse(window=200).window
        200
    """

    __slots__ = ()
    kind = "margin_mse"
    window: int
    pairs: int
    temperature: float
    spread: float
    lambda_: float

    def __init__(
        self,
        *,
        window: int = default(200),
        pairs: int = default(40),
        temperature: float = default(20.0),
        spread: float = default(1.0),
        lambda_: float = default(1.0),
    ) -> None:
        self._read(locals())


class De(Distiller):
    """Distillation Experts (Kang et al., CIKM 2020): the teacher's vectors are reconstructed
    from the student's.

    Args:
        experts: Number of experts for users, and again for items. Default: 30.
        temperature: Temperature of the experts' shares in the first epoch: larger = more
            uniform. Default: 1.0.
        final_temperature: The same after annealing. Default: 1e-10.
        anneal_epochs: Epochs of annealing. Default: 100.
        items_weight: Weight of the items, where that of the users is 1. Default: 0.5.
        optimizer: Optimiser of the experts.
        lambda_: Weight of the distillation loss. At 0 the student learns only from its own
            objective. Default: 0.01.

    Example:
        >>> rk.De(experts=30).experts
        30
    """

    __slots__ = ()
    kind = "de"
    experts: int
    temperature: float
    final_temperature: float
    anneal_epochs: int
    items_weight: float
    optimizer: Sgd | Adam
    lambda_: float

    def __init__(
        self,
        *,
        experts: int = default(30),
        temperature: float = default(1.0),
        final_temperature: float = default(1e-10),
        anneal_epochs: int = default(100),
        items_weight: float = default(0.5),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.001, "weight_decay": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        lambda_: float = default(0.01),
    ) -> None:
        self._read(locals())


class Ftd(Distiller):
    """Full Topology Distillation (Kang et al., KDD 2021): the cosines of all pairs of a batch.

    Args:
        lambda_: Weight of the distillation loss. At 0 the student learns only from its own
            objective. Default: 0.001.

    Example:
        >>> rk.Ftd().kind
        'ftd'
    """

    __slots__ = ()
    kind = "ftd"
    lambda_: float

    def __init__(
        self,
        *,
        lambda_: float = default(0.001),
    ) -> None:
        self._read(locals())


class Htd(Distiller):
    """Hierarchical Topology Distillation (Kang et al., KDD 2021): cosines within groups, and to
    the groups.

    Args:
        groups: Number of groups of users, and again of items. Default: 30.
        gamma: Weight of L_TD; that of L_GA is 1 - gamma. Default: 0.5.
        temperature: Temperature of the experts' shares in the first epoch: larger = more
            uniform. Default: 1.0.
        final_temperature: The same after annealing. Default: 1e-10.
        anneal_epochs: Epochs of annealing. Default: 100.
        optimizer: Optimiser of the experts.
        lambda_: Weight of the distillation loss. At 0 the student learns only from its own
            objective. Default: 0.001.

    Example:
        >>> rk.Htd(groups=30).groups
        30
    """

    __slots__ = ()
    kind = "htd"
    groups: int
    gamma: float
    temperature: float
    final_temperature: float
    anneal_epochs: int
    optimizer: Sgd | Adam
    lambda_: float

    def __init__(
        self,
        *,
        groups: int = default(30),
        gamma: float = default(0.5),
        temperature: float = default(1.0),
        final_temperature: float = default(1e-10),
        anneal_epochs: int = default(100),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.001, "weight_decay": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        lambda_: float = default(0.001),
    ) -> None:
        self._read(locals())


class ScoreKd(Distiller):
    """Point-wise distillation: the teacher's scores of its list as soft labels.

    Args:
        k: Number of the teacher's items. Default: 100.
        loss: The loss of a score. Default: "soft_labels".
        temperature: Divisor of the teacher's scores: larger = softer. Default: 1.0.
        shift: Added to them before. Default: 0.0.
        lambda_: Weight of the distillation loss. At 0 the student learns only from its own
            objective. Default: 1.0.

    Example:
        >>> rk.ScoreKd(k=100).k
        100
    """

    __slots__ = ()
    kind = "score_kd"
    k: int
    loss: Literal["soft_labels", "squares"]
    temperature: float
    shift: float
    lambda_: float

    def __init__(
        self,
        *,
        k: int = default(100),
        loss: Literal["soft_labels", "squares"] = default("soft_labels"),
        temperature: float = default(1.0),
        shift: float = default(0.0),
        lambda_: float = default(1.0),
    ) -> None:
        self._read(locals())


class Several(Distiller):
    """Several methods at once, each in addition to those before it (DE-RRD).

    Args:
        of: The methods, in order; one that replaces the student's own loss comes first.

    Example:
        >>> rk.Several(of=[rk.De(), rk.Rrd()]).kind
        'several'
    """

    __slots__ = ()
    kind = "several"
    of: Sequence[Distiller]

    def __init__(
        self,
        *,
        of: Sequence[Distiller],
    ) -> None:
        self._read(locals())
