"""Where a plain search looks next: generators of points, each of which is sent the value found at its last point.

A generator ends after as many points as it was asked for. What a search does with them is in ``search.py``.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import numpy as np

Proposals = Generator[np.ndarray, float, None]


def each_of(points: Iterable) -> Proposals:
    """Points that are known before."""
    for z in points:
        yield np.asarray(z)


def uniform(rng: np.random.Generator, low, high, trials: int) -> Proposals:
    """From a box whose ends are arrays (n,)."""
    for _ in range(trials):
        yield rng.uniform(low, high)


def on_grid(rng: np.random.Generator, axes: list, trials: int | None = None) -> Proposals:
    """All points of a grid in random order, or the first so many of them."""
    points = np.array(list(itertools.product(*axes)))
    rng.shuffle(points)
    yield from each_of(points[:trials])


def around_best(rng: np.random.Generator, low, high, trials: int) -> Proposals:
    """The first half from everywhere in a box, the others normal around the best so far, by a tenth of its sides."""
    best, lowest = None, np.inf
    for i in range(trials):
        if i < (trials + 1) // 2:
            z = rng.uniform(low, high)
        else:
            z = np.clip(best + 0.1 * (high - low) * rng.standard_normal(len(low)), low, high)
        value = yield z
        if best is None or value < lowest:
            best, lowest = z, value


def spread(low: float, high: float) -> Iterator[float]:
    """Values from low to high without end, so that any number of the first ones is spread evenly (the golden ratio)."""
    place = 0.5
    while True:
        yield low + (high - low) * place
        place = (place + 0.5 * (np.sqrt(5.0) - 1.0)) % 1.0


def evolution(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...], trials: int) -> Proposals:
    """First all entries of an array are the same, then an evolution strategy with one parent and one child.

    The first, every trial for a single entry and a third of them otherwise, are spread between low and high. The
    others are normal steps from the best so far, longer by a factor e^0.3 after a success, shorter by e^−0.075 after a
    failure, so that the length stays where one in five succeeds (Rechenberg 1973).
    """
    same = trials if np.prod(shape) == 1 else -(-trials // 3)
    best, lowest = np.full(shape, np.nan), np.inf
    for place in itertools.islice(spread(low, high), same):
        z = np.full(shape, place)
        value = yield z
        if value < lowest:
            best, lowest = z, value
    yield from strategy(rng, best, lowest, trials - same)


def strategy(rng: np.random.Generator, best: np.ndarray, lowest: float, trials: int, length: float = 1.0) -> Proposals:
    """That evolution strategy from a point and the value there on; the first step has this length."""
    for _ in range(trials):
        z = best + length * rng.standard_normal(best.shape)
        value = yield z
        better = value < lowest
        if better:
            best, lowest = z, value
        length *= np.exp(0.3 if better else -0.075)


def from_start(rng: np.random.Generator, start: np.ndarray, trials: int, length: float) -> Proposals:
    """A point, and the evolution strategy from there."""
    value = yield start
    yield from strategy(rng, start, value, trials - 1, length)


def parzen(seed: int, numbers: int, half: float, trials: int) -> Proposals:
    """A tree of Parzen estimators (TPE, that of Optuna) over all numbers jointly, in a cube around 0, from 0 on."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
    study = optuna.create_study(sampler=sampler)
    names = [f"z{i}" for i in range(numbers)]
    study.enqueue_trial(dict.fromkeys(names, 0.0))
    box = {name: optuna.distributions.FloatDistribution(-half, half) for name in names}
    for _ in range(trials):
        trial = study.ask(box)
        value = yield np.array([trial.params[name] for name in names])
        study.tell(trial, value)


def generations(strategy: Any, means: list, trials: int) -> Proposals:
    """Whole generations of a CMA-ES, one of cmaes; its mean is added to ``means`` after each."""
    for _ in range(trials // strategy.population_size):
        found = []
        for z in [strategy.ask() for _ in range(strategy.population_size)]:
            value = yield z
            found.append((z, value))
        strategy.tell(found)
        means.append(strategy.mean.copy())  # it goes on in place
