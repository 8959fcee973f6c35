"""Where descents along each estimator end at equal cost, by λT at the start and the number of hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared import descents, pooled
from experiments.shared.intervals import Interval, t_interval
from experiments.shared.runner import PartConfig, seeds_in_words
from experiments.shared.search import by_evolution
from hypergrad.meta.estimators.base import value_or_inf
from hypergrad.runs.parallel import compute
from hypergrad.style import DEFAULT, EXACT, MIXED, RANDOM_SEARCH, SMOOTHED, TRUNCATED, in_style

SEARCH = "plain search"
NAMES = ("exact", "truncated, K = T/5", "smoothed", "mixed", SEARCH)
COLOURS = (EXACT, TRUNCATED, SMOOTHED, MIXED, RANDOM_SEARCH)
MARKERS = "osD^v"
COST = 3.0  # trainings that a hypergradient counts as


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """A log learning rate for each of n equal segments of the steps; the loss on other images after T steps.

    Attributes:
      side, hidden, images, batch_size, momentum, steps: of images, network and training.
      counts: n.
      starts: log learning rates of all segments.
      low, high: between which they stay, and search looks.
      iterations: of the exact hypergradient; the others have as many trainings.
      sigma: of smoothing; smoothed estimates have ``pairs`` pairs of values, mixed ones half as many of hypergradients.
      fresh: initialisations that were not seen.
    """

    side: int = 7
    hidden: tuple[int, ...] = (8,)
    images: int = 100
    batch_size: int = 20
    momentum: float = 0.9
    steps: int = 25
    counts: tuple[int, ...] = (1, 5, 25)
    starts: tuple[float, ...] = (-1.0, 2.25, 3.5)
    low: float = -2.0
    high: float = 4.0
    iterations: int = 50
    sigma: float = 0.1
    pairs: int = 4
    fresh: int = 5

    def budget(self) -> float:
        """Trainings of each descent."""
        return COST * max(self.iterations // self.every, 2)

    def trainings(self, name: str) -> float:
        """What one estimate costs."""
        truncated = 1.0 + 0.2 * (COST - 1.0)  # the way back is a fifth as long
        mixed = 2.0 * (self.pairs // 2) * COST
        return dict(zip(NAMES, (COST, truncated, 2.0 * self.pairs, mixed, 1.0)))[name]

    def updates(self, name: str) -> int:
        return max(int(self.budget() / self.trainings(name)), 1)


class Results(NamedTuple):
    """For s seeds, e estimators of NAMES, c numbers of hyperparameters, m starts, f initialisations; nats."""

    growth: np.ndarray  # (s, m), λ at the start, nats a step
    objective: np.ndarray  # (s, e, c, m), the lowest that was met
    value: np.ndarray  # (s, e, c, m, f), the loss on test images, for initialisations not seen
    at_start: np.ndarray  # (s, m, f), that of the start
    gradient: np.ndarray  # (s, e, c, m, 2), of the first estimate: cosine with the exact one, ratio of the norms

    def by_seed(self) -> np.ndarray:
        """(s, e, c, m), the test loss of a typical initialisation: the median, since a few may diverge."""
        return np.median(self.value, axis=-1)


def setting(config: Config, seed: int):
    """The problem of a seed, a function of n log learning rates, and the loss on test images from other weights."""
    model, batch_loss = pooled.network(config.images, config.side, config.hidden, config.batch_size)
    X, T = pooled.images(4 * config.images, config.side)
    validation, test = slice(config.images, 2 * config.images), slice(2 * config.images, None)
    optimizer = lambda free: hg.SGD(anp.exp(hg.schedules.binned(free, config.steps)), config.momentum)
    problem = hg.meta.Problem(
        batch_loss,
        init=lambda free, _: model.init(seed),
        optimizer=optimizer,
        outer_loss=lambda params: model.loss(params, X[validation], T[validation]),
        steps=config.steps,
    )

    def tested(free) -> list[float]:
        starts = (model.init(10_000 + i) for i in range(config.fresh))
        train = partial(hg.train, batch_loss, steps=config.steps, on_divergence="nan")
        losses = [model.loss(train(params, optimizer(free)), X[test], T[test]) for params in starts]
        return [loss if np.isfinite(loss) else np.inf for loss in losses]

    growth = lambda free: hg.chaos.lyapunov(batch_loss, model.init(seed), optimizer(free), steps=config.steps).exponents
    return problem, tested, growth


def estimator(config: Config, problem: hg.meta.Problem, name: str):
    kinds = hg.meta.estimators
    made = {
        "exact": lambda: kinds.exact(problem),
        "truncated, K = T/5": lambda: kinds.truncated(problem, steps=config.steps // 5),
        "smoothed": lambda: kinds.smoothed(problem, sigma=config.sigma, samples=config.pairs),
        "mixed": lambda: kinds.mixed(problem, sigma=config.sigma, samples=config.pairs // 2),
    }
    return made[name]()


def descended(config: Config, seed: int, name: str, count: int, start: float) -> tuple:
    """The best hyperparameters that were met, their value, and the first gradient."""
    problem, _, _ = setting(config, seed)
    updates = config.updates(name)
    found = descents.history(
        problem.f,
        np.full(count, start),
        steps=updates,
        optimizer=hg.Adam(5.0 / updates),  # so that each descent can go five units
        bounds=(config.low, config.high),
        estimator=estimator(config, problem, name),
        recheck=False,
    )
    best = hg.meta.best(found)
    return best.hypers, best.value, found[0].gradient


def seed_of(config: Config, seed: float) -> dict:
    """All descents of a seed."""
    seed = int(seed)
    problem, tested, growth = setting(config, seed)
    shape = (len(NAMES), len(config.counts), len(config.starts))
    objective, test, gradient = np.empty(shape), np.empty((*shape, config.fresh)), np.full((*shape, 2), np.nan)
    for c, count in enumerate(config.counts):
        f = lambda z: value_or_inf(lambda: problem.f(np.clip(z, config.low, config.high)))
        tried = by_evolution(f, config.low, config.high, (count,), config.updates(SEARCH), seed)
        objective[-1, c], test[-1, c] = tried.values.min(), tested(np.clip(tried.best, config.low, config.high))
        for m, start in enumerate(config.starts):
            exact = None
            for e, name in enumerate(NAMES[:-1]):
                hypers, objective[e, c, m], first = descended(config, seed, name, count, start)
                test[e, c, m] = tested(hypers)
                exact = first if exact is None else exact
                norms = np.linalg.norm(first), np.linalg.norm(exact)
                gradient[e, c, m] = first @ exact / (norms[0] * norms[1]), norms[0] / norms[1]
    ones = np.ones(1)
    return {
        "growth": np.array([growth(start * ones)[0] for start in config.starts]),
        "objective": objective,
        "value": test,
        "at_start": np.array([tested(start * ones) for start in config.starts]),
        "gradient": gradient,
    }


def run(config: Config, jobs: int, cache) -> Results:
    seeds = range(config.seeds)
    points = compute(partial(seed_of, config), seeds, n_jobs=jobs, cache=cache / "seeds", progress=False)
    return Results(*(np.array([one[name] for one in points]) for name in Results._fields))


def winners(results: Results) -> tuple[np.ndarray, np.ndarray]:
    """Which of NAMES has the lowest mean test loss, (c, m), and whether it is surely below the next (95 %, paired)."""
    by_seed = results.by_seed()
    order = np.argsort(by_seed.mean(axis=0), axis=0)
    first, second = (np.take_along_axis(by_seed, order[None, k : k + 1], axis=1)[:, 0] for k in (0, 1))
    if len(by_seed) < 2:
        return order[0], np.zeros(order.shape[1:], bool)
    sure = [[t_interval(row).high < 0.0 for row in column] for column in np.moveaxis(first - second, 0, -1)]
    return order[0], np.array(sure)


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: test losses, paired differences from search, first gradients."""
    by_seed = results.by_seed()
    found = {f"λT, {start:g}": config.steps * np.median(results.growth[:, m]) for m, start in enumerate(config.starts)}
    gains: list[float] = []  # those that are sure
    for m, start in enumerate(config.starts):
        found[f"start, {start:g}"] = np.median(results.at_start[:, m], axis=-1).mean()
        for c, count in enumerate(config.counts):
            for e, name in enumerate(NAMES):
                words = f"{name}, {count}, {start:g}"
                found[f"test, {words}"] = t_interval(by_seed[:, e, c, m])
                found[f"less search, {words}"] = t_interval(by_seed[:, e, c, m] - by_seed[:, -1, c, m])
                found[f"objective, {words}"] = np.median(results.objective[:, e, c, m])
                if name != SEARCH:
                    less = found[f"less search, {words}"]
                    gains.append(-less.mean if less.high < 0.0 else 0.0)
                    found[f"cosine, {words}"] = np.median(results.gradient[:, e, c, m, 0])
    return found | {"gain on search": max(gains)}


@in_style
def plot(results: Results, config: Config, plt):
    panels = len(config.counts)
    figure, axes = plt.subplots(1, 1 + panels, figsize=(4.2 + 3.6 * panels, 4.4), layout="constrained")
    axis, *curves = axes
    horizon = config.steps * np.median(results.growth, axis=0)
    first, sure = winners(results)
    for c, count in enumerate(config.counts):
        for m, at in enumerate(horizon):
            e = first[c, m]
            face = COLOURS[e] if sure[c, m] else "none"
            axis.plot([at], [count], MARKERS[e], color=COLOURS[e], markerfacecolor=face, markersize=13)
            axis.annotate(
                NAMES[e].replace(", ", "\n"),
                (at, count),
                xytext=(0, 11),
                textcoords="offset points",
                ha="center",
                fontsize="x-small",
            )
    axis.set(xscale="log", yscale="log", xlabel="λT at the start (nats)", ylabel="number of hyperparameters")
    axis.set(xlim=(0.4 * horizon.min(), 2.5 * horizon.max()), ylim=(0.5, 2.6 * max(config.counts)))
    axis.set_title("lowest test loss (filled: surely, 95 %)", fontsize="medium")
    by_seed = results.by_seed()
    for c, (count, panel) in enumerate(zip(config.counts, curves)):
        for e, (name, colour, marker) in enumerate(zip(NAMES, COLOURS, MARKERS)):
            rows = [t_interval(row) if len(row) > 1 else Interval(*3 * [row[0]]) for row in by_seed[:, e, c].T]
            mean, low, high = np.transpose(rows)
            x = horizon * 1.06 ** (e - 2)
            panel.errorbar(
                x, mean, yerr=(mean - low, high - mean), fmt=f"{marker}-", color=colour, capsize=3, label=name
            )
        panel.plot(horizon, np.median(results.at_start, axis=-1).mean(axis=0), ":", color=DEFAULT, label="start")
        panel.set(xscale="log", yscale="log", xlabel="λT at the start (nats)")
        panel.xaxis.set_minor_formatter(plt.NullFormatter())
        panel.set_title(f"{count} hyperparameter{'s' * (count > 1)}", fontsize="medium")
    curves[0].set_ylabel("test loss of initialisations not seen (nats),\nmean and 95 % t interval over seeds")
    curves[0].legend(frameon=False, fontsize="small")
    sizes = "-".join(map(str, (config.side**2, *config.hidden, 10)))
    figure.suptitle(
        f"{sizes} tanh, {config.images} MNIST images of {config.side} × {config.side}, {config.steps} steps; "
        f"validation loss by log learning rates; each descent: {config.budget():g} trainings' cost; "
        f"{seeds_in_words(config.seeds)}",
        fontsize="medium",
    )
    return figure
