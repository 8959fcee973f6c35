"""The figure of the scales of a character transformer's initial weights."""

from __future__ import annotations

import numpy as np

from experiments.shared.intervals import t_interval
from experiments.shared.runner import seeds_in_words
from hypergrad.style import BLUE, DEFAULT, GREEN, LEARNED, ORANGE, PURPLE, SEARCHED, SKY, VERMILION, in_style

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, "black", "0.55")
MARKERS = "os^vD*PX"
HYPERS = ("embedding", "position", "qkv", "value", "output", "mlp", "head", "weight decay")


@in_style
def plot_scales(results, config, plt):
    """Above the grid, the slopes at the start, the learned scales; below the descents and what they are worth."""
    figure, axes = plt.subplots(2, 3, figsize=(15.0, 8.6), layout="constrained")
    _grid(axes[0, 0], results, config)
    _slopes(axes[0, 1], results, config)
    _found(axes[0, 2], results)
    _price(axes[1, 0], results, config)
    for axis, column, steps in zip(axes[1, 1:], (0, 1), (config.trained_steps, 2 * config.trained_steps)):
        _compared(axis, results, column)
        axis.set_title(f"test text, {config.unseen_draws} unseen seeds, {steps} steps", fontsize="medium")
    figure.suptitle(
        f"Character transformer, width {config.width}, depth {config.depth}, context {config.length}, "
        f"{config.trained_steps} steps of Adam, minibatches of {config.batch_size}; {seeds_in_words(config.seeds)}",
        fontsize="medium",
    )
    return figure


def _grid(axis, results, config) -> None:
    start = np.nanmin(results.by_rate)
    factors = np.array([*config.factors, 1.0])
    order = np.argsort(factors)
    for i, (name, colour, marker) in enumerate(zip(HYPERS, COLOURS, MARKERS)):
        losses = np.append(results.grid[i], start)
        axis.plot(factors[order], losses[order], marker=marker, markersize=5, color=colour, label=name)
    axis.set(xscale="log", xlabel="factor of one scale, or of the weight decay", ylabel="validation loss (nats)")
    axis.set_title(f"hand-made grid, mean of {config.draws} draws", fontsize="medium")
    axis.set_xticks(factors[order], [f"{factor:g}" for factor in factors[order]])
    axis.minorticks_off()
    axis.legend(frameon=False, fontsize="small", ncols=2)


def _slopes(axis, results, config) -> None:
    for slopes, eps, colour, shift in zip(
        results.slopes, (config.eps, config.usual_eps), ("black", ORANGE), (-0.15, 0.15)
    ):
        for i, column in enumerate(slopes.T):
            axis.plot(np.full(len(column), i + shift), column, ".", color=colour, markersize=4, alpha=0.5)
            mean, low, high = t_interval(column)
            bar = {"color": colour, "markersize": 12, "capsize": 4, "label": f"Adam's ε = {eps:g}" if i == 0 else None}
            axis.errorbar(i + shift, mean, [[mean - low], [high - mean]], fmt="_", **bar)
    axis.axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
    axis.set_xticks(range(len(HYPERS)), HYPERS, rotation=40, ha="right")
    axis.set_yscale("symlog", linthresh=0.1)
    axis.set(ylabel="hypergradient at the start (nats per unit of log)")
    axis.set_title("single draws, mean and 95 % interval", fontsize="medium")
    axis.legend(frameon=False, fontsize="small")


def _found(axis, results) -> None:
    at = np.arange(len(HYPERS))
    learned, searched = np.exp(results.z[:, -1]), np.exp(results.best_trials())
    for seed in range(len(learned)):
        first = seed == 0
        axis.plot(at - 0.15, learned[seed], "o", color=LEARNED, label="hypergradient" if first else None)
        axis.plot(at + 0.15, searched[seed], "s", color=SEARCHED, label="search" if first else None)
    axis.axhline(1.0, color="0.7", linewidth=0.8, zorder=0)
    axis.set(yscale="log", ylabel="factor found", ylim=(0.15, 8.0))
    axis.set_yticks((0.2, 0.5, 1.0, 2.0, 5.0), ("0.2", "0.5", "1", "2", "5"))
    axis.minorticks_off()
    axis.set_xticks(at, HYPERS, rotation=40, ha="right")
    axis.set_title("what each seed found", fontsize="medium")
    axis.legend(frameon=False, fontsize="small", loc="upper left", ncols=2)


def _price(axis, results, config) -> None:
    for seed, values in enumerate(results.value):
        spent = 3 * config.draws * (1 + np.arange(len(values)))
        axis.plot(spent, values, "o-", markersize=3, color=LEARNED, label="hypergradient" if seed == 0 else None)
    for seed, values in enumerate(results.trial_value):
        spent = config.draws * (1 + np.arange(len(values)))
        label = "search, best so far" if seed == 0 else None
        axis.plot(spent, np.fmin.accumulate(values), "--", color=SEARCHED, label=label)
    axis.set(xlabel="trainings spent (a hypergradient counts as three)", ylabel="validation loss (nats)")
    axis.set_title("on the draws used: new ones at every step of descent,\nthe same in a search", fontsize="medium")
    axis.legend(frameon=False, fontsize="small")


def _compared(axis, results, column: int) -> None:
    compared = results.compared()
    for x, (name, losses) in enumerate(compared.items()):
        colour = {"search": SEARCHED, "hypergradient": LEARNED}.get(name, DEFAULT)
        axis.plot(np.full(len(losses), x + 0.2), losses[:, column], ".", color=colour, markersize=4, alpha=0.6)
        mean, low, high = t_interval(losses[:, column])
        axis.errorbar(x, mean, [[mean - low], [high - mean]], fmt="_", color=colour, markersize=22, capsize=5)
    axis.set_xticks(range(len(compared)), compared, rotation=40, ha="right")
    axis.set(ylabel="test loss (nats); bars: mean, 95 % interval")
