"""Nested tables of settings; a key that is left out has its default."""

# Written by scripts/python_classes.py from the registries and their structs; not to be edited.

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict


class LowRank(TypedDict, total=False):
    """The largest singular values of the normalised log."""

    rank: int
    """How many; 0 = no such term."""
    weight: float
    """v: the weight of the term."""
    filter: Literal["ideal", "inverse"]
    """What the singular vectors are used for."""
    rounds: int
    """Products with the log and its transpose by which the vectors are approached."""


class SharpenNone(TypedDict, total=False):
    """Nothing."""

    kind: Literal["none"]


class SharpenPolynomial(TypedDict, total=False):
    """c1 b + c2 b P + c3 b P^2 + .."""

    kind: Literal["polynomial"]
    coefficients: Sequence[float]
    """c1, c2, .."""


class SharpenOde(TypedDict, total=False):
    """x(time) of dx/dt = -x P, from x(0) = b."""

    kind: Literal["ode"]
    solver: Literal["euler", "rk4"]
    """How a step is computed."""
    time: float
    """The end of the process."""
    steps: int
    """Number of steps of equal length."""
    mean: bool
    """The mean over x(0) and the end of each step, instead of the last."""
    low_rank: bool
    """Sharpen the low-rank term too: x(0) = b + v h L (early merge)."""


class SolverConjugateGradient(TypedDict, total=False):
    """Approximately, starting from the row's last vector."""

    kind: Literal["conjugate_gradient"]
    steps: int
    """Number of steps."""


class SolverCholesky(TypedDict, total=False):
    """Exactly."""

    kind: Literal["cholesky"]


class Hinge(TypedDict, total=False):
    """Settings of `Hinge`."""

    margin: float
    """The margin by which the target's score must exceed those of negatives."""


class LossKindHinge(TypedDict, total=False):
    """The target against its hardest negative, weighted by the estimated rank: `{"hinge": {"margin": 0.5}}`."""

    hinge: Hinge


class CosineContrastive(TypedDict, total=False):
    """Settings of `CosineContrastive`."""

    margin: float
    """Negatives with a cosine below it have no loss."""
    weight: float
    """Weight of the negatives against the target."""


class LossKindCosineContrastive(TypedDict, total=False):
    """Pushes the target's cosine towards 1 and those of negatives below a margin: `{"cosine_contrastive": {"margin": 0.9, "weight": 150}}`."""

    cosine_contrastive: CosineContrastive


class Loss(TypedDict, total=False):
    """A sampled loss in a recipe."""

    kind: Literal["bpr", "log_loss", "softmax"] | LossKindHinge | LossKindCosineContrastive
    """The kind of loss."""
    negatives: int
    """Negatives per target."""
    among: Literal["unseen", "everything"]
    """The items that negatives are drawn from."""


class Sgd(TypedDict, total=False):
    """Plain stochastic gradient descent."""

    kind: Literal["sgd"]
    learning_rate: float
    """Step size."""
    weight_decay: float
    """L2 penalty: adds `weight_decay * p` to the gradient."""


class Adam(TypedDict, total=False):
    """Adam."""

    kind: Literal["adam"]
    mode: Literal["exact", "sparse", "dense"]
    """How table rows that are not in a batch are treated. This affects the result and not only
    the speed."""
    learning_rate: float
    """Step size."""
    weight_decay: float
    """L2 penalty: adds `weight_decay * p` to the gradient."""
    beta1: float
    """Decay of the mean of gradients."""
    beta2: float
    """Decay of the mean of squared gradients."""
    epsilon: float
    """Keeps the division finite."""


class Plan(TypedDict, total=False):
    """The schedule of a training run."""

    epochs: int
    """Maximum number of epochs. An epoch takes as many cases as there are."""
    sampling: Literal["cases", "users"]
    """Which cases an epoch visits."""
    batch_size: int
    """Cases per step."""
    validate_every: int
    """Epochs between two validations."""
    patience: int
    """Stop after this many validations in a row without a new best value, and return the best
    model; 0 = train all epochs and return the last model."""


class Estimate(TypedDict, total=False):
    """Settings of an estimate."""

    top: int
    """Number of the student's own best items that are counted exactly."""
    sample: int
    """Number of random items that stand for all others."""
    refresh_every: int
    """Epochs between two searches for the student's best items; 0 = as many as keep their cost
    about that of the steps, or below."""


class RestEstimated(TypedDict, total=False):
    """From the student's best items and random ones."""

    estimated: Estimate


class Discriminator(TypedDict, total=False):
    """What the generator is trained against."""

    hidden: int
    """Width of the hidden layer."""
    steps: int
    """Steps for each batch."""
    optimizer: Sgd | Adam
    """How its parameters follow their gradients."""


class Fusion(TypedDict, total=False):
    """How lists are fused."""

    kind: Literal["importance", "reciprocal_rank", "borda", "comb_sum"]
    """The worth of an item in a list."""
    cut: int
    """Number of items of each list that count."""
    temperature: float
    """For `importance`: larger = flatter."""
    stability: float
    """For `importance`: larger = deviations matter less; 0 omits the term."""
    constant: float
    """For `reciprocal_rank`: larger = flatter."""
    weights: Sequence[float]
    """The weight of each ranker, in their order; empty = all equal."""
    select: int
    """Above 0: the rankers, and how often each counts, are chosen on validation data in this
    many rounds. See `Selection`."""
    debias: float
    """Larger: popular items come later. 0: popularity does not matter."""
    user_weights: float
    """Above 0: rankers are weighted for each user by how they rank the user's validation items;
    the mean over all users counts as this many of the user's items. See `weighted_on`."""


class StateSelection(TypedDict, total=False):
    """Which checkpoints of a teacher's training become its states."""

    states: int
    """Number of states; the last one is the fitted model."""
    spaced_by: Literal["quality", "epochs"]
    """How they are spaced."""
    every: int
    """Epochs between two checkpoints; 0: whenever the model is validated."""
    neighbours: int
    """Number of checkpoints, the state's own being the last, over which the deviations of ranks
    are computed."""
