"""From which range should the memory of a recurrence be drawn? Descent on the range, and plain search for it.

Each pixel of a digit is predicted from those before it, by a diagonal recurrence whose memory is drawn, and stays as it
is. The four hyperparameters are the ends of two log-uniform ranges: of the decay −log size, and of the angle θ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared import descents, memory_plots, pixel_memory, proposals, search
from experiments.shared.intervals import crossed_interval
from experiments.shared.iteration_plots import beside
from experiments.shared.runner import PartConfig
from hypergrad.style import DEFAULT, EVOLUTION, GREEN, LEARNED, ORANGE, RANDOM_SEARCH, in_style

METHODS = ("default range", "random search", "evolution", "hypergradient")
WAYS = (*METHODS, "default range, trained", "hypergradient, trained")
COLOURS = (DEFAULT, RANDOM_SEARCH, EVOLUTION, LEARNED, DEFAULT, LEARNED)  # of these; trained or not say the names
PATHS = (GREEN, ORANGE)  # of half-lives and periods
NATS = 2.0  # of each end of a range, a unit of the numbers searched for, which lie within ±3
UNSEEN = 10**6  # the first of the draws that nothing was chosen by


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """A quick run has ``every`` times fewer trainings, and as many fewer steps in each.

    Attributes:
      trainings: of each search; a hypergradient counts as three.
      meta_step: of Adam, in units of ``NATS`` nats.
      draws: unseen draws of images, memory and initial weights.
    """

    units: int = 16
    side: int = 14
    images: int = 200
    validation: int = 100
    steps: int = 80
    lr: float = 0.03
    input_scale: float = 0.1
    trainings: int = 30
    meta_step: float = 0.5
    draws: int = 12


class Results(NamedTuple):
    """Arrays of w ways, s seeds, u unseen draws, m methods, b trainings spent.

    Ranges are (2, 2): the low and the high end of log −log size, and of log θ.
    """

    value: np.ndarray  # (w, s, u), mean squared error on images of unseen draws
    ranges: np.ndarray  # (m, s, 2, 2), chosen
    path: np.ndarray  # (s, b, 2, 2), of the descent, by trainings spent
    trainings: np.ndarray  # (b,)


SEED_AXIS = {"value": 1, "ranges": 1, "path": 0, "trainings": None}


def in_ranges(z):
    """The ranges that four numbers stand for; 0 is the default."""
    return pixel_memory.DEFAULT_RANGES + NATS * anp.reshape(z, (2, 2))


def loss_after_training(config: Config, ranges, draw: int, learns_memory: bool = False):
    """The error on other images, after training on images, from a memory and weights of this draw."""
    (X, T), held_out = map(
        pixel_memory.to_predict, pixel_memory.pieces(draw, config.side, config.images, config.validation)
    )
    model = hg.nn.DiagonalRecurrence(1, config.units, 1, targets="reals")
    params = model.init(draw, {"input": config.input_scale}, np.float32)
    (found,) = pixel_memory.trained(
        hg.nn.MinibatchLoss(model, X, T, pixel_memory.BATCH),
        pixel_memory.with_ranges(params, ranges, draw),
        learns_memory=learns_memory,
        lr=config.lr,
        counts=[max(5, config.steps // config.every)],
    )
    return model.loss(found, *held_out)


def choose(config: Config, name: str, seed: int, cache) -> tuple:
    """The ranges that each method comes to from one seed, and how they do on unseen draws."""
    trainings = max(2 * search.COST, config.trainings // config.every)
    number_of = lambda number: 1_000 * seed + number  # draws of no other seed
    f = lambda z, number: loss_after_training(config, in_ranges(z), number_of(number))
    descent = search.descent(f, 4, trainings, config.meta_step, cache / f"descent seed{seed}")
    random = search.kept(cache / f"random seed{seed}.npz", lambda: search.at_random(f, 4, trainings, seed))
    evolution = search.kept(cache / f"evolution seed{seed}.npz", lambda: evolve(f, trainings, seed))
    chosen = [np.zeros(4), random.points[-1], evolution.points[-1], descent.points[-1]]
    ranges = np.array([in_ranges(z) for z in chosen])
    draws = range(UNSEEN, UNSEEN + max(2, config.draws // config.every))
    rows = [(each, False) for each in ranges] + [(ranges[0], True), (ranges[-1], True)]
    value = [[loss_after_training(config, each, draw, learns) for draw in draws] for each, learns in rows]
    budgets = np.arange(0, trainings + 1, search.COST)
    return np.array(value), ranges, np.array([in_ranges(descent.after(b)) for b in budgets]), budgets


def evolve(f, trainings: int, seed: int) -> search.Path:
    """An evolution strategy, each trial on a draw of its own."""
    where = proposals.evolution(np.random.default_rng((seed, 21)), -search.BOX, search.BOX, (4,), trainings)
    return search.Path(np.array([0, trainings]), np.array([np.zeros(4), search.tried(f, where).best]))


def run(config: Config, jobs: int, cache) -> Results:
    value, ranges, path, budgets = (
        array[0] for array in descents.in_parallel(choose, config, ("ranges",), jobs, cache)
    )
    return Results(np.moveaxis(value, 1, 0), np.moveaxis(ranges, 1, 0), path, budgets[0])


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: means and 95 % intervals over the searches and the unseen draws; differences in pairs."""
    values = dict(zip(WAYS, results.value))
    found: dict = {name: crossed_interval(rows) for name, rows in values.items()}
    for name in ("default range", "random search", "evolution"):
        difference = values["hypergradient"] - values[name]
        found[f"hypergradient less {name}"] = crossed_interval(difference)
        found[f"searches in which it is above {name}"] = np.sum(difference.mean(axis=1) > 0.0)
    pair = values["hypergradient, trained"], values["default range, trained"]
    found["trained: learned range less default"] = crossed_interval(pair[0] - pair[1])
    for name in ("evolution", "hypergradient"):
        found[f"default trained less {name}"] = crossed_interval(pair[1] - values[name])
    for name, rows in values.items():
        found[f"range over the searches, {name}"] = rows.mean(axis=1).min(), rows.mean(axis=1).max()
    for name, ranges in zip(METHODS, results.ranges):
        decay, angle = np.exp(ranges.mean(axis=0))  # geometric means over the seeds
        found[f"half lives, {name}"], found[f"periods, {name}"] = np.log(2.0) / decay[::-1], 2 * np.pi / angle[::-1]
    found["evaluations of the descent"] = results.trainings[-1] // search.COST
    return found


@in_style
def plot(results, config, plt):
    """The ranges chosen, how they were come to, and what they are worth on unseen draws."""
    figure, axes = plt.subplots(1, 4, figsize=(16.0, 4.4), layout="constrained", width_ratios=(1, 1, 1, 1.5))
    of = (("half-life of a unit (pixels)", memory_plots.half_life), ("period of a unit (pixels)", period))
    for which, (axis, (words, convert)) in enumerate(zip(axes, of)):
        for m in range(len(METHODS)):
            for seed, ends in enumerate(convert(results.ranges[m, :, which])):
                y = np.full(2, m + beside(seed, config.seeds))
                axis.plot(ends, y, "|-", color=COLOURS[m], linewidth=1.2, markersize=4)
        axis.set_yticks(range(len(METHODS)), METHODS)
        axis.invert_yaxis()
        axis.set(xscale="log", xlabel=words)
    axes[1].set_yticklabels([])
    for which, (name, convert) in enumerate((("half-life", memory_plots.half_life), ("period", period))):
        for end, style in enumerate(("-", "--")):
            paths = results.path[:, :, which, end].T
            axes[2].plot(results.trainings, convert(paths), style, color=PATHS[which], linewidth=0.6, alpha=0.4)
            word, mean = f"{'shortest' if end else 'longest'} {name}", convert(paths.mean(axis=1))
            axes[2].plot(results.trainings, mean, style, color=PATHS[which], linewidth=2.0, label=word)
    axes[2].set(xlabel="trainings spent by the descent", ylabel="best range so far (pixels)", yscale="log")
    axes[2].legend(frameon=False, fontsize="small")
    axes[2].set_title("thin: single descents; thick: geometric mean", fontsize="medium")
    for w, values in enumerate(results.value):
        memory_plots.scatter_with_mean(axes[3], w, values, COLOURS[w])
    axes[3].set_xticks(range(len(WAYS)), [name.replace(", ", ",\n").replace(" ", "\n", 1) for name in WAYS])
    axes[3].tick_params(axis="x", labelsize="x-small")
    draws = f"{results.value.shape[-1]} unseen draws, each the mean of the searches"
    axes[3].set_ylabel(f"{memory_plots.ERROR};\n{draws};\nmean and 95 % interval")
    figure.suptitle(
        f"From which range to draw the memory of {config.units} units that stay fixed: "
        f"{config.seeds} searches of each kind, {config.trainings} trainings a search",
        fontsize="medium",
    )
    return figure


def period(log_angle):
    """In pixels, of log θ."""
    return 2.0 * np.pi / np.exp(log_angle)
