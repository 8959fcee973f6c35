"""Means and their 95 % intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


def t_interval(values) -> Interval:
    """From Student's t distribution, for independent values (n,), n ≥ 2.

    >>> [round(float(x), 2) for x in t_interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48]
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=float)
    mean, half = values.mean(), t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(float(mean), float(mean - half), float(mean + half))


def geometric_interval(values) -> Interval:
    """The geometric mean of positive values (n,), n ≥ 2, and its ends: those of the t interval of their logs.

    >>> [round(float(x), 2) for x in geometric_interval([1.0, 10.0, 100.0])]
    [10.0, 0.03, 3048.86]
    """
    return Interval(*(float(x) for x in np.exp(t_interval(np.log(np.asarray(values, dtype=float))))))


def clopper_pearson(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a probability, of which so many of independent trials tell; exact, so at least 95 %.

    >>> [round(x, 3) for x in clopper_pearson(9, 10)]
    [0.555, 0.997]
    """
    from scipy.stats import beta

    low = float(beta.ppf(0.025, hits, trials - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high
