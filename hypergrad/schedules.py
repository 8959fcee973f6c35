"""Schedules from free values: averaged, binned and bounded, differentiable by autograd.

A hypergradient by every step of a schedule is rough. Where the schedule is made from fewer or from
averaged values, the chain rule sums or averages the hypergradient in the same way.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

from .bridge import getval
from .checks import check_integer
from .errors import ScheduleError
from .nests import check_leaf
from .ranges import Range

__all__ = ["bin_means", "binned", "bounded", "moving_average", "unbounded"]


def __dir__():
    return __all__


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
