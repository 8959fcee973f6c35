"""Where a descent along each estimator ends, at equal products; and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared import descents, small_net
from experiments.shared.intervals import Interval, crossed_interval, geometric_interval
from experiments.shared.runner import seeds_in_words
from experiments.shared.search import COST
from hypergrad import style
from hypergrad.meta.estimators.base import value_or_inf
from hypergrad.style import CYCLE, EXACT, MIXED, SMOOTHED, TRUNCATED, TRUNCATED_LONG, in_style

CONSTANT = "best constant rate"
NAMES = ("exact", "truncated, 25 steps", "truncated, 5 steps", "smoothed", "mixed", CONSTANT)
COLOURS = (EXACT, TRUNCATED_LONG, TRUNCATED, SMOOTHED, MIXED, style.CONSTANT)


@dataclass(frozen=True, kw_only=True)
class Config(small_net.Config):
    """A log learning rate for every step.

    Attributes:
      starts: log learning rates to start from, all steps alike.
      iterations: of the exact hypergradient; the others have as many products.
      meta_step: of Adam, in log learning rates.
      sigma: of the smoothed ones, samples: pairs of each estimate.
      fresh: initialisations that were not seen.
      points: of the meta-learning curves.
    """

    starts: tuple[float, ...] = (0.0, 2.0)
    iterations: int = 40
    meta_step: float = 0.1
    sigma: float = 0.1
    samples: int = 4
    fresh: int = 10
    low: float = -2.0
    high: float = 4.0

    def products(self) -> dict[str, float]:
        """Products a step of one estimate, by name."""
        share = {"truncated, 25 steps": 0.5, "truncated, 5 steps": 0.1}
        truncated = {name: 2.0 + 2.0 * part for name, part in share.items()}
        return {"exact": 4.0, **truncated, "smoothed": 4.0 * self.samples, "mixed": 4.0 * self.samples, CONSTANT: 2.0}

    def evaluations(self, name: str) -> int:
        """How many estimates there are products for."""
        return int(max(self.iterations // self.every, 1) * 4.0 / self.products()[name])


class Results(NamedTuple):
    """For the e names, s seeds and starts (m); nats. The best constant rate does not depend on the start."""

    value: np.ndarray  # (e, s, m, n), training loss at each evaluation, NaN after the last
    log_lr: np.ndarray  # (e, s, m, t), the schedule with the lowest
    test: np.ndarray  # (e, s, m, f), its loss on other images, for initialisations not seen
    at_start: np.ndarray  # (e, s, m, f), that of the start


SEED_AXIS = dict.fromkeys(Results._fields, 1)


def descend(config: Config, name: str, seed: int, cache) -> tuple:
    """Everything of one estimator and seed, one start after another."""
    net = small_net.run_of(config)
    model, batch_loss, _ = small_net.problem(net, seed)
    (_, (X, T)) = hg.data.load_mnist(net.images, net.images)
    params_of = lambda draw: hg.init.scaled_normal(model.shapes, np.exp(net.log_scale), draw)
    problem = hg.meta.Problem(
        batch_loss,
        init=lambda log_lr, _: params_of(seed),
        optimizer=lambda log_lr: hg.SGD(anp.exp(log_lr), net.momentum),
        outer_loss=lambda trained: model.loss(trained, batch_loss.X, batch_loss.T),
        steps=net.steps,
    )
    kinds, count = hg.meta.estimators, max(config.evaluations(name), 1)
    made = {
        "exact": lambda: kinds.exact(problem),
        "truncated, 25 steps": lambda: kinds.truncated(problem, steps=net.steps // 2),
        "truncated, 5 steps": lambda: kinds.truncated(problem, steps=net.steps // 10),
        "smoothed": lambda: kinds.smoothed(problem, sigma=config.sigma, samples=config.samples),
        "mixed": lambda: kinds.mixed(problem, sigma=config.sigma, samples=config.samples // 2),
    }

    def tested(log_lr) -> list[float]:
        losses = []
        for i in range(config.fresh):
            trained = hg.train(
                batch_loss,
                params_of(10_000 + i),
                hg.SGD(np.exp(log_lr), net.momentum),
                steps=net.steps,
                on_divergence="nan",
            )
            losses.append(model.loss(trained, X, T))
        return losses

    longest = max(config.evaluations(other) for other in NAMES)
    rows = []
    for number, start in enumerate(config.starts):
        at = np.full(net.steps, start)
        if name == CONSTANT:
            grid = np.linspace(config.low, config.high, count)
            values = [value_or_inf(lambda x=x: problem.f(np.full(net.steps, x))) for x in grid]
            best = np.full(net.steps, grid[int(np.argmin(values))])
        else:
            found = descents.history(
                problem.f,
                at,
                steps=count - 1,
                optimizer=hg.Adam(config.meta_step),
                estimator=made[name](),
                cache=cache / f"{name} seed{seed} start{number}",
            )
            values, best = [e.value for e in found], hg.meta.best(found).hypers
        padded = np.append(np.array(values, float), np.full(longest - len(values), np.nan))
        rows.append((padded, best, tested(best), tested(at)))
    return tuple(np.array(column, float) for column in zip(*rows))


def run(config: Config, jobs: int, cache) -> Results:
    return Results(*descents.in_parallel(descend, config, NAMES, jobs, cache))


def lowest(results: Results, e: int, m: int) -> np.ndarray:
    """The lowest training loss so far of an estimator and a start, at each evaluation that any seed reached: (s, n)."""
    values = results.value[e, :, m]
    return np.fmin.accumulate(values, axis=1)[:, np.isfinite(values).any(axis=0)]


def band(losses: np.ndarray) -> np.ndarray:
    """Geometric means of losses (s, n) over seeds and the ends of their intervals: (3, n); of one seed its losses."""
    return np.transpose([geometric_interval(column) for column in losses.T]) if len(losses) > 1 else losses


def typical(losses: np.ndarray) -> Interval:
    """Of positive losses (s, f), or ratios, the geometric mean and its interval over seeds and initialisations."""
    return Interval(*map(float, np.exp(crossed_interval(np.log(losses)))))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: geometric means with intervals. Of the lowest training losses over the seeds, of those on
    other images over seeds and initialisations; both also in pairs with the best constant rate and others.
    """
    found: dict = {}
    for m, start in enumerate(config.starts):
        training = dict(zip(NAMES, (lowest(results, e, m)[:, -1] for e in range(len(NAMES)))))
        test = dict(zip(NAMES, results.test[:, :, m])) | {"start": results.at_start[0, :, m]}
        for name, losses in training.items():
            found[f"training, {name}, {start:g}"] = geometric_interval(losses)
            for other, short in ((CONSTANT, "the constant's"), ("exact", "the exact one's")):
                found[f"training over {short}, {name}, {start:g}"] = geometric_interval(losses / training[other])
        sooner = lowest(results, 0, m)[:, config.evaluations(CONSTANT) // COST - 1]
        found[f"exact as {COST} trainings, over the constant's, {start:g}"] = geometric_interval(
            sooner / training[CONSTANT]
        )
        for name, losses in test.items():
            found[f"test, {name}, {start:g}"] = typical(losses)
            found[f"test over the constant's, {name}, {start:g}"] = typical(losses / test[CONSTANT])
            found[f"test over the start's, {name}, {start:g}"] = typical(losses / test["start"])
            found[f"test, range of seeds, {name}, {start:g}"] = np.sort(losses.mean(axis=1))[[0, -1]]
    return found


@in_style
def plot(results: Results, config: Config, plt):
    figure, axes = plt.subplots(1, 1 + len(config.starts), figsize=(14.0, 4.4), layout="constrained")
    for m, (start, axis) in enumerate(zip(config.starts, axes)):
        for e, (name, colour) in enumerate(zip(NAMES[:-1], COLOURS)):
            mean, *ends = band(lowest(results, e, m))
            spent = np.arange(1, len(mean) + 1) * config.products()[name] / 2.0
            axis.semilogy(spent, mean, ".-", color=colour, markersize=4, label=name)
            if ends:
                axis.fill_between(spent, *ends, color=colour, alpha=0.2, linewidth=0)
        mean, *ends = band(lowest(results, NAMES.index(CONSTANT), m)[:, -1:])
        label = f"{CONSTANT}, of {config.evaluations(CONSTANT)}"
        axis.axhline(mean[0], color=COLOURS[-1], linestyle="--", linewidth=1, label=label)
        if ends:
            axis.axhspan(ends[0][0], ends[1][0], color=COLOURS[-1], alpha=0.12, linewidth=0)
        axis.set(xlabel="trainings' worth of products", title=f"started at log learning rate {start:g}")
    axes[0].set_ylabel("best training loss so far (nats), geometric\nmean over the seeds, 95 % interval (t)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(NAMES), frameon=False)
    places = np.arange(len(NAMES))
    for m, (start, marker) in enumerate(zip(config.starts, "os")):
        means, lows, highs = np.transpose([typical(results.test[e, :, m]) for e in range(len(NAMES))])
        axes[-1].errorbar(
            means,
            places + 0.2 * m,
            xerr=(means - lows, highs - means),
            fmt=marker,
            color=CYCLE[m],
            capsize=3,
            label=f"started at {start:g}",
        )
    axes[-1].set_xscale("log")
    axes[-1].set_yticks(places, NAMES)
    axes[-1].invert_yaxis()
    axes[-1].set_xlabel(
        f"loss on {config.images} other images (nats), geometric\n"
        f"mean over seeds and {config.fresh} initialisations\nnot seen, 95 % interval"
    )
    axes[-1].legend(frameon=False, fontsize="small")
    figure.suptitle(
        f"{config.network()}, a log learning rate for each of {config.steps} steps, Adam {config.meta_step:g}, "
        f"{seeds_in_words(config.seeds)}",
        fontsize="medium",
    )
    return figure
