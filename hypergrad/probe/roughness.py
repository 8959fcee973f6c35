"""What a few cheap runs along one direction tell of a function of hyperparameters: how rough it is over a step."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from autograd import value_and_grad

from ..adjoints import Truncated
from ..adjoints.base import Sizes
from ..bridge import Probe
from ..errors import (
    DivergedError,
    FixedPointOverflowError,
    HypergradError,
    MemoryBudgetError,
    NonFiniteLossGradientError,
)
from ..nests import Structure, unflatten
from ..planner import choose, sizes_of
from .edge import TOLERANCE, check_repeatable, rounding
from .evaluation import evaluate

_EIGHTHS = 8  # of a step, the unit of the places that are looked at
_QUARTER = 2  # eighths between neighbouring places, at first
_REACH = 2  # steps on either side over which values are taken where f is rough
_DOUBTFUL = 0.6  # what quarters of the step miss, up to which eighths may yet show that f is smooth
_FALLS = 0.4  # of what intervals twice as long miss, what is missed of a smooth f at most
_DIRECTION = 5  # the purpose of these random numbers, in seeds (seed, purpose)
_FAILED = (DivergedError, FixedPointOverflowError, NonFiniteLossGradientError)


@runtime_checkable
class Trained(Protocol):
    """What a :class:`hypergrad.meta.Problem` tells beside its objective."""

    steps: int
    objective: str
    every: int
    adjoint: Any
    hyper: Any

    @property
    def counts(self) -> list[int]:
        """The step counts after which the outer loss is taken."""

    def f(self, hypers: Any, seed: int = 0) -> Any:
        """The objective."""

    def acts_on(self, hypers: Any, seed: int = 0) -> tuple[str, ...]:
        """Which of its parts depend on the hyperparameters."""


class Needs(NamedTuple):
    """What the trainings in one call of the function take.

    Attributes:
      steps: of all of them, T.
      exact: trainings' worth of products of the hypergradient in reverse mode; inf if no adjoint fits the memory.
      stored, kept, state, working: bytes of all that reverse mode keeps, of one step of it, of parameters and
        optimizer state, and of what a step works with.
    """

    steps: int
    exact: float
    stored: float
    kept: float
    state: float
    working: float


class Roughness(NamedTuple):
    """What was measured, along a unit direction.

    Attributes:
      numbers: of hyperparameters, K.
      offsets, loss, gradient: distances in the units of the hyperparameters, ``f`` and its derivative there; the latter
        is NaN where only values were computed.
      missed: how far the integrals of the derivative over halves and quarters of the step, and over eighths if those
        leave a doubt, miss ``f``, relative to the integral of its magnitude; shape (2,) or (3,).
      derivative: at the hyperparameters.
      slope, slope_error: of ``f`` smoothed over a normal distribution of that width, and its standard error.
      roughness: root mean square of what an odd straight line leaves of ``f``.
      mean, spread: of the derivative over the step, and its standard deviation.
      growth: of the tangent, nats a step over the second half of the run; NaN without a training.
      decay: norm of the training loss's gradient over the last tenth of the steps, relative to the first step.
      diverged: how many of the points did.
      truncated: (steps, error) for a few truncations, measured against the exact hypergradient.
      spent: trainings' worth of products.
    """

    numbers: int
    offsets: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    missed: np.ndarray
    derivative: float
    slope: float
    slope_error: float
    roughness: float
    mean: float
    spread: float
    growth: float
    decay: float
    diverged: int
    truncated: tuple[tuple[int, float], ...]
    spent: float


def call_of(f: Any) -> Callable:
    """``f(hypers, seed)`` of a problem, of a function of both or of the hyperparameters alone."""
    if isinstance(f, Trained):
        return f.f
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):  # some callables have no signature
        return lambda hypers, seed: f(hypers)
    needed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty]
    if any(p.name == "seed" for p in parameters):
        return lambda hypers, seed: f(hypers, seed=seed)
    return f if len(needed) > 1 else lambda hypers, seed: f(hypers)


def measure(
    f: Any, leaves: list, structure: Structure, step: float, seed: int, backs: list[int], memory_budget: Any
) -> tuple[Roughness, Needs]:
    """What runs along a direction tell, and what they need.

    Args:
      backs: lengths of truncations that are to be compared with the exact hypergradient, where that is right.

    Raises:
      ArgumentError: ``f`` is no deterministic scalar, or does not depend on its hyperparameters.
    """
    call = call_of(f)
    unit, exact = _direction(call, leaves, structure, seed)
    line = _Line(
        lambda x: call(unflatten(structure, [leaf + x * part for leaf, part in zip(leaves, unit)]), seed), step
    )
    line.compare(2 * _QUARTER)
    line.compare(_QUARTER)
    if not is_calm(line.missed) and line.missed[-1] < _DOUBTFUL:
        line.compare(1)
    calm, truncated = is_calm(line.missed), []
    if not calm:
        line.look_further()
    elif isinstance(f, Trained) and f.objective == "final":
        gradient = [line.points[0].gradient] if exact is None else exact
        for back in backs:
            shorter = dataclasses.replace(f, adjoint=Truncated(back)).f  # type: ignore[type-var]
            truncated.append((back, _relative(_gradient(shorter, leaves, structure, seed), gradient)))
            line.spent += 1.0 + back / f.steps
    slope, slope_error, roughness = line.smoothed()
    mean, spread = line.mean_and_spread()
    indices = sorted(line.values)
    found = Roughness(
        numbers=sum(np.size(leaf) for leaf in leaves),
        offsets=line.eighth * np.array(indices),
        loss=np.array([line.values[i] for i in indices]),
        gradient=np.array([line.points[i].gradient if i in line.points else math.nan for i in indices], dtype=float),
        missed=np.array(line.missed),
        derivative=float(line.points[0].gradient),
        slope=slope,
        slope_error=slope_error,
        roughness=roughness,
        mean=mean,
        spread=spread,
        growth=_growth(line.probe.tangent_norms),
        decay=_decay(line.probe.gradient_norms),
        diverged=sum(not math.isfinite(value) for value in line.values.values()),
        truncated=tuple(truncated),
        spent=line.spent + (0.0 if exact is None else 2.0),
    )
    return found, _needs(line.probe, getattr(f, "adjoint", None), memory_budget)


class _Line:
    """A function along a direction, at places that are counted in eighths of a step.

    Attributes:
      points: value and derivative by place.
      values: those and values alone.
      missed: by trapezoids over ever shorter parts of the step.
      probe: what the first run tells of itself.
      spent: trainings' worth of products.
    """

    def __init__(self, along: Callable, step: float):
        self.along, self.step, self.eighth, self.probe = along, step, step / _EIGHTHS, Probe()
        self.points = {0: check_repeatable(along, 0.0, self.probe)}
        self.values = {0: float(self.points[0].loss)}
        self.missed: list[float] = []
        self.spent = 4.0

    def compare(self, stride: int) -> None:
        """The integral of the derivative with the function, by trapezoids over intervals of so many eighths."""
        for index in range(-_EIGHTHS, _EIGHTHS + 1, stride):
            if index not in self.points:
                self.points[index] = evaluate(self.along, index * self.eighth)
                self.values[index] = float(self.points[index].loss)
                self.spent += 2.0
        length = stride * self.eighth
        pairs = [(self.points[i], self.points[i + stride]) for i in range(-_EIGHTHS, _EIGHTHS, stride)]
        with np.errstate(all="ignore"):
            off = [abs(b.loss - a.loss - length * (a.gradient + b.gradient) / 2.0) for a, b in pairs]
            total = float(np.sum([np.maximum(o - rounding(a.loss, b.loss), 0.0) for o, (a, b) in zip(off, pairs)]))
            magnitude = float(np.sum([length * (abs(a.gradient) + abs(b.gradient)) / 2.0 for a, b in pairs]))
            share = total / magnitude if magnitude > 0.0 else (math.inf if total > 0.0 else total)
        self.missed.append(share if math.isfinite(share) else math.inf)

    def look_further(self) -> None:
        """Values beyond the step, every quarter of it."""
        for index in range(_EIGHTHS + _QUARTER, _REACH * _EIGHTHS + 1, _QUARTER):
            for place in (-index, index):
                self.values[place] = _value(self.along, place * self.eighth)
                self.spent += 1.0

    def smoothed(self) -> tuple[float, float, float]:
        """Slope of the function smoothed over σ = step, its standard error, and the root mean square of what it leaves.

        From the odd part (f(x) − f(−x)) / 2 at quarters of the step, of which alone antithetic samples make use.
        """
        places = [i for i in self.values if i > 0 and i % _QUARTER == 0]
        pairs = [(i / _EIGHTHS, (self.values[i] - self.values[-i]) / 2.0) for i in places]
        z, odd = np.array([pair for pair in pairs if math.isfinite(pair[1])]).reshape(-1, 2).T
        if len(z) < 3:
            return math.nan, math.inf, math.inf
        weights = np.exp(-0.5 * z**2)
        norm = float(np.sum(weights * z**2))
        with np.errstate(over="ignore", invalid="ignore"):  # past the edge values may be as large as floats go
            slope = float(np.sum(weights * odd * z)) / norm
            left = weights * (odd - slope * z) ** 2
        roughness = math.sqrt(float(left.sum() / weights.sum()) * len(z) / (len(z) - 1))
        error = roughness * math.sqrt(float(np.sum((weights * z) ** 2))) / norm
        return slope / self.step, error / self.step, roughness

    def mean_and_spread(self) -> tuple[float, float]:
        """Of the derivative, where it is finite."""
        slopes = np.array([point.gradient for point in self.points.values()], dtype=float)
        finite = slopes[np.isfinite(slopes)]
        with np.errstate(all="ignore"):
            return (float(finite.mean()), float(finite.std(ddof=1))) if len(finite) > 1 else (math.nan, math.inf)


def is_calm(missed: Sequence[float] | np.ndarray) -> bool:
    """Whether the derivative describes the function over the step, from what it misses over ever shorter parts of it.

    A smooth function is missed by four times less over intervals half as long, a rough one by as much.
    """
    before, last = missed[-2:]
    return bool(last <= TOLERANCE or (last <= 5.0 * TOLERANCE and last <= _FALLS * before))


def _direction(call: Callable, leaves: list, structure: Structure, seed: int) -> tuple[list, list | None]:
    """A unit direction, along the hypergradient where there is one; and that, None for a single number."""
    if sum(np.size(leaf) for leaf in leaves) == 1:
        return [np.ones(np.shape(leaf))[()] for leaf in leaves], None
    found = _gradient(call, leaves, structure, seed)
    with np.errstate(all="ignore"):
        length = math.sqrt(sum(float(np.vdot(part, part)) for part in found))
    if not 0.0 < length < math.inf:
        rng = np.random.default_rng([seed, _DIRECTION])
        found = [np.asarray(rng.standard_normal(np.shape(leaf))) for leaf in leaves]
        length = math.sqrt(sum(float(np.vdot(part, part)) for part in found))
    return [np.asarray(part / length)[()] for part in found], found


def _gradient(call: Callable, leaves: list, structure: Structure, seed: int) -> list:
    """In reverse mode; NaN where training diverged."""
    try:
        with np.errstate(all="ignore"):
            _, found = value_and_grad(lambda leaves: call(unflatten(structure, list(leaves)), seed))(leaves)
    except _FAILED:
        return [np.full(np.shape(leaf), np.nan) for leaf in leaves]
    return [np.asarray(part, float) for part in found]


def _relative(found: list, expected: list) -> float:
    """Norm of the difference over that of what was expected."""
    square = lambda parts: sum(float(np.sum(np.square(part))) for part in parts)
    with np.errstate(all="ignore"):
        ratio = math.sqrt(square([a - b for a, b in zip(found, expected)])) / np.float64(math.sqrt(square(expected)))
    return float(np.nan_to_num(ratio, nan=math.inf))


def _value(along: Callable, offset: float) -> float:
    """NaN where training diverged."""
    try:
        with np.errstate(all="ignore"):
            return float(along(offset))
    except HypergradError:
        return math.nan


def _growth(norms: list[list[float]]) -> float:
    """Nats a step from the middle to the end of the first training, without the steps before the tangent is there."""
    if not norms or len(norms[0]) < 2:
        return math.nan
    row = np.array(norms[0])
    half = len(row) // 2
    with np.errstate(all="ignore"):
        return float((np.log(row[-1]) - np.log(row[half - 1])) / (len(row) - half))


def _decay(norms: list[list[float]]) -> float:
    if not norms or not norms[0] or not norms[0][0] > 0.0:
        return math.nan
    row = norms[0]
    return float(np.mean(row[-max(1, len(row) // 10) :]) / row[0])


def _needs(probe: Probe, adjoint: Any, memory_budget: Any) -> Needs:
    """Of the trainings that the first call made; NaN if it made none."""
    if not probe.runs:
        return Needs(0, math.nan, math.nan, math.nan, math.nan, math.nan)
    rows = []
    for problem, saves in probe.runs:
        dynamics = problem.dynamics(everything=True)
        sizes: Sizes = sizes_of(dynamics, dynamics.prepare() if dynamics.steps else None, saves)
        try:
            cost = adjoint.cost(sizes) if adjoint is not None else choose(dynamics, memory_budget, saves)
            memory, products = (math.nan, 4.0) if cost is None else (cost.memory, cost.products)
        except MemoryBudgetError:
            memory, products = math.inf, math.inf
        rows.append((sizes.steps, products / 2.0, memory, sizes.record, sizes.state, sizes.working))
    steps, exact, stored, kept, state, working = np.array(rows, dtype=float).T
    total = max(float(steps.sum()), 1.0)
    return Needs(
        int(steps.sum()),
        float(np.sum(steps * exact) / total),
        float(stored.sum()),
        float(kept.max()),
        float(state.max()),
        float(working.max()),
    )
