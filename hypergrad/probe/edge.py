"""The edge of chaos: the value of a hyperparameter past which the derivative no longer describes the loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..bridge import Probe
from ..checks import check_integer
from ..errors import ArgumentError
from .evaluation import Point, evaluate

WIDTH, TOLERANCE = 0.1, 0.05
DENSE = 10  # intervals in a window from which a grid counts as dense
SMALLEST_BUDGET = 16


class Windows(NamedTuple):
    """Stretches of a sweep over which the integral of the derivative is compared with the difference of the loss.

    ``starts`` and ``ends`` are indices of values, shape (w,); ``matches`` says whether the two agree, (w,) or (w, k);
    ``follows`` whether what its single intervals miss is as little without regard to sign, since in chaos it often
    cancels by chance; ``resolved`` whether it has intervals enough for a verdict, (w,).
    """

    starts: np.ndarray
    ends: np.ndarray
    matches: np.ndarray
    follows: np.ndarray
    resolved: np.ndarray


def compare(values, loss, gradient, width: float = WIDTH, tolerance: float = TOLERANCE) -> Windows:
    """Derivative and loss over every window of this width. See :attr:`hypergrad.probe.Sweep.edge` for the rule."""
    steps, n = np.diff(values).reshape(-1, *[1] * (loss.ndim - 1)), len(values)
    if (steps <= 0.0).any():
        width = 0.0
    reach = width * (1.0 - 1e-9)  # a window of exactly ten intervals has ten, whatever the rounding
    ends = np.maximum(np.searchsorted(values, values + reach), np.arange(n) + 1) if width else np.arange(1, n + 1)
    starts = np.flatnonzero(ends < n)
    ends = ends[starts]
    resolved = ends - starts >= DENSE
    with np.errstate(over="ignore", invalid="ignore"):
        trapezoids = steps * (gradient[1:] + gradient[:-1]) / 2
        integral, strayed = _integrals(trapezoids), _integrals(np.abs(trapezoids - np.diff(loss, axis=0)))
        magnitude = _integrals(np.abs(steps) * (np.abs(gradient[1:]) + np.abs(gradient[:-1])) / 2)
        missed = np.abs(integral[ends] - integral[starts] - (loss[ends] - loss[starts]))
        share = np.where(resolved, tolerance, 2.0 * tolerance).reshape(-1, *[1] * (loss.ndim - 1))
        length, noise = magnitude[ends] - magnitude[starts], rounding(loss[starts], loss[ends])
        matches = (missed <= share * length + noise) & np.isfinite(missed)
        each = strayed[ends] - strayed[starts]  # what all its intervals miss, whatever the sign
        follows = matches & (each <= share * length + noise * (ends - starts).reshape(share.shape))
    return Windows(starts, ends, matches, follows, resolved)


def first_failure(windows: Windows) -> np.ndarray:
    """Number of the first window where derivative and loss disagree, one for each loss; of windows if none does."""
    failed = np.concatenate([~windows.matches, np.ones((1, *windows.matches.shape[1:]), bool)])
    return np.argmax(failed, axis=0)


def _integrals(parts) -> np.ndarray:
    """From the first point to every point."""
    return np.concatenate([np.zeros((1, *parts.shape[1:])), np.cumsum(parts, axis=0)])


def rounding(first, last):
    """What rounding may do to the difference of two losses."""
    return 8.0 * np.finfo(first.dtype).eps * (np.abs(first) + np.abs(last))


class Edge(NamedTuple):
    """Where the derivative stops describing the function.

    Attributes:
      location: the value; NaN if there is no edge, ``low`` if all of the range is chaotic.
      bracket: up to the first number the integral of the derivative was seen to match the function, with
        half of what is allowed to spare; at the second, one window past the location, it no longer does.
        (high, inf) if there is no edge; from −inf if all is chaotic. All this is seen on values that are
        (high − low) / (values − 1) apart; closer ones may match further up.
      evaluations: how many runs it took, over all seeds.
      status: "edge", "no edge" or "chaotic throughout".
      reason: the same in a sentence.
      values, loss, gradient: what was computed, in increasing order (of the seed in the middle).
      by_seed: one :class:`Edge` for each seed, if several were asked for.
    """

    location: float
    bracket: tuple[float, float]
    evaluations: int
    status: str
    reason: str
    values: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    by_seed: tuple = ()

    def __repr__(self):
        """A few lines; the arrays are in the attributes."""
        lines = [
            f"Edge: {self.status}, location {self.location:.6g}, bracket "
            f"{self.bracket[0]:.6g} to {self.bracket[1]:.6g}",
            f"  {self.reason} ({self.evaluations} runs)",
        ]
        lines += [f"  seed {seed}: {edge.status}, {edge.location:.6g}" for seed, edge in enumerate(self.by_seed)]
        return "\n".join(lines)


def locate_edge(
    f: Callable,
    low: float,
    high: float,
    *,
    budget: int = 40,
    seeds: int | None = None,
    width: float = WIDTH,
    values: int = 1_000,
) -> Edge:
    """The value above which the derivative of ``f`` stops describing ``f``.

    It is what a dense sweep would show: the right end of the first window of this width over which the
    integral of the derivative differs from the difference of ``f`` by more than 5 % of the integral of
    its magnitude (:attr:`hypergrad.probe.Sweep.edge`), and is found by adaptive quadrature. The
    difference of ``f`` over an interval is known exactly, so trapezoids that miss it by

        |f(b) − f(a) − (b − a)(f'(a) + f'(b))/2|  >  c · (b − a) · mean |f'|,    c = 5 % · √(width / spacing)

    have structure between their ends. The leftmost such interval is halved, until one as short as the
    spacing of the dense sweep still does not match: that is the edge. With c, errors of all the
    intervals in a window, adding up like random numbers, make 5 % of its integral. What is left of
    the budget goes into the intervals before the edge that may hide most.

    Args:
      f: takes a number (a learning rate or scale is best given by its logarithm) and returns a scalar
        written with autograd.numpy; deterministic. With ``seeds``, ``f(value, seed)``.
      low, high: where to look.
      budget: how many runs at most, for each seed; at least 16.
      seeds: look for seeds 0 … seeds − 1; the edge in the middle is returned, with the others in ``by_seed``
        and a bracket around all of theirs.
      width: of the windows, in units of the value.
      values: how many values the dense sweep would have from ``low`` to ``high``: the edge depends on its
        spacing, since finer ones follow wilder functions: by 0.1 of the log learning rate in
        docs/chaos.md. A narrower range looks more closely.

    Returns:
      An :class:`Edge`.

    Raises:
      ArgumentError: a bad range or budget, an ``f`` that is not a scalar or gives another result when
        called again.

    Cost: at most ``budget`` runs in forward mode, 4 matrix products a step and layer.

    >>> import autograd.numpy as np
    >>> edge = locate_edge(lambda x: np.sin(np.exp(4.0 * x)) / (1.0 + np.exp(2.0 * x)), 0.0, 2.0)
    >>> edge.status, edge.evaluations <= 40
    ('edge', True)
    """
    low, high, width = (_finite(x, name) for x, name in ((low, "low"), (high, "high"), (width, "width")))
    if not low < high:
        raise ArgumentError(f"low must be below high, got low={low!r} and high={high!r}")
    budget = check_integer(budget, "budget", 1)
    if budget < SMALLEST_BUDGET:
        raise ArgumentError(f"budget is {budget}, too small to say anything: give at least {SMALLEST_BUDGET} runs")
    values = check_integer(values, "values", 2)
    spacing = (high - low) / (values - 1)
    if not DENSE * spacing <= width * (1.0 + 1e-9) <= high - low:
        raise ArgumentError(
            f"width must lie between {DENSE} spacings, {DENSE * spacing:.3g}, and the range, {high - low:.3g}, "
            f"got {width}; give width= in units of the value, such as {(high - low) / 20:.3g}, or another range"
        )
    if seeds is None:
        return _Search(f, low, high, budget, width, values).run()
    edges = []
    for seed in range(check_integer(seeds, "seeds", 1)):
        edges.append(_Search(lambda value, seed=seed: f(value, seed), low, high, budget, width, values).run())
    middle = sorted(edges, key=lambda edge: math.inf if math.isnan(edge.location) else edge.location)[len(edges) // 2]
    bracket = min(edge.bracket[0] for edge in edges), max(edge.bracket[1] for edge in edges)
    evaluations = sum(edge.evaluations for edge in edges)
    return middle._replace(bracket=bracket, evaluations=evaluations, by_seed=tuple(edges))


def check_repeatable(f: Callable, value: float, probe: Probe | None = None) -> Point:
    """``f`` at a value, computed twice; what the first run tells of itself is added to the probe.

    Raises:
      ArgumentError: it is not a scalar, or the two differ.
    """
    first, second = evaluate(f, value, probe), evaluate(f, value)
    if first.loss.shape != ():
        raise ArgumentError(
            f"f({value!r}) has shape {first.loss.shape}; it must return a scalar: pick one of the losses"
        )
    for name, one, two in (("value", first.loss, second.loss), ("derivative", first.gradient, second.gradient)):
        if not np.isclose(one, two, rtol=1e-6, atol=0.0, equal_nan=True):
            raise ArgumentError(
                f"f is not deterministic: at {value!r} its {name} was {float(one)!r}, then {float(two)!r}; "
                "fix the seeds of its random numbers"
            )
    return first


def _finite(value, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ArgumentError(f"{name} must be a finite number, got {value!r}")
    return number


class _Interval(NamedTuple):
    """Between two neighbouring points of the lattice that were computed, by their indices.

    ``excess`` is by how much the trapezoid misses the difference, over the integral of mean |f'|.
    """

    left: int
    right: int
    excess: float


def _may_hide(interval: _Interval) -> float:
    """How much an interval may hide: its miss, and some of its length, since a small miss may be chance."""
    return (interval.excess + TOLERANCE) * (interval.right - interval.left)


class _Search:
    """Adaptive quadrature on the lattice of the dense sweep's values."""

    def __init__(self, f, low: float, high: float, budget: int, width: float, values: int):
        self.f, self.low, self.high, self.budget, self.width = f, low, high, budget, width
        self.last = values - 1
        self.window = width / (high - low) * self.last
        self.allowed = TOLERANCE * math.sqrt(self.window)
        self.points: dict[int, Point] = {0: check_repeatable(f, low)}

    def run(self) -> Edge:
        for index in np.linspace(0, self.last, self.budget // 6).round().astype(int)[1:]:
            self.compute(int(index))
        end, found = self.last, False
        while True:
            intervals = self.intervals(end)
            failed = [i for i in intervals if i.right - i.left == 1 and i.excess > self.allowed]
            if failed and (not found or failed[0].right < end):
                end, found = failed[0].right, True
                continue
            wide = [i for i in intervals if i.right - i.left > 1]
            if not wide or len(self.points) + 1 >= self.budget:  # one run more was made to see that f repeats
                return self.result(intervals, found)
            unresolved = [i for i in wide if i.excess > self.allowed]
            chosen = (
                unresolved[0] if unresolved else max(wide, key=lambda i: (i.excess + TOLERANCE) * (i.right - i.left))
            )
            self.compute((chosen.left + chosen.right) // 2)

    def value(self, index: int) -> float:
        return self.low + (self.high - self.low) * index / self.last

    def compute(self, index: int) -> None:
        self.points[index] = evaluate(self.f, self.value(index))

    def intervals(self, end: int) -> list[_Interval]:
        indices = sorted(index for index in self.points if index <= end)
        return [_Interval(p, q, self.excess(p, q, indices)) for p, q in itertools.pairwise(indices)]

    def excess(self, left: int, right: int, indices: list[int]) -> float:
        """The miss relative to the integral over the interval of the window's mean |f'|."""
        a, b = self.points[left], self.points[right]
        near = [i for i in indices if i in (left, right) or right - self.window <= i <= right]
        slopes = np.array([abs(float(self.points[i].gradient)) for i in near])
        length = self.value(right) - self.value(left)
        with np.errstate(all="ignore"):
            mean = np.trapezoid(slopes, near) / (near[-1] - near[0])
            missed = abs(b.loss - a.loss - length * (a.gradient + b.gradient) / 2.0) - rounding(a.loss, b.loss)
            if missed <= 0.0:
                return 0.0
            excess = float(missed / (length * mean))
        return math.inf if math.isnan(excess) else excess

    def result(self, intervals: list[_Interval], found: bool) -> Edge:
        doubtful = [i for i in intervals if i.excess > self.allowed / 2.0]
        unresolved = [i for i in intervals if i.excess > self.allowed]
        computed = sorted(self.points)
        points = [self.points[i] for i in computed]
        losses, slopes = np.array([p.loss for p in points]), np.array([p.gradient for p in points])
        data = np.array([self.value(index) for index in computed]), losses, slopes
        runs = len(points) + 1
        if not found and not unresolved:
            reason = f"the integral of the derivative matches f everywhere from {self.low:g} to {self.high:g}"
            return Edge(math.nan, (self.high, math.inf), runs, "no edge", reason, *data, ())
        end = intervals[-1].right if found else unresolved[0].right
        location = self.value(end)
        beyond = min(location + self.width, self.high)  # the window that the failure spoils ends before
        if found and location <= self.value(math.ceil(self.window - 1e-9)):
            reason = f"the derivative does not describe f at {location:g}, within the first window from {self.low:g}"
            return Edge(self.low, (-math.inf, beyond), runs, "chaotic throughout", reason, *data, ())
        start = doubtful[0].left if doubtful else intervals[-1].left
        bracket = self.value(start), beyond
        spacing = (self.high - self.low) / self.last
        reason = f"the integral of the derivative matches f up to {bracket[0]:.4g} and misses it at {location:.4g}, "
        reason += f"by values {spacing:.1g} apart"
        if location - bracket[0] > 4 * self.width:
            reason += "; what lies between is not settled: give a larger budget, or a narrower range"
        return Edge(location, bracket, runs, "edge", reason, *data, ())
