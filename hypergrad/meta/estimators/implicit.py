"""Implicit differentiation at a stationary point of the training loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...checks import check_integer
from ...errors import ArgumentError
from ...nests import unflatten
from ...workspace import Arena, norm
from ..problem import Problem
from ..unroll import Unroll
from .base import Diagnostics, Estimate, plain, problem_of


@dataclass(frozen=True)
class Implicit:
    """What :func:`implicit` returns."""

    problem: Problem
    method: str
    terms: int
    damping: float
    rate: float
    tolerance: float

    def __call__(self, hypers, seed: int = 0) -> Estimate:
        leaves, structure = plain(hypers)
        hypers = unflatten(structure, leaves)
        self._check_visible(hypers, seed)
        unroll = Unroll(self.problem, hypers, seed, what="implicit")
        unroll.advance(self.problem.steps)
        value, outer = unroll.outer()
        dynamics, params = unroll.dynamics, unroll.state.params
        gradient = dynamics.layout.vector()
        linear = dynamics.loss.linearize(params.arrays, self.problem.steps, gradient.arrays, Arena())
        to = dynamics.layout.vector()

        def hessian_times(direction: np.ndarray) -> np.ndarray:
            linear.product(_cut(direction, params.arrays), to.arrays)
            return _flat(to.arrays) + self.damping * direction

        solution, products = self._solved(hessian_times, _flat(outer))
        mixed = linear.product(_cut(solution, params.arrays), to.arrays)
        zeros = [np.zeros_like(w) for w in params.arrays]
        schedules = [np.zeros_like(leaf) for s in dynamics.updates.schedules for leaf in s.leaves]
        found = unroll.to_hypers([*zeros, *(-m for m in mixed), *schedules])
        steps = self.problem.steps
        diagnostics = Diagnostics(
            products=2.0 * steps + 2.0 * (products + 1),
            gradient_norm=norm(gradient.arrays),
            note=f"right where the training loss is stationary; its gradient has norm {norm(gradient.arrays):.3g} here",
        )
        return Estimate(value, unflatten(structure, [g[()] for g in found]), diagnostics)

    def _check_visible(self, hypers: Any, seed: int) -> None:
        """Whether all hyperparameters are of the loss: those of the optimizer and the start do not move a minimum."""
        seen = self.problem.acts_on(hypers, seed)
        if seen:
            raise ArgumentError(
                f"implicit differentiation sees hyperparameters of the loss alone, but {' and '.join(seen)} of the "
                "problem depends on some: where training ends at a minimum, neither learning rates nor initial "
                "parameters move it. Hold them constant, or use exact, truncated or smoothed"
            )

    def _solved(self, hessian_times, b: np.ndarray) -> tuple[np.ndarray, int]:
        """(H + damping)⁻¹ b, and how many products it took."""
        from scipy.sparse.linalg import LinearOperator, cg

        count = [0]

        def counted(v):
            count[0] += 1
            return hessian_times(v)

        if self.method == "neumann":
            term, total = b, b.copy()
            for _ in range(self.terms - 1):
                term = term - self.rate * counted(term)
                total += term
            return self.rate * total, count[0]
        solution, _ = cg(
            LinearOperator((len(b), len(b)), counted, dtype=float), b, rtol=self.tolerance, maxiter=self.terms
        )
        return solution, count[0]


def implicit(
    problem: Problem,
    *,
    method: str = "cg",
    terms: int = 100,
    damping: float = 0.0,
    rate: float | None = None,
    tolerance: float = 1e-10,
) -> Implicit:
    """The hypergradient by the implicit function theorem, at the parameters that training leads to.

        ∂ℓ/∂h = −∂²L/∂h∂w (∂²L/∂w∂w + damping)⁻¹ ∂ℓ/∂w    for  ∂L/∂w = 0

    with L the training loss at step T. It assumes that its gradient is 0 there: ``diagnostics.gradient_norm`` says how
    far that is from true. It sees hyperparameters of the loss only, those that come through ``problem.hyper``.

    Args:
      problem: with objective "final", and ``hyper``.
      method: "cg", conjugate gradients, for a Hessian that is positive definite with the damping; or "neumann", the
        series (∂²L/∂w∂w + damping)⁻¹ = rate Σ_i (1 − rate (∂²L/∂w∂w + damping))^i, for rate · Hessian below 2.
      terms: of the series, or iterations at most.
      damping: ≥ 0, added to the diagonal.
      rate: of the series, above 0.
      tolerance: relative residual at which conjugate gradients end.

    Raises:
      ArgumentError: a learning rate or an initial parameter depends on the hyperparameters; bad numbers.

    Cost: 2 T products for training, and 2 for each term. Memory: of one step.
    Source: Bengio (2000); Lorraine, Vicol & Duvenaud (2020) for the series.
    """
    problem = problem_of(problem, "implicit")
    if problem.hyper is None or problem.objective != "final":
        raise ArgumentError('implicit needs a problem with hyper=…, what the loss is given, and objective="final"')
    if method not in ("cg", "neumann"):
        raise ArgumentError(f'method of implicit must be "cg" or "neumann", got {method!r}')
    if method == "neumann" and not (isinstance(rate, int | float) and rate > 0.0):
        raise ArgumentError(f'method="neumann" needs a rate above 0, below 2 / the largest eigenvalue, got {rate!r}')
    if not (isinstance(damping, int | float) and damping >= 0.0):
        raise ArgumentError(f"damping of implicit must be ≥ 0, got {damping!r}")
    return Implicit(problem, method, check_integer(terms, "terms of implicit", 1), damping, rate or 0.0, tolerance)


def _flat(arrays: list) -> np.ndarray:
    return np.concatenate([np.ravel(a) for a in arrays]).astype(float)


def _cut(flat: np.ndarray, like: list) -> list[Any]:
    ends = np.cumsum([0, *(w.size for w in like)])
    return [flat[a:b].reshape(w.shape).astype(w.dtype) for a, b, w in zip(ends, ends[1:], like)]
