"""The edge of chaos found in three ways over a dense sweep of the learning rate, and their figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.shared import small_net
from hypergrad.runs.parallel import compute
from hypergrad.style import BLUE, GREEN, ORANGE, PURPLE, VERMILION, in_style


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


@in_style
def plot(results: Results, config: Config, plt):
    x, n = results.log_lr, len(results.loss)
    half = config.steps - config.steps // 2
    threshold = 1.0 / half
    figure, axes = plt.subplots(
        3, n, figsize=(3.6 * n + 1.5, 8), sharex=True, sharey="row", squeeze=False, layout="constrained"
    )
    for seed, (above, middle, below) in enumerate(axes.T):
        above.set_title(f"seed {seed}", fontsize="medium")
        above.semilogy(x, results.loss[seed], ".", color="black", markersize=2.5)
        slope = results.gradient[seed]
        for sign, colour, label in ((-1, BLUE, "negative"), (1, ORANGE, "positive")):
            shown = np.sign(slope) == sign
            middle.semilogy(x[shown], np.abs(slope[shown]), ".", color=colour, markersize=3, label=label)
        below.semilogy(x, results.late_growth[seed], color="black", label="second half of the run")
        below.semilogy(x, results.growth[seed], color="0.65", zorder=0, label="whole run")
        below.axhline(threshold, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
        lines = [
            (results.location[seed], VERMILION, "-", f"edge located by {config.budget} trainings (bracket shaded)")
        ]
        lines += [(flip, GREEN, "--", "first two sign flips of the derivative") for flip in results.flips(seed)[:2]]
        lines += [(results.onset(seed, threshold), PURPLE, "-.", f"λ of the second half exceeds 1/{half}: growth by e")]
        for axis in (above, middle, below):
            axis.axvspan(*np.clip(results.bracket[seed], x[0], x[-1]), color=VERMILION, alpha=0.12, linewidth=0)
            drawn = {text: axis.axvline(at, color=c, linestyle=style) for at, c, style, text in lines}
        below.set_xlabel("natural log of the learning rate")
    axes[0, 0].set_ylabel("training loss (nats)")
    axes[1, 0].set_ylabel("magnitude of its derivative\n(nats per unit of log)")
    axes[2, 0].set_ylabel("growth rate λ of perturbations\n(nats a step)")
    axes[1, 0].legend(frameon=False, markerscale=3, fontsize="small")
    axes[2, 0].legend(frameon=False, fontsize="small")
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(config.title(), fontsize="medium")
    return figure
