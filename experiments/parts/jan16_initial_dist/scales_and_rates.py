"""Descent on the scales of the initial weights and on learning rates, apart and together, and plain search for them.

784-50-10 tanh, the first 1,000 MNIST training images in minibatches of 250 in order, momentum 0.9, biases that start
at 0. The hyperparameters are the logs of the standard deviations of the two weight matrices, relative to 1/√fan-in, and
logs of learning rates, one for all steps or one for each; all start from 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np

import hypergrad as hg
from experiments.parts.jan16_initial_dist.distribution_plots import plain_ticks
from experiments.shared import descents, proposals
from experiments.shared import search as searching
from experiments.shared.intervals import crossed_interval, t_interval
from experiments.shared.iteration_plots import SHOWN, beside
from experiments.shared.runner import PartConfig
from hypergrad.nests import flatten, unflatten
from hypergrad.style import GREEN, ORANGE, PURPLE, SKY, STYLE, VERMILION

STEPS, FAN_IN = 20, np.array([784.0, 50.0])
SEARCH = 19  # the purpose of these random numbers, in seeds (seed, purpose)


class Way(NamedTuple):
    """Which hyperparameters are learned."""

    scales: bool
    rates: int  # how many: none, one for all steps, or one for each


WAYS = {
    "scales, at rate 1": Way(True, 0),
    "one rate": Way(False, 1),
    "scales and one rate": Way(True, 1),
    "scales and 20 rates": Way(True, 20),
}
# Told apart by the colour-blind too; of the start, the ways, the grid and the random search.
COLOURS = ("0.5", SKY, ORANGE, GREEN, VERMILION, "black", PURPLE)


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """A quick run ends descents and the search ``every`` times earlier.

    Attributes:
      iterations, meta_step: of the descents, by Adam; each evaluation is the mean over ``draws`` new draws.
      clip: largest norm of the hypergradient by the scales, and by the rates.
      log_rates: the grid of plain search, with the scales 1/√fan-in.
      log_scale_range, log_rate_range: of the random search for scales and a rate, which trains as often as a descent.
      held_out: draws on which nothing was chosen.
    """

    iterations: int = 30
    meta_step: float = 0.1
    draws: int = 3
    clip: float = 0.3
    ways: tuple[str, ...] = tuple(WAYS)
    log_rates: tuple[float, ...] = tuple(k / 4 for k in range(12))
    log_scale_range: tuple[float, float] = (-2.0, 2.0)
    log_rate_range: tuple[float, float] = (-1.0, 3.0)
    held_out: int = 20

    @property
    def candidates(self) -> int:
        """Of the random search; a hypergradient counts as three trainings."""
        return 3 * (max(1, self.iterations // self.every) + 1)


class Results(NamedTuple):
    """Arrays of w ways, s seeds, n meta-iterations, h draws held out, q rates of the grid, m random candidates.

    The last axis of what is held out: the loss on the training images, and on 1,000 others; nats.
    """

    value: np.ndarray  # (w, s, n), nats
    log_scale: np.ndarray  # (w, s, n, 2), relative to 1/√fan-in
    log_lr: np.ndarray  # (w, s, n, 20)
    held_out: np.ndarray  # (w, s, h, 2), at the best hyperparameters of each descent
    grid: np.ndarray  # (s, q), nats, over the seed's first draws
    grid_held_out: np.ndarray  # (h, q, 2)
    candidate: np.ndarray  # (s, m, 3), log scales and log rate
    candidate_value: np.ndarray  # (s, m), nats
    candidate_held_out: np.ndarray  # (s, h, 2), of the best candidate

    def best(self) -> np.ndarray:
        """(w, s): the best meta-iteration of each descent."""
        return np.nanargmin(self.value, axis=-1)

    def chosen(self) -> np.ndarray:
        """(s,): the best rate of the grid."""
        return np.nanargmin(self.grid, axis=-1)

    def compared(self, config: Config) -> dict[str, np.ndarray]:
        """What is held out, (s, h, 2), of the start, the descents and the searches."""
        start = self.grid_held_out[:, config.log_rates.index(0.0)]
        return {
            "start: 1/√fan-in, rate 1": np.broadcast_to(start, (len(self.grid), *start.shape)),
            **dict(zip(config.ways, self.held_out)),
            "search: one rate": np.moveaxis(self.grid_held_out[:, self.chosen()], 1, 0),
            "search: scales and one rate": self.candidate_held_out,
        }


SEED_AXIS = dict.fromkeys(Results._fields, 1) | {"grid": 0, "grid_held_out": None}
SEED_AXIS |= {"candidate": 0, "candidate_value": 0, "candidate_held_out": 0}


@lru_cache
def problem():
    """The model, its minibatch loss and 1,000 other images, made once in every process."""
    (X, T), others = hg.data.load_mnist(1_000, 1_000)
    model = hg.nn.MLP([784, 50, 10])
    return model, hg.nn.MinibatchLoss(model, X, T, 250), others


def trained(log_scale, log_lr, draw: int):
    """The parameters after training from a draw; NaN where training diverges."""
    model, batch_loss, _ = problem()
    first, last = anp.exp(log_scale) / np.sqrt(FAN_IN)
    params = hg.init.scaled_normal(model.shapes, [(first, 0.0), (last, 0.0)], draw)
    lr = anp.exp(log_lr)
    return hg.train(batch_loss, params, hg.SGD(lr, 0.9), steps=STEPS, adjoint=hg.Stored(), on_divergence="nan")


def mean_loss(log_scale, log_lr, draws) -> float:
    """The mean training loss over draws."""
    model, batch_loss, _ = problem()
    losses = [model.loss(trained(log_scale, log_lr, draw), batch_loss.X, batch_loss.T) for draw in draws]
    return sum(losses) / len(losses)


def held_out(config: Config, log_scale, log_lr) -> np.ndarray:
    """(h, 2): the loss on the training images and on others, from draws on which nothing was chosen."""
    model, batch_loss, others = problem()
    params = [trained(log_scale, log_lr, 10**6 + i) for i in range(config.held_out)]
    return np.array([[model.loss(w, batch_loss.X, batch_loss.T), model.loss(w, *others)] for w in params])


def descend(config: Config, name: str, seed: int, cache) -> tuple:
    """A meta-descent, and how its best hyperparameters do on other draws."""
    way, iterations = WAYS[name], max(1, config.iterations // config.every)
    start = {"log_scale": np.zeros(2), "log_lr": np.zeros(way.rates or 1)}

    def loss(hypers, iteration):
        first = 1_000 * seed + config.draws * iteration
        log_lr = hypers["log_lr"] if way.rates == STEPS else hypers["log_lr"][0]
        return mean_loss(hypers["log_scale"], log_lr, range(first, first + config.draws))

    def clipped(gradient):
        leaves, structure = flatten(gradient)
        return unflatten(structure, [g * min(1.0, config.clip / max(np.linalg.norm(g), 1e-12)) for g in leaves])

    found = descents.history(
        loss,
        start,
        steps=iterations,
        step_size={"log_scale": float(way.scales), "log_lr": float(way.rates > 0)},
        optimizer=hg.Adam(config.meta_step),
        seeds=1,
        transform=clipped,
        cache=cache / f"{name} seed{seed}",
    )
    rows = [(e.value, e.hypers["log_scale"], e.hypers["log_lr"] * np.ones(STEPS)) for e in found]
    best = hg.meta.best(found).hypers
    return *descents.columns(rows, iterations + 1), held_out(config, best["log_scale"], best["log_lr"] * np.ones(STEPS))


def search(config: Config, name: str, seed: int, cache) -> tuple:
    """A grid of rates, and random scales and rates, on the seed's first draws."""
    draws = range(1_000 * seed, 1_000 * seed + config.draws)
    grid = [mean_loss(np.zeros(2), log_rate, draws) for log_rate in config.log_rates[:: config.every]]
    rng = np.random.default_rng((seed, SEARCH))
    (low, high), (slowest, fastest) = config.log_scale_range, config.log_rate_range
    where = proposals.uniform(rng, [low, low, slowest], [high, high, fastest], config.candidates)
    tried = searching.tried(lambda z, _: mean_loss(z[:2], z[2], draws), where)
    return np.array(grid), *tried, held_out(config, tried.best[:2], tried.best[2])


def run(config: Config, jobs: int, cache) -> Results:
    found = descents.in_parallel(descend, config, config.ways, jobs, cache)
    grid, *candidates = (array[0] for array in descents.in_parallel(search, config, ("search",), jobs, cache))
    grid_held_out = [held_out(config, np.zeros(2), log_rate) for log_rate in config.log_rates[:: config.every]]
    return Results(*found, grid, np.stack(grid_held_out, axis=1), *candidates)


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: means with 95 % intervals over seeds and unseen draws together, or over the seeds."""
    compared, seeds = results.compared(config), np.arange(config.seeds)
    found = {"seeds": config.seeds, "candidates": config.candidates, "trainings": config.draws * config.candidates}
    for name, losses in compared.items():
        found[name], found[f"{name}, other images"] = (
            crossed_interval(column) for column in np.moveaxis(losses, -1, 0)
        )
        for rival in ("search: one rate", "search: scales and one rate"):
            if name in config.ways:
                found[f"{name} less {rival}"] = crossed_interval((losses - compared[rival])[..., 0])
                found[f"{name} less {rival}, other images"] = crossed_interval((losses - compared[rival])[..., 1])
    for name, value, best, log_scale, log_lr in zip(config.ways, results.value, results.best(), *results[1:3]):
        jumps = value > 1.2 * np.minimum.accumulate(value, axis=-1)
        jumped, first = jumps.any(axis=-1), jumps.argmax(axis=-1)
        found[f"jump, {name}"] = np.count_nonzero(jumped)
        if jumped.any():
            found[f"first jump, {name}"] = first[jumped].min(), first[jumped].max()
        found[f"best at, {name}"] = best.min(), best.max()
        found[f"log scale first layer, {name}"] = t_interval(log_scale[seeds, best, 0])
        found[f"log scale last layer, {name}"] = t_interval(log_scale[seeds, best, 1])
        found[f"log rate, {name}"] = t_interval(log_lr[seeds, best].mean(axis=-1))
        if WAYS[name].rates == STEPS:
            rise = log_lr[seeds, best, -5:].mean(axis=-1) - log_lr[seeds, best, :5].mean(axis=-1)
            found["rise of the rates"] = t_interval(rise)
        found[f"range of log rates, {name}"] = log_lr[seeds, best].min(), log_lr[seeds, best].max()
    found["log rate, search: one rate"] = t_interval(np.array(config.log_rates)[results.chosen()])
    chosen = results.candidate[seeds, np.nanargmin(results.candidate_value, axis=-1)]
    for i, name in enumerate(("log scale first layer", "log scale last layer", "log rate")):
        found[f"{name}, search: scales and one rate"] = t_interval(chosen[:, i])
        found[f"range of {name}, search: scales and one rate"] = chosen[:, i].min(), chosen[:, i].max()
    return found


def plot(results: Results, config: Config):
    """Above the descents, and all that is compared on draws held out; below the price, and what was found."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(15.0, 8.5), layout="constrained")
        for w, name in enumerate(config.ways):
            few = {"linewidth": 1.0, "alpha": 1.0 if config.seeds <= SHOWN else 0.3}
            axes[0, 0].plot(results.value[w].T, color=COLOURS[w + 1], **few)
            axes[0, 0].plot(results.value[w].mean(axis=0), color=COLOURS[w + 1], linewidth=2.0, label=name)
        axes[0, 0].set(yscale="log", xlabel="meta-iteration", ylabel="final training loss (nats)")
        words = f"descents, each meta-iteration on draws of its own;\n{config.seeds} seeds (thin), mean (thick)"
        axes[0, 0].set_title(words, fontsize="medium")
        plain_ticks(axes[0, 0])
        axes[0, 0].legend(frameon=False, fontsize="small")
        for column, (axis, images) in enumerate(zip(axes[0, 1:], ("the training images", "1,000 other images"))):
            _draw_compared(axis, results, config, column)
            words = f"on {config.held_out} draws held out: {images};\n{config.seeds} seeds side by side"
            axis.set_title(words, fontsize="medium")
        _draw_price(axes[1, 0], results, config)
        _draw_rates(axes[1, 1], results, config)
        _draw_scales(axes[1, 2], results, config)
        figure.suptitle(
            "784-50-10 tanh, 1,000 MNIST images in minibatches of 250, 20 steps, momentum 0.9", fontsize="medium"
        )
    plt.close(figure)
    return figure


def _draw_compared(axis, results, config, column: int) -> None:
    compared = results.compared(config)
    for x, (colour, losses) in enumerate(zip(COLOURS, compared.values())):
        for seed, one in enumerate(losses[..., column]):
            axis.plot(np.full(len(one), x + beside(seed, len(losses))), one, ".", color=colour, markersize=3, alpha=0.5)
        mean, low, high = crossed_interval(losses[..., column])
        axis.errorbar(x, mean, [[mean - low], [high - mean]], fmt="_", color=colour, markersize=28, capsize=6)
    names = [name.replace(": ", ":\n").replace("and ", "and\n").replace(", ", ",\n") for name in compared]
    axis.set_xticks(range(len(names)), names, fontsize="x-small", rotation=40)
    axis.set(yscale="log", ylabel="loss (nats); bars: mean, 95 % interval")
    plain_ticks(axis)


def _draw_price(axis, results, config) -> None:
    spent = 3 * config.draws * (1 + np.arange(results.value.shape[-1]))
    for w, name in enumerate(config.ways):
        best = np.fmin.accumulate(results.value[w], axis=-1).mean(axis=0)
        axis.plot(spent, best, color=COLOURS[w + 1], label=name)
    for values, colour, label in (
        (results.grid, "black", "search: one rate (in order)"),
        (results.candidate_value, COLOURS[-1], "search: scales and one rate"),
    ):
        best = np.fmin.accumulate(values, axis=-1).mean(axis=0)
        axis.plot(config.draws * (1 + np.arange(len(best))), best, "--", color=colour, label=label)
    axis.set(xscale="log", yscale="log", xlabel="trainings spent (a hypergradient counts as three)")
    axis.set(ylabel="best mean loss so far (nats)")
    plain_ticks(axis)
    axis.set_title(f"price: mean over {config.seeds} seeds, on the draws used", fontsize="medium")
    axis.legend(frameon=False, fontsize="small")


def _draw_rates(axis, results, config) -> None:
    """A line for each seed, and of more than a few their mean."""
    best = results.best()
    candidates = np.nanargmin(results.candidate_value, axis=-1)
    found = dict(zip(config.ways, (results.log_lr[w, np.arange(config.seeds), at] for w, at in enumerate(best))))
    found["search: one rate"] = np.array(config.log_rates)[:: config.every][results.chosen()]
    found["search: scales and one rate"] = results.candidate[np.arange(config.seeds), candidates, 2]
    for colour, (name, log_rates) in zip(COLOURS[1:], found.items()):
        each = np.broadcast_to(log_rates.reshape(config.seeds, -1), (config.seeds, STEPS))
        style = {"color": colour, "linestyle": "--" if name.startswith("search") else "-"}
        axis.plot(each.T, linewidth=1.0, alpha=1.0 if config.seeds <= SHOWN else 0.3, **style)
        axis.plot(each.mean(axis=0), linewidth=2.0, label=name, **style)
    axis.set(xlabel="training step", ylabel="log learning rate", xticks=range(0, STEPS, 5), ylim=(-2.5, 3.0))
    axis.set_title("learning rates found; thick: mean", fontsize="medium")
    axis.legend(framealpha=0.9, fontsize="small")


def _draw_scales(axis, results, config) -> None:
    axis.plot(results.candidate[..., 0].ravel(), results.candidate[..., 1].ravel(), ".", color="0.85", markersize=3)
    axis.plot(0.0, 0.0, "+", color="black", markersize=12, label="start, and search: one rate")
    for w, name in enumerate(config.ways):
        if WAYS[name].scales:
            found = results.log_scale[w, np.arange(config.seeds), results.best()[w]]
            axis.plot(*found.T, "o", color=COLOURS[w + 1], label=name)
    best = np.nanargmin(results.candidate_value, axis=-1)
    found = results.candidate[np.arange(config.seeds), best]
    axis.plot(*found[:, :2].T, "s", color=COLOURS[-1], label="search: scales and one rate (all in grey)")
    axis.set(
        ylim=(-2.2, 3.6),
        xlabel="log scale of the first layer's weights",
        ylabel="log scale of the last layer's weights",
    )
    axis.set_title("scales found, relative to 1/√fan-in", fontsize="medium")
    axis.legend(framealpha=0.9, fontsize="small", loc="upper right")
