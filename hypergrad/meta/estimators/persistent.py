"""Persistent evolution strategies: values of short pieces of a training, without the bias of truncation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...checks import check_integer
from ...errors import ArgumentError
from ...nests import unflatten
from ..objective import UNTRAINABLE
from ..problem import Problem
from ..unroll import Unroll
from .base import (
    Diagnostics,
    Estimate,
    check_samples,
    normal_like,
    plain,
    problem_of,
    results_of,
    spread_sigma,
    standard_error,
    worst_for_diverged,
)


class Persistent:
    """What :func:`persistent` returns: its particles stand where the last call left them.

    Attributes:
      step: how many steps of the training the particles have made.
    """

    def __init__(self, problem: Problem, sigma: Any, samples: int, steps: int, n_jobs: int):
        self.problem, self.sigma, self.samples, self.steps, self.n_jobs = problem, sigma, samples, steps, n_jobs
        self.reset()

    def reset(self) -> None:
        """Begin a training anew at the next call."""
        self.step = self.episode = 0
        self._particles: list[list | None] = [None] * (2 * self.samples)  # the arrays of a state, None if it diverged
        self._perturbations: list[list] = [[] for _ in range(self.samples)]

    def __call__(self, hypers, seed: int = 0) -> Estimate:
        leaves, structure = plain(hypers)
        sigmas = spread_sigma(self.sigma, structure, "persistent")
        if self.step == 0:
            self.episode = seed
            self._particles = [[]] * (2 * self.samples)
            self._perturbations = [[np.zeros(np.shape(leaf)) for leaf in leaves] for _ in range(self.samples)]
        steps = [
            [sigma * z for sigma, z in zip(sigmas, normal_like(leaves, seed, sample))] for sample in range(self.samples)
        ]
        self._perturbations = [[a + b for a, b in zip(old, new)] for old, new in zip(self._perturbations, steps)]
        moved = [[leaf + sign * d for leaf, d in zip(leaves, step)] for step in steps for sign in (1.0, -1.0)]
        stop = min(self.step + self.steps, self.problem.steps)
        calls = [
            (self.problem, unflatten(structure, at), self.episode, particle, self.step, stop)
            for at, particle in zip(moved, self._particles)
        ]
        found = results_of(_piece, calls, self.n_jobs)
        self._particles = [arrays for _, arrays in found]
        values, diverged = worst_for_diverged(np.array([v for v, _ in found]).reshape(-1, 2), "persistent")
        slopes = (values[:, 0] - values[:, 1]) / 2.0
        gradient, errors = [], []
        for i, sigma in enumerate(sigmas):
            draw = np.array([slope * total[i] / sigma**2 for slope, total in zip(slopes, self._perturbations)])
            gradient.append(draw.mean(axis=0)[()])
            errors.append(standard_error(draw)[()])
        pieces = stop - self.step
        self.step = stop % self.problem.steps
        diagnostics = Diagnostics(
            unflatten(structure, errors),
            products=2.0 * pieces * 2 * self.samples,
            samples=2 * self.samples,
            diverged=diverged,
        )
        return Estimate(float(values.mean()), unflatten(structure, gradient), diagnostics)

    def state(self) -> dict[str, np.ndarray]:
        """What a call leaves behind, as arrays by name, to be stored."""
        arrays = {"step": np.asarray(self.step), "episode": np.asarray(self.episode)}
        for k, particle in enumerate(self._particles):
            arrays[f"alive{k}"] = np.asarray(particle is not None)
            arrays |= {f"particle{k}_{i}": a for i, a in enumerate(particle or [])}
        for k, total in enumerate(self._perturbations):
            arrays |= {f"perturbation{k}_{i}": np.asarray(a) for i, a in enumerate(total)}
        return arrays

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Stand where :meth:`state` was asked for."""
        self.step, self.episode = int(arrays["step"]), int(arrays["episode"])
        count = lambda prefix: sum(name.startswith(f"{prefix}_") for name in arrays)
        row = lambda prefix: [arrays[f"{prefix}_{i}"] for i in range(count(prefix))]
        self._particles = [row(f"particle{k}") if arrays[f"alive{k}"] else None for k in range(2 * self.samples)]
        self._perturbations = [row(f"perturbation{k}") for k in range(self.samples)]


def persistent(problem: Problem, *, sigma: Any, samples: int = 10, steps: int = 10, n_jobs: int = 1) -> Persistent:
    """Persistent evolution strategies on pieces of K steps of one training, which goes on from call to call.

        ĝ = mean over pairs of ξ (L⁺ − L⁻) / (2 σ²),    ξ = Σ of the perturbations of this particle since the start

    where L± is the sum of the outer losses in the piece, of a particle that trained with h + ε in this piece, other ε
    in those before, and of its mirror image. Each call moves all particles on by K steps; after T steps they start
    again. With the hyperparameters held, the sum of the estimates over a training is unbiased for the gradient of the
    sum of outer losses smoothed over a perturbation in each piece; with K = T it is :func:`smoothed`. A particle that
    diverged stays so to the end of the training, and counts in each piece as the worst of the others.

    Args:
      problem: with objective "sum".
      sigma: σ > 0, a number or a nest of those that is a prefix of the hyperparameters.
      samples: pairs of particles.
      steps: K, from 1 to T, a multiple of the problem's ``every``.
      n_jobs: joblib's workers; the numbers drawn do not depend on it.

    Returns:
      The estimator, an object with a state: ``state()`` and ``restore(arrays)``, of which a stored descent makes use.
      The value of an estimate is the mean of L over the particles.

    Raises:
      ArgumentError: another objective, K > T, a σ not above 0, no samples; when it is called, all samples diverged.

    Cost: 2 K products for each of 2 · samples particles. Memory: their states.
    Source: Vicol, Metz & Sohl-Dickstein (2021).
    """
    problem = problem_of(problem, "persistent")
    if problem.objective != "sum":
        raise ArgumentError('persistent needs the outer losses on the way: Problem(…, objective="sum")')
    steps = check_integer(steps, "steps of persistent", 1)
    if steps > problem.steps or steps % problem.every:
        raise ArgumentError(
            f"steps of persistent must be a multiple of every={problem.every} and at most the {problem.steps} of the "
            f"problem, got {steps}"
        )
    return Persistent(problem, sigma, check_samples(samples, "persistent"), steps, n_jobs)


def _piece(problem: Problem, hypers, episode: int, particle: list | None, start: int, stop: int):
    """The sum of the outer losses in a piece, and the state after it; inf and None where training diverged."""
    if particle is None:
        return np.inf, None
    try:
        with np.errstate(all="ignore"):
            unroll = Unroll(problem, hypers, episode, what="persistent")
            if start:
                unroll.resume(particle, start)
            total = 0.0
            for count in problem.counts:
                if start < count <= stop:
                    unroll.advance(count)
                    total += unroll.outer(differentiated=False)[0]
            unroll.advance(stop)
    except UNTRAINABLE:
        return np.inf, None
    return (total, unroll.arrays()) if np.isfinite(total) else (np.inf, None)
