"""11 January 2015: do large initial weights have larger gradients than small ones?

Setting: 784-200-50-10 tanh on the first 1,000 MNIST training images, minibatches of 250 in order,
log parameter scale −2, momentum 0.9, 50 steps, ten seeds. The gradient of the training loss after
all steps by every single initial weight and bias, against the magnitude of that weight, per layer;
at a learning rate in the calm regime and at one at the edge of chaos.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from autograd import grad

from experiments import jan14_lr_wiggliness as jan14
from experiments.shared import runner
from experiments.shared.results import FIGURES, load
from experiments.shared.setting import Setting, initial_params, training_losses
from hypergrad.nests import flatten
from hypergrad.runs.parallel import compute
from hypergrad.style import BLUE, ORANGE, in_style

LOOK_AT = (
    "Look how flat the lines are: a weight's gradient depends on its layer and on whether it is a bias, hardly on its\n"
    "magnitude. At the edge the seeds differ a hundredfold, all layers of a seed together."
)
BINS = np.geomspace(1e-3, 4.0, 13)  # of a weight's magnitude, in units of the initial scale
SAMPLE, _CHOICE = 500, 11  # points shown of each array, and the purpose of their random choice
ARRAYS = [(layer, kind) for layer in (1, 2, 3) for kind in ("weights", "biases")]


@dataclass(frozen=True, kw_only=True)
class Config(Setting):
    log_lrs: tuple[float, ...]
    steps: int


PARTS = {1: Config(log_lrs=(0.0, 1.7), steps=50, log_scale=-2.0, seeds=10, quick_every=2)}


class Results(NamedTuple):
    """For s seeds, r learning rates and the six arrays, of which up to m entries are shown."""

    weight: np.ndarray  # (s, r, 6, m), NaN where an array has fewer entries
    gradient: np.ndarray  # (s, r, 6, m), nats per unit of weight
    median: np.ndarray  # (s, r, 6, b), of the gradient's magnitude in each bin, over all that are not zero
    rms: np.ndarray  # (s, r, 6), of the gradient over all entries
    zeros: np.ndarray  # (s, r, 6), share of gradients that are zero
    rank_correlation: np.ndarray  # (s, r, 6), Spearman's, of the magnitudes of weight and gradient, not counting zeros
    by_log_scale: np.ndarray  # (s, r, 6), Σ weight · gradient: the derivative by the log of this array's scale


SEED_AXIS = dict.fromkeys(Results._fields, 0)


def gradients(config: Config, seed: int, log_lr: float) -> dict:
    """What is kept of the gradient by all initial weights."""
    params = initial_params(config, config.log_scale, seed)
    bars = grad(lambda p: training_losses(config, p, log_lr, [config.steps])[0])(params)
    rows = [
        summary(w.ravel(), g.ravel(), np.exp(config.log_scale)) for w, g in zip(flatten(params)[0], flatten(bars)[0])
    ]
    return {name: np.array([getattr(row, name) for row in rows]) for name in Results._fields}


def summary(w, g, scale) -> Results:
    """The entries of :class:`Results` for one array."""
    from scipy.stats import spearmanr

    chosen = np.random.default_rng((w.size, _CHOICE)).permutation(w.size)[:SAMPLE]
    shown = [np.pad(a[chosen], (0, SAMPLE - chosen.size), constant_values=np.nan) for a in (w, g)]
    used = g != 0.0
    size, slope = np.abs(w[used]), np.abs(g[used])
    which = np.digitize(size / scale, BINS) - 1
    counts = [np.count_nonzero(which == b) for b in range(len(BINS) - 1)]
    median = [np.median(slope[which == b]) if count >= 5 else np.nan for b, count in enumerate(counts)]
    correlation = spearmanr(size, slope).statistic
    return Results(*shown, np.array(median), np.sqrt(np.mean(g**2)), np.mean(~used), correlation, w @ g)


def run(config: Config, jobs: int, cache) -> Results:
    log_lrs = config.log_lrs[:: config.every]
    seeds = [
        compute(partial(gradients, config, seed), log_lrs, n_jobs=jobs, cache=cache / f"seed{seed}")
        for seed in config.numbered
    ]
    return Results(*(np.array([[point[name] for point in points] for points in seeds]) for name in Results._fields))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: the lowest and highest of the seeds, at learning rate 1 if nothing else is said.

    The edges are those that the experiment of 14 January found for the same seeds.
    """
    from scipy.stats import spearmanr

    calm, correlation = results.rms[:, 0], np.abs(results.rank_correlation)
    found = {
        "rank correlation at most, layers 1 and 2": correlation[:, :, [0, 2]].max(),
        "rank correlation at most, layer 3": correlation[:, :, 4].max(),
        "without a gradient, layer 1, %": 100.0 * results.zeros[:, 0, 0].mean(),
        "by log scale, layer 1": np.abs(results.by_log_scale[:, 0, 0]).mean(),
    }
    weights = 784 * 200
    found["norms, layer 1"] = np.mean(calm[:, 0] * weights * np.exp(config.log_scale))  # both are rms · √weights
    for layer in (1, 2, 3):
        rms, biases = calm[:, 2 * layer - 2], calm[:, 2 * layer - 1]
        found[f"rms, layer {layer}"] = rms.min(), rms.max()
        found[f"biases over weights, layer {layer}"] = (biases / rms).min(), (biases / rms).max()
    grown = (results.rms[:, 1] / calm)[:, :-1]  # without the ten output biases
    edges = load(jan14, FIGURES / "jan14_lr_wiggliness", 2)[1].failures()[:, -1]
    ranked = spearmanr(edges, grown[: len(edges), 0])
    found["rank correlation of edge and growth"], found["its p value"] = ranked.statistic, ranked.pvalue
    found["grown, layer 1"] = grown[:, 0].min(), grown[:, 0].max()
    found["seeds that have grown"] = np.count_nonzero(grown[:, 0] > 1.0)
    found["arrays of one seed apart"] = (grown.max(axis=1) / grown.min(axis=1)).max()
    return found


@in_style
def plot(results: Results, config: Config, plt):
    log_lrs = config.log_lrs[:: config.every]
    size = {"figsize": (11, 1.5 + 3 * len(log_lrs)), "layout": "constrained"}
    figure, axes = plt.subplots(len(log_lrs), 3, sharex=True, sharey="row", squeeze=False, **size)
    centres = np.sqrt(BINS[1:] * BINS[:-1]) * np.exp(config.log_scale)
    for array, (layer, kind) in enumerate(ARRAYS):
        for row, log_lr in enumerate(log_lrs):
            axis, biases = axes[row, layer - 1], kind == "biases"
            style = {"color": ORANGE if biases else BLUE, "zorder": 2 + biases}
            points = (np.abs(values[:, row, array].ravel()) for values in (results.weight, results.gradient))
            axis.plot(*points, ".", markersize=4 if biases else 2, alpha=0.6 if biases else 0.25, label=kind, **style)
            lines = axis.plot(centres, results.median[:, row, array].T, "--" if biases else "-", color="black")
            lines[0].set_label(f"median of all {kind}, one line a seed")
            axis.set(xscale="log", yscale="log", xlim=(centres[0] / 2, centres[-1] * 2))
            axis.set_title(f"layer {layer}, learning rate {np.exp(log_lr):.3g}", fontsize="medium")
    for axis in axes[:, 0]:
        axis.set_ylabel("magnitude of the gradient of the\nfinal loss (nats per unit of weight)")
    for axis in axes[-1]:
        axis.set_xlabel("magnitude of the initial weight or bias")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"{config.title()}, {config.steps} steps", fontsize="medium")
    return figure


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
