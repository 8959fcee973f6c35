"""What makes deep trials irregular: their learning rate, against the edge of chaos, or the scale of their weights?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.parts.depth_trials import deep_nets
from experiments.parts.depth_trials.deep_nets import DeepNet, irregular, net_of
from experiments.shared import descents, pieces, search
from experiments.shared.intervals import t_interval
from hypergrad.runs.parallel import compute
from hypergrad.style import BLUE, GREEN, LEARNED, ORANGE, SEARCHED, in_style

FRESH = 100  # the first of the seeds that nothing was chosen by
LEARNING = 1_000  # and of those that scales are learned from
WAYS = ("as it was", "scales by hypergradient", "scales by search")
COLOURS = (BLUE, ORANGE, GREEN)  # of the learning rates


@dataclass(frozen=True, kw_only=True)
class Config(deep_nets.Config):
    """What is changed, and on how many other seeds it is tried.

    Attributes:
      weight_decay: of all trials.
      factors: of the learning rate.
      edge_seeds, budget: how many edges of chaos are located at each depth, and trainings for each.
      low, high: natural logs of the learning rates between which.
      descent_steps: along the hypergradient by the log gains of the deepest net; plain search has as many trainings.
      learned_from: seeds over which that loss is a mean.
      gains: natural logs of the gains between which search begins.
    """

    weight_decay: float = 5e-4
    factors: tuple[float, ...] = (1.0, 0.5, 3.0)
    edge_seeds: int = 1
    budget: int = 16
    low: float = -3.0
    high: float = 2.0
    descent_steps: int = 5
    learned_from: int = 2
    gains: tuple[float, float] = (-0.7, 1.1)
    seeds: int = 10
    quick_every: int = 10

    def steps_of_descent(self) -> int:
        """A quick run ends it ``every`` times earlier."""
        return max(1, self.descent_steps // self.every)

    def trainings(self) -> int:
        """That one descent costs, a hypergradient being worth three."""
        return 3 * (self.steps_of_descent() + 1) * self.learned_from


class Results(NamedTuple):
    """For f factors of the learning rate, d depths, s seeds, e edges, L layers of the deepest net."""

    value: np.ndarray  # (f, d, s), mean loss of the last minibatches, nats
    error: np.ndarray  # (f, d, s), on the test images
    flagged: np.ndarray  # (2, f, d, s), whether it is irregular: itself left out, or all of its depth
    predicted: np.ndarray  # (2, f, d, s), what the others predict, nats
    edge: np.ndarray  # (e, d), natural log of the learning rate past which derivatives do not describe the loss
    deepest: np.ndarray  # (3, s, 2), mean loss and test error of the deepest net, for each of WAYS
    log_gains: np.ndarray  # (3, L)
    descent: np.ndarray  # (n,), mean loss over the seeds learned from, at each step; NaN after an early end
    search: np.ndarray  # (t,), after each try


def final_loss(net: DeepNet, depth: int, seed: int, weight_decay: float, log_lr=None, log_gains=None):
    """The loss on all training images after the last step, in nats; differentiable by both logs."""
    model, loss = deep_nets.problem(net, depth)
    lr = net.lr if log_lr is None else anp.exp(log_lr)
    params = deep_nets.initial(net, depth, seed, log_gains)
    trained = hg.train(loss, params, hg.SGD(lr, net.momentum, weight_decay), steps=net.steps)
    return model.loss(trained, loss.X, loss.T)


def edge(config: Config, number: float) -> dict:
    """The edge of chaos of one depth and seed."""
    seed, d = divmod(int(number), len(config.depths))
    f = partial(final_loss, net_of(config), config.depths[d], LEARNING + seed, config.weight_decay)
    return {"edge": hg.probe.locate_edge(f, config.low, config.high, budget=config.budget).location}


def mean_loss(config: Config, log_gains):
    """Of the deepest net, over the seeds learned from."""
    net, depth, seeds = net_of(config), max(config.depths), range(LEARNING, LEARNING + config.learned_from)
    losses = [final_loss(net, depth, seed, config.weight_decay, log_gains=log_gains) for seed in seeds]
    return sum(losses) / len(losses)


def learn(config: Config, cache) -> tuple[np.ndarray, np.ndarray]:
    """The log gains of the layers of the deepest net that a descent finds, and its losses."""
    steps, start = config.steps_of_descent(), np.full(max(config.depths), np.log(config.gain))
    options = {"optimizer": hg.Adam(0.1), "take_back": hg.meta.TakeBack(), "cache": cache}
    found = descents.history(partial(mean_loss, config), start, steps=steps, **options)
    return hg.meta.best(found).hypers, descents.columns([(e.value,) for e in found], steps + 1)[0]


def searched(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """The same by plain search, with as many trainings."""

    def tried(log_gains) -> float:
        try:
            return float(mean_loss(config, log_gains))
        except hg.DivergedError:
            return np.inf

    tries = config.trainings() // config.learned_from
    found = search.by_evolution(tried, *config.gains, (max(config.depths),), tries, seed=0)
    return found.best, found.values


def run(config: Config, jobs: int, cache) -> Results:
    net, depths, seeds = net_of(config), config.depths, range(FRESH, FRESH + config.seeds)
    items = [(depth, seed, factor * net.lr) for factor in config.factors for depth in depths for seed in seeds]
    found = np.array(pieces.each(deep_nets.outcome, [(net, *item, config.weight_decay) for item in items], jobs, cache))
    value, error = found.reshape(len(config.factors), len(depths), config.seeds, 2).transpose(3, 0, 1, 2)
    both = np.array([[irregular(depths, one, leave) for one in value] for leave in deep_nets.LEAVES])
    count = config.edge_seeds * len(depths)
    numbers = range(count)[:: config.every] if config.every > 1 else range(count)
    edges = np.full(count, np.nan)
    points = compute(partial(edge, config), numbers, n_jobs=jobs, cache=cache / "edges")
    edges[list(numbers)] = [float(point["edge"]) for point in points]
    learned, descent = learn(config, cache / "descent")
    best, values = pieces.kept(searched, (config,), cache)
    gains = [np.full(max(depths), np.log(net.gain)), learned, best]
    items = [(max(depths), seed, None, config.weight_decay, each) for each in gains for seed in seeds]
    deepest = np.array(pieces.each(deep_nets.outcome, [(net, *item) for item in items], jobs, cache))
    return Results(
        value,
        error,
        both[:, :, 0],
        both[:, :, 2],
        edges.reshape(config.edge_seeds, len(depths)),
        deepest.reshape(len(WAYS), config.seeds, 2),
        np.array(gains),
        descent,
        values,
    )


def excess(results: Results, config: Config) -> dict[str, np.ndarray]:
    """By how much the loss of the deepest net is above what the law of the other depths predicts, for each seed, nats.

    That law is the one of trials as they were, unless all depths have another learning rate.
    """
    at = int(np.argmax(config.depths))
    predicted = results.predicted[1, :, at]
    found = {WAYS[0]: results.value[0, at] - predicted[0]}
    for i, factor in list(enumerate(config.factors))[1:]:
        found[f"rate × {factor:g}, all depths"] = results.value[i, at] - predicted[i]
        found[f"rate × {factor:g}, deepest only"] = results.value[i, at] - predicted[0]
    found |= {way: results.deepest[i, :, 0] - predicted[0] for i, way in list(enumerate(WAYS))[1:]}
    return found


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes; percentages as percentages."""
    found = {"trainings": config.trainings(), "seeds": config.seeds}
    for i, factor in enumerate(config.factors):
        found[f"loss by depth, rate × {factor:g}"] = results.value[i].mean(axis=-1)
        found[f"test error by depth, rate × {factor:g}"] = 100.0 * results.error[i].mean(axis=-1)
        for leave, flagged in zip(deep_nets.LEAVES, results.flagged[:, i]):
            found[f"irregular by depth, {leave} left out, rate × {factor:g}"] = np.nansum(flagged, axis=-1)
        found[f"irregular at depth {max(config.depths)}, rate × {factor:g}"] = np.nansum(results.flagged[1, i, -1])
    found["log edge by depth"] = np.nanmean(results.edge, axis=0)
    found["log rates"] = np.log(np.multiply(config.factors, config.lr))
    for name, values in excess(results, config).items():
        found[f"above the law, {name}"] = t_interval(values)
    for i, way in enumerate(WAYS):
        found[f"loss, {way}"] = t_interval(results.deepest[i, :, 0])
        found[f"test error, {way}"] = t_interval(100.0 * results.deepest[i, :, 1])
        found[f"gains, {way}"] = np.exp(results.log_gains[i])
    found["search less hypergradient"] = t_interval(results.deepest[2, :, 0] - results.deepest[1, :, 0])
    found["edge by depth"] = np.exp(np.nanmean(results.edge, axis=0))
    found["descent, start and best"] = results.descent[0], np.nanmin(results.descent)
    found["search, best"] = np.min(results.search)
    return found


@in_style
def plot(results: Results, config: Config, plt):
    """Left the trials by learning rate with their laws; the edges; right the deepest net after each change."""
    size = {"figsize": (13.5, 4.9), "layout": "constrained", "width_ratios": (1.25, 1.0, 1.25)}
    figure, (forms, edges, changes) = plt.subplots(1, 3, **size)
    depths, fine = np.array(config.depths, dtype=float), np.geomspace(min(config.depths), max(config.depths), 60)
    for i, (factor, colour, marker) in enumerate(zip(config.factors, COLOURS, "osD")):
        others, loss = depths < depths.max(), results.value[i]
        there = np.isfinite(loss) & others[:, None]
        x = np.broadcast_to(depths[:, None], loss.shape) * (1.0 + 0.015 * (i - 1))
        label = f"learning rate {factor * config.lr:g}"
        forms.plot(x.ravel(), loss.ravel(), marker, color=colour, markersize=4, fillstyle="none", label=label)
        try:
            law = hg.fit.power_law(np.broadcast_to(depths[:, None], loss.shape)[there], loss[there], bootstraps=0)
            forms.plot(fine, law.predict(fine), color=colour, linewidth=1.2)
        except hg.errors.FitError:
            pass
        edges.axhline(factor * config.lr, color=colour, linewidth=1.2)
    forms.plot([], [], color="0.4", label="law of all depths but the last")
    forms.set(
        xscale="log",
        xlabel="depth (layers with weights)",
        ylabel=f"loss, mean of the last {config.window} steps (nats)",
    )
    for row in results.edge:
        edges.plot(depths, np.exp(row), "k^", markersize=5)
    edges.plot([], [], "k^", markersize=5, label="edge of chaos")
    edges.set(xscale="log", yscale="log", xlabel="depth (layers with weights)", ylabel="learning rate")
    edges.set_yticks([0.1, 0.2, 0.5, 1.0, 2.0, 5.0], ["0.1", "0.2", "0.5", "1", "2", "5"])
    for axis in (forms, edges):
        axis.set_xticks(depths, [f"{depth:g}" for depth in depths])
        axis.minorticks_off()
        axis.legend(frameon=False, fontsize="small")
    for place, (name, values) in enumerate(excess(results, config).items()):
        colour = LEARNED if "hypergradient" in name else SEARCHED if "search" in name else "black"
        changes.plot(values, np.full(len(values), place), ".", color="0.65")
        mean, low, high = t_interval(values) if len(values) > 1 else (values[0],) * 3
        changes.errorbar([mean], [place], xerr=[[mean - low], [high - mean]], fmt="o", color=colour, capsize=3)
    names = list(excess(results, config))
    changes.axvline(0.0, color="0.4", linewidth=0.8, linestyle="--")
    changes.set_yticks(range(len(names)), names)
    changes.invert_yaxis()
    changes.set_xlabel(f"loss at depth {max(config.depths)} less that of the law\nof the other depths (nats)")
    figure.suptitle(
        f"{config.title()}, weight decay {config.weight_decay:g}, seeds {FRESH} to {FRESH + config.seeds - 1}. "
        "Right: single seeds, and their mean with its 95 % interval",
        fontsize="medium",
    )
    return figure
