"""One meta-iteration: the value and hypergradient at some hyperparameters, and whether the step there was too far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from autograd import value_and_grad

from ..bridge import isbox
from ..errors import (
    ArgumentError,
    DivergedError,
    FixedPointOverflowError,
    NestError,
    NonFiniteHypergradientError,
    ScheduleError,
)
from ..nests import flatten, leaf_places, unflatten
from ..workspace import first_non_finite, norm


@dataclass(frozen=True)
class TakeBack:
    """When :func:`descend` takes a step back: it jumped, diverged, or its hypergradient is not finite.

    Then it starts again from where the step began, with a smaller step size, which stays.

    Attributes:
      loss: a jump is a rise of the value by more than (loss − 1) · |value before|; inf allows any.
      gradient: a jump is a norm of the hypergradient more than this times the one before; inf allows any.
      shrink: factor of the step size, in (0, 1).
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

    def jumped(self, before: Evaluation, after: Evaluation) -> bool:
        """Whether the step between two evaluations is to be taken back."""
        return (
            not np.isfinite(after.value)
            or not np.isfinite(after.gradient_norm)
            or after.value - before.value > (self.loss - 1.0) * abs(before.value)
            or after.gradient_norm > self.gradient * before.gradient_norm
        )


class Evaluation(NamedTuple):
    """One meta-iteration: what was found at these hyperparameters.

    Attributes:
      hypers: the nest.
      value: f(hypers); NaN where training diverged or could not begin.
      gradient: the hypergradient, a nest like ``hypers``; NaN where training diverged.
      gradient_norm: its Euclidean norm over all leaves.
      step_scale: factor by which take-backs had shrunk the step that led here.
      taken_back: whether the step that led here was taken back.
      diverged_at: the training step at which training diverged, −1 where it did not.
    """

    hypers: Any
    value: float
    gradient: Any
    gradient_norm: float
    step_scale: float = 1.0
    taken_back: bool = False
    diverged_at: int = -1


def evaluate(f: Callable, hypers, iteration: int, numbered: bool, tolerant: bool) -> Evaluation:
    """The value and hypergradient; where that is tolerated, NaN for what cannot be trained.

    Raises:
      DivergedError, FixedPointOverflowError, ScheduleError, NestError: it cannot, and that is not tolerated.
      NonFiniteHypergradientError: the value or hypergradient is not finite, likewise.
      ArgumentError: ``f`` returns no scalar that depends on ``hypers``.
    """
    try:
        value, gradient = _value_and_gradient(f, hypers, [iteration] if numbered else [])
        found = evaluation(hypers, value, [np.asarray(g, dtype=float) for g in flatten(gradient)[0]])
    except (DivergedError, FixedPointOverflowError, ScheduleError, NestError) as error:
        if not tolerant:
            raise
        # A schedule outside its range or an infinite weight, after a step too far, comes before the training.
        unknown = [np.full(np.shape(w), np.nan) for w in flatten(hypers)[0]]
        return evaluation(hypers, np.nan, unknown, getattr(error, "step", 0))
    if not tolerant:
        _check_finite(found)
    return found


def evaluation(hypers, value, gradient: list, diverged_at: int = -1) -> Evaluation:
    """An evaluation from the leaves of the hypergradient."""
    nest = unflatten(flatten(hypers)[1], gradient)
    return Evaluation(hypers, float(value), nest, norm(gradient), diverged_at=diverged_at)


def _value_and_gradient(f, hypers, numbers: list):
    def objective(nest):
        value = f(nest, *numbers)
        if not isbox(value) or np.shape(value) != ():
            raise ArgumentError(
                "f must return a scalar that depends on hypers, written with autograd.numpy, "
                f"got {type(value).__name__} of shape {np.shape(value)}"
            )
        return value

    # What is not finite is reported here, with its meta-iteration; NumPy's warnings would say it again.
    with np.errstate(all="ignore"):
        return value_and_grad(objective)(hypers)


def _check_finite(found: Evaluation) -> None:
    if not np.isfinite(found.value):
        raise NonFiniteHypergradientError("the value of f")
    leaves, structure = flatten(found.gradient)
    index = first_non_finite(leaves)
    if index is not None:
        raise NonFiniteHypergradientError(leaf_places(structure, "the hypergradient")[index])
