"""Power laws as rows of numbers: the fit first, then those of bootstrap samples; and how compute is best split."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import hypergrad as hg


class Estimate(NamedTuple):
    """A fitted number and the ends of its 95 % interval, percentiles of the bootstrap."""

    value: float
    low: float
    high: float


def rows_of(x, y, bootstraps: int, **options) -> np.ndarray:
    """(1 + bootstraps, 3): E, A and α of y = E + A x^−α; (…, 5), E, A, B, α, β, for a mapping of two variables.

    NaN where the points do not determine a law, as in a quick run.
    """
    count = len(x) if isinstance(x, dict) else 1
    try:
        law = hg.fit.power_law(x, y, bootstraps=bootstraps, **options)
    except hg.errors.FitError:
        return np.full((1 + bootstraps, 1 + 2 * count), np.nan)
    listed = lambda values: list(values.values()) if isinstance(values, dict) else [values]
    first = [law.floor, *listed(law.scale), *listed(law.exponent)]
    samples = law.samples.copy()
    samples[:, : 1 + count] = np.exp(samples[:, : 1 + count])
    return np.concatenate([[first], samples])


def estimate(rows: np.ndarray, column: int = -1) -> Estimate:
    """A column of such rows: by default the exponent."""
    values = rows[:, column]
    low, high = np.percentile(values[1:], [2.5, 97.5]) if np.isfinite(values).all() else (np.nan, np.nan)
    return Estimate(float(values[0]), float(low), float(high))


def curve(row: np.ndarray, x) -> np.ndarray:
    """The law of a row of three at x."""
    return row[0] + row[1] * np.asarray(x, float) ** -row[2]


def curve_of_two(row: np.ndarray, N, D) -> np.ndarray:
    """The law of a row of five at N and D."""
    return row[0] + row[1] * np.asarray(N, float) ** -row[3] + row[2] * np.asarray(D, float) ** -row[4]


def straight(x, y) -> tuple[float, float]:
    """Scale and exponent of y = A x^p, by least squares of the logs."""
    exponent, log_scale = np.polyfit(np.log(x), np.log(y), 1)
    return float(np.exp(log_scale)), float(exponent)


def shares(alpha, beta):
    """How the best N and D grow with compute: N ∝ C^{β/(α+β)}, D ∝ C^{α/(α+β)}.

    For L = E + A N^−α + B D^−β and C = k N D: see :func:`best_split`.
    """
    return beta / (alpha + beta), alpha / (alpha + beta)


def best_split(A, B, alpha, beta, C, k):
    """The N and D with the lowest E + A N^−α + B D^−β among those with C = k N D.

    With D = C / (k N) the derivative by log N vanishes where α A N^−α = β B D^−β, so that

        N = G (C/k)^{β/(α+β)},    D = G⁻¹ (C/k)^{α/(α+β)},    G = (α A / (β B))^{1/(α+β)}

    Source: Hoffmann et al. (2022), equation 4, who have k = 6.

    >>> N, D = best_split(2.0, 3.0, 0.5, 0.5, C=600.0, k=6.0)
    >>> round(float(N * D), 6), round(float(N / D), 6)
    (100.0, 0.444444)
    """
    G = (alpha * A / (beta * B)) ** (1.0 / (alpha + beta))
    of_n, of_d = shares(alpha, beta)
    return G * (C / k) ** of_n, (C / k) ** of_d / G


def envelope(x, y) -> np.ndarray:
    """Which points have a lower y than all those of smaller x; a mask of their shape."""
    x, y = np.ravel(x), np.ravel(y)
    order = np.lexsort((y, x))
    lowest = np.fmin.accumulate(y[order])
    mask = np.zeros(len(x), bool)
    mask[order] = np.r_[True, lowest[1:] < lowest[:-1]]
    return mask
