"""What more particles buy persistent evolution strategies on the inverse-time rate over 5,000 steps; and the figure.

All particles of all seeds are trained at once. They are those of ``hg.meta.estimators.persistent``, drawn alike; the
tests compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from experiments.parts.estimators_by_problem import estimator_inverse_time
from experiments.parts.estimators_by_problem.many_rates import derivatives
from experiments.shared import pooled
from experiments.shared.runner import seeds_in_words
from hypergrad.meta.estimators.base import normal_like
from hypergrad.runs.parallel import compute
from hypergrad.style import PERSISTENT, PERSISTENT_LONG, in_style


@dataclass(frozen=True, kw_only=True)
class Config(estimator_inverse_time.Config):
    """As in the comparison of estimators, with more pairs.

    Attributes:
      places: the second of the comparison, at a good rate, where short pieces have the largest error.
      pieces: K.
    """

    places: tuple[tuple[float, float], ...] = ((0.0, 1.0),)

    pairs: int = 5
    pieces: tuple[int, ...] = (10, 100)


class Results(NamedTuple):
    """For s seeds, p places and the k of ``pieces``; nats."""

    exact: np.ndarray  # (s, p, 2), the gradient by log θ0 and log θ1
    pair: np.ndarray  # (s, p, k, n, 2), its estimate by each pair of particles

    def errors(self) -> np.ndarray:
        """Root mean square distance from the exact gradient over its norm, (p, k, n), by the number of pairs.

        Over the seeds and, since pairs are alike, all groups of neighbours of that size.
        """
        norm = np.linalg.norm(self.exact, axis=-1)[:, :, None, None]
        count, found = self.pair.shape[3], []
        for n in range(1, count + 1):
            groups = np.stack([self.pair[:, :, :, i : i + n].mean(axis=3) for i in range(count - n + 1)], axis=3)
            off = np.linalg.norm(groups - self.exact[:, :, None, None], axis=-1) / norm
            found.append(np.sqrt(np.mean(off**2, axis=(0, 3))))
        return np.stack(found, axis=-1)


def pairs_of(config: Config, place: np.ndarray, seeds, piece: int, steps: int) -> np.ndarray:
    """The estimate by each pair of particles, (s, n, 2), summed over a training; the hyperparameters held."""
    model, batch_loss = pooled.network(config.images, config.side, config.hidden, config.batch_size)
    X, T = batch_loss.X[: config.outer_images], batch_loss.T[: config.outer_images]
    starts = [model.init(seed) for seed in seeds]
    sizes = [np.shape(w) for layer in starts[0] for w in layer]
    flat = np.array([np.concatenate([np.ravel(w) for layer in start for w in layer]) for start in starts])
    signs = np.array([1.0, -1.0])
    w = np.repeat(flat, 2 * config.pairs, axis=0)  # a seed's pairs one after another, and the two signs of each
    times, count, none = np.arange(steps) / steps, steps // config.outer_every, np.zeros((0, *w.shape))
    batches = [slice(i, i + config.batch_size) for i in range(0, config.images, config.batch_size)]
    total, estimate = np.zeros((len(seeds), config.pairs, 2)), np.zeros((len(seeds), config.pairs, 2))
    for number in range(steps // piece):
        drawn = [seed if number == 0 else seed + 1_000 * number for seed in seeds]
        noise = np.array([[normal_like([place], s, n)[0] for n in range(config.pairs)] for s in drawn])
        total += config.sigma * noise
        h = (place + config.sigma * signs[:, None] * noise[:, :, None]).reshape(-1, 2)
        losses = np.zeros(len(w))
        for step in range(number * piece, (number + 1) * piece):
            batch = batches[step % len(batches)]
            gradient = derivatives(batch_loss.X[batch], batch_loss.T[batch], w, none, sizes)[1]
            w = w - np.exp(h[:, 0] - np.exp(h[:, 1]) * np.log1p(times[step]))[:, None] * gradient
            if (step + 1) % config.outer_every == 0:
                losses += derivatives(X, T, w, none, sizes)[0] / count
        slope = (losses.reshape(len(seeds), config.pairs, 2) @ signs) / 2.0
        estimate += slope[..., None] * total / config.sigma**2
    return estimate


def point(config: Config, number: float) -> dict:
    """All pairs of all seeds, or the exact gradients, at a place."""
    place, kind = divmod(int(number), len(config.pieces) + 1)
    at, steps = np.array(config.places[place]), config.size(config.steps)
    if kind == len(config.pieces):
        problem = estimator_inverse_time.problem_of(config, steps)
        exact = estimator_inverse_time.estimators(config, problem)["exact"]
        return {"found": np.array([exact(at, seed).gradient for seed in range(config.seeds)])}
    return {"found": pairs_of(config, at, range(config.seeds), config.pieces[kind], steps)}


def run(config: Config, jobs: int, cache) -> Results:
    kinds = len(config.pieces) + 1
    items = range(len(config.places) * kinds)
    points = compute(partial(point, config), items, n_jobs=jobs, cache=cache / "places", progress=False)
    rows = [[one["found"] for one in points[i : i + kinds]] for i in range(0, len(points), kinds)]
    exact = np.array([row[-1] for row in rows])
    pair = np.array([row[:-1] for row in rows])
    return Results(np.moveaxis(exact, 1, 0), np.moveaxis(pair, 2, 0))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: errors by number of pairs, and how many particles an error of 0.1 takes."""
    found, errors = {}, results.errors()
    for p in range(len(config.places)):
        for k, piece in enumerate(config.pieces):
            words = f"K = {piece}" + f", {p + 1}" * (p > 0)
            found[f"error of 1, {words}"], found[f"error of all, {words}"] = errors[p, k, [0, -1]]
            found[f"gain, {words}"] = errors[p, k, 0] / errors[p, k, -1]
            found[f"particles for 0.1, {words}"] = 2.0 * (errors[p, k, 0] / 0.1) ** 2
            off = (results.pair[:, p, k] - results.exact[:, p, None]).mean(axis=1)  # of the seeds
            standard_error = off.std(axis=0, ddof=1) / np.sqrt(len(off)) if len(off) > 1 else np.full(2, np.nan)
            found[f"bias over its error, {words}"] = np.abs(off.mean(axis=0) / standard_error)
    return found | {"pairs": config.pairs * config.seeds, "by chance": np.sqrt(config.pairs)}


@in_style
def plot(results: Results, config: Config, plt):
    figure, axis = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
    errors, pairs = results.errors(), np.arange(1, config.pairs + 1)
    for p, (place, marker) in enumerate(zip(config.places, "os")):
        for k, (piece, colour) in enumerate(zip(config.pieces, (PERSISTENT, PERSISTENT_LONG))):
            label = f"K = {piece}, log θ0 = {place[0]:g}, log θ1 = {place[1]:g}"
            axis.loglog(2 * pairs, errors[p, k], f"{marker}-", color=colour, label=label)
    axis.loglog(2 * pairs, 1.3 * errors[0, 0, 0] / np.sqrt(pairs), ":", color="0.4", label="falling as 1 / √particles")
    axis.axhline(1.0, color="0.6", linewidth=1)
    axis.set_xticks(2 * pairs, [str(2 * n) for n in pairs])
    low, high = axis.get_ylim()
    ticks = [tick for tick in (0.2, 0.5, 1.0, 2.0, 5.0) if low <= tick <= high]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set(xlabel="particles", ylabel="distance from the exact gradient over its norm,\nroot mean square")
    axis.legend(frameon=False, fontsize="small")
    sizes = "-".join(map(str, (config.side**2, *config.hidden, 10)))
    axis.set_title(
        f"persistent strategies, inverse-time rate, T = {config.size(config.steps):,};\n{sizes} tanh, "
        f"σ = {config.sigma:g}, {seeds_in_words(config.seeds)}",
        fontsize="medium",
    )
    return figure
