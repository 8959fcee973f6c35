"""One meta-iteration: the value and hypergradient at some hyperparameters, and whether the step there was too far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, NonFiniteHypergradientError
from ..nests import flatten, leaf_places, unflatten
from ..workspace import first_non_finite, norm


@dataclass(frozen=True)
class TakeBack:
    """When :func:`descend` takes a step back: it jumped, diverged, or its hypergradient is not finite.

    Then it starts again from where the step began, with a smaller step size, which stays.

    Attributes:
      loss: a jump is a rise of the value by more than (loss − 1) · |value before|, and with fresh seeds by two standard
        errors of the difference more; inf allows any.
      gradient: a jump is a norm of the hypergradient more than this times the one before; inf allows any.
      shrink: factor of the step size, in (0, 1).

    Raises:
      ArgumentError: ``loss`` or ``gradient`` below 1, or ``shrink`` outside (0, 1).
    """

    loss: float = 1.1
    gradient: float = 3.0
    shrink: float = 0.5

    def __post_init__(self):
        for name in ("loss", "gradient"):
            if not getattr(self, name) >= 1.0:
                raise ArgumentError(f"TakeBack.{name} must be ≥ 1, got {getattr(self, name)!r}")
        if not 0.0 < self.shrink < 1.0:
            raise ArgumentError(f"TakeBack.shrink must lie in (0, 1), got {self.shrink!r}")

    def jumped(self, before: Evaluation, after: Evaluation, noise: float = 0.0) -> bool:
        """Whether the step between two evaluations is to be taken back; ``noise`` is what a rise may be by chance."""
        rise = (self.loss - 1.0) * abs(before.value) + noise
        return (
            not np.isfinite(after.value)
            or not np.isfinite(after.gradient_norm)
            or after.value - before.value > rise
            or after.gradient_norm > self.gradient * before.gradient_norm
        )


class Evaluation(NamedTuple):
    """One meta-iteration: what was found at these hyperparameters.

    Attributes:
      hypers: the nest.
      value: f(hypers), or its mean over seeds; NaN where training diverged or could not begin.
      gradient: the hypergradient by the free variables, a nest like ``hypers``; by ``hypers`` themselves where they are
        not mapped. NaN where training diverged.
      gradient_norm: its Euclidean norm over all leaves.
      step_scale: factor by which take-backs had shrunk the step that led here.
      taken_back: whether the step that led here was taken back.
      diverged_at: the training step at which training diverged, −1 where it did not.
      iteration: its number, from 0.
      free: the free variables, which ``maps`` lead to ``hypers``; ``hypers`` themselves without maps.
      error: standard error of ``value`` over the seeds; NaN with one or none.
      gradient_error: Euclidean norm of the standard errors of the hypergradient's entries; likewise.
      validation: what ``validate`` says of these hyperparameters; NaN without it, or where training diverged.
      mismatch: how far the mean of the hypergradients at both ends of the step that led here misses the difference of
        the values, relative to the mean of their magnitudes: near 0 where the hypergradient describes f, about 1 where
        it has nothing to do with it. NaN at the start, and with fresh seeds.
      growth: growth of a tangent of the parameters over the second half of the training, in nats; above 1 a sign of
        chaos. NaN unless it was asked for.
      doubt: why the hypergradient is in doubt here, a sentence; empty if nothing speaks against it.
      answer: what was used in place of the hypergradient, a nest like it, if an estimator was asked; else None.
    """

    hypers: Any
    value: float
    gradient: Any
    gradient_norm: float
    step_scale: float = 1.0
    taken_back: bool = False
    diverged_at: int = -1
    iteration: int = 0
    free: Any = None
    error: float = np.nan
    gradient_error: float = np.nan
    validation: float = np.nan
    mismatch: float = np.nan
    growth: float = np.nan
    doubt: str = ""
    answer: Any = None

    @property
    def loss(self) -> float:
        """What the best is chosen by: the validation where there is one, else the value."""
        return self.value if np.isnan(self.validation) else self.validation


def evaluation(hypers, free, value, gradient: list, **others) -> Evaluation:
    """An evaluation from the leaves of the hypergradient."""
    nest = unflatten(flatten(hypers)[1], gradient)
    return Evaluation(hypers, float(value), nest, norm(gradient), free=free, **others)


def joint_error(one: Evaluation, two: Evaluation) -> float:
    """Standard error of the difference of two values; 0 where none is known."""
    return float(np.sqrt(np.nansum(np.square([one.error, two.error]))))


def check_finite(found: Evaluation) -> None:
    """Raise if value or hypergradient is not finite.

    Raises:
      NonFiniteHypergradientError: names which.
    """
    if not np.isfinite(found.value):
        raise NonFiniteHypergradientError("the value of f")
    leaves, structure = flatten(found.gradient)
    index = first_non_finite(leaves)
    if index is not None:
        raise NonFiniteHypergradientError(leaf_places(structure, "the hypergradient")[index])
