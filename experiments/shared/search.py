"""Searching for hyperparameters: by hypergradients, at random, on a grid, with a model (TPE), by evolution (CMA-ES).

Every search minimises ``f(z, number)``, a training with random draws of its own for each number. Those with a
:class:`Path`, what they would recommend after so many trainings, look in the box −BOX ≤ z ≤ BOX, and begin with z = 0.
TPE is that of Optuna and CMA-ES that of cmaes; both come with the extra ``search``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.shared import descents, proposals
from hypergrad.runs import snapshots
from hypergrad.runs.store import load, store

BOX = 3.0  # half the side; units of the log learning rate, the logit of the momentum or the log scale
DIVERGED = 10.0  # nats; what a training that diverged, or ended above it, counts. Guessing one of ten has ln 10 = 2.3
COST = 3  # trainings that a hypergradient counts as: it is 2 by products (docs/adjoints.md), 2.3 by time, rounded up
SEPARABLE_FROM = 100  # hyperparameters; from here on CMA-ES has a diagonal covariance
EXTRA = "python -m pip install -e '.[search]'"


def missing() -> str:
    """What has to be installed for all searches, in a sentence; empty if nothing."""
    absent = [name for name in ("optuna", "cmaes") if find_spec(name) is None]
    return f"{' and '.join(absent)} not installed: {EXTRA}" if absent else ""


def bounded(value) -> float:
    """A loss, and at most DIVERGED, which one that is not finite counts as."""
    return min(float(value), DIVERGED) if np.isfinite(value) else DIVERGED


class Path(NamedTuple):
    """What a search recommends after so many trainings: a point for each of these counts, which increase from 0."""

    trainings: np.ndarray  # (k,)
    points: np.ndarray  # (k, n)

    def after(self, trainings: int) -> np.ndarray:
        """The point that so many trainings are enough for."""
        return self.points[np.searchsorted(self.trainings, trainings, side="right") - 1]


class Tried(NamedTuple):
    """All that a search tried, in order, and the values found; those that are NaN count for nothing."""

    points: np.ndarray  # (k, …)
    values: np.ndarray  # (k,)

    @property
    def best(self) -> np.ndarray:
        """The point with the lowest value."""
        return self.points[np.nanargmin(self.values)]

    def lowest(self, counts) -> np.ndarray:
        """The lowest value after each of these numbers of trials."""
        return np.fmin.accumulate(self.values)[np.minimum(counts, len(self.values)) - 1]

    def path(self) -> Path:
        """Recommends the best so far, and 0 before any."""
        at = [int(np.nanargmin(self.values[: i + 1])) for i in range(len(self.values))]
        return Path(np.arange(len(at) + 1), np.concatenate([np.zeros((1, self.points.shape[1])), self.points[at]]))


def tried(f: Callable, where: proposals.Proposals) -> Tried:
    """Plain search: f where it is proposed, until nothing more is."""
    points: list = []
    values: list[float] = []
    for_next, file = None, _trials.get()
    _trials.set(None)  # the place is that of this search alone, not of one inside it, or after it
    before = load(file, lambda arrays: Tried(**arrays), "search") if file is not None else None
    written = time.monotonic()
    while True:
        try:
            z = where.send(for_next)  # type: ignore[arg-type]
        except StopIteration:
            return Tried(np.array(points), np.array(values))
        number = len(values)
        if before is not None and number < len(before.values) and np.array_equal(before.points[number], z):
            for_next = float(before.values[number])
        else:
            for_next, before = float(f(z, number)), None
        points.append(z)
        values.append(for_next)
        if file is not None and before is None and time.monotonic() - written >= snapshots.EVERY:
            store(file, Tried(np.array(points), np.array(values))._asdict())
            written = time.monotonic()


def kept(file: FilePath, search: Callable[[], Path]) -> Path:
    """The path of a search, from its file, or computed and stored there; on the way what was tried is stored too."""
    found = load(file, lambda arrays: Path(**arrays), "search")
    if found is None:
        tries = file.with_name(f"{file.stem} tried.npz")
        token = _trials.set(tries)
        try:
            found = search()
        finally:
            _trials.reset(token)
        store(file, found._asdict())
        tries.unlink(missing_ok=True)
    return found


_trials: ContextVar[FilePath | None] = ContextVar("trials", default=None)  # where the search at hand keeps its trials


def descent(f: Callable, numbers: int, trainings: int, rate: float, cache, last: bool = False) -> Path:
    """Adam along the hypergradient, each with other random draws; recommends the best of the points it came to.

    Or the ``last`` one, where draws differ by more than a step is worth.
    """
    steps = trainings // COST - 1
    found = descents.history(f, np.zeros(numbers), steps=steps, optimizer=hg.Adam(rate), seeds=1, cache=cache)
    points = np.array([e.hypers for e in found])
    if last:
        return Path(COST * np.arange(len(points) + 1), np.concatenate([points[:1], points]))
    path = Tried(points, np.array([e.value for e in found])).path()
    return path._replace(trainings=COST * path.trainings)


def at_random(f: Callable, numbers: int, trainings: int, seed: int) -> Path:
    """Uniform in the box; recommends the best of the points tried."""
    points = np.random.default_rng((seed, 1)).uniform(-BOX, BOX, (trainings, numbers))
    points[0] = 0.0
    return tried(f, proposals.each_of(points)).path()


def on_grid(f: Callable, numbers: int, trainings: int, seed: int, *, axes) -> Path:
    """The first so many points of a grid, in random order; recommends the best of the points tried."""
    return tried(f, proposals.on_grid(np.random.default_rng((seed, 2)), axes, trainings)).path()


def by_evolution(f: Callable, low: float, high: float, shape: tuple[int, ...], trials: int, seed: int) -> Tried:
    """f(z) by :func:`proposals.evolution`: equal entries between two bounds first, then a strategy with one parent."""
    rng = np.random.default_rng((seed, 21))
    return tried(lambda z, _: f(z), proposals.evolution(rng, low, high, shape, trials))


def by_evolution_from(f: Callable, start: np.ndarray, trials: int, seed: int, length: float) -> Tried:
    """f(z) at a start, and by that strategy from there; its first step has this length."""
    return tried(lambda z, _: f(z), proposals.from_start(np.random.default_rng((seed, 21)), start, trials, length))


def tpe(f: Callable, numbers: int, trainings: int, seed: int) -> Path:
    """A tree of Parzen estimators; recommends the best of the points tried."""
    return tried(f, proposals.parzen(seed, numbers, BOX, trainings)).path()


def cma(f: Callable, numbers: int, trainings: int, seed: int) -> Path:
    """CMA-ES from z = 0 with standard deviation 1, two numbers or more; recommends the mean of its distribution.

    The mean, since its points are seen once each, and noise picks the best of them.
    """
    import cmaes

    kind = cmaes.CMA if numbers < SEPARABLE_FROM else cmaes.SepCMA
    bounds = np.tile([-BOX, BOX], (numbers, 1))
    strategy, means = kind(mean=np.zeros(numbers), sigma=1.0, bounds=bounds, seed=seed), [np.zeros(numbers)]
    tried(f, proposals.generations(strategy, means, trainings))
    return Path(strategy.population_size * np.arange(len(means)), np.clip(means, -BOX, BOX))
