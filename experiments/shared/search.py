"""Searching for hyperparameters: by hypergradients, at random, on a grid, with a model (TPE), by evolution (CMA-ES).

Every search minimises ``f(z, number)``, a training with initial weights of its own for each number, over the box
−BOX ≤ z ≤ BOX, and begins with z = 0. It returns a :class:`Path`: what it would recommend after so many trainings.
TPE is that of Optuna and CMA-ES that of cmaes; both come with the extra ``search``.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.shared import descents
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


def kept(file: FilePath, search: Callable[[], Path]) -> Path:
    """The path of a search, from its file, or computed and stored there."""
    found = load(file, lambda arrays: Path(**arrays), "search")
    if found is None:
        found = search()
        store(file, found._asdict())
    return found


def descent(f: Callable, numbers: int, trainings: int, rate: float, cache) -> Path:
    """Adam along the hypergradient, each at other initial weights; recommends the best of the points it came to."""
    steps = trainings // COST - 1
    found = descents.history(f, np.zeros(numbers), steps=steps, optimizer=hg.Adam(rate), seeds=1, cache=cache)
    path = _best_so_far(np.array([e.hypers for e in found]), [e.value for e in found])
    return path._replace(trainings=COST * path.trainings)


def at_random(f: Callable, numbers: int, trainings: int, seed: int) -> Path:
    """Uniform in the box; recommends the best of the points tried."""
    points = np.random.default_rng((seed, 1)).uniform(-BOX, BOX, (trainings, numbers))
    points[0] = 0.0
    return _best_so_far(points, [f(z, i) for i, z in enumerate(points)])


def on_grid(f: Callable, axes: list, seed: int) -> Path:
    """All points of a grid, in random order; recommends the best of the points tried."""
    axes = list(axes)
    return some_of_grid(f, len(axes), int(np.prod([len(axis) for axis in axes])), seed, axes)


def some_of_grid(f: Callable, numbers: int, trainings: int, seed: int, axes) -> Path:
    """The same as :func:`on_grid`, with the signature of the others: the first so many of its points."""
    points = np.array(list(itertools.product(*axes)))
    np.random.default_rng((seed, 2)).shuffle(points)
    points = points[:trainings]
    return _best_so_far(points, [f(z, i) for i, z in enumerate(points)])


def tpe(f: Callable, numbers: int, trainings: int, seed: int) -> Path:
    """A tree of Parzen estimators over all numbers jointly; recommends the best of the points tried."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
    study = optuna.create_study(sampler=sampler)
    names = [f"z{i}" for i in range(numbers)]
    study.enqueue_trial(dict.fromkeys(names, 0.0))
    box = {name: optuna.distributions.FloatDistribution(-BOX, BOX) for name in names}
    points, values = np.empty((trainings, numbers)), []
    for i in range(trainings):
        trial = study.ask(box)
        points[i] = [trial.params[name] for name in names]
        values.append(f(points[i], i))
        study.tell(trial, values[-1])
    return _best_so_far(points, values)


def cma(f: Callable, numbers: int, trainings: int, seed: int) -> Path:
    """CMA-ES from z = 0 with standard deviation 1, two numbers or more; recommends the mean of its distribution.

    The mean, since its points are seen once each, and noise picks the best of them.
    """
    import cmaes

    kind = cmaes.CMA if numbers < SEPARABLE_FROM else cmaes.SepCMA
    bounds = np.tile([-BOX, BOX], (numbers, 1))
    evolution = kind(mean=np.zeros(numbers), sigma=1.0, bounds=bounds, seed=seed)
    counts, means, used = [0], [np.zeros(numbers)], 0
    while used + evolution.population_size <= trainings:
        points = [evolution.ask() for _ in range(evolution.population_size)]
        evolution.tell([(z, f(z, used + i)) for i, z in enumerate(points)])
        used += len(points)
        counts.append(used)
        means.append(np.clip(evolution.mean, -BOX, BOX))
    return Path(np.array(counts), np.array(means))


def _best_so_far(points, values) -> Path:
    points, at = np.asarray(points), [int(np.argmin(values[: i + 1])) for i in range(len(values))]
    return Path(np.arange(len(points) + 1), np.concatenate([np.zeros((1, points.shape[1])), points[at]]))
