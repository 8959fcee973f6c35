"""An inverse-time learning rate over thousands of steps, from pieces of them and from all; and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.parts.estimators_by_problem.estimator_pieces import Pieces
from experiments.shared import descents, pooled
from experiments.shared.intervals import t_interval
from experiments.shared.runner import PartConfig, seeds_in_words
from experiments.shared.search import BOX, at_random
from hypergrad.meta.estimators.base import value_or_inf
from hypergrad.runs.parallel import compute
from hypergrad.style import (
    CYCLE,
    EXACT,
    PERSISTENT,
    PERSISTENT_LONG,
    RANDOM_SEARCH,
    SMOOTHED,
    TRUNCATED,
    TRUNCATED_LONG,
    in_style,
)

NAMES = ("exact", "truncated, K = 10", "truncated, K = 100", "persistent, K = 10", "persistent, K = 100", "smoothed")
SEARCH = "random search"
POINTS = 40  # of a path that are kept
COLOURS = (EXACT, TRUNCATED, TRUNCATED_LONG, PERSISTENT, PERSISTENT_LONG, SMOOTHED, RANDOM_SEARCH)


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """α_t = θ0 / (1 + t/T)^θ1; the hyperparameters are log θ0 and log θ1.

    Attributes:
      side, hidden, images, batch_size: of images and network.
      outer_images, outer_every: the objective is the mean of the losses on so many images after every so many steps.
      steps: T, where gradients are compared.
      places: where, (log θ0, log θ1).
      sigma: of values; every random estimate is of ``pairs`` pairs, of particles or of trainings.
      descent_steps: T of the descents.
      budget: trainings that each descent may cost.
      start: of the descents.
      fresh: initialisations for each seed that were not seen.
      low, high: corners of the box of random search, and of the map.
      grid: points of the map in each direction, for seed 0.
    """

    side: int = 14
    hidden: tuple[int, ...] = (10,)
    images: int = 1_000
    batch_size: int = 50
    outer_images: int = 200
    outer_every: int = 10
    steps: int = 5_000
    places: tuple[tuple[float, float], ...] = ((-3.0, 1.0), (0.0, 1.0))
    sigma: float = 0.1
    pairs: int = 1
    descent_steps: int = 1_000
    budget: int = 24
    start: tuple[float, float] = (-5.809, 3.401)  # of the published code: θ0 = 0.003, θ1 = 30
    fresh: int = 3
    low: tuple[float, float] = (-7.0, -2.0)
    high: tuple[float, float] = (2.0, 4.0)
    grid: int = 8

    def size(self, steps: int) -> int:
        """Steps of a training, a tenth of them in a quick run."""
        return steps if self.every == 1 else steps // 10

    def trainings(self) -> int:
        """What a descent may cost."""
        return self.budget if self.every == 1 else 6

    def cost(self, name: str) -> float:
        """Trainings that one estimate costs, or a pass of its pieces over the training."""
        whole = {"exact": 3.0, "truncated, K = 10": 2.0, "truncated, K = 100": 2.0}
        return whole.get(name, 2.0 * self.pairs)


class Results(NamedTuple):
    """For s seeds, p places, e estimators of NAMES; the descents are those and random search last (d). Nats."""

    value: np.ndarray  # (s, p), the objective
    gradient: np.ndarray  # (s, p, e, 2), by log θ0 and log θ1
    path: np.ndarray  # (s, e, k, 2), where descents came to, k points evenly in their updates
    updates: np.ndarray  # (e,), how many they made
    found: np.ndarray  # (s, d, 2), where they ended; for search its best
    unseen: np.ndarray  # (s, d, f), the objective there, for initialisations not seen
    at_start: np.ndarray  # (s, f), and at the start
    map: np.ndarray  # (n, n), the objective of seed 0 over log θ0 (rows) and log θ1


def problem_of(config: Config, steps: int) -> hg.meta.Problem:
    model, batch_loss = pooled.network(config.images, config.side, config.hidden, config.batch_size)
    X, T = batch_loss.X[: config.outer_images], batch_loss.T[: config.outer_images]
    times, count = np.arange(steps) / steps, steps // config.outer_every
    return hg.meta.Problem(
        batch_loss,
        init=lambda hypers, seed: model.init(seed),
        optimizer=lambda hypers: hg.SGD(anp.exp(hypers[0] - anp.exp(hypers[1]) * np.log1p(times)), 0.0),
        outer_loss=lambda params: model.loss(params, X, T) / count,
        steps=steps,
        objective="sum",
        every=config.outer_every,
    )


def estimators(config: Config, problem: hg.meta.Problem) -> dict:
    """By name; those of pieces have a state, and an estimate of theirs is the sum of a pass over the training."""
    kinds = hg.meta.estimators
    persistent = lambda steps: kinds.persistent(problem, sigma=config.sigma, samples=config.pairs, steps=steps)
    return {
        "exact": kinds.forward(problem),
        "truncated, K = 10": Pieces(problem, 10),
        "truncated, K = 100": Pieces(problem, 100),
        "persistent, K = 10": persistent(10),
        "persistent, K = 100": persistent(100),
        "smoothed": kinds.smoothed(problem, sigma=config.sigma, samples=config.pairs),
    }


def passed(estimator, hypers, seed: int, problem: hg.meta.Problem):
    """The sum of the estimates of a pass over the training, the hyperparameters held; its value is the objective."""
    value, total = 0.0, np.zeros(np.shape(hypers))
    for piece in range(problem.steps // getattr(estimator, "steps", problem.steps)):
        # The first piece gets the seed of the initial parameters, the others give only the noise of theirs.
        found = estimator(hypers, seed if piece == 0 else seed + 1_000 * piece)
        value, total = value + found.value, total + np.asarray(found.gradient)
    return value, total


def gradients(config: Config, seed: float) -> dict:
    """The objective, and all estimates of its gradient, at every place."""
    problem = problem_of(config, config.size(config.steps))
    value, rows = [], []
    for place in config.places:
        found = {
            name: passed(e, np.array(place), int(seed), problem) for name, e in estimators(config, problem).items()
        }
        value.append(found["exact"][0])
        rows.append([found[name][1] for name in NAMES])
    return {"value": np.array(value), "gradient": np.array(rows)}


def descent(config: Config, name: str, seed: float) -> dict:
    """Where a descent, or the search, ends, and its way there; every training has other initial parameters.

    Estimators that see the whole objective recommend the best value they met, those of pieces where they are last.
    """
    problem = problem_of(config, config.size(config.descent_steps))
    draw = lambda number: int(seed) + 1_000 * number
    unseen = [10**8 + config.fresh * int(seed) + i for i in range(config.fresh)]
    tested = lambda h: np.array([value_or_inf(lambda i=i: problem.f(h, i)) for i in unseen])
    start, low, high = (np.array(corner) for corner in (config.start, config.low, config.high))
    if name == SEARCH:
        at = lambda z: low + (high - low) * (z + BOX) / (2.0 * BOX)
        f = lambda z, number: value_or_inf(lambda: problem.f(at(z), draw(number)))
        best = at(at_random(f, 2, config.trainings(), int(seed)).points[-1])
        return {"found": best, "unseen": tested(best), "at_start": tested(start)}
    estimator = estimators(config, problem)[name]
    pieces = problem.steps // getattr(estimator, "steps", problem.steps)
    updates = max(int(config.trainings() / config.cost(name) * pieces), 1)
    found = descents.history(
        problem.f,
        start,
        steps=updates - (pieces == 1),  # a whole objective is seen after its update, of a piece not
        optimizer=hg.Adam(max(8.0 / updates, 0.01)),  # so that each descent can go eight units
        bounds=(low, high),
        estimator=lambda hypers, number: estimator(hypers, draw(number)),
        recheck=False,
    )
    path = np.array([one.hypers for one in found])
    best = path[-1] if pieces > 1 else path[np.argmin([one.value for one in found])]
    chosen = np.linspace(0, len(path) - 1, POINTS).round().astype(int)
    return {"path": path[chosen], "found": best, "unseen": tested(best), "updates": np.array(updates)}


def run(config: Config, jobs: int, cache) -> Results:
    seeds = range(config.seeds)
    of = lambda f, folder: compute(f, seeds, n_jobs=jobs, cache=cache / folder, progress=False)
    compared = of(partial(gradients, config), "gradients")
    ended = [of(partial(descent, config, name), name) for name in (*NAMES, SEARCH)]
    nodes = range(config.grid**2 if config.every == 1 else 4)
    mapped = compute(partial(node, config, len(nodes)), nodes, n_jobs=jobs, cache=cache / "map", progress=False)
    column = lambda name, rows: np.array([[one[name] for one in row] for row in rows])
    return Results(
        column("value", [compared])[0],
        column("gradient", [compared])[0],
        np.moveaxis(column("path", ended[:-1]), 0, 1),
        column("updates", ended[:-1])[:, 0],
        np.moveaxis(column("found", ended), 0, 1),
        np.moveaxis(column("unseen", ended), 0, 1),
        column("at_start", ended[-1:])[0],
        np.array([one["value"] for one in mapped]).reshape(2 * [int(np.sqrt(len(nodes)))]),
    )


def axes_of(config: Config, count: int) -> list[np.ndarray]:
    """The values of log θ0 and of log θ1 on the map."""
    return [np.linspace(low, high, count) for low, high in zip(config.low, config.high)]


def node(config: Config, count: int, number: float) -> dict:
    """The objective of seed 0 at a node of the map."""
    rows, columns = axes_of(config, int(np.sqrt(count)))
    row, column = divmod(int(number), len(columns))
    problem = problem_of(config, config.size(config.descent_steps))
    return {"value": value_or_inf(lambda: problem.f(np.array([rows[row], columns[column]]), 0))}


def errors(results: Results) -> np.ndarray:
    """Of each estimate the distance from the exact gradient over its norm; shape (s, p, e)."""
    exact = results.gradient[:, :, :1]
    return np.linalg.norm(results.gradient - exact, axis=-1) / np.linalg.norm(exact, axis=-1)


def cosines(results: Results) -> np.ndarray:
    """Of each estimate with the exact gradient; shape (s, p, e)."""
    norms = np.linalg.norm(results.gradient, axis=-1)
    return np.sum(results.gradient * results.gradient[:, :, :1], axis=-1) / (norms * norms[:, :, :1])


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: gradients by place (1, 2), and where descents end on initialisations not seen."""
    found = {}
    ratio = np.linalg.norm(results.gradient, axis=-1) / np.linalg.norm(results.gradient[:, :, :1], axis=-1)
    for p in range(len(config.places)):
        mean = results.gradient[:, p].mean(axis=0)
        for e, name in enumerate(NAMES):
            found[f"error, {name}, {p + 1}"] = np.sqrt(np.mean(errors(results)[:, p, e] ** 2))
            found[f"cosine, {name}, {p + 1}"] = cosines(results)[:, p, e].mean()
            found[f"ratio, {name}, {p + 1}"] = np.median(ratio[:, p, e])
            found[f"bias, {name}, {p + 1}"] = np.linalg.norm(mean[e] - mean[0]) / np.linalg.norm(mean[0])
    by_seed = results.unseen.mean(axis=-1)
    for d, name in enumerate((*NAMES, SEARCH)):
        found[f"unseen, {name}"] = t_interval(by_seed[:, d])
        found[f"unseen mean, {name}"] = by_seed[:, d].mean()
        found[f"less search, {name}"] = t_interval(by_seed[:, d] - by_seed[:, -1])
        found[f"found, {name}"] = np.median(results.found[:, d], axis=0)
    for e, name in enumerate(NAMES):
        found[f"updates, {name}"] = results.updates[e]
    return found | {"unseen, start": results.at_start.mean()}


@in_style
def plot(results: Results, config: Config, plt):
    figure, (bias, paths, ends) = plt.subplots(1, 3, figsize=(15.0, 5.0), layout="constrained")
    places = np.arange(1, len(NAMES))
    for p, (place, marker) in enumerate(zip(config.places, "os")):
        off = errors(results)[:, p, 1:]
        bias.plot(np.sqrt(np.mean(off**2, axis=0)), places + 0.24 * p, marker, color=CYCLE[p], markersize=8)
        bias.plot(off, np.broadcast_to(places + 0.24 * p, off.shape), ".", color=CYCLE[p], alpha=0.4, markersize=4)
        words = f"log θ0 = {place[0]:g}, log θ1 = {place[1]:g} (objective {results.value[:, p].mean():.4g})"
        bias.plot([], [], marker, color=CYCLE[p], label=words)
    bias.axvline(1.0, color="0.5", linewidth=1, linestyle="--")
    bias.set_xscale("log")
    bias.set_yticks(places, NAMES[1:])
    bias.set_ylim(len(NAMES) + 0.7, 0.5)
    bias.set_xlabel("distance from the exact gradient over its norm;\nlarge: root mean square, dots: seeds")
    bias.set_title(f"gradients, T = {config.size(config.steps):,}", fontsize="medium")
    bias.legend(frameon=False, fontsize="small", loc="lower left")
    rows, columns = axes_of(config, len(results.map))
    finite = np.where(np.isfinite(results.map), results.map, np.nan)
    image = paths.pcolormesh(rows, columns, np.log10(finite).T, cmap="Greys", shading="nearest")
    figure.colorbar(image, ax=paths, label="log10 of the objective (nats), seed 0")
    for e, (name, colour) in enumerate(zip(NAMES, COLOURS)):
        paths.plot(*results.path[0, e].T, "-", color=colour, linewidth=1.5, label=name)
    for d, (name, colour) in enumerate(zip((*NAMES, SEARCH), COLOURS)):
        label = f"{SEARCH}" if name == SEARCH else None
        paths.plot(*results.found[:, d].T, ".", color=colour, markeredgecolor="white", markersize=9, label=label)
    paths.plot(*config.start, "x", color="black")
    paths.set(xlabel="log θ0, initial learning rate", ylabel="log θ1, decay")
    length = config.size(config.descent_steps)
    paths.set_title(f"descents, T = {length:,}: paths of seed 0, dots: ends", fontsize="medium")
    paths.legend(frameon=False, fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    by_seed = results.unseen.mean(axis=-1)
    for d, colour in enumerate(COLOURS):
        ends.plot(by_seed[:, d], np.full(len(by_seed), d), ".", color=colour, alpha=0.5)
        if len(by_seed) > 1:
            mean, low, high = t_interval(by_seed[:, d])
            ends.errorbar(mean, d + 0.25, xerr=[[mean - low], [high - mean]], fmt="s", color=colour, capsize=4)
    ends.axvline(results.at_start.mean(), color="0.5", linestyle="--", linewidth=1)
    ends.set_xscale("log")
    ends.set_yticks(range(len(NAMES) + 1), (*NAMES, SEARCH))
    ends.invert_yaxis()
    ends.set_xlabel(
        f"objective (nats) of initialisations not\nseen, {config.fresh} a seed; squares: mean\nand 95 % t interval"
    )
    ends.set_title(f"ends after {config.trainings()} trainings (dashed: start)", fontsize="medium")
    for axis, ticks in ((bias, (0.3, 1.0, 3.0)), (ends, (0.1, 0.2, 0.5, 1.0, 2.0))):
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.xaxis.set_minor_formatter(plt.NullFormatter())
    sizes = "-".join(map(str, (config.side**2, *config.hidden, 10)))
    figure.suptitle(
        f"α_t = θ0 / (1 + t/T)^θ1; {sizes} tanh, {config.images:,} MNIST images of {config.side} × {config.side} in "
        f"minibatches of {config.batch_size}, SGD; objective: mean training loss on the way; σ = {config.sigma:g}, "
        f"{2 * config.pairs} particles, {seeds_in_words(config.seeds)}",
        fontsize="medium",
    )
    return figure
