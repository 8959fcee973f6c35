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


def crossed_interval(values) -> Interval:
    """From Student's t, for values (r, d) of r independent runs, each tested on the same d independent draws.

    With v_r and v_d the variances of the means of rows and of columns, the variance of the mean of all is at most
    v_r / r + v_d / d, by the noise that is of neither alone, which both contain; the degrees of freedom are
    Satterthwaite's, at least the fewer of r − 1 and d − 1. The luck of a single run cannot be known: its interval is
    that over the draws.

    >>> [round(float(x), 2) for x in crossed_interval([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])]  # the runs agree
    [2.0, -0.48, 4.48]
    >>> [round(float(x), 2) for x in crossed_interval([[1.0, 3.0], [2.0, 4.0], [3.0, 5.0]])]  # they don't
    [3.0, -2.98, 8.98]
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=float)
    if len(values) == 1:
        return t_interval(values[0])
    parts = [means.var(ddof=1) / len(means) for means in (values.mean(axis=1), values.mean(axis=0))]
    freedom = np.array(values.shape) - 1
    variance = sum(parts)
    shared = variance**2 / sum(part**2 / n for part, n in zip(parts, freedom)) if variance > 0.0 else freedom.min()
    mean, half = values.mean(), t.ppf(0.975, shared) * np.sqrt(variance)
    return Interval(float(mean), float(mean - half), float(mean + half))
