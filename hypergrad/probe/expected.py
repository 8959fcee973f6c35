"""What is expected of each estimator of the hypergradient, from what a few cheap runs tell: error, cost and memory."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..planner import in_words
from .roughness import Needs, Roughness, Trained

_TERMS = 100  # of implicit differentiation, at most
_PIECES = 5  # of a training, for persistent evolution strategies
_GUESS = 2.0  # the error of a biased estimator past the edge: it may return next to nothing there, or explode
_SHORT, _SHORTEST = 0.9, 0.95  # the error of truncation to some steps and to one, where it was not measured
_UNSETTLED = 10.0  # the error of implicit differentiation over what is left of the gradient of the training loss


class Question(NamedTuple):
    """What is asked for.

    Attributes:
      step: that is meant to be taken.
      budget: trainings for an estimate.
      memory: bytes over the steps.
      calm: whether the exact hypergradient is wanted, and not that of the smoothed function.
    """

    step: float
    budget: float
    memory: float
    calm: bool


class Expected(NamedTuple):
    """What is expected of an estimator.

    Attributes:
      estimator: its name in :mod:`hypergrad.meta.estimators`.
      arguments: its keywords.
      error: of the estimate, relative to the gradient; NaN where nothing is known of it.
      cost: of an estimate, in trainings' worth of products; a training of T steps is 2 T.
      memory: about how many bytes are held over the steps; NaN if ``f`` does not train.
      why: where the error is from, or why it is out of the question, in a few words.
      possible: whether it fits the budget and the memory.
    """

    estimator: str
    arguments: dict[str, Any]
    error: float
    cost: float
    memory: float
    why: str
    possible: bool = True

    def code(self, of: str) -> str:
        """The call that makes it."""
        words = lambda value: str(value) if isinstance(value, int) else f"{value:.4g}"
        given = "".join(f", {name}={words(value)}" for name, value in self.arguments.items())
        return f"hg.meta.estimators.{self.estimator}({of}{given})"


def rank(one: Expected) -> tuple:
    """The smallest error; of those as good, the cheapest, then the smallest."""
    error = math.inf if math.isnan(one.error) else max(one.error, 1e-6)
    return round(error, 6), round(one.cost, 9), math.inf if math.isnan(one.memory) else one.memory


def _judged(one: Expected, asked: Question) -> Expected:
    if one.cost > asked.budget * (1.0 + 1e-9):
        return one._replace(possible=False, why=f"costs {one.cost:.3g} trainings")
    if one.memory > asked.memory:
        return one._replace(possible=False, why=f"holds {in_words(one.memory)} over the steps")
    return one


def of_each(f: Any, hypers: Any, seed: int, found: Roughness, needs: Needs, asked: Question) -> list[Expected]:
    """What is expected of each estimator that can be asked of ``f``, and whether it fits."""
    expected = _of_function(found, needs, asked)
    if isinstance(f, Trained):
        expected += _of_training(f, hypers, seed, found, needs, asked)
    return [_judged(one, asked) for one in expected]


def _of_function(found: Roughness, needs: Needs, asked: Question) -> list[Expected]:
    """Estimators that need ``f`` alone."""
    numbers, exact_cost = found.numbers, 2.0 if math.isnan(needs.exact) else needs.exact
    sigma, budget, calm = asked.step / math.sqrt(numbers), asked.budget, asked.calm
    exact, by_values, by_gradients, bias = _errors(found, sigma, calm)
    pairs, mixed_pairs = max(1, int(budget / 2.0)), max(2, int(budget / (2.0 * exact_cost)))
    values = by_values / math.sqrt(pairs)
    both = _mixed(by_values / math.sqrt(mixed_pairs), by_gradients / math.sqrt(mixed_pairs), bias)
    smooth, both = (
        math.hypot(e, found.spread / abs(found.derivative or math.nan)) if calm else e for e in (values, both)
    )
    why = "right where f is smooth" if calm else "of the smoothed gradient, the derivative misses that"
    noise = "noise of so few values"
    return [
        Expected("forward", {}, exact, 1.0 + numbers, 3.0 * numbers * needs.state, why),
        Expected("exact", {}, exact, exact_cost, needs.stored, why),
        Expected("smoothed", {"sigma": sigma, "samples": pairs}, smooth, 2.0 * pairs, needs.working, noise),
        Expected(
            "mixed", {"sigma": sigma, "samples": mixed_pairs}, both, 2.0 * exact_cost * mixed_pairs, needs.stored, noise
        ),
    ]


def _mixed(values: float, gradients: float, bias: float) -> float:
    """The error of a mix by inverse variance, of which the part from gradients has a bias as well."""
    with np.errstate(all="ignore"):
        weight = float(values**2 / (values**2 + np.float64(gradients) ** 2))
        weight = 0.0 if math.isnan(weight) else weight
        noise = math.hypot(0.0 if weight == 0.0 else weight * gradients, (1.0 - weight) * values)
    return math.hypot(noise, 0.0 if weight == 0.0 else weight * bias)


def _errors(found: Roughness, sigma: float, calm: bool) -> tuple[float, float, float, float]:
    """Relative to the gradient: of the exact derivative; of one pair of values; of one of hypergradients, and its bias.

    Where f jumps, as a loss does where units switch, derivatives miss the jumps, so that their mean is not its slope.
    """
    numbers = found.numbers
    slope = abs(found.derivative) if calm else max(abs(found.slope), found.slope_error)
    if not slope > 0.0 or not math.isfinite(slope):
        return (0.0 if calm else math.inf), math.inf, math.inf, math.inf
    with np.errstate(all="ignore"):
        exact = 0.0 if calm else float(np.hypot(found.derivative - found.slope, found.slope_error) / slope)
        rough = 0.0 if calm else found.roughness / sigma
        by_values = math.sqrt((numbers + 1) + numbers * (rough / slope) ** 2)
        by_gradients = math.sqrt(numbers / 2.0) * found.spread / slope
        bias = 0.0 if calm else abs(found.mean - found.slope) / slope
    return (exact if math.isfinite(exact) else math.inf), by_values, by_gradients, bias


def backs(problem: Trained, budget: float) -> list[int]:
    """Lengths of truncations that fit, shorter than the training."""
    wanted = {max(1, problem.steps // part) for part in (10, 4, 2)} | {_longest(problem, budget)}
    return sorted(k for k in wanted if 0 < k < problem.steps and _cost_of_truncated(problem, k) <= budget)


def _cost_of_truncated(problem: Trained, back: int) -> float:
    return 1.0 + sum(min(back, count) for count in problem.counts) / problem.steps


def _longest(problem: Trained, budget: float) -> int:
    """The longest truncation that fits, 0 if none does."""
    return max((k for k in range(1, problem.steps + 1) if _cost_of_truncated(problem, k) <= budget), default=0)


def _of_training(
    problem: Trained, hypers: Any, seed: int, found: Roughness, needs: Needs, asked: Question
) -> list[Expected]:
    """Estimators that need the training itself."""
    expected = [_truncated(problem, found, needs, asked)]
    steps, sigma, budget, calm = problem.steps, asked.step / math.sqrt(found.numbers), asked.budget, asked.calm
    if problem.objective == "sum":
        error = _SHORTEST if calm else _GUESS
        expected.append(Expected("greedy", {}, error, _cost_of_truncated(problem, 1), needs.kept, "biased"))
        piece = problem.every * max(1, steps // (_PIECES * problem.every))
        cost = 2.0 * piece / steps
        pairs = max(1, int(budget / (2.0 if budget >= 2.0 else cost)))
        _, by_values, *_ = _errors(found, sigma, calm)
        error = 2.0 * math.sqrt(steps / piece) * by_values / math.sqrt(pairs)
        arguments = {"sigma": sigma, "samples": pairs, "steps": piece}
        words = "noise of pieces of a training"
        expected.append(Expected("persistent", arguments, error, cost * pairs, 2.0 * pairs * needs.state, words))
    elif problem.hyper is not None and not problem.acts_on(hypers, seed):
        terms = max(1, min(_TERMS, int(steps * (budget - 1.0)) - 1))
        error = _UNSETTLED * found.decay if calm and math.isfinite(found.decay) else _GUESS
        words = f"the gradient of the training loss fell to {found.decay:.2g} of what it was"
        cost = 1.0 + (terms + 1) / steps
        expected.append(Expected("implicit", {"terms": terms}, error, cost, needs.kept, words))
    return expected


def _truncated(problem: Trained, found: Roughness, needs: Needs, asked: Question) -> Expected:
    """Measured where the exact hypergradient is right; else so short that a tangent grows by e at most."""
    if found.truncated:
        back, error = min(found.truncated, key=lambda pair: pair[1])
        why = "measured here"
    elif asked.calm:
        back, error, why = max(1, _longest(problem, asked.budget)), _SHORT, "biased, by an amount that was not measured"
    else:
        grows = found.growth if found.growth > 0.0 else math.inf
        back = max(1, min(problem.steps // 10, int(1.0 / grows) if grows < math.inf else 1))
        error, why = _GUESS, "a guess: biased, by an amount that cannot be measured here"
    return Expected("truncated", {"steps": back}, error, _cost_of_truncated(problem, back), back * needs.kept, why)
