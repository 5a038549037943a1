"""The models: rankers that can be fitted."""

# Written by scripts/python_classes.py from the registries and their structs; not to be edited.

from __future__ import annotations

from ._settings import Recipe, default

TYPE_CHECKING = False

if TYPE_CHECKING:
    from ._settings import Compressor
    from collections.abc import Sequence
    from typing import Literal
    from ._tables import Adam, Discriminator, Loss, LowRank, Plan, RestEstimated, Sgd, SharpenNone, SharpenOde, SharpenPolynomial, SolverCholesky, SolverConjugateGradient

__all__ = [
    "Pop", "ItemCf", "UserKnn", "Sar", "Path", "BoostedTrees", "Ease", "Slim", "ImplicitAls",
    "BprMf", "Fism", "Fossil", "Cml", "Simplex", "LightGcn", "Caser", "MultVae", "DiffRec",
    "CfGan", "NeuMf", "SasRec", "ItemAe", "Compressed",
]


class Pop(Recipe):
    """The most popular items, the same for every user.

    Example:
        >>> rk.Pop().kind
        'pop'
    """

    __slots__ = ()
    kind = "pop"

    def __init__(self) -> None:
        self._read({})


class ItemCf(Recipe):
    """Item-based nearest neighbours (ItemCF).

    Args:
        similarity: How the similarity of two items is computed. Default: "cosine".
        neighbours: Number of most similar items that contribute to the score of an item; 0 =
            all. Default: 100.
        shrinkage: Added to the denominator of the similarity, in users. Default: 0.0.
        user_activity: A user with n items has the weight n^-user_activity; 0 = all users weigh
            the same. Default: 0.5.
        popularity: The scores of an item with n users are multiplied by n^popularity; 0 = not
            at all. Default: 0.2.

    Example:
        >>> rk.ItemCf(neighbours=100).neighbours
        100
    """

    __slots__ = ()
    kind = "item_cf"
    similarity: Literal["cosine", "jaccard", "dice"]
    neighbours: int
    shrinkage: float
    user_activity: float
    popularity: float

    def __init__(
        self,
        *,
        similarity: Literal["cosine", "jaccard", "dice"] = default("cosine"),
        neighbours: int = default(100),
        shrinkage: float = default(0.0),
        user_activity: float = default(0.5),
        popularity: float = default(0.2),
    ) -> None:
        self._read(locals())


class UserKnn(Recipe):
    """User-based nearest neighbours (UserKNN).

    Args:
        similarity: How the similarity of two users is computed. Default: "cosine".
        neighbours: Number of most similar users that contribute; 0 = all. Default: 100.
        shrinkage: Added to the denominator of the similarity, in items. Default: 0.0.
        item_popularity: An item with n users has the weight n^-item_popularity; 0 = all items
            weigh the same. Default: 0.5.

    Example:
        >>> rk.UserKnn(neighbours=100).neighbours
        100
    """

    __slots__ = ()
    kind = "user_knn"
    similarity: Literal["cosine", "jaccard", "dice"]
    neighbours: int
    shrinkage: float
    item_popularity: float

    def __init__(
        self,
        *,
        similarity: Literal["cosine", "jaccard", "dice"] = default("cosine"),
        neighbours: int = default(100),
        shrinkage: float = default(0.0),
        item_popularity: float = default(0.5),
    ) -> None:
        self._read(locals())


class Sar(Recipe):
    """A user's affinity, decaying with time, times item similarity (Smart Adaptive
    Recommendations).

    Args:
        similarity: How the similarity of two items is computed. Default: "jaccard".
        threshold: Pairs of items with fewer common users have similarity 0. Default: 1.
        half_life_days: Number of days after which an action has half its weight; 0 = actions do
            not age. Default: 30.0.

    Example:
        >>> rk.Sar(threshold=1).threshold
        1
    """

    __slots__ = ()
    kind = "sar"
    similarity: Literal["jaccard", "lift", "counts"]
    threshold: int
    half_life_days: float

    def __init__(
        self,
        *,
        similarity: Literal["jaccard", "lift", "counts"] = default("jaccard"),
        threshold: int = default(1),
        half_life_days: float = default(30.0),
    ) -> None:
        self._read(locals())


class Path(Recipe):
    """Weighted paths in the user-item graph, with low-rank and sharpening filters (GF-CF,
    Turbo-CF, LinkProp, BSPM, SVD-AE).

    Args:
        preset: The published method from which the other settings take their defaults.
        user_degree: p: a query with n items has its scores multiplied by n^-p. Does not change
            a ranking. Default: 0.5.
        history_degree: q: an item of the history with n users counts n^-q. Default: 0.4.
        neighbour_degree: r: a user with n items who connects two items counts n^-r. Default:
            0.5.
        target_degree: t: an item with n users is scored n^-t; below 0 popular items gain.
            Default: 0.3.
        power: s: every entry of P is raised to this power. Default: 1.0.
        neighbours: Number of the largest entries of P that contribute to an item's score, in
            addition to its own; 0 = all. Default: 0.
        weight: w: the weight of the paths; 0 = the low-rank term alone. Default: 1.0.
        low_rank: The low-rank term.
        sharpen: What is made of the paths.

    Example:
        >>> rk.Path(user_degree=0.5).user_degree
        0.5
    """

    __slots__ = ()
    kind = "path"
    preset: Literal["gf_cf", "turbo_cf", "link_prop", "bspm_em", "bspm_lm", "svd_ae"] | None
    user_degree: float
    history_degree: float
    neighbour_degree: float
    target_degree: float
    power: float
    neighbours: int
    weight: float
    low_rank: LowRank
    sharpen: SharpenNone | SharpenPolynomial | SharpenOde

    def __init__(
        self,
        *,
        preset: Literal["gf_cf", "turbo_cf", "link_prop", "bspm_em", "bspm_lm", "svd_ae"] | None = default(None),
        user_degree: float = default(0.5),
        history_degree: float = default(0.4),
        neighbour_degree: float = default(0.5),
        target_degree: float = default(0.3),
        power: float = default(1.0),
        neighbours: int = default(0),
        weight: float = default(1.0),
        low_rank: LowRank = default({"rank": 0, "weight": 0.3, "filter": "ideal", "rounds": 24}),
        sharpen: SharpenNone | SharpenPolynomial | SharpenOde = default({"kind": "none"}),
    ) -> None:
        self._read(locals())


class BoostedTrees(Recipe):
    """Gradient-boosted trees over co-occurrence counts; a teacher only.

    Args:
        budget: Training effort: .1 is little, .5 usual, 2 a lot. Each step of .1 takes about a
            quarter longer. Default: 0.5.
        candidates: Number of items that the trees score per query. Default: 200.
        samples: Positives per user. Default: 2.
        negatives: Negatives per positive. Default: 10.
        users: Maximum number of users to learn from, spread evenly; 0 = all. Default: 20000.

    Example:
        >>> rk.BoostedTrees(budget=0.5).budget
        0.5
    """

    __slots__ = ()
    kind = "boosted_trees"
    budget: float
    candidates: int
    samples: int
    negatives: int
    users: int

    def __init__(
        self,
        *,
        budget: float = default(0.5),
        candidates: int = default(200),
        samples: int = default(2),
        negatives: int = default(10),
        users: int = default(20000),
    ) -> None:
        self._read(locals())


class Ease(Recipe):
    """Linear autoencoder over items in closed form (EASE).

    Args:
        l2: Added to the diagonal of X'X; in users. Larger for denser logs. Default: 50.0.
        dropout: Probability that an item of a history is dropped (EDLAE): larger means less
            trust in an item's own past. 0 = EASE. Default: 0.0.

    Example:
        >>> rk.Ease(l2=50.0).l2
        50.0
    """

    __slots__ = ()
    kind = "ease"
    l2: float
    dropout: float

    def __init__(
        self,
        *,
        l2: float = default(50.0),
        dropout: float = default(0.0),
    ) -> None:
        self._read(locals())


class Slim(Recipe):
    """Sparse linear item weights, not negative (SLIM).

    Args:
        l1: Penalty on the sum of the weights, in users; larger = sparser. Default: 0.1.
        l2: Penalty on half the squared weights, in users. Default: 150.0.
        candidates: Number of items that may have a weight for an item's score, those with the
            highest cosine; 0 = all. Default: 0.
        tolerance: A column is solved when no weight changes by more than this. Default: 0.0001.
        sweeps: Maximum number of sweeps over a column's candidates. Default: 30.

    Example:
        >>> rk.Slim(l1=0.1).l1
        0.1
    """

    __slots__ = ()
    kind = "slim"
    l1: float
    l2: float
    candidates: int
    tolerance: float
    sweeps: int

    def __init__(
        self,
        *,
        l1: float = default(0.1),
        l2: float = default(150.0),
        candidates: int = default(0),
        tolerance: float = default(0.0001),
        sweeps: int = default(30),
    ) -> None:
        self._read(locals())


class ImplicitAls(Recipe):
    """Matrix factorisation by alternating least squares with confidences (implicit ALS).

    Args:
        dim: Number of dimensions of the vectors. Default: 64.
        l2: Penalty on the squared norm of a row's vector, per unit of the row's summed
            confidence to the power `l2_exponent`. Default: 0.03.
        l2_exponent: How a row's penalty grows with its summed confidence; 0 = the same for all
            rows, 1 = in proportion. Default: 1.0.
        alpha: Confidence that each interaction adds to the 1 of every pair; 0 = so much that
            those of the log add a third of what all pairs have. Default: 0.0.
        binary: Treats every pair of the log as one interaction, whatever its weights and
            repeats. Default: False.
        solver: How a row's least-squares problem is solved.
        iterations: Maximum number of iterations. Default: 15.
        validate_every: Number of iterations between validations. Default: 3.
        patience: Stop after this many validations without improvement and keep the best model;
            0 = run all iterations and keep the last. Default: 2.
        init_length: Expected norm of the initial vectors, which are normally distributed.
            Default: 0.1.

    Example:
        >>> rk.ImplicitAls(dim=64).dim
        64
    """

    __slots__ = ()
    kind = "implicit_als"
    dim: int
    l2: float
    l2_exponent: float
    alpha: float
    binary: bool
    solver: SolverConjugateGradient | SolverCholesky
    iterations: int
    validate_every: int
    patience: int
    init_length: float

    def __init__(
        self,
        *,
        dim: int = default(64),
        l2: float = default(0.03),
        l2_exponent: float = default(1.0),
        alpha: float = default(0.0),
        binary: bool = default(False),
        solver: SolverConjugateGradient | SolverCholesky = default({"kind": "conjugate_gradient", "steps": 3}),
        iterations: int = default(15),
        validate_every: int = default(3),
        patience: int = default(2),
        init_length: float = default(0.1),
    ) -> None:
        self._read(locals())


class BprMf(Recipe):
    """Matrix factorisation with BPR or another sampled loss.

    Args:
        dim: Number of dimensions of the embeddings. Default: 64.
        item_bias: Whether items have a bias as well. Default: False.
        item_bits: Bits of an item's numbers: 1, 2, 3, 4, 6 or 8, trained in codes so that any
            loss and any distiller teaches the coded model; 0 = full precision. Default: 0.
        start: What training begins with. Default: "random".
        init_std: Standard deviation of random first embeddings, which are normally distributed.
            Default: 0.1.
        loss: The loss when no distiller sets another.
        optimizer: How parameters follow their gradients.
        final_rate: The learning rate of the plan's last epoch as a share of the first epoch's;
            linear in between. 1 = constant. A rate that decays averages out the noise of sampling:
            set the epochs to the number that is really trained. Default: 1.0.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.BprMf(dim=64).dim
        64
    """

    __slots__ = ()
    kind = "bpr_mf"
    dim: int
    item_bias: bool
    item_bits: int
    start: Literal["random", "als"]
    init_std: float
    loss: Loss
    optimizer: Sgd | Adam
    final_rate: float
    train: Plan

    def __init__(
        self,
        *,
        dim: int = default(64),
        item_bias: bool = default(False),
        item_bits: int = default(0),
        start: Literal["random", "als"] = default("random"),
        init_std: float = default(0.1),
        loss: Loss = default({"kind": "bpr", "negatives": 1, "among": "unseen"}),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.001, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        final_rate: float = default(1.0),
        train: Plan = default({"epochs": 100, "sampling": "cases", "batch_size": 2048, "validate_every": 5, "patience": 5}),
    ) -> None:
        self._read(locals())


class Fism(Recipe):
    """A product of item vectors, with a user as the sum of the history's (FISM).

    Args:
        dim: Number of dimensions of P and Q. Default: 64.
        item_bias: Whether items have a bias as well. Default: False.
        alpha: How much long histories are scaled down: 0 = sum, 1 = mean. Default: 0.5.
        start: The first values of P and Q. Default: "random".
        init_std: Their standard deviation. Default: 0.1.
        loss: The loss when no distiller sets another.
        optimizer: How parameters follow their gradients.
        final_rate: The learning rate of the plan's last epoch as a share of the first epoch's;
            linear in between. 1 = constant. A rate that decays averages out the noise of sampling:
            set the epochs to the number that is really trained. Default: 1.0.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.Fism(dim=64).dim
        64
    """

    __slots__ = ()
    kind = "fism"
    dim: int
    item_bias: bool
    alpha: float
    start: Literal["random", "svd"]
    init_std: float
    loss: Loss
    optimizer: Sgd | Adam
    final_rate: float
    train: Plan

    def __init__(
        self,
        *,
        dim: int = default(64),
        item_bias: bool = default(False),
        alpha: float = default(0.5),
        start: Literal["random", "svd"] = default("random"),
        init_std: float = default(0.1),
        loss: Loss = default({"kind": "bpr", "negatives": 1, "among": "unseen"}),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.001, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        final_rate: float = default(1.0),
        train: Plan = default({"epochs": 100, "sampling": "cases", "batch_size": 2048, "validate_every": 5, "patience": 5}),
    ) -> None:
        self._read(locals())


class Fossil(Recipe):
    """Item similarities and a Markov chain over the latest items (Fossil).

    Args:
        dim: Number of dimensions of P and Q. Default: 50.
        order: L, the order of the Markov chain: the number of latest items with weights of
            their own. Default: 5.
        alpha: How much long histories are scaled down: 0 = sum, 1 = mean. Default: 0.2.
        init_std: Standard deviation of the initial P, Q and eta^u, which are normally
            distributed; eta and b are initialised to 0. Default: 0.1.
        loss: The loss when no distiller sets another.
        optimizer: How parameters follow their gradients.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.Fossil(dim=50).dim
        50
    """

    __slots__ = ()
    kind = "fossil"
    dim: int
    order: int
    alpha: float
    init_std: float
    loss: Loss
    optimizer: Sgd | Adam
    train: Plan

    def __init__(
        self,
        *,
        dim: int = default(50),
        order: int = default(5),
        alpha: float = default(0.2),
        init_std: float = default(0.1),
        loss: Loss = default({"kind": "log_loss", "negatives": 3, "among": "unseen"}),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.001, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        train: Plan = default({"epochs": 100, "sampling": "cases", "batch_size": 512, "validate_every": 5, "patience": 5}),
    ) -> None:
        self._read(locals())


class Cml(Recipe):
    """Distances of points in a ball (collaborative metric learning, CML).

    Args:
        dim: Number of dimensions of the points. Default: 64.
        max_norm: Radius of the ball. Default: 1.0.
        init_std: Standard deviation of the initial points, which are normally distributed and
            then projected into the ball. Default: 0.1.
        loss: The loss when no distiller sets another.
        covariance: Weight of the penalty on covariances; 0 = none. Default: 0.0.
        optimizer: How parameters follow their gradients.
        final_rate: The learning rate of the plan's last epoch as a share of the first epoch's;
            linear in between. 1 = constant. A rate that decays averages out the noise of sampling:
            set the epochs to the number that is really trained. Default: 1.0.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.Cml(dim=64).dim
        64
    """

    __slots__ = ()
    kind = "cml"
    dim: int
    max_norm: float
    init_std: float
    loss: Loss
    covariance: float
    optimizer: Sgd | Adam
    final_rate: float
    train: Plan

    def __init__(
        self,
        *,
        dim: int = default(64),
        max_norm: float = default(1.0),
        init_std: float = default(0.1),
        loss: Loss = default({"kind": {"hinge": {"margin": 1.0}}, "negatives": 5, "among": "unseen"}),
        covariance: float = default(0.0),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.005, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        final_rate: float = default(1.0),
        train: Plan = default({"epochs": 200, "sampling": "cases", "batch_size": 2048, "validate_every": 5, "patience": 5}),
    ) -> None:
        self._read(locals())


class Simplex(Recipe):
    """Cosine similarity, trained with a contrastive loss and many negatives (SimpleX, MF-CCL).

    Args:
        dim: Number of dimensions of the embeddings. Default: 64.
        own: g, the weight of a user's own embedding against that of their items; 1 = items have
            none. Default: 0.5.
        history: Maximum number of a user's latest items that are pooled. Default: 100.
        pooling: How these are pooled. Default: "mean".
        leave_target_out: Whether, in training, a row's own targets are left out of the history.
            Default: False.
        history_apart: Whether items have a separate embedding for histories, in a second table;
            otherwise it is the scored one. Default: False.
        dropout: Probability that a component of a user's unit vector is dropped in training.
            Default: 0.0.
        init_std: Standard deviation of the initial embeddings, which are normally distributed.
            As norms cancel, it only sets how fast they turn at first. Default: 0.0001.
        loss: The loss when no distiller sets another.
        optimizer: How parameters follow their gradients.
        final_rate: The learning rate of the plan's last epoch as a share of the first epoch's;
            linear in between. 1 = constant. A rate that decays averages out the noise of sampling:
            set the epochs to the number that is really trained. Default: 1.0.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.Simplex(dim=64).dim
        64
    """

    __slots__ = ()
    kind = "simplex"
    dim: int
    own: float
    history: int
    pooling: Literal["mean", "user_attention"]
    leave_target_out: bool
    history_apart: bool
    dropout: float
    init_std: float
    loss: Loss
    optimizer: Sgd | Adam
    final_rate: float
    train: Plan

    def __init__(
        self,
        *,
        dim: int = default(64),
        own: float = default(0.5),
        history: int = default(100),
        pooling: Literal["mean", "user_attention"] = default("mean"),
        leave_target_out: bool = default(False),
        history_apart: bool = default(False),
        dropout: float = default(0.0),
        init_std: float = default(0.0001),
        loss: Loss = default({"kind": {"cosine_contrastive": {"margin": 0.9, "weight": 150.0}}, "negatives": 500, "among": "unseen"}),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.001, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        final_rate: float = default(1.0),
        train: Plan = default({"epochs": 100, "sampling": "cases", "batch_size": 512, "validate_every": 5, "patience": 5}),
    ) -> None:
        self._read(locals())


class LightGcn(Recipe):
    """Matrix factorisation smoothed over the user-item graph (LightGCN).

    Args:
        dim: Number of dimensions of the embeddings. Default: 64.
        layers: L, the number of propagation layers. Without any this would be BPR-MF. Default:
            3.
        init_std: Standard deviation of the initial embeddings, which are normally distributed.
            Default: 0.1.
        loss: The loss when no distiller sets another.
        l2: Penalty on the layer-0 embeddings of a batch's users and items: half their squared
            norm, once per occurrence. Default: 0.0001.
        optimizer: How parameters follow their gradients.
        final_rate: The learning rate of the plan's last epoch as a share of the first epoch's;
            linear in between. 1 = constant. A rate that decays averages out the noise of sampling:
            set the epochs to the number that is really trained. Default: 1.0.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.LightGcn(dim=64).dim
        64
    """

    __slots__ = ()
    kind = "light_gcn"
    dim: int
    layers: int
    init_std: float
    loss: Loss
    l2: float
    optimizer: Sgd | Adam
    final_rate: float
    train: Plan

    def __init__(
        self,
        *,
        dim: int = default(64),
        layers: int = default(3),
        init_std: float = default(0.1),
        loss: Loss = default({"kind": "bpr", "negatives": 1, "among": "unseen"}),
        l2: float = default(0.0001),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.005, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        final_rate: float = default(1.0),
        train: Plan = default({"epochs": 200, "sampling": "users", "batch_size": 2048, "validate_every": 5, "patience": 5}),
    ) -> None:
        self._read(locals())


class Caser(Recipe):
    """Convolutions over the last items of a history, with user embeddings (Caser).

    Args:
        dim: d: dimensions of user and item embeddings. The RD paper's teachers have 100
            (Gowalla) and 50 (Foursquare), its students 50 and 20. Default: 100.
        length: L: number of latest items in a window. Default: 5.
        targets: T: number of items after the window that are its targets. Default: 1.
        vertical_filters: n_v: number of filters over all items of a window. Default: 2.
        horizontal_filters: n_h: number of filters of each height. Default: 16.
        dropout: Probability that an output of the convolutions is dropped in training. Default:
            0.5.
        conv_activation: phi_c, after the horizontal convolutions. Default: "identity".
        fc_activation: phi_a, after the fully connected layer. Default: "sigmoid".
        loss: The loss when no distiller sets another.
        optimizer: How parameters follow their gradients.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.Caser(dim=100).dim
        100
    """

    __slots__ = ()
    kind = "caser"
    dim: int
    length: int
    targets: int
    vertical_filters: int
    horizontal_filters: int
    dropout: float
    conv_activation: Literal["relu", "identity", "sigmoid", "tanh"]
    fc_activation: Literal["relu", "identity", "sigmoid", "tanh"]
    loss: Loss
    optimizer: Sgd | Adam
    train: Plan

    def __init__(
        self,
        *,
        dim: int = default(100),
        length: int = default(5),
        targets: int = default(1),
        vertical_filters: int = default(2),
        horizontal_filters: int = default(16),
        dropout: float = default(0.5),
        conv_activation: Literal["relu", "identity", "sigmoid", "tanh"] = default("identity"),
        fc_activation: Literal["relu", "identity", "sigmoid", "tanh"] = default("sigmoid"),
        loss: Loss = default({"kind": "log_loss", "negatives": 3, "among": "unseen"}),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "exact", "learning_rate": 0.001, "weight_decay": 1e-06, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        train: Plan = default({"epochs": 50, "sampling": "cases", "batch_size": 512, "validate_every": 5, "patience": 0}),
    ) -> None:
        self._read(locals())


class MultVae(Recipe):
    """Autoencoder of a history with a multinomial likelihood (Mult-VAE, Mult-DAE).

    Args:
        hidden: Width of the two layers between the items and the code. Default: 600.
        latent: Width of the code. Default: 200.
        variational: Mult-VAE; otherwise Mult-DAE. Default: True.
        dropout: Probability that an item of a history is dropped in training. Default: 0.5.
        beta: Final weight of the divergence; without effect unless `variational`. Default: 0.2.
        anneal_steps: Number of steps over which that weight rises; 0 = it is constant. Default:
            2000.
        rest: How the likelihood's sum over the items outside a history is computed; left out,
            the size of the catalogue decides.
        optimizer: How parameters follow their gradients.
        final_rate: The learning rate of the plan's last epoch as a share of the first epoch's;
            linear in between. 1 = constant. A rate that decays averages out the noise of sampling:
            set the epochs to the number that is really trained. Default: 1.0.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.MultVae(hidden=600).hidden
        600
    """

    __slots__ = ()
    kind = "mult_vae"
    hidden: int
    latent: int
    variational: bool
    dropout: float
    beta: float
    anneal_steps: int
    rest: Literal["exact"] | RestEstimated | None
    optimizer: Sgd | Adam
    final_rate: float
    train: Plan

    def __init__(
        self,
        *,
        hidden: int = default(600),
        latent: int = default(200),
        variational: bool = default(True),
        dropout: float = default(0.5),
        beta: float = default(0.2),
        anneal_steps: int = default(2000),
        rest: Literal["exact"] | RestEstimated | None = default(None),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.001, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        final_rate: float = default(1.0),
        train: Plan = default({"epochs": 200, "sampling": "cases", "batch_size": 500, "validate_every": 5, "patience": 5}),
    ) -> None:
        self._read(locals())


class DiffRec(Recipe):
    """A denoiser of noisy histories, applied several times (DiffRec); a teacher only.

    Args:
        hidden: Width of the hidden layer. Default: 400.
        steps: T: the number of noise levels, and of passes for a ranking. Default: 5.
        scale: Factor of all variances of the noise. Default: 0.0001.
        least: Its variance at the first level, before that factor. Default: 0.0005.
        most: At the last. Default: 0.005.
        dropout: Probability that an element of the noisy history is dropped in training.
            Default: 0.5.
        optimizer: How parameters follow their gradients.
        final_rate: The learning rate of the plan's last epoch as a share of the first epoch's;
            linear in between. 1 = constant. A rate that decays averages out the noise of sampling:
            set the epochs to the number that is really trained. Default: 1.0.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.DiffRec(hidden=400).hidden
        400
    """

    __slots__ = ()
    kind = "diff_rec"
    hidden: int
    steps: int
    scale: float
    least: float
    most: float
    dropout: float
    optimizer: Sgd | Adam
    final_rate: float
    train: Plan

    def __init__(
        self,
        *,
        hidden: int = default(400),
        steps: int = default(5),
        scale: float = default(0.0001),
        least: float = default(0.0005),
        most: float = default(0.005),
        dropout: float = default(0.5),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.001, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        final_rate: float = default(1.0),
        train: Plan = default({"epochs": 100, "sampling": "cases", "batch_size": 400, "validate_every": 5, "patience": 5}),
    ) -> None:
        self._read(locals())


class CfGan(Recipe):
    """A generator of histories trained against a discriminator (CFGAN); a teacher only.

    Args:
        by: Whose rows are generated. Default: "items".
        hidden: Width of the generator's hidden layer. Default: 400.
        steps: Steps of the generator for each batch. Default: 2.
        discriminator: The discriminator.
        partial_masking: Probability that what a row lacks is shown to the discriminator.
            Default: 0.7.
        zero_reconstruction: Probability that what a row lacks is to be generated as 0. Default:
            0.7.
        zeros: Weight of that. Default: 0.03.
        ones: Weight of the squared distance of the row's own entries from 1. Default: 0.0.
        adversary: Weight of the discriminator's verdict; 0 = no discriminator. Default: 1.0.
        optimizer: How parameters follow their gradients.
        final_rate: The learning rate of the plan's last epoch as a share of the first epoch's;
            linear in between. 1 = constant. A rate that decays averages out the noise of sampling:
            set the epochs to the number that is really trained. Default: 1.0.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.CfGan(hidden=400).hidden
        400
    """

    __slots__ = ()
    kind = "cf_gan"
    by: Literal["users", "items"]
    hidden: int
    steps: int
    discriminator: Discriminator
    partial_masking: float
    zero_reconstruction: float
    zeros: float
    ones: float
    adversary: float
    optimizer: Sgd | Adam
    final_rate: float
    train: Plan

    def __init__(
        self,
        *,
        by: Literal["users", "items"] = default("items"),
        hidden: int = default(400),
        steps: int = default(2),
        discriminator: Discriminator = default({"hidden": 125, "steps": 1, "optimizer": {"kind": "adam", "mode": "sparse", "learning_rate": 0.0001, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}}),
        partial_masking: float = default(0.7),
        zero_reconstruction: float = default(0.7),
        zeros: float = default(0.03),
        ones: float = default(0.0),
        adversary: float = default(1.0),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.0001, "weight_decay": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        final_rate: float = default(1.0),
        train: Plan = default({"epochs": 300, "sampling": "cases", "batch_size": 32, "validate_every": 5, "patience": 5}),
    ) -> None:
        self._read(locals())


class NeuMf(Recipe):
    """A product of embeddings and a perceptron, fused (NeuMF).

    Args:
        dim: Number of dimensions of p and q. Default: 64.
        mlp_dim: Number of dimensions of u and v. Default: 64.
        layers: Widths of the perceptron's layers, first to last. Default: [64, 32, 16].
        activation: phi Default: "relu".
        init_std: Standard deviation of the initial embeddings, which are normally distributed.
            Default: 0.01.
        loss: The loss when no distiller sets another.
        optimizer: How parameters follow their gradients.
        final_rate: The learning rate of the plan's last epoch as a share of the first epoch's;
            linear in between. 1 = constant. A rate that decays averages out the noise of sampling:
            set the epochs to the number that is really trained. Default: 1.0.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.NeuMf(dim=64).dim
        64
    """

    __slots__ = ()
    kind = "neu_mf"
    dim: int
    mlp_dim: int
    layers: Sequence[int]
    activation: Literal["relu", "identity", "sigmoid", "tanh"]
    init_std: float
    loss: Loss
    optimizer: Sgd | Adam
    final_rate: float
    train: Plan

    def __init__(
        self,
        *,
        dim: int = default(64),
        mlp_dim: int = default(64),
        layers: Sequence[int] = default([64, 32, 16]),
        activation: Literal["relu", "identity", "sigmoid", "tanh"] = default("relu"),
        init_std: float = default(0.01),
        loss: Loss = default({"kind": "log_loss", "negatives": 4, "among": "unseen"}),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.001, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        final_rate: float = default(1.0),
        train: Plan = default({"epochs": 100, "sampling": "cases", "batch_size": 1024, "validate_every": 5, "patience": 5}),
    ) -> None:
        self._read(locals())


class SasRec(Recipe):
    """Self-attention over the last items of a history (SASRec).

    Args:
        dim: d: number of dimensions of the embeddings. Default: 64.
        length: L: maximum number of latest items that it attends to. Default: 50.
        blocks: Number of attention blocks. Default: 2.
        heads: Number of attention heads; must divide `dim`. Default: 1.
        dropout: Dropout probability in training. Default: 0.2.
        activation: phi Default: "relu".
        init_std: Standard deviation of the initial embeddings, which are normally distributed.
            Default: 0.02.
        loss: The loss when no distiller sets another.
        optimizer: How parameters follow their gradients.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.SasRec(dim=64).dim
        64
    """

    __slots__ = ()
    kind = "sas_rec"
    dim: int
    length: int
    blocks: int
    heads: int
    dropout: float
    activation: Literal["relu", "identity", "sigmoid", "tanh"]
    init_std: float
    loss: Loss
    optimizer: Sgd | Adam
    train: Plan

    def __init__(
        self,
        *,
        dim: int = default(64),
        length: int = default(50),
        blocks: int = default(2),
        heads: int = default(1),
        dropout: float = default(0.2),
        activation: Literal["relu", "identity", "sigmoid", "tanh"] = default("relu"),
        init_std: float = default(0.02),
        loss: Loss = default({"kind": "log_loss", "negatives": 1, "among": "unseen"}),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.001, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        train: Plan = default({"epochs": 100, "sampling": "cases", "batch_size": 512, "validate_every": 5, "patience": 5}),
    ) -> None:
        self._read(locals())


class ItemAe(Recipe):
    """Autoencoder of an item's users with a multinomial likelihood; a teacher only.

    Args:
        hidden: Width of the two layers between the users and the code. Default: 128.
        latent: Width of the code. Default: 64.
        variational: Mult-VAE; otherwise Mult-DAE. Default: True.
        dropout: Probability that a user of an item is dropped in training. Default: 0.5.
        beta: Final weight of the divergence; without effect unless `variational`. Default: 0.2.
        anneal_steps: Number of steps over which that weight rises; 0 = it is constant. Default:
            4000.
        popularity: Weight of an item's popularity against the likelihood of the user. Default:
            1.0.
        optimizer: How parameters follow their gradients.
        final_rate: The learning rate of the plan's last epoch as a share of the first epoch's;
            linear in between. 1 = constant. A rate that decays averages out the noise of sampling:
            set the epochs to the number that is really trained. Default: 1.0.
        train: Epochs, batches and early stopping.

    Example:
        >>> rk.ItemAe(hidden=128).hidden
        128
    """

    __slots__ = ()
    kind = "item_ae"
    hidden: int
    latent: int
    variational: bool
    dropout: float
    beta: float
    anneal_steps: int
    popularity: float
    optimizer: Sgd | Adam
    final_rate: float
    train: Plan

    def __init__(
        self,
        *,
        hidden: int = default(128),
        latent: int = default(64),
        variational: bool = default(True),
        dropout: float = default(0.5),
        beta: float = default(0.2),
        anneal_steps: int = default(4000),
        popularity: float = default(1.0),
        optimizer: Sgd | Adam = default({"kind": "adam", "mode": "sparse", "learning_rate": 0.001, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}),
        final_rate: float = default(1.0),
        train: Plan = default({"epochs": 60, "sampling": "cases", "batch_size": 128, "validate_every": 5, "patience": 5}),
    ) -> None:
        self._read(locals())


class Compressed(Recipe):
    """A factored model whose item side is in codes or cut down (`compress`).

    Args:
        model: The model that is compressed.
        compress: How it is compressed.

    Example:
        >>> rk.Compressed(model=rk.ImplicitAls(dim=32), compress=rk.compressors.Int(bits=4)).kind
        'compressed'
    """

    __slots__ = ()
    kind = "compressed"
    model: Recipe
    compress: Compressor

    def __init__(
        self,
        *,
        model: Recipe,
        compress: Compressor,
    ) -> None:
        self._read(locals())
