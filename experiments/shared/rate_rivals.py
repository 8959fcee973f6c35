"""What the learned rates of January 2015 are compared with: the setting of shared/setting.py, 20 steps.

Every training has initial weights of its own, but for the descent of January, which keeps those of its seed. A number
z is a unit of the log learning rate, or of the logit of what lies between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared import descents, online_rules, search, setting
from experiments.shared.rivals import Config, Rival, by_descent, by_grid
from experiments.shared.scheduled_net import SEARCH, seed_of

STEPS, MOMENTUM, LOG_SCALE = 20, 0.9, -2.0
NAMES = (
    "descent of January, 20 rates",
    "descent, Adam 0.1, 20 rates",
    "descent, Adam 0.3, 20 rates",
    "random search, 20 rates",
    "TPE, 20 rates",
    "CMA-ES, 20 rates",
    "constant, grid",
    "cosine, grid of peaks",
    "one cycle, grid of peaks",
    "online rate, TPE",
    "schedule-free, TPE",
)


@lru_cache(1)
def test_images():
    """10,000 images after the 1,000 that are trained on."""
    return hg.data.load_mnist(1_000, 10_000)[1]


def trained(optimizer, draw: int, **options):
    """The parameters after training from one draw of the initial weights."""
    model, batch_loss = setting.network(1_000, 250)
    params = hg.init.scaled_normal(model.shapes, np.exp(LOG_SCALE), draw)
    return hg.train(batch_loss, params, optimizer, steps=STEPS, **options)


def losses(optimizer, draw: int, *images) -> list[float]:
    """The loss after training on each of these images, not to be differentiated."""
    model, _ = setting.network(1_000, 250)
    with np.errstate(all="ignore"):
        params = trained(optimizer, draw, on_divergence="nan")
        return [search.bounded(model.loss(params, X, T)) for X, T in images]


def of_january(f: Callable, numbers: int, trainings: int, seed: int, cache) -> search.Path:
    """Steps of 40 along the hypergradient, taken back where they jump; recommends the best of the points it came to."""
    found = descents.history(
        lambda z: f(z, None),
        np.zeros(numbers),
        steps=trainings // search.COST - 1,
        step_size=40.0,
        take_back=hg.meta.TakeBack(),
        cache=cache,
    )
    best = [hg.meta.best(found[: i + 1]).hypers for i in range(len(found))]
    return search.Path(search.COST * np.arange(len(found) + 1), np.array([np.zeros(numbers), *best]))


def rivals(config: Config, seed: int, cache) -> dict[str, Rival]:
    """By name; ``config`` says how many trainings a grid has points for."""
    model, batch_loss = setting.network(1_000, 250)
    training = batch_loss.X, batch_loss.T

    def draw_of(number):
        return seed if number is None else seed_of(seed, SEARCH, number)

    def differentiable(z, number):
        return model.loss(trained(hg.SGD(anp.exp(z), MOMENTUM), draw_of(number), adjoint=hg.Stored()), *training)

    def rival(numbers: int, by: Callable, rule: Callable, f: Callable | None = None) -> Rival:
        searched = lambda z, number: losses(rule(z), draw_of(number), training)[0]
        return Rival(numbers, by, f or searched, lambda z, i: losses(rule(z), 10_000 + i, training, test_images()))

    def logistic(z) -> float:
        return float(hg.schedules.bounded(z, 0.0, 1.0))

    every_step = lambda z: hg.SGD(np.exp(z), MOMENTUM)
    found = [rival(STEPS, partial(of_january, cache=cache / f"january seed{seed}"), every_step, differentiable)]
    for rate in (0.1, 0.3):
        found.append(rival(STEPS, by_descent(rate, cache / f"adam {rate} seed{seed}"), every_step, differentiable))
    found += [rival(STEPS, by, every_step) for by in (search.at_random, search.tpe, search.cma)]
    peaks = by_grid(np.linspace(-1.0, search.BOX, config.trainings))
    for shape in (np.ones(STEPS), hg.schedules.cosine(1.0, STEPS), hg.schedules.one_cycle(1.0, STEPS)):
        found.append(rival(1, peaks, lambda z, shape=shape: hg.SGD(np.exp(z[0]) * shape, MOMENTUM)))
    online = lambda z: online_rules.OnlineRate(np.exp(z[0]), logistic(z[1] - 2.0), MOMENTUM)
    free = lambda z: online_rules.ScheduleFree(np.exp(z[0] - 1.0), logistic(z[1] + 2.0), STEPS)
    found += [rival(2, search.tpe, rule) for rule in (online, free)]
    return dict(zip(NAMES, found, strict=True))
