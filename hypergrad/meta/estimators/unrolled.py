"""Estimators that differentiate through the training: all of it, or the last steps before each outer loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from autograd import value_and_grad

from ...checks import check_integer
from ...errors import ArgumentError
from ...forward_mode import forward_tangents
from ...nests import unflatten
from ..problem import Problem
from ..unroll import Unroll
from .base import Diagnostics, Estimate, function_of, plain, problem_of


@dataclass(frozen=True)
class Exact:
    """What :func:`exact` returns."""

    of: Any

    def __call__(self, hypers, seed: int = 0) -> Estimate:
        leaves, structure = plain(hypers)
        value, gradient = value_and_grad(lambda leaves: self._f(unflatten(structure, list(leaves)), seed))(leaves)
        steps = self.of.steps if isinstance(self.of, Problem) else np.nan
        leaves = [np.asarray(g, dtype=float)[()] for g in gradient]
        return Estimate(float(value), unflatten(structure, leaves), Diagnostics(products=4.0 * steps))

    @property
    def _f(self):
        return function_of(self.of, "exact")


def exact(of: Any) -> Exact:
    """The exact hypergradient in reverse mode, by whatever adjoint the problem or the function uses.

    Args:
      of: a :class:`~hypergrad.meta.Problem`, or ``f(hypers, seed)``.

    Cost: from 4 products a step (:class:`hypergrad.Stored`), reported as 4.

    >>> exact(lambda h, seed: (h - seed) ** 2)(3.0, 1)[:2]
    (4.0, np.float64(4.0))
    """
    function_of(of, "exact")
    return Exact(of)


@dataclass(frozen=True)
class Forward:
    """What :func:`forward` returns."""

    of: Any

    def __call__(self, hypers, seed: int = 0) -> Estimate:
        leaves, structure = plain(hypers)
        found = forward_tangents(lambda nest: function_of(self.of, "forward")(nest, seed), unflatten(structure, leaves))
        count = sum(np.size(leaf) for leaf in leaves)
        steps = self.of.steps if isinstance(self.of, Problem) else np.nan
        return Estimate(float(found.value), found.derivatives, Diagnostics(products=(2.0 + 2.0 * count) * steps))


def forward(of: Any) -> Forward:
    """The exact hypergradient in forward mode, all entries by one run (:func:`hypergrad.forward_tangents`).

    For few hyperparameters and very many steps: nothing is kept from step to step. A schedule of 10⁴ steps and more has
    few free values where segments share one (hyperparameter sharing; ``hypergrad.schedules.binned``).

    Args:
      of: a :class:`~hypergrad.meta.Problem`, or ``f(hypers, seed)``.

    Cost: 2 + 2 K products a step for K numbers. Memory: K times parameters and optimizer state.
    Source: Franceschi et al. (2017); Micaelli & Storkey (2021) for the sharing.

    >>> forward(lambda h, seed: (h - seed) ** 2)(3.0, 1)[:2]
    (4.0, np.float64(4.0))
    """
    function_of(of, "forward")
    return Forward(of)


@dataclass(frozen=True)
class Truncated:
    """What :func:`truncated` returns."""

    problem: Problem
    steps: int

    def __call__(self, hypers, seed: int = 0) -> Estimate:
        leaves, structure = plain(hypers)
        unroll = Unroll(self.problem, unflatten(structure, leaves), seed, keep=self.steps, what="truncated")
        value, total, back = 0.0, [np.zeros(np.shape(leaf)) for leaf in leaves], 0
        for count in self.problem.counts:
            unroll.advance(count)
            loss, cotangent = unroll.outer()
            value += loss
            total = [t + g for t, g in zip(total, unroll.pulled_back(cotangent))]
            back += min(self.steps, count)
        diagnostics = Diagnostics(
            products=2.0 * self.problem.steps + 2.0 * back,
            note="" if self.steps == self.problem.steps else "biased: what earlier steps do to later ones is left out",
        )
        return Estimate(value, unflatten(structure, [t[()] for t in total]), diagnostics)


def truncated(problem: Problem, *, steps: int) -> Truncated:
    """Each outer loss is differentiated through the last K steps before it, whose start is taken for a constant.

        ĝ = Σ_t ∂ℓ(w_t)/∂h  with  w_{t−K} constant,  over the step counts t of the objective

    Biased: it leaves out what hyperparameters of earlier steps do through the state that they lead to, and so favours
    what helps within K steps. For learning rates that is the short-horizon bias of Wu et al. (2018): rates that are too
    low. With K = T it is the exact hypergradient.

    Args:
      problem: with objective "final" (K last steps of the run) or "sum" (K steps before each of its outer losses).
      steps: K, from 1 to T.

    Raises:
      ArgumentError: K is larger than T, or the optimizer is exact.

    Cost: 2 T products, and 2 K for each outer loss. Memory: of K steps.
    Source: Williams & Peng (1990); Shaban et al. (2019).
    """
    problem = problem_of(problem, "truncated")
    steps = check_integer(steps, "steps of truncated", 1)
    if steps > problem.steps:
        raise ArgumentError(f"truncated takes at most the {problem.steps} steps of the problem, got steps={steps}")
    return Truncated(problem, steps)


def greedy(problem: Problem) -> Truncated:
    """One step back from each outer loss: what a hyperparameter does to the next loss, and nothing after it.

    The hypergradient of online methods, which change learning rates while training goes on (hypergradient descent): for
    SGD without momentum the derivative of ℓ(w_{t+1}) by α_t is −⟨∇ℓ(w_{t+1}), ∇L(w_t)⟩. Biased as :func:`truncated`,
    the more so the more a step does for later ones.

    Args:
      problem: with objective "sum".

    Raises:
      ArgumentError: for the objective "final", of which one step of the run would be all that is seen.

    Cost: 2 T products, and 2 for each outer loss.
    Source: Almeida et al. (1999); Baydin et al. (2018).
    """
    problem = problem_of(problem, "greedy")
    if problem.objective != "sum":
        raise ArgumentError('greedy needs the outer losses on the way: Problem(…, objective="sum")')
    return Truncated(problem, 1)
