"""How far off each estimator of the hypergradient is on a tiny training, at equal cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from autograd import value_and_grad

import hypergrad as hg
from experiments.parts.advice.advice_problems import Case
from hypergrad.errors import HypergradError
from hypergrad.meta import estimators
from hypergrad.nests import flatten, unflatten

DENSE = 32  # intervals on either side over which the exact derivative is compared with the objective
MISSED = 0.05  # of its integral, from which the derivative no longer describes the objective
REACH = 4.0  # standard deviations that the quadrature covers
NODES = {1: 500, 2: 32}  # of the quadrature along each hyperparameter, by how many there are


class Truth(NamedTuple):
    """What an estimate is held to.

    Attributes:
      gradient: one vector; NaN where it is not known.
      past: whether it is that of the smoothed objective, past the edge.
      missed: by which share the derivative misses the objective over the step, the worst of the directions.
      unsure: norm of half the difference of the gradients by the two halves of the nodes, relative to the gradient.
    """

    gradient: np.ndarray
    past: bool
    missed: float
    unsure: float


def vector(nest: Any) -> np.ndarray:
    """All numbers of a nest."""
    return np.concatenate([np.ravel(np.asarray(leaf, float)) for leaf in flatten(nest)[0]])


def nest_like(hypers: Any, numbers: np.ndarray) -> Any:
    """The numbers in the shapes of the hyperparameters."""
    leaves, structure = flatten(hypers)
    parts = np.split(numbers, np.cumsum([np.size(leaf) for leaf in leaves])[:-1])
    return unflatten(structure, [part.reshape(np.shape(leaf))[()] for part, leaf in zip(parts, leaves)])


def sigma_of(case: Case) -> float:
    """For each hyperparameter, so that the root mean square of the displacement is the step."""
    return case.step / np.sqrt(len(vector(case.hypers)))


def share_missed(f: Callable, hypers: Any, direction: np.ndarray, step: float) -> float:
    """Of the integral of the derivative's magnitude over ± a step, what trapezoids miss of the objective."""
    start = vector(hypers)
    along = lambda x: f(nest_like_boxed(hypers, start, x, direction), 0)
    offsets = np.linspace(-step, step, 2 * DENSE + 1)
    found = hg.probe.sweep(along, offsets, progress=False)
    loss, slope = found.loss, found.gradient
    with np.errstate(all="ignore"):
        missed = np.abs(np.diff(loss) - (slope[1:] + slope[:-1]) / 2.0 * np.diff(offsets))
        missed = np.maximum(missed - 1e-14 * np.abs(loss).max(), 0.0)
        share = missed.sum() / np.sum(np.abs(slope[1:] + slope[:-1]) / 2.0 * np.diff(offsets))
    return float(np.nan_to_num(share, nan=np.inf))


def nest_like_boxed(hypers: Any, start: np.ndarray, x, direction: np.ndarray) -> Any:
    """The hyperparameters moved by x, which may be differentiated, along a direction."""
    leaves, structure = flatten(hypers)
    ends = np.cumsum([np.size(leaf) for leaf in leaves])[:-1]
    parts = zip(np.split(start, ends), np.split(direction, ends), leaves)
    return unflatten(
        structure, [a.reshape(np.shape(leaf))[()] + x * d.reshape(np.shape(leaf))[()] for a, d, leaf in parts]
    )


def truth_of(case: Case) -> Truth:
    """Below the edge the exact gradient; past it, for one or two hyperparameters, that of the smoothed objective."""
    f, start = case.problem.f, vector(case.hypers)
    exact = vector(value_and_grad(lambda h: f(h, 0))(case.hypers)[1])
    count = len(start)
    if count <= 2:
        directions = np.eye(count)
    else:  # along the gradient, and two others
        rng = np.random.default_rng((0, 32))
        directions = np.array([exact, *rng.standard_normal((2, count))])
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    missed = max(share_missed(f, case.hypers, direction, case.step) for direction in directions)
    if missed <= MISSED:
        return Truth(exact, False, missed, 0.0)
    if count > 2:
        return Truth(np.full(count, np.nan), True, missed, np.nan)
    z = np.linspace(-REACH, REACH, NODES[count])
    grid = np.stack(np.meshgrid(*[z] * count, indexing="ij"), axis=-1).reshape(-1, count)
    sigma = sigma_of(case)
    values = np.array([value_of(f, nest_like(case.hypers, start + sigma * at)) for at in grid])
    weights = np.exp(-0.5 * np.sum(grid**2, axis=1))
    halves = [slope_of(grid, values, weights * half, sigma) for half in alternating(len(z), count)]
    gradient = slope_of(grid, values, weights, sigma)
    with np.errstate(all="ignore"):
        unsure = float(np.linalg.norm(halves[0] - halves[1]) / 2.0 / np.linalg.norm(gradient))
    return Truth(gradient, True, missed, unsure)


def value_of(f: Callable, hypers: Any) -> float:
    """The objective, or NaN where training diverges."""
    try:
        with np.errstate(all="ignore"):
            return float(f(hypers, 0))
    except HypergradError:
        return np.nan


def alternating(nodes: int, count: int) -> list[np.ndarray]:
    """Two halves of the nodes, like the fields of a chessboard."""
    places = np.indices((nodes,) * count).sum(axis=0).ravel() % 2
    return [places == 0, places == 1]


def slope_of(z: np.ndarray, values: np.ndarray, weights: np.ndarray, sigma: float) -> np.ndarray:
    """Of the weighted regression of the values on the nodes: the gradient of the smoothed function, in the limit."""
    with np.errstate(all="ignore"):  # NaN where a value is not finite
        centred = values - np.sum(weights * values) / weights.sum()
        return (weights * centred) @ z / ((weights[:, None] * z**2).sum(axis=0) * sigma)


class Candidate(NamedTuple):
    """An estimator with its arguments, as far as the budget goes.

    Attributes:
      name: of ``hg.meta.estimators``.
      label: with its arguments.
      estimate: (draw) -> the gradient, one vector.
      random: whether draws differ.
    """

    name: str
    label: str
    estimate: Callable
    random: bool = False


def candidates(case: Case) -> list[Candidate]:
    """What fits the budget: 2 trainings a hypergradient or a pair of values; see docs/estimators.md for the others."""
    problem, hypers, sigma, budget = with_one_start(case.problem), case.hypers, sigma_of(case), case.budget
    count, steps = len(vector(hypers)), problem.steps
    one = lambda estimator: lambda draw: vector(estimator(hypers, draw).gradient)
    fixed = lambda estimator: lambda draw: vector(estimator(hypers, 0).gradient)
    found = []
    if budget >= 2.0:
        found.append(Candidate("exact", "exact", fixed(estimators.exact(problem))))
    if budget >= 1.0 + count:
        found.append(Candidate("forward", "forward", fixed(estimators.forward(problem))))
    for back in sorted({max(1, steps // 10), max(1, steps // 2), longest(problem, budget)} - {0, steps}):
        if cost_of_truncated(problem, back) <= budget:
            label = f"truncated, {back} steps"
            found.append(Candidate("truncated", label, fixed(estimators.truncated(problem, steps=back))))
    if problem.objective == "sum" and cost_of_truncated(problem, 1) <= budget:
        found.append(Candidate("greedy", "greedy", fixed(estimators.greedy(problem))))
    terms = min(100, int(steps * (budget - 1.0)) - 1)
    if problem.hyper is not None and problem.objective == "final" and terms >= 1:
        found.append(
            Candidate("implicit", f"implicit, {terms} terms", fixed(estimators.implicit(problem, terms=terms)))
        )
    if budget >= 2.0:
        pairs = int(budget / 2.0)
        found.append(
            Candidate(
                "smoothed",
                f"smoothed, {pairs} pairs",
                one(estimators.smoothed(problem, sigma=sigma, samples=pairs)),
                True,
            )
        )
    if budget >= 8.0:
        pairs = int(budget / 4.0)
        found.append(
            Candidate(
                "mixed", f"mixed, {pairs} pairs", one(estimators.mixed(problem, sigma=sigma, samples=pairs)), True
            )
        )
    if problem.objective == "sum":
        found.append(Candidate("persistent", "persistent", persistent(case, sigma), True))
    return found


def with_one_start(problem: hg.meta.Problem) -> hg.meta.Problem:
    """The same from the initial weights of seed 0 alone: draws of an estimate differ in its samples only."""
    return dataclasses.replace(problem, init=lambda hypers, seed: problem.init(hypers, 0))


def cost_of_truncated(problem, back: int) -> float:
    """In trainings."""
    return 1.0 + sum(min(back, count) for count in problem.counts) / problem.steps


def longest(problem, budget: float) -> int:
    """The longest truncation that fits, 0 if none does."""
    return max((back for back in range(1, problem.steps + 1) if cost_of_truncated(problem, back) <= budget), default=0)


def persistent(case: Case, sigma: float) -> Callable:
    """The pieces of a training, a fifth of it each, of which as many as fit: all, with their sum, or one at random."""
    problem = with_one_start(case.problem)
    piece = problem.every * max(1, problem.steps // (5 * problem.every))
    pairs = max(1, int(case.budget / 2.0) if case.budget >= 2.0 else int(case.budget * problem.steps / (2 * piece)))

    def estimate(draw: int) -> np.ndarray:
        estimator = estimators.persistent(problem, sigma=sigma, samples=pairs, steps=piece)
        found = []
        for number in range(-(-problem.steps // piece)):
            found.append(vector(estimator(case.hypers, 1_000 * draw + number).gradient))
        if case.budget >= 2.0:
            return np.sum(found, axis=0)
        return len(found) * found[draw % len(found)]

    return estimate


def error_of(candidate: Candidate, truth: Truth, draws: int) -> float:
    """The root mean square over the draws of estimate minus truth, relative to the truth; inf if it cannot be had."""
    off = []
    for draw in range(draws if candidate.random else 1):
        try:
            with np.errstate(all="ignore"):
                off.append(np.linalg.norm(candidate.estimate(draw) - truth.gradient))
        except HypergradError:
            off.append(np.inf)
    with np.errstate(all="ignore"):
        error = np.sqrt(np.mean(np.square(off))) / np.linalg.norm(truth.gradient)
    return float(error)
