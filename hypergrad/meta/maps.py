"""Maps from free variables, on which a descent takes its steps, to hyperparameters that are bound to an interval or to
each other.

A map is declared once for each leaf, or for all leaves below a place:
``maps={"lr": maps.log(), "momentum": maps.logit()}``.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

from .. import schedules
from ..errors import ArgumentError, ScheduleError

__all__ = ["Map", "log", "logit", "monotone", "plain", "softmax", "tied"]


def __dir__():
    return __all__


class Map:
    """How some leaves come from free variables of the same shapes. Derive from it for one of your own.

    Attributes:
      takes_bounds: whether it maps each entry apart, increasing, so that a bound on a hyperparameter is one on its free
        variable.
    """

    takes_bounds = False

    def value(self, free: list) -> list:
        """The hyperparameters; written with autograd.numpy."""
        raise NotImplementedError

    def free(self, values: list, places: list[str]) -> list:
        """The free variables that :meth:`value` maps to these.

        Raises:
          ArgumentError: there are none; names the place.
        """
        raise NotImplementedError

    def bound(self, value):
        """The bound on free variables that one on the hyperparameters is; only where ``takes_bounds``."""
        return value

    def __repr__(self):
        return f"maps.{type(self).__name__.removeprefix('_').lower()}()"


class _Plain(Map):
    takes_bounds = True

    def value(self, free):
        return list(free)

    def free(self, values, places):
        return list(values)


class _Log(Map):
    takes_bounds = True

    def value(self, free):
        return [anp.exp(x) for x in free]

    def free(self, values, places):
        for value, place in zip(values, places):
            if not np.all(np.asarray(value) > 0.0):
                raise ArgumentError(f"{place} is mapped by its logarithm and must be positive, got {value!r:.200}")
        return [np.log(value) for value in values]

    def bound(self, value):
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(value, 0.0))


class _Logit(Map):
    takes_bounds = True

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high
        schedules.bounded(0.0, low, high)  # raises if it is no interval

    def value(self, free):
        return [schedules.bounded(x, self.low, self.high) for x in free]

    def free(self, values, places):
        try:
            return [schedules.unbounded(value, self.low, self.high) for value in values]
        except ScheduleError as error:
            raise ArgumentError(
                f"{' and '.join(places)} must lie inside ({self.low:g}, {self.high:g}), where maps.logit leads: {error}"
            ) from None

    def bound(self, value):
        value = np.asarray(value, dtype=float)
        inside = (value > self.low) & (value < self.high)
        free = schedules.unbounded(
            np.where(inside, value, schedules.bounded(0.0, self.low, self.high)), self.low, self.high
        )
        return np.where(inside, free, np.where(value <= self.low, -np.inf, np.inf))

    def __repr__(self):
        return f"maps.logit({self.low:g}, {self.high:g})"


class _Softmax(Map):
    def value(self, free):
        return [_softmax(x) for x in free]

    def free(self, values, places):
        for value, place in zip(values, places):
            value = np.asarray(value)
            if value.ndim == 0 or not (np.all(value > 0.0) and np.allclose(value.sum(axis=-1), 1.0, rtol=1e-9)):
                raise ArgumentError(
                    f"{place} is mapped by maps.softmax: its entries must be positive, with a sum of 1 over the last "
                    f"axis, got {value!r:.200}"
                )
        return [np.log(value) for value in values]


class _Monotone(Map):
    def __init__(self, sign: float):
        self.sign = sign

    def value(self, free):
        return [anp.cumsum(anp.concatenate([x[:1], self.sign * anp.exp(x[1:])])) for x in free]

    def free(self, values, places):
        for value, place in zip(values, places):
            if np.ndim(value) != 1 or not np.all(self.sign * np.diff(value) > 0.0):
                how = "increase" if self.sign > 0 else "decrease"
                raise ArgumentError(
                    f"{place} must be one-dimensional and {how} from entry to entry, got {value!r:.200}"
                )
        return [np.concatenate([value[:1], np.log(self.sign * np.diff(value))]) for value in values]

    def __repr__(self):
        return f"maps.monotone(increasing={self.sign > 0})"


class _Tied(Map):
    def __init__(self, each: Map):
        self.each, self.takes_bounds = each, each.takes_bounds

    def value(self, free):
        mean = sum(free) / len(free)
        return [self.each.value([mean])[0] for _ in free]

    def free(self, values, places):
        first = np.asarray(values[0])
        for value, place in zip(values, places):
            if np.shape(value) != first.shape or not np.array_equal(value, first):
                raise ArgumentError(
                    f"{place} is tied to {places[0]}, so both must start with the same numbers, got {value!r:.100} and "
                    f"{values[0]!r:.100}"
                )
        return self.each.free(values, places)

    def bound(self, value):
        return self.each.bound(value)

    def __repr__(self):
        return f"maps.tied({self.each!r})"


def plain() -> Map:
    """h = x: the step is taken on the hyperparameter itself.

    >>> [float(h) for h in plain().value([2.0])]
    [2.0]
    """
    return _Plain()


def log() -> Map:
    """h = eˣ, for what is positive, such as a learning rate or a scale.

    >>> [float(h) for h in log().value([0.0])]
    [1.0]
    """
    return _Log()


def logit(low: float = 0.0, high: float = 1.0) -> Map:
    """h = low + (high − low) / (1 + e⁻ˣ), for what lies in an interval, such as a momentum.

    Args:
      low, high: the ends of the interval, themselves never reached.

    Raises:
      ScheduleError: ``low`` is not below ``high``.

    >>> [float(h) for h in logit().value([0.0])]
    [0.5]
    """
    return _Logit(low, high)


def softmax() -> Map:
    """h_i = exp(x_i) / Σ_j exp(x_j) over the last axis, for shares: positive, with a sum of 1.

    >>> softmax().value([np.zeros(4)])[0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    return _Softmax()


def monotone(increasing: bool = True) -> Map:
    """h_0 = x_0, h_i = h_{i−1} ± exp(x_i), for an array whose entries only rise, or only fall.

    Args:
      increasing: whether they rise.

    >>> monotone(increasing=False).value([np.zeros(3)])[0].tolist()
    [0.0, -1.0, -2.0]
    """
    return _Monotone(1.0 if increasing else -1.0)


def tied(each: Map | None = None) -> Map:
    """All leaves below a place are one: each is mapped, by ``each``, from the mean of their free variables.

    They start alike and stay alike, and a step moves them along the mean of what it would move them by apart.

    Args:
      each: the map of the one that they are; :func:`plain` if None.

    >>> [float(h) for h in tied(log()).value([0.0, 0.0])]
    [1.0, 1.0]
    """
    return _Tied(plain() if each is None else each)


def _softmax(x) -> Any:
    shifted = anp.exp(x - anp.max(x, axis=-1, keepdims=True))
    return shifted / anp.sum(shifted, axis=-1, keepdims=True)
