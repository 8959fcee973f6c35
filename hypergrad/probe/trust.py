"""Whether one derivative through training can be trusted: a report with a verdict."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from autograd import value_and_grad

from ..bridge import Probe
from ..checks import check_integer
from ..errors import ArgumentError
from ..nests import flatten, unflatten
from .edge import TOLERANCE, check_repeatable, rounding
from .evaluation import Point, check_finite_leaves, direction_like, evaluate

_NEIGHBOURS = 4  # on either side, at the smallest distance
_DOUBLINGS = 6  # from the smallest distance to the largest
_BESIDE, _STEP = (4, 8, 16, 32), 2  # where steps of that length on either side begin, in smallest distances
_USUAL_STEP = 50  # smallest distances in the step that is judged where none is given
_HALF = 0.5  # by how much the slope over the step may differ from the derivative, relative to the larger
_DIRECTION = 3  # the purpose of these random numbers, in seeds (seed, purpose)


@dataclass(frozen=True)
class Trust:
    """What was found about a derivative, and the verdict.

    Attributes:
      verdict: of the step: "trust", "trust below s", "trust at scales above s" (s in ``scale``) or "don't".
      reason: of the verdict, one sentence with the derivative and the slope over the step.
      scale: the distance from which on derivative and differences agree, or, for "trust" and "trust below s",
        up to which they do; NaN for "don't".
      derivative: along the direction.
      step: the length that was judged.
      slope: of the difference of ``f`` from one step below to one above.
      changes: of ``f`` one step below and one above, shape (2,).
      nearby: the verdict at short range alone: "trust", "trust at scales above s" or "don't".
      distances: shape (m,), increasing.
      mismatch: how far the integral of the derivative over steps of each distance misses the difference
        of ``f``, relative to the integral of its magnitude; shape (m,).
      tolerance: what was allowed.
      beside: the mismatch of short steps that begin 4, 8, 16 and 32 smallest distances below (row 0) and above;
        shape (2, 4).
      offsets, loss, gradient: what was computed: distances along the direction, ``f`` there and its
        derivative.
      tangent_norms: norm of the tangent of the parameters after each step of the first training in ``f``;
        empty without a training.
      growth: its growth per step over the second half of the run, in nats: above 0 in chaos.
      single: the derivative in float32; NaN if ``f`` takes no ``dtype``.
      by_seed: the derivative for seeds 0, 1, …; empty if ``f`` takes no ``seed``.
    """

    verdict: str
    reason: str
    scale: float
    derivative: float
    step: float
    slope: float
    changes: np.ndarray
    nearby: str
    distances: np.ndarray
    mismatch: np.ndarray
    tolerance: float
    beside: np.ndarray
    offsets: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    tangent_norms: np.ndarray
    growth: float
    single: float
    by_seed: np.ndarray

    def plot(self, *, xlabel: str = "distance along the direction", ylabel: str = "f"):
        """A figure of ``f`` with its slopes, and the mismatch at each distance."""
        from .figures import plot_trust

        return plot_trust(self, xlabel=xlabel, ylabel=ylabel)


def trust(
    f: Callable,
    hypers: Any,
    *,
    direction: Any = "gradient",
    step: float | None = None,
    distance: float = 0.002,
    tolerance: float = TOLERANCE,
    seeds: int = 5,
    seed: int = 0,
) -> Trust:
    """Whether the derivative of ``f`` at ``hypers`` tells what a step does to ``f``.

    Along one direction, ``f`` and its derivative are computed at equal distances s and compared:

        mismatch(s) = mean |f(b) − f(a) − s (f'(a) + f'(b))/2| / (s · slope)

    at the smallest distance over the 8 intervals around ``hypers``, then at doubled distances up to
    64 times as far. The slope is the mean of (|f'(a)| + |f'(b)|)/2, or the median of |f'| from 8 times the
    smallest distance on if that is larger: near a minimum f' is no measure. The mismatch is 0 for a straight
    line, small where ``f`` is smooth over s, and about 1 where the derivative has nothing to do with
    ``f``. Steps of 2 s that begin 4, 8, 16 and 32 s away show whether ``f`` is rough on both sides: then a
    match may be that of an island in chaos, smooth by chance. The difference of ``f`` from one ``step`` below to one
    above is computed as well. The verdict is

    - "trust" if the mismatch is within ``tolerance`` at the smallest distance, and not on such an island, and the
      derivative holds over the step: the slope of the difference is that of the derivative, give or take half of
      the larger, and no distance up to the step is missed by more than four times ``tolerance``. (Where all of them
      match within ``tolerance`` itself, as near a minimum, the slope may be any.) ``scale`` is the largest distance
      to which the mismatch stays within ``tolerance``;
    - "trust below s" if it is so at short range, but not over the step: take one no longer than s = ``scale``;
    - "trust at scales above s" if the mismatch is not within ``tolerance`` at the smallest distance, but is at the two
      largest at least, s is no longer than the step, and the slope over it is right: ``f`` is rough at short range, by
      rounding or kinks, and the derivative still tells its trend;
    - "don't" otherwise. An island is where on both sides one of the steps misses by more than four times
      ``tolerance`` (on a smooth ``f`` steps of 2 s miss by four times as much as those of s) of what the slope
      there, or here if that is larger, makes over it; unless the two largest distances match.

    If ``f`` takes a keyword ``dtype``, ``f(hypers, dtype=numpy.float32)`` must do the same in float32; if it takes a
    keyword ``seed``, that must choose its random numbers. Both are reported and leave the verdict alone:
    it is on the derivative of this ``f``, with its defaults.

    Args:
      f: takes ``hypers`` and returns a scalar; deterministic.
      hypers: a number or a nest of float arrays.
      direction: "gradient", "random", or a nest like ``hypers``; made a unit vector (for one number, +1).
      step: how far you mean to move along the direction; 50 smallest distances if not given, so 0.1.
      distance: the smallest distance s: how finely the derivative is to describe ``f``. The default suits
        logarithms of learning rates and scales.
      tolerance: of the mismatch.
      seeds: how many seeds to try if ``f`` takes one.
      seed: of a random direction.

    Returns:
      A :class:`Trust`.

    Raises:
      NestError: bad ``hypers`` or ``direction``.
      ArgumentError: an ``f`` that is not a scalar, does not depend on ``hypers`` or gives another result when
        called again; a bad number.

    Cost: 28 runs in forward mode at 4 matrix products a step and layer, one in reverse mode for the
    direction of the gradient, and one for float32 and for each seed.

    >>> import autograd.numpy as np
    >>> trust(np.sin, 0.3).verdict, trust(lambda x: np.sin(1e6 * x), 0.3).verdict
    ('trust', "don't")
    """
    leaves, structure = check_finite_leaves(hypers)
    for name, number in (("distance", distance), ("tolerance", tolerance), ("step", 1.0 if step is None else step)):
        if not (isinstance(number, int | float | np.floating) and 0.0 < number < math.inf):
            raise ArgumentError(f"{name} must be a finite number above 0, got {number!r}")
    step = float(_USUAL_STEP * distance if step is None else step)
    seeds = check_integer(seeds, "seeds", 1)
    unit = _unit(f, unflatten(structure, leaves), leaves, structure, direction, check_integer(seed, "seed", 0))

    def along(offset, **options):
        moved = [leaf + offset * part for leaf, part in zip(leaves, unit)]
        return f(unflatten(structure, moved), **options)

    probe = Probe()
    points = {0: check_repeatable(along, 0.0, probe)}
    ahead = {*range(1, _NEIGHBOURS + 1), *(2**k for k in range(_DOUBLINGS + 1)), *(i + _STEP for i in _BESIDE)}
    for index in (sign * i for i in ahead for sign in (-1, 1)):
        points[index] = evaluate(along, index * distance)
    below, above = (evaluate(along, sign * step) for sign in (-1, 1))
    single, by_seed = math.nan, []
    if _takes(f, "dtype"):
        single = float(evaluate(lambda offset: along(offset, dtype=np.float32), 0.0).gradient)
    if _takes(f, "seed"):
        by_seed = [float(evaluate(lambda offset, s=s: along(offset, seed=s), 0.0).gradient) for s in range(seeds)]
    norms = np.array(probe.tangent_norms[0] if probe.tangent_norms else [])
    multiples = [2**k for k in range(_DOUBLINGS + 1)]
    indices = sorted(points)
    around = _slope_around(points)
    mismatch = np.array([_mismatch(points, _intervals_at(multiple), distance, around) for multiple in multiples])
    sides = [(-i - _STEP, -i) for i in _BESIDE], [(i, i + _STEP) for i in _BESIDE]
    here = float(np.mean([abs(points[i].gradient) for i in range(-_NEIGHBOURS, _NEIGHBOURS + 1)]))
    slope = np.fmax(here, around)  # what is small next to the slope here does not matter
    beside = np.array([[_mismatch(points, [step], distance, slope) for step in side] for side in sides])
    distances = distance * np.array(multiples)
    nearby, why, scale = _nearby(mismatch, distances, beside, tolerance, _growth(norms))
    halves = (below, points[0]), (points[0], above)
    over_step = np.mean([_mismatch({0: a, 1: b}, [(0, 1)], step, around) for a, b in halves])
    reached = [*mismatch[distances <= step], float(over_step)]
    with np.errstate(all="ignore"):
        changes = np.array([below.loss - points[0].loss, above.loss - points[0].loss], dtype=float)
        slope = float((changes[1] - changes[0]) / (2.0 * step))
    derivative = float(points[0].gradient)
    verdict, reason, scale = _over_step((nearby, why, scale), derivative, slope, changes, step, max(reached), tolerance)
    return Trust(
        verdict,
        reason,
        scale,
        derivative=derivative,
        step=step,
        slope=slope,
        changes=changes,
        nearby=nearby,
        distances=distances,
        mismatch=mismatch,
        tolerance=float(tolerance),
        beside=beside,
        offsets=distance * np.array(indices),
        loss=np.array([points[i].loss for i in indices]),
        gradient=np.array([points[i].gradient for i in indices]),
        tangent_norms=norms,
        growth=_growth(norms),
        single=single,
        by_seed=np.array(by_seed),
    )


def _unit(f, hypers, leaves: list, structure, direction, seed: int) -> list:
    """The direction as a list of arrays like the leaves, of norm 1."""
    if sum(np.size(leaf) for leaf in leaves) == 1 and isinstance(direction, str):
        parts = [np.ones(np.shape(leaf)) for leaf in leaves]
    elif isinstance(direction, str) and direction == "gradient":
        parts = [np.asarray(part) for part in flatten(value_and_grad(f)(hypers)[1])[0]]
    elif isinstance(direction, str) and direction == "random":
        rng = np.random.default_rng([seed, _DIRECTION])
        parts = [np.asarray(rng.standard_normal(np.shape(leaf))) for leaf in leaves]
    elif isinstance(direction, str):
        raise ArgumentError(f"direction must be 'gradient', 'random' or a nest like hypers, got {direction!r}")
    else:
        parts = direction_like(direction, leaves, structure)
    largest = max(float(np.abs(part).max(initial=0.0)) for part in parts)
    if not 0.0 < largest < math.inf:
        what = "zero" if largest == 0.0 else "not finite"
        raise ArgumentError(f"the direction is {what}: give another, such as direction='random'")
    parts = [np.asarray(part) / largest for part in parts]  # first, since a square of it may overflow
    length = math.sqrt(sum(float(np.vdot(part, part)) for part in parts))
    return [(part / length).astype(np.asarray(leaf).dtype)[()] for part, leaf in zip(parts, leaves)]


def _takes(f: Callable, name: str) -> bool:
    """Whether a function names this keyword among its parameters."""
    try:
        return name in inspect.signature(f).parameters
    except (TypeError, ValueError):  # some callables have no signature
        return False


def _intervals_at(multiple: int) -> list[tuple[int, int]]:
    """The intervals of that many smallest distances around 0, by the indices of their ends."""
    starts = range(-_NEIGHBOURS, _NEIGHBOURS) if multiple == 1 else (-multiple, 0)
    return [(start, start + multiple) for start in starts]


def _slope_around(points: dict[int, Point]) -> float:
    """The median of |f'| here and where the longer distances end."""
    ends = (sign * 2**k for k in range(_DOUBLINGS + 1) for sign in (-1, 1) if 2**k > _NEIGHBOURS)
    with np.errstate(all="ignore"):
        return float(np.median([abs(points[i].gradient) for i in (0, *ends)]))


def _mismatch(points: dict[int, Point], intervals: list, distance: float, around: float) -> float:
    """How far trapezoids miss over intervals of one length, on average and relative to the slope."""
    pairs = [(points[start], points[end]) for start, end in intervals]
    length = (intervals[0][1] - intervals[0][0]) * distance
    with np.errstate(all="ignore"):
        missed = np.mean([abs(b.loss - a.loss - length * (a.gradient + b.gradient) / 2.0) for a, b in pairs])
        if missed <= np.mean([rounding(a.loss, b.loss) for a, b in pairs]):
            return 0.0
        slope = np.mean([(abs(a.gradient) + abs(b.gradient)) / 2.0 for a, b in pairs])
        ratio = float(missed / (length * np.fmax(slope, around)))
    return math.inf if math.isnan(ratio) else ratio


def _growth(norms: np.ndarray) -> float:
    """Nats a step, from the middle of the run to its end."""
    half = len(norms) // 2
    if len(norms) < 2 or not norms[half - 1] > 0.0:
        return math.nan
    with np.errstate(all="ignore"):
        return float((np.log(norms[-1]) - np.log(norms[half - 1])) / (len(norms) - half))


def _over_step(
    nearby: tuple, derivative: float, slope: float, changes, step: float, worst: float, tolerance: float
) -> tuple[str, str, float]:
    """Verdict, reason and scale for a step, from those at short range and the worst mismatch on the way."""
    verdict, why, scale = nearby
    numbers = f"the derivative is {derivative:.3g} and the slope of the difference over ±{step:.3g} is {slope:.3g}"
    close = abs(slope - derivative) <= _HALF * max(abs(slope), abs(derivative))
    if verdict == "don't":
        return verdict, f"{why}; {numbers}", scale
    if verdict != "trust":
        if close and scale <= step * (1.0 + 1e-9):
            return verdict, f"{why}; {numbers}", scale
        return "don't", f"{why}, which does not hold for this step: {numbers}", math.nan
    if not ((close and worst <= 4.0 * tolerance) or worst <= tolerance):
        scale = min(scale, step / 2.0)  # where it matched over a longer distance by chance
        return f"trust below {scale:.3g}", f"{numbers}: {why}, not over this step", scale
    downhill = changes[0] if derivative > 0.0 else changes[1]
    passes = ", which passes a minimum if taken downhill" if downhill > 0.0 and derivative != 0.0 else ""
    return verdict, f"{numbers}{passes}; {why}", scale


def _nearby(mismatch, distances, beside, tolerance: float, growth: float) -> tuple[str, str, float]:
    """Verdict, reason and scale at short range."""
    matches = mismatch <= tolerance
    tells_trend = matches[-2:].all()
    island = (beside.max(axis=1) > 4.0 * tolerance).all() and not tells_trend
    if matches[0] and not island:
        scale = float(distances[np.argmin(np.append(matches, False)) - 1])
        return "trust", f"the derivative matches differences of f over distances up to {scale:.3g}", scale
    grows = f" (its tangent grows by a factor {math.exp(min(growth, 700.0)):.3g} a step)" if growth > 0.0 else ""
    if matches[0]:
        reason = (
            f"the derivative matches differences of f here, but a little further, on either side, it misses them over "
            f"short steps by {_share(beside.max(axis=1).min())}{grows}"
        )
        return "don't", reason, math.nan
    first = f"over steps of {distances[0]:.3g} the derivative misses the difference of f by {_share(mismatch[0])}"
    if tells_trend:
        beyond = len(matches) - int(np.argmin(matches[::-1]))
        scale = float(distances[beyond])
        return f"trust at scales above {scale:.3g}", f"{first}, but from {scale:.3g} on it matches", scale
    return "don't", f"{first}{grows}", math.nan


def _share(mismatch: float) -> str:
    return f"{100.0 * mismatch:.3g} % of its integral" if math.isfinite(mismatch) else "more than can be computed"
