"""Which estimator of the hypergradient to use, from a few cheap runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bridge import isbox
from ..checks import check_integer
from ..errors import ArgumentError, DifferentiationError
from ..planner import in_words, parse_budget
from .evaluation import check_finite_leaves
from .expected import Expected, Question, backs, of_each, rank
from .roughness import Roughness, Trained, is_calm, measure

STEP = 0.1
_NOTHING = 1.0  # the error of no gradient at all


@dataclass(frozen=True, repr=False)
class Advice:
    """Which estimator to use, why, and what it takes. Printed, it says so in words.

    ``hg.meta.estimators.build(advice, of)`` makes the estimator.

    Attributes:
      estimator: its name in :mod:`hypergrad.meta.estimators`.
      arguments: its keywords.
      reason: in a sentence or two, with the numbers measured.
      error: expected, relative to the gradient.
      cost: of an estimate, in trainings; ``products`` is the same in matrix products a layer, 2 for each step, NaN if
        ``f`` does not train.
      memory: about how many bytes are held over the steps.
      calm: whether the derivative describes ``f`` over the step, so that the exact hypergradient is what is wanted;
        else it is the gradient of ``f`` smoothed over the step.
      considered: an ``Expected`` for each estimator, the advised one first.
      measured: the ``Roughness``.
      step, budget: as given.
    """

    estimator: str
    arguments: dict[str, Any]
    reason: str
    error: float
    cost: float
    products: float
    memory: float
    calm: bool
    considered: tuple[Expected, ...]
    measured: Roughness
    step: float
    budget: float
    of: str

    @property
    def code(self) -> str:
        """How to build it."""
        return self.considered[0].code(self.of)

    def __repr__(self):
        """In words; the numbers are in the attributes."""
        held = "" if math.isnan(self.memory) else f", {in_words(self.memory)} over the steps"
        first = f"Use {self.code}" if math.isfinite(self.error) else "Use none of them here"
        lines = [
            f"{first}: {self.reason}.",
            f"  expected: an error of {self.error:.2g} of the gradient, {self.cost:.3g} trainings an estimate{held}",
        ]
        for other in self.considered[1:]:
            words = f"{other.error:.2g} for {other.cost:.3g} trainings" if other.possible else "no"
            lines.append(f"  {other.estimator}: {words}; {other.why}")
        return "\n".join(lines)


def advise(
    f: Any,
    hypers: Any,
    *,
    step: float = STEP,
    budget: float = 20.0,
    memory_budget: Any = None,
    seed: int = 0,
) -> Advice:
    """Which estimator of the hypergradient to use at ``hypers``, by runs along one direction.

    Along the hypergradient (for one number, that) ``f`` and its derivative are computed at nine places over ± a step.
    Trapezoids of the derivative over quarters of the step are compared with the differences of ``f``, and over eighths
    if that leaves a doubt. Where they miss it by at most 5 % of the integral of its magnitude (or 25 %, if that is 0.4
    of what parts twice as long miss, or less) ``f`` is smooth there, and what is wanted is the exact hypergradient: it,
    or forward mode if that is cheaper, is advised; if neither fits the budget, the truncation or implicit
    differentiation with the smallest error.

    Elsewhere, past the edge of chaos, what is wanted is the gradient of E f(h + σ z), z standard normal, with σ =
    step / √K for K hyperparameters, so that the root mean square of |σ z| is the step. From values over ± two steps
    come its slope g along the direction and the roughness A that a line leaves, and from the derivatives their spread
    s. Expected of N pairs are

        smoothed: e² = ((K + 1) g² + K A²/σ²) / (N g²)      from derivatives: e² = K s² / (2 N g²)

    both mixed by inverse variance, with the bias that the mean derivative has where f jumps, and of the exact one
    |f' − g| / g. The smallest is advised. Where all are above 1, which is the error of no gradient at
    all, the reason says so.

    Args:
      f: a :class:`hypergrad.meta.Problem`, ``f(hypers, seed)`` or ``f(hypers)``; deterministic. Of a function nothing
        is known but itself, so that truncated, greedy, implicit and persistent estimators are left out.
      hypers: a number or a nest of float arrays.
      step: how far you mean to move, in the Euclidean norm of the hyperparameters.
      budget: trainings an estimate may cost, in products: a hypergradient with all steps stored costs 2.
      memory_budget: as for :func:`hypergrad.plan`.
      seed: of ``f``.

    Returns:
      An :class:`Advice`.

    Raises:
      NestError: bad ``hypers``.
      ArgumentError: an ``f`` that is no scalar, does not depend on ``hypers`` or gives another result when called
        again; a bad number; a budget for which there is no estimator.
      DifferentiationError: ``hypers`` are being differentiated.

    Cost: 20 trainings; 2 more for the direction of several hyperparameters, 16 in doubt, 8 past the edge, up to 6 for
    truncations.

    >>> import autograd.numpy as np
    >>> advise(np.sin, 0.3).estimator, advise(lambda x: x + 0.1 * np.sin(1e6 * x), 0.3).estimator
    ('forward', 'smoothed')
    """
    leaves, structure = check_finite_leaves(hypers)
    if any(map(isbox, leaves)):
        raise DifferentiationError("advise cannot be differentiated: give it plain numbers")
    for name, number in (("step", step), ("budget", budget)):
        if isinstance(number, bool) or not (isinstance(number, int | float | np.number) and 0.0 < number < math.inf):
            raise ArgumentError(f"{name} must be a finite number above 0, got {number!r}")
    if not (callable(f) or isinstance(f, Trained)):
        raise ArgumentError(f"advise needs a hypergrad.meta.Problem or a function of hypers, got {f!r:.100}")
    seed, step, budget = check_integer(seed, "seed", 0), float(step), float(budget)
    allowed = math.inf if memory_budget is None else parse_budget(memory_budget)
    shorter = backs(f, budget) if isinstance(f, Trained) else []
    found, needs = measure(f, leaves, structure, step, seed, shorter, memory_budget)
    asked = Question(step, budget, allowed, is_calm(found.missed))
    expected = of_each(f, hypers, seed, found, needs, asked)
    possible = [one for one in expected if one.possible]
    if not possible:
        least = min(one.cost for one in expected)
        raise ArgumentError(
            f"no estimator fits a budget of {budget:g} trainings and the memory: the least costs {least:.3g}, "
            f"{min(expected, key=lambda one: one.cost).estimator}"
        )
    best = min(possible, key=rank)
    others = sorted((one for one in expected if one is not best), key=lambda one: (not one.possible, *rank(one)))
    return Advice(
        best.estimator,
        best.arguments,
        _reason(best, possible, found, asked),
        best.error,
        best.cost,
        2.0 * needs.steps * best.cost if needs.steps else math.nan,
        best.memory,
        asked.calm,
        (best, *others),
        found,
        step,
        budget,
        "problem" if isinstance(f, Trained) else "f",
    )


def _reason(best: Expected, possible: list[Expected], found: Roughness, asked: Question) -> str:
    """In a sentence or two, with the numbers measured."""
    growth = "" if math.isnan(found.growth) else f" (a tangent grows by {found.growth:.2g} nats a step)"
    share = f"{100.0 * found.missed[-1]:.2g} %" if math.isfinite(found.missed[-1]) else "more than can be computed"
    parts = "eighths" if len(found.missed) > 2 else "quarters"
    seen = f"over {parts} of a step of {asked.step:g} the derivative misses f by {share} of its integral{growth}"
    lost = f"; training diverges at {found.diverged} of {len(found.loss)} points" if found.diverged else ""
    if asked.calm:
        how = {
            "exact": f"so the exact hypergradient is right, and cheapest in reverse mode for {found.numbers} numbers",
            "forward": "so the exact hypergradient is right, and forward mode keeps nothing of the steps for it",
        }.get(best.estimator, f"so the exact hypergradient is right, but too dear; {best.why}")
        return f"{seen}{lost}, {how}"
    errors = ", ".join(f"{one.error:.2g} of {one.estimator}" for one in possible if one is not best)
    slope = f"The slope of f smoothed over the step is {found.slope:.3g} ± {found.slope_error:.2g}"
    past = f"{seen}{lost}: past the edge of chaos or rough. {slope}, and an error of {best.error:.2g} is expected"
    past += f", against {errors or 'nothing else'}"
    if abs(found.slope) < 2.0 * found.slope_error:
        past += "; these values do not resolve the slope"
    if best.error >= _NOTHING:
        past += f"; that is no better than no gradient: take more than {asked.budget:g} trainings, or a lower rate"
    return past
