"""Which of many trainings lie outside what the others predict for them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..checks import check_integer
from ..errors import ArgumentError, FitError
from .power_law import Points, PowerLaw, checked, design, fitted, log_law, power_law, refitted

_INEFFICIENCY = np.pi / 2.0  # the variance of a median over that of a mean, for normal values


class Irregular(NamedTuple):
    """How far each trial is from what the others predict, shape (n,) each.

    Attributes:
      flagged: bool, whether it is irregular.
      score: log y less its prediction, over the standard error of that difference.
      p: how likely so large a score is, in magnitude, for one regular trial.
      predicted: the law of the regular trials but this one, at its x, in units of y.
      spread: the standard deviation of log y at the same x, from the same trials.
      law: the law of all that are not flagged, without intervals.
    """

    flagged: np.ndarray
    score: np.ndarray
    p: np.ndarray
    predicted: np.ndarray
    spread: np.ndarray
    law: PowerLaw


def irregular(x, y, *, level: float = 0.95, leave: str = "one", delta: float = 1e-3, starts: int = 10) -> Irregular:
    """Trials that lie outside what the spread over seeds and the form of the law predict, each left out in turn.

    Trial i is compared with the :func:`power_law` of the others:

        score_i = (log y_i − log law₋ᵢ(x_i)) / ( s √(1 + π/2 · g (JᵀJ)⁻¹ gᵀ) )

    with s the standard deviation of log y among trials of equal x (without i), g and J the derivatives of the log of
    the law by its parameters, at x_i and at the other trials. p is that of Student's t, with as many degrees of freedom
    as there are trials less different x; if no x comes twice, s is the residuals', with trials less parameters.
    The worst trial is flagged if its p times the number of trials is below 1 − level (Bonferroni); then the
    others are looked at again without it, until none is flagged (as outliers are by Rosner 1983).

    Args:
      x, y, delta, starts: as for :func:`power_law`; a trial for each seed, with the same x.
      level: with which probability no trial is flagged if all are regular; approximately, for normal scatter of log y
        that is the same everywhere. Where it is larger at some x, those are flagged more often.
      leave: "one", the trial; or "all" of the same x, so that a whole row of seeds that is off cannot draw the law to
        itself. Then the law is extrapolated where x is the smallest or largest.

    Returns:
      An :class:`Irregular`. Two trials that are off in the same way can hide each other: see ``leave``.

    Raises:
      FitError: as :func:`power_law`, also for what is left when trials are left out, or nothing to tell a spread from.
      ArgumentError: a bad option.

    Cost: n fits, and n more for each trial flagged.

    >>> depth = np.repeat([2.0, 3.0, 5.0, 7.0, 9.0], 3)
    >>> error = (0.2 + 0.1 / depth) * np.tile([0.99, 1.0, 1.01], 5)
    >>> error[13] = 0.25
    >>> irregular(depth, error).flagged.nonzero()[0].tolist()
    [13]
    """
    points = checked(x, y)
    if not 0.0 < level < 1.0:
        raise ArgumentError(f"level must lie in (0, 1), got {level!r}")
    if leave not in ("one", "all"):
        raise ArgumentError(f'leave must be "one" or "all", got {leave!r}')
    starts = check_integer(starts, "starts", 1)
    group = np.unique(points.logs, axis=1, return_inverse=True)[1].ravel()
    regular = np.ones(len(group), bool)
    while True:
        theta, _ = fitted(points.chosen(regular), delta, starts)
        rows = [_left_out(points, i, regular, group, leave, theta, delta) for i in range(len(group))]
        score, p, predicted, spread = np.array(rows).T
        worst = int(np.argmin(np.where(regular, p, np.inf)))
        if p[worst] * regular.sum() >= 1.0 - level:
            break
        rest = regular & (np.arange(len(group)) != worst)
        if points.chosen(rest).missing():
            break
        regular = rest
    law = power_law(_chosen(x, regular), np.asarray(y, float)[regular], delta=delta, starts=starts, bootstraps=0)
    return Irregular(~regular, score, p, np.exp(predicted), spread, law)


def _left_out(points: Points, i: int, regular, group, leave: str, theta, delta: float) -> tuple:
    """Score, p, log of the prediction and spread of a trial, from the regular ones without it."""
    from scipy.stats import t

    rest = regular & ((group != group[i]) if leave == "all" else (np.arange(len(group)) != i))
    others = points.chosen(rest)
    if words := others.missing():
        raise FitError(f"without {'the trials at the x of ' * (leave == 'all')}trial {i}: {words}")
    theta, _ = refitted(others, theta, delta)
    spread, freedom = _spread(others, group[rest], theta)
    here = points.chosen([i])
    J, g = design(theta, others.logs), design(theta, here.logs)[0]
    error = spread * np.sqrt(1.0 + _INEFFICIENCY * g @ np.linalg.pinv(J.T @ J, rcond=1e-10, hermitian=True) @ g)
    predicted = log_law(theta, here.logs)[0]
    score = (here.log_y[0] - predicted) / error
    return score, 2.0 * t.sf(abs(score), freedom), predicted, spread


def _spread(points: Points, group, theta) -> tuple[float, int]:
    """The standard deviation of log y at the same x, and its degrees of freedom."""
    _, index = np.unique(group, return_inverse=True)
    counts = np.bincount(index)
    freedom = len(index) - len(counts)
    residuals = points.log_y - (np.bincount(index, points.log_y) / counts)[index]
    if freedom < 1:
        residuals, freedom = points.log_y - log_law(theta, points.logs), len(index) - theta.size
    spread = float(np.sqrt(np.sum(residuals**2) / freedom)) if freedom > 0 else 0.0
    if not spread > 0.0:
        raise FitError(
            "the trials do not scatter, or there are too few to tell by how much: give several seeds for each x"
        )
    return spread, freedom


def _chosen(x, rows):
    return {name: np.asarray(a)[rows] for name, a in x.items()} if hasattr(x, "items") else np.asarray(x)[rows]
