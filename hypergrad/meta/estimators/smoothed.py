"""Estimators of the gradient of a smoothed objective: from values at perturbed hyperparameters, or gradients too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from autograd import value_and_grad

from ...nests import unflatten
from ..objective import UNTRAINABLE
from .base import (
    Diagnostics,
    Estimate,
    check_samples,
    function_of,
    normal_like,
    plain,
    results_of,
    spread_sigma,
    standard_error,
    value_or_inf,
    worst_for_diverged,
)


@dataclass(frozen=True)
class _Sampled:
    """An estimator from pairs of samples."""

    f: Callable
    sigma: Any
    samples: int
    n_jobs: int


class Smoothed(_Sampled):
    """What :func:`smoothed` returns."""

    def __call__(self, hypers, seed: int = 0) -> Estimate:
        leaves, structure = plain(hypers)
        sigmas = spread_sigma(self.sigma, structure, "smoothed")
        values = self._values(leaves, structure, sigmas, seed)
        values, diverged = worst_for_diverged(values, "smoothed")
        draws = _scores(leaves, sigmas, values, seed)
        gradient, errors = zip(*((draw.mean(axis=0)[()], standard_error(draw)[()]) for draw in draws))
        diagnostics = Diagnostics(unflatten(structure, errors), samples=2 * self.samples, diverged=diverged)
        return Estimate(float(values.mean()), unflatten(structure, gradient), diagnostics)

    def _values(self, leaves, structure, sigmas, seed: int) -> np.ndarray:
        """f at h + σ z and h − σ z, shape (samples, 2); inf where training diverged."""
        points = _points(leaves, sigmas, seed, self.samples)
        calls = [(self.f, unflatten(structure, moved), seed) for moved in points]
        return np.array(results_of(_value, calls, self.n_jobs)).reshape(self.samples, 2)


def smoothed(of: Any, *, sigma: Any, samples: int = 10, n_jobs: int = 1) -> Smoothed:
    """Antithetic evolution strategies: the gradient of f smoothed by a normal distribution, from values alone.

        ĝ = mean over pairs of (f(h + σ z) − f(h − σ z)) / (2 σ) · z,    z ~ N(0, 1)

    Unbiased for the gradient of E f(h + σ z), whatever f is like at smaller distances than σ. A sample that diverges
    counts as the largest of those that did not, and ``diagnostics.diverged`` says how many did.

    Args:
      of: a :class:`~hypergrad.meta.Problem`, or ``f(hypers, seed)``.
      sigma: σ > 0, a number or a nest of those that is a prefix of the hyperparameters.
      samples: pairs.
      n_jobs: joblib's workers; the numbers drawn do not depend on it.

    Returns:
      The estimator; its value is the mean of all samples.

    Raises:
      ArgumentError: a σ not above 0, no samples; when it is called, all samples diverged.

    Cost: 2 trainings a pair. The variance grows with the number of hyperparameters.
    Source: Nesterov & Spokoiny (2017); Salimans et al. (2017).
    """
    return Smoothed(function_of(of, "smoothed"), sigma, check_samples(samples, "smoothed"), n_jobs)


class Mixed(_Sampled):
    """What :func:`mixed` returns."""

    def __call__(self, hypers, seed: int = 0) -> Estimate:
        leaves, structure = plain(hypers)
        sigmas = spread_sigma(self.sigma, structure, "mixed")
        calls = [(self.f, structure, moved, seed) for moved in _points(leaves, sigmas, seed, self.samples)]
        found = results_of(_value_and_gradient, calls, self.n_jobs)
        values = np.array([value for value, _ in found]).reshape(self.samples, 2)
        values, diverged = worst_for_diverged(values, "mixed")
        by_values = _scores(leaves, sigmas, values, seed)
        by_gradients = [np.array([gradient[i] for _, gradient in found]) for i in range(len(leaves))]
        by_gradients = [draw.reshape(self.samples, 2, *draw.shape[1:]).mean(axis=1) for draw in by_gradients]
        spreads = [_total_variance(draws) for draws in (by_gradients, by_values)]
        weight = _weight_of_first(*spreads)
        gradient, errors = [], []
        for g, s in zip(by_gradients, by_values):
            gradient.append((weight * np.nan_to_num(g.mean(axis=0)) + (1.0 - weight) * s.mean(axis=0))[()])
            errors.append(standard_error(weight * np.nan_to_num(g) + (1.0 - weight) * s)[()])
        diagnostics = Diagnostics(
            unflatten(structure, errors), samples=2 * self.samples, diverged=diverged, weights=(weight, 1.0 - weight)
        )
        return Estimate(float(values.mean()), unflatten(structure, gradient), diagnostics)


def mixed(of: Any, *, sigma: Any, samples: int = 10, n_jobs: int = 1) -> Mixed:
    """The gradient of the smoothed f from exact hypergradients and from values, each weighted by its inverse variance.

        ĝ = k ḡ + (1 − k) s̄,    k = Var s̄ / (Var ḡ + Var s̄),    ḡ = mean of ∇f(h ± σ z),  s̄ as in :func:`smoothed`

    Both are estimates of the gradient of E f(h + σ z). In the calm the exact ones have the lower variance by far; in
    chaos theirs grows without bound, and values take over. Variances are summed over all entries, and estimated from
    the same samples, so that the mix is only nearly unbiased. ``diagnostics.weights`` is (k, 1 − k). A sample that
    diverges counts as in :func:`smoothed`, and then k = 0.

    Args:
      of, sigma, n_jobs: as of :func:`smoothed`.
      samples: pairs, two at least.

    Returns:
      The estimator; its value is the mean of all samples.

    Raises:
      ArgumentError: as :func:`smoothed`.

    Cost: 2 hypergradients a pair.
    Source: Parmas et al. (2018), total propagation.
    """
    return Mixed(function_of(of, "mixed"), sigma, check_samples(samples, "mixed"), n_jobs)


def _points(leaves: list, sigmas: list, seed: int, samples: int) -> list[list]:
    """h + σ z and h − σ z, one sample after another."""
    return [
        [leaf + sign * sigma * step for leaf, sigma, step in zip(leaves, sigmas, normal_like(leaves, seed, sample))]
        for sample in range(samples)
        for sign in (1.0, -1.0)
    ]


def _scores(leaves: list, sigmas: list, values: np.ndarray, seed: int) -> list[np.ndarray]:
    """The estimate of each pair, for each leaf an array (samples, …)."""
    slopes = (values[:, 0] - values[:, 1]) / 2.0
    draws = [normal_like(leaves, seed, sample) for sample in range(len(values))]
    return [np.array([slope / sigma * z[i] for slope, z in zip(slopes, draws)]) for i, sigma in enumerate(sigmas)]


def _total_variance(draws: list[np.ndarray]) -> float:
    """Of the mean, summed over all entries; inf where it is not known."""
    with np.errstate(all="ignore"):
        total = float(sum(np.sum(np.square(standard_error(draw))) for draw in draws))
    return total if np.isfinite(total) else np.inf


def _weight_of_first(first: float, second: float) -> float:
    if not np.isfinite(first):
        return 0.0
    if not np.isfinite(second):
        return 1.0
    return second / (first + second) if first + second > 0.0 else 1.0


def _value(f: Callable, hypers, seed: int) -> float:
    return value_or_inf(lambda: f(hypers, seed))


def _value_and_gradient(f: Callable, structure, leaves: list, seed: int) -> tuple[float, list]:
    """inf and NaN where training diverged."""
    unknown = [np.full(np.shape(leaf), np.nan) for leaf in leaves]
    try:
        with np.errstate(all="ignore"):
            value, gradient = value_and_grad(lambda leaves: f(unflatten(structure, list(leaves)), seed))(leaves)
    except UNTRAINABLE:
        return np.inf, unknown
    found = [np.asarray(g, float) for g in gradient]
    is_finite = np.isfinite(value) and all(np.isfinite(g).all() for g in found)
    return (float(value), found) if is_finite else (np.inf, unknown)
