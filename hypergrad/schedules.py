"""Schedules: the usual shapes, and free values averaged, binned and bounded; all differentiable by autograd.

A hypergradient by every step of a schedule is rough. Where the schedule is made from fewer or from
averaged values, the chain rule sums or averages the hypergradient in the same way. :func:`export` hands
what was learned to other libraries.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

from .bridge import getval
from .checks import check_integer
from .errors import ScheduleError
from .exported import export
from .nests import check_leaf, check_leaves
from .ranges import Range

__all__ = [
    "bin_means",
    "binned",
    "bounded",
    "cosine",
    "exponential",
    "export",
    "linear",
    "moving_average",
    "one_cycle",
    "unbounded",
]


def __dir__():
    return __all__


def linear(start: Any, end: Any, steps: int, *, over: int | None = None):
    """A straight line: start + (end − start) · min(t / n, 1), n = ``over``.

    Args:
      start, end: the first value, and that which is reached after n steps and kept; numbers.
      steps: T, the length of the schedule.
      over: n, an integer ≥ 1; T if None, so that ``end`` itself is just not reached.

    Returns:
      The schedule, shape (steps,).

    Raises:
      ArgumentError, NestError: a length that is no integer ≥ 1, or a value that is no number.

    >>> linear(1.0, 0.0, 4).tolist()
    [1.0, 0.75, 0.5, 0.25]
    """
    steps, over = check_integer(steps, "steps", 1), steps if over is None else check_integer(over, "over", 1)
    start, end = _numbers(start=start, end=end)
    return start + (end - start) * np.minimum(np.arange(steps) / over, 1.0)


def exponential(start: Any, factor: Any, steps: int, *, every: int = 1, staircase: bool = False):
    """A geometric decay: start · factor^(t / n), n = ``every``.

    Args:
      start: the first value, a number.
      factor: what it is multiplied by in n steps, > 0.
      steps: T, the length of the schedule.
      every: n, an integer ≥ 1.
      staircase: whether it is multiplied by the whole factor every n steps, instead of by a part of it at each.

    Returns:
      The schedule, shape (steps,).

    Raises:
      ScheduleError: ``factor`` is not above 0.
      ArgumentError, NestError: a length that is no integer ≥ 1, or a value that is no number.

    >>> exponential(1.0, 0.5, 4, every=2, staircase=True).tolist()
    [1.0, 1.0, 0.5, 0.5]
    """
    steps, every = check_integer(steps, "steps", 1), check_integer(every, "every", 1)
    start, factor = _numbers(start=start, factor=factor)
    if not getval(factor) > 0.0:
        raise ScheduleError(f"factor must lie above 0, got {float(getval(factor))!r}")
    times = np.arange(steps) // every if staircase else np.arange(steps) / every
    return start * factor**times


def cosine(peak: Any, steps: int, *, warmup: int = 0, final: Any = 0.0):
    """Half a cosine from a peak down, after a linear warm-up.

        peak · t / n                                                 t < n
        final + (peak − final) · (1 + cos(π (t − n) / (T − n))) / 2    t ≥ n

    Args:
      peak: the largest value, reached at step n; a number.
      steps: T, the length of the schedule.
      warmup: n, 0 ≤ n < T.
      final: what it tends to; at step T, the first one after the schedule, it would be there.

    Returns:
      The schedule, shape (steps,).

    Raises:
      ScheduleError: a warm-up that is not shorter than the schedule.
      ArgumentError, NestError: a length that is no integer, or a value that is no number.

    Source: Loshchilov & Hutter (2017), without restarts.

    >>> cosine(1.0, 4, warmup=2).round(3).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    steps, warmup = check_integer(steps, "steps", 1), check_integer(warmup, "warmup", 0)
    peak, final = _numbers(peak=peak, final=final)
    if warmup >= steps:
        raise ScheduleError(f"the warm-up of {warmup} steps must be shorter than the schedule of {steps}")
    t = np.arange(steps)
    rising, height = t / max(warmup, 1), 0.5 * (1.0 + np.cos(np.pi * (t - warmup) / (steps - warmup)))
    return anp.where(t < warmup, peak * rising, final + (peak - final) * height)


def one_cycle(peak: Any, steps: int, *, rise: float = 0.3, start: Any = None, end: Any = None):
    """Half a cosine up to a peak, and half a cosine down, to far below the start.

    With the peak at a = rise · T − 1 and the end at T − 1: from ``start`` to ``peak`` for t ≤ a, and from there to
    ``end``, each as b + (c − b) (1 + cos π x) / 2 from c to b, where x goes from 0 to 1.

    Args:
      peak: the largest value, a number.
      steps: T, the length of the schedule.
      rise: the part of the steps that go up, in (1/T, 1).
      start, end: the first and the last value; ``peak`` / 25 and ``start`` / 10,000 if None.

    Returns:
      The schedule, shape (steps,).

    Raises:
      ScheduleError: ``rise`` outside its interval.
      ArgumentError, NestError: a length that is no integer, or a value that is no number.

    Source: Smith & Topin (2018), in the form of PyTorch's ``OneCycleLR``.
    """
    steps = check_integer(steps, "steps", 2)
    start = peak / 25.0 if start is None else start
    end = start / 1e4 if end is None else end
    peak, start, end = _numbers(peak=peak, start=start, end=end)
    if not 1.0 < rise * steps < steps:
        raise ScheduleError(f"rise must lie in (1/{steps}, 1) for {steps} steps, got {rise!r}")
    t, top = np.arange(steps), rise * steps - 1.0
    up = 0.5 * (1.0 + np.cos(np.pi * np.minimum(t / top, 1.0)))
    down = 0.5 * (1.0 + np.cos(np.pi * np.maximum(t - top, 0.0) / (steps - 1.0 - top)))
    return anp.where(t <= top, peak + (start - peak) * up, end + (peak - end) * down)


def _numbers(**values) -> list:
    """The numbers to go on with."""
    numbers = check_leaves(list(values.values()), list(values), allow_int=True)
    for name, number in zip(values, numbers):
        if np.shape(getval(number)) != ():
            raise ScheduleError(f"{name} must be a number, got shape {np.shape(getval(number))}")
    return numbers


def binned(values: Any, steps: int):
    """A piecewise-constant schedule: step t of T takes the value ⌊t n / T⌋ of n.

    The hypergradient of a value is the sum of those of its steps.

    Args:
      values: one for each bin, shape (n,), 1 ≤ n ≤ steps.
      steps: T, the length of the schedule. The bins are equally long, up to one step.

    Returns:
      The schedule, shape (steps,).

    Raises:
      ScheduleError, NestError: ``values`` of another shape or type.
      ArgumentError: ``steps`` is no integer ≥ 1.

    >>> binned(np.array([1.0, 2.0]), 5).tolist()
    [1.0, 1.0, 1.0, 2.0, 2.0]
    """
    steps = check_integer(steps, "steps", 1)
    values = _schedule(values, "values")
    bins = len(getval(values))
    if bins > steps:
        raise ScheduleError(f"values has {bins} bins, but the schedule only {steps} steps: give at most one a step")
    return values[_bin_of(bins, steps)]


def bin_means(schedule: Any, bins: int):
    """A schedule with each value replaced by the mean of its bin.

    This is an orthogonal projection, so the hypergradient by ``schedule``, too, is replaced by its mean
    over each bin: descent from a schedule that is constant on the bins stays so.

    Args:
      schedule: shape (T,).
      bins: number of bins, 1 ≤ bins ≤ T, divided as in :func:`binned`.

    Returns:
      The schedule, shape (T,).

    Raises:
      ScheduleError, NestError: ``schedule`` of another shape or type, or shorter than ``bins``.
      ArgumentError: ``bins`` is no integer ≥ 1.

    >>> bin_means(np.array([0.0, 2.0, 4.0, 6.0]), 2).tolist()
    [1.0, 1.0, 5.0, 5.0]
    """
    bins, schedule = check_integer(bins, "bins", 1), _schedule(schedule, "schedule")
    steps = len(getval(schedule))
    if bins > steps:
        raise ScheduleError(f"schedule has {steps} steps, too few for {bins} bins")
    member = np.arange(bins)[:, None] == _bin_of(bins, steps)
    return binned(anp.dot(member / member.sum(axis=1, keepdims=True), schedule), steps)


def moving_average(schedule: Any, width: int):
    """A schedule with each value replaced by the mean of the ``width`` steps around it.

    Near the ends the window is cut off, and the mean is over what is left.

    Args:
      schedule: shape (T,).
      width: number of steps in the window, an odd integer ≥ 1.

    Returns:
      The schedule, shape (T,).

    Raises:
      ScheduleError, NestError: ``schedule`` of another shape or type.
      ArgumentError: ``width`` is no integer ≥ 1.
      ScheduleError: ``width`` is even, so that the window has no middle.

    >>> moving_average(np.array([0.0, 3.0, 6.0, 0.0]), 3).tolist()
    [1.5, 3.0, 3.0, 3.0]
    """
    schedule, width = _schedule(schedule, "schedule"), check_integer(width, "width", 1)
    steps = len(getval(schedule))
    if width % 2 == 0:
        raise ScheduleError(f"width must be odd, so that a window has a middle step, got {width}")
    sums = anp.concatenate([anp.zeros(1), anp.cumsum(schedule)])
    low = np.maximum(np.arange(steps) - width // 2, 0)
    high = np.minimum(np.arange(steps) + width // 2 + 1, steps)
    return (sums[high] - sums[low]) / (high - low)


def bounded(free: Any, low: float = -np.inf, high: float = np.inf):
    """Free values mapped into the open interval (low, high), increasing and smooth.

        low + (high − low) / (1 + e⁻ˣ);   low + log(1 + eˣ);   high − log(1 + e⁻ˣ);   x

    for an interval with two ends, a lower one, an upper one, and none. Far out, rounding reaches the ends.

    Args:
      free: any real values, an array of any shape or a number.
      low, high: the ends.

    Returns:
      Values in the shape of ``free``.

    Raises:
      ScheduleError: ``low`` is not below ``high``.
      NestError: ``free`` is no float array or number.

    >>> float(bounded(0.0, 0.0, 1.0))  # a momentum
    0.5
    """
    _check_interval(low, high)
    free = check_leaf(free, "free", allow_int=True)
    if np.isfinite(low) and np.isfinite(high):
        return low + (high - low) * anp.exp(-anp.logaddexp(0.0, -free))
    if np.isfinite(low):
        return low + anp.logaddexp(0.0, free)
    return high - anp.logaddexp(0.0, -free) if np.isfinite(high) else 1.0 * free


def unbounded(values: Any, low: float = -np.inf, high: float = np.inf):
    """The free values that :func:`bounded` maps to ``values``: its inverse.

    Args:
      values: inside (low, high), an array of any shape or a number.
      low, high: the ends.

    Returns:
      Free values in the shape of ``values``.

    Raises:
      ScheduleError: a value outside the interval, or ``low`` not below ``high``.
      NestError: ``values`` is no float array or number.

    >>> float(unbounded(0.5, 0.0, 1.0))
    0.0
    """
    _check_interval(low, high)
    values = check_leaf(values, "values", allow_int=True)
    plain, allowed = np.asarray(getval(values)), Range(low, high, low_included=False)
    outside = ~allowed.contains(plain)
    if outside.any():
        raise ScheduleError(f"values must lie in {allowed}, got {float(plain[outside][0])!r}")
    if np.isfinite(low) and np.isfinite(high):
        return anp.log(values - low) - anp.log(high - values)
    if np.isfinite(low):
        return _inverse_softplus(values - low)
    return -_inverse_softplus(high - values) if np.isfinite(high) else 1.0 * values


def _inverse_softplus(y):
    """x with log(1 + eˣ) = y, written so that a large y does not overflow."""
    return y + anp.log(-anp.expm1(-y))


def _check_interval(low: float, high: float) -> None:
    if not low < high:
        raise ScheduleError(f"low must lie below high, got the interval ({low!r}, {high!r})")


def _bin_of(bins: int, steps: int) -> np.ndarray:
    """The bin of each step."""
    return np.arange(steps) * bins // steps


def _schedule(values, name: str) -> Any:
    """The values to go on with, one for each step or bin."""
    values = check_leaf(values, name)
    shape = np.shape(getval(values))
    if len(shape) != 1 or shape[0] == 0:
        raise ScheduleError(f"{name} must be an array of shape (n,), got shape {shape}")
    return values
