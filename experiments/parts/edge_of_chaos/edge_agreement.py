"""The edge of chaos found in three ways over a dense sweep of the learning rate, and their figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.shared import runner, small_net
from experiments.shared.intervals import geometric_interval, t_interval
from hypergrad.runs.parallel import compute
from hypergrad.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, VERMILION, in_style


@dataclass(frozen=True, kw_only=True)
class Config(small_net.Config):
    """A sweep of the log learning rate, within the range in which the edge is located."""

    first: float
    last: float
    values: int


class Results(NamedTuple):
    """For s seeds and n learning rates."""

    log_lr: np.ndarray  # (n,), natural logs
    loss: np.ndarray  # (s, n), nats
    gradient: np.ndarray  # (s, n), nats per unit of log
    growth: np.ndarray  # (s, n), λ per step over the whole run
    late_growth: np.ndarray  # (s, n), λ per step over its second half
    location: np.ndarray  # (s,), the located edge
    bracket: np.ndarray  # (s, 2)

    def flips(self, seed: int) -> np.ndarray:
        """Where the gradient changes its sign, in the middle between two values."""
        at = np.flatnonzero(np.diff(np.sign(self.gradient[seed])) != 0)
        return (self.log_lr[at] + self.log_lr[at + 1]) / 2.0

    def dense(self, seed: int) -> float:
        """The edge by the rule for dense sweeps; NaN if there is none, or the values are too few to tell."""
        never = np.full(len(self.log_lr), -1)
        return float(hg.probe.Sweep(self.log_lr, self.loss[seed], self.gradient[seed], never).edge)

    def onset(self, seed: int, threshold: float) -> float:
        """Where λ over the second half exceeds the threshold for the first time; NaN if it does nowhere."""
        above = np.append(self.late_growth[seed] > threshold, True)
        return np.append(self.log_lr, np.nan)[np.argmax(above)]


SEED_AXIS = dict.fromkeys(Results._fields, 0) | {"log_lr": None}


def point(config: Config, seed: int, log_lr: float) -> dict:
    net = small_net.run_of(config)
    found = hg.probe.sweep(partial(small_net.final_loss, net, seed), [log_lr], progress=False)
    _, batch_loss, params = small_net.problem(net, seed)
    growth = hg.chaos.lyapunov(batch_loss, params, hg.SGD(np.exp(log_lr), net.momentum), steps=net.steps).growth
    late = growth[net.steps // 2 :].mean()
    return {"loss": found.loss[0], "gradient": found.gradient[0], "growth": growth.mean(), "late_growth": late}


def edge(config: Config, seed: float) -> dict:
    found = small_net.find_edge(small_net.run_of(config), int(seed), config)
    return {"location": found.location, "bracket": found.bracket}


def run(config: Config, jobs: int, cache) -> Results:
    log_lr = np.linspace(config.first, config.last, config.values)[:: config.every]
    edges = compute(partial(edge, config), config.numbered, n_jobs=jobs, cache=cache / "edges")
    seeds = [
        compute(partial(point, config, seed), log_lr, n_jobs=jobs, cache=cache / f"seed{seed}")
        for seed in config.numbered
    ]
    swept = (np.array([[point[name] for point in points] for points in seeds]) for name in Results._fields[1:5])
    return Results(log_lr, *swept, *(np.array([e[name] for e in edges]) for name in Results._fields[5:]))


def calm_until(results: Results) -> np.ndarray:
    """(s,): where λ over the second half exceeds twice its value at the lowest learning rate for the first time."""
    return np.array([results.onset(s, 2.0 * growth[0]) for s, growth in enumerate(results.late_growth)])


def signs(results: Results, config: Config) -> dict[str, np.ndarray]:
    """The log learning rate at which each sign of the edge comes first, for each seed; NaN where it does not."""
    late = config.steps - config.steps // 2
    seeds = range(len(results.loss))
    return {
        "dense": np.array([results.dense(seed) for seed in seeds]),
        "flip": np.array([np.append(results.flips(seed), np.nan)[0] for seed in seeds]),
        "calm": calm_until(results),
        "onset": np.array([results.onset(seed, 1.0 / late) for seed in seeds]),
    }


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes; intervals are 95 %, Student's t, over the seeds."""
    late, whole = results.late_growth, results.growth
    found = {"seeds": len(results.loss), "located": t_interval(results.location)}
    found["located, range"] = results.location.min(), results.location.max()
    found["bracket, widest"] = np.ptp(results.bracket, axis=-1).max()
    for name, places in signs(results, config).items():
        apart = (places - results.location)[np.isfinite(places)]
        found[f"{name}, seeds that have it"] = len(apart)
        found[f"{name} less located"] = t_interval(apart)
        found[f"{name} less located, range"] = apart.min(), apart.max()
        found[f"{name} after located, range"] = np.abs((apart.min(), apart.max()))  # where the words say on which side
        found[f"{name}, in the bracket"] = np.sum((results.bracket[:, 0] <= places) & (places <= results.bracket[:, 1]))
        found[f"{name}, within 0.1"] = np.sum(np.abs(apart) <= 0.1)
    edges = [np.argmin(np.abs(results.log_lr - at)) for at in results.location]
    at_edge = late[range(len(late)), edges]
    found["late growth, lowest"], found["growth, lowest"] = late.min(), whole.min()
    found["late growth in thousandths, first rate"] = 1e3 * t_interval(late[:, 0]).mean
    found["late growth in thousandths, first rate, range"] = 1e3 * late[:, 0].min(), 1e3 * late[:, 0].max()
    found["late growth in thousandths, at the edge, range"] = 1e3 * at_edge.min(), 1e3 * at_edge.max()
    found["growth over its value at the edge, last rate"] = geometric_interval(late[:, -1] / at_edge)
    found["growth, first rate"] = whole[:, 0].mean()
    found["growth, at the edge"] = whole[range(len(whole)), edges].mean()
    found["growth of a first direction at log rate 2"] = (
        np.log(np.exp(2.0) * config.momentum / (np.sqrt(2.0) * (1.0 - config.momentum))) / config.steps
    )
    found["loss at the edge in thousandths"] = 1e3 * t_interval(results.loss[range(len(late)), edges]).mean
    return found


@in_style
def plot(results: Results, config: Config, plt):
    """Left the three signs for the first seed; right all seeds: where the signs are, and both around the edge."""
    x, seeds = results.log_lr, range(len(results.loss))
    half = config.steps - config.steps // 2
    threshold = 1.0 / half
    size = {"figsize": (13.5, 9.5), "layout": "constrained", "width_ratios": (1.0, 1.15)}
    figure, ((above, places), (middle, slopes), (below, growths)) = plt.subplots(3, 2, **size)
    above.set_title("seed 0", fontsize="medium")
    above.semilogy(x, results.loss[0], ".", color=BLACK, markersize=2.5)
    slope = results.gradient[0]
    for sign, colour, label in ((-1, BLUE, "negative"), (1, ORANGE, "positive")):
        shown = np.sign(slope) == sign
        middle.semilogy(x[shown], np.abs(slope[shown]), ".", color=colour, markersize=3, label=label)
    below.semilogy(x, results.late_growth[0], color=BLACK, label="second half of the run")
    below.semilogy(x, results.growth[0], color="0.65", zorder=0, label="whole run")
    below.axhline(threshold, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    found = signs(results, config)
    kinds = [
        (results.location, VERMILION, "o", "-", f"edge located by {config.budget} trainings (bracket shaded)"),
        (found["dense"], BLACK, "s", (0, (1, 1)), "edge by the same rule on all values"),
        (found["flip"], GREEN, "^", "--", "first sign flip of the derivative"),
        (found["onset"], PURPLE, "D", "-.", f"λ of the second half exceeds 1/{half}: growth by e"),
    ]
    for axis in (above, middle, below):
        axis.axvspan(*np.clip(results.bracket[0], x[0], x[-1]), color=VERMILION, alpha=0.12, linewidth=0)
        for at, colour, _, style, _ in kinds:
            axis.axvline(at[0], color=colour, linestyle=style)
        axis.set(xlim=(x[0], x[-1]), xlabel="natural log of the learning rate")
    above.set_ylabel("training loss (nats)")
    for axis in (middle, slopes):
        axis.set_ylabel("magnitude of its derivative\n(nats per unit of log)")
    for axis in (below, growths):
        axis.set_ylabel("growth rate λ of perturbations\n(nats a step)")
    middle.legend(frameon=False, markerscale=3, fontsize="small")
    below.legend(frameon=False, fontsize="small", loc="upper left")
    for seed in seeds:
        low, high = np.clip(results.bracket[seed], x[0], x[-1])
        places.plot([low, high], [seed, seed], color=VERMILION, alpha=0.2, linewidth=9, solid_capstyle="butt")
        apart = x - results.location[seed]
        slopes.semilogy(apart, np.abs(results.gradient[seed]), ".", color=BLUE, markersize=1.5, alpha=0.5)
        label = None if seed else "second half of the run, a line a seed"
        growths.semilogy(apart, results.late_growth[seed], color="0.3", linewidth=0.7, alpha=0.7, label=label)
    for at, colour, marker, _, _ in kinds:
        places.plot(at, seeds, marker, color=colour, markersize=5)
    places.set(xlim=(x[0], x[-1]), xlabel="natural log of the learning rate", ylabel="seed", yticks=list(seeds))
    places.invert_yaxis()
    places.set_title(f"{runner.seeds_in_words(config.seeds)}: where each sign comes first", fontsize="medium")
    growths.axhline(threshold, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    for axis in (slopes, growths):
        axis.axvline(0.0, color=VERMILION, linewidth=1.0)
        axis.set_xlim(x[0] - np.median(results.location), x[-1] - np.median(results.location))
        axis.set_xlabel("natural log of the learning rate, less the located edge of each seed")
    growths.legend(frameon=False, fontsize="small", loc="upper left")
    for _, colour, marker, style, label in kinds:
        places.plot([], [], marker, color=colour, linestyle=style, markersize=5, label=label)
    figure.legend(*places.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(config.title(), fontsize="medium")
    return figure
