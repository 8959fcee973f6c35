"""Plain search, which needs no derivatives: a grid in one dimension, an evolution strategy in several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np


class Trial(NamedTuple):
    """What was tried, and the value found there."""

    x: np.ndarray
    value: float


def spread(low: float, high: float) -> Iterator[float]:
    """Values from low to high without end, so that any number of the first ones is spread evenly (the golden ratio)."""
    place = 0.5
    while True:
        yield low + (high - low) * place
        place = (place + 0.5 * (np.sqrt(5.0) - 1.0)) % 1.0


def search(f: Callable, low: float, high: float, shape: tuple[int, ...], trials: int, seed: int) -> list[Trial]:
    """Look for the lowest f(x), x of this shape, in so many trials.

    First all entries of x are the same, spread between low and high: every trial for a single entry, a third of
    them otherwise. The others are an evolution strategy with one parent and one child: normal steps from the best
    so far, longer by a factor e^0.3 after a success, shorter by e^−0.075 after a failure, so that the length stays
    where one in five succeeds (Rechenberg 1973).
    """
    same = trials if np.prod(shape) == 1 else -(-trials // 3)
    found = []
    for _, value in zip(range(same), spread(low, high)):
        x = np.full(shape, value)
        found.append(Trial(x, float(f(x))))
    return evolve(f, found, trials, seed)


def evolve(f: Callable, found: list[Trial], trials: int, seed: int, length: float = 1.0) -> list[Trial]:
    """Go on from what was found, up to so many trials, by that evolution strategy; the first step has this length."""
    found, best = list(found), lowest(found)
    rng = np.random.default_rng((seed, 21))
    while len(found) < trials:
        x = best.x + length * rng.standard_normal(best.x.shape)
        found.append(Trial(x, float(f(x))))
        better = found[-1].value < best.value
        best = found[-1] if better else best
        length *= np.exp(0.3 if better else -0.075)
    return found


def lowest(trials: list[Trial]) -> Trial:
    """The one with the lowest value, of those that are finite."""
    return min((trial for trial in trials if np.isfinite(trial.value)), key=lambda trial: trial.value)


def best_so_far(trials: list[Trial], counts) -> np.ndarray:
    """The lowest value after each of these numbers of trials."""
    values = np.fmin.accumulate([trial.value for trial in trials])
    return values[np.minimum(counts, len(values)) - 1]
