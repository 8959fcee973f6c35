"""What every estimator returns, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...bridge import isbox
from ...checks import check_integer
from ...errors import ArgumentError, NestError
from ...nests import Structure, broadcast_prefix, check_leaves, flatten, leaf_places
from ...runs.parallel import workers
from ..objective import UNTRAINABLE
from ..problem import Problem

_PURPOSE = 21  # of the random numbers of estimators, in seeds (seed, purpose, sample)


class Diagnostics(NamedTuple):
    """What is known of an estimate.

    Attributes:
      error: standard errors of the gradient, a nest like it; None where nothing is random.
      products: matrix products a step and layer, times the steps; a training of T steps is 2 T. NaN if f is any
        function.
      memory: about how many bytes are held over the steps; NaN where it is not known.
      samples: how many trainings the estimate is made of.
      diverged: how many of them diverged.
      gradient_norm: of the training loss after the last step, for implicit differentiation; else NaN.
      weights: for a mix, the weight of each part.
      note: what should be known when it is used, a sentence.
    """

    error: Any = None
    products: float = np.nan
    memory: float = np.nan
    samples: int = 1
    diverged: int = 0
    gradient_norm: float = np.nan
    weights: tuple[float, ...] = ()
    note: str = ""


class Estimate(NamedTuple):
    """What an estimator returns.

    Attributes:
      value: of the objective, or an estimate of it.
      gradient: estimate of its gradient by the hyperparameters, a nest like those.
      diagnostics: what is known of it, :class:`Diagnostics`.
    """

    value: float
    gradient: Any
    diagnostics: Diagnostics


def function_of(of: Any, what: str) -> Callable:
    """``f(hypers, seed)`` of a problem, or the function itself.

    Raises:
      ArgumentError: it is neither.
    """
    if isinstance(of, Problem):
        return of.f
    if not callable(of):
        raise ArgumentError(f"{what} needs a hypergrad.meta.Problem or a function f(hypers, seed), got {of!r:.100}")
    return of


def problem_of(of: Any, what: str) -> Problem:
    """The problem.

    Raises:
      ArgumentError: it is none; this estimator needs the training itself.
    """
    if not isinstance(of, Problem):
        raise ArgumentError(f"{what} needs the training itself: give a hypergrad.meta.Problem, got {of!r:.100}")
    return of


def plain(hypers: Any) -> tuple[list, Structure]:
    """The leaves of hyperparameters, in float64.

    Raises:
      NestError: they are no finite numbers.
    """
    leaves, structure = flatten(hypers)
    places = leaf_places(structure, "hypers")
    leaves = check_leaves(leaves, places, allow_int=True)
    for leaf, place in zip(leaves, places):
        if isbox(leaf) or not np.isfinite(leaf).all():
            raise NestError(f"{place} must be finite, and nothing that is being differentiated, got {leaf!r:.100}")
    return [np.array(leaf, float)[()] for leaf in leaves], structure


def spread_sigma(sigma: Any, structure: Structure, what: str) -> list:
    """The σ of each leaf, from a prefix of the hyperparameters.

    Raises:
      ArgumentError: one is not above 0.
    """
    given, cover, places = broadcast_prefix(sigma, structure, name=f"sigma of {what}", target="hypers")
    for value, place in zip(given, places):
        if not isinstance(value, int | float | np.floating) or not 0.0 < value < np.inf:
            raise ArgumentError(f"{place} must be a number above 0, got {value!r:.100}")
    return [float(given[index]) for index in cover]


def check_samples(samples, what: str) -> int:
    """How many pairs of samples to draw, at least one."""
    return check_integer(samples, f"samples of {what}", 1)


def normal_like(leaves: list, seed: int, sample: int) -> list:
    """Standard normal numbers in the shapes of the leaves; the same whoever draws them."""
    rng = np.random.default_rng([seed, _PURPOSE, sample])
    return [rng.standard_normal(np.shape(leaf))[()] for leaf in leaves]


def results_of(function: Callable, calls: list[tuple], n_jobs: int) -> list:
    """``function(*call)`` for each of the calls, in this process if ``n_jobs`` is 1, else by joblib's workers."""
    if n_jobs == 1:
        return [function(*call) for call in calls]
    import joblib

    return workers(n_jobs)(joblib.delayed(function)(*call) for call in calls)


def value_or_inf(compute: Callable[[], Any]) -> float:
    """A value, or inf where it could not be trained or is not finite."""
    try:
        with np.errstate(all="ignore"):
            value = float(compute())
    except UNTRAINABLE:
        return np.inf
    return value if np.isfinite(value) else np.inf


def worst_for_diverged(values: np.ndarray, what: str) -> tuple[np.ndarray, int]:
    """The values, with the largest finite one for those that diverged, and how many did.

    Raises:
      ArgumentError: all of them.
    """
    finite = np.isfinite(values)
    if not finite.any():
        raise ArgumentError(f"all {values.size} samples of {what} diverged: make sigma smaller, or start elsewhere")
    return np.where(finite, values, values[finite].max()), int((~finite).sum())


def standard_error(samples: np.ndarray) -> np.ndarray:
    """Of the mean over the first axis; NaN for one sample."""
    if len(samples) < 2:
        return np.full(samples.shape[1:], np.nan)
    return samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
