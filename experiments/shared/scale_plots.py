"""The figure of the scales of a character transformer's initial weights."""

from __future__ import annotations

import numpy as np

from experiments.shared.intervals import crossed_interval, geometric_interval, t_interval
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
        axis.set_title(f"test text, {steps} steps: {config.unseen_draws} unseen draws, mean of runs", fontsize="medium")
    figure.suptitle(
        f"Character transformer, width {config.width}, depth {config.depth}, context {config.length}, "
        f"{config.trained_steps} steps of Adam, minibatches of {config.batch_size}; {config.seeds} runs of descent "
        "and of search",
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
    for factors, colour, shift, name in (
        (learned, LEARNED, -0.2, "hypergradient"),
        (searched, SEARCHED, 0.2, "search"),
    ):
        axis.plot(
            np.broadcast_to(at + shift - 0.06, factors.shape), factors, ".", color=colour, markersize=4, alpha=0.5
        )
        mean = low = high = np.exp(np.log(factors).mean(axis=0))
        if len(factors) > 1:
            _, low, high = np.array([geometric_interval(column) for column in factors.T]).T
        bar = {"color": colour, "markersize": 9, "capsize": 3, "label": name}
        axis.errorbar(at + shift + 0.06, mean, [mean - low, high - mean], fmt="_", **bar)
    axis.axhline(1.0, color="0.7", linewidth=0.8, zorder=0)
    axis.set(yscale="log", ylabel="factor found")
    axis.set_yticks((0.2, 0.5, 1.0, 2.0, 5.0), ("0.2", "0.5", "1", "2", "5"))
    axis.minorticks_off()
    axis.set_xticks(at, HYPERS, rotation=40, ha="right")
    axis.set_title("what each run found; geometric mean, 95 % interval", fontsize="medium")
    axis.legend(frameon=False, fontsize="small", loc="best", ncols=2)


def _price(axis, results, config) -> None:
    draw_price(axis, {"hypergradient": (LEARNED, results.value)}, results.trial_value, config.draws)
    axis.set_title("on the draws used: new ones at every step of descent,\nthe same in a search", fontsize="medium")


def draw_price(axis, learned: dict, trial_value, draws: int) -> None:
    """Validation loss against trainings spent: single runs thin, their means thick.

    Args:
      learned: by name the colour and the losses along descents, (s, n).
      trial_value: the losses of the trials of searches, (s, t), of which the best so far is shown.
      draws: trainings that each of these losses is the mean over; a hypergradient counts as three.
    """
    curves = [(name, colour, values, 3 * draws, "-") for name, (colour, values) in learned.items()]
    curves.append(("search, best so far", SEARCHED, np.fmin.accumulate(trial_value, axis=1), draws, "--"))
    for name, colour, values, price, style in curves:
        spent = price * (1 + np.arange(values.shape[1]))
        axis.plot(spent, values.T, style, color=colour, linewidth=0.6, alpha=0.4)
        axis.plot(spent, values.mean(axis=0), style, color=colour, linewidth=2.0, label=f"{name}: mean")
    axis.plot([], [], color="0.5", linewidth=0.6, label="thin: single runs")
    axis.set(xlabel="trainings spent (a hypergradient counts as three)", ylabel="validation loss (nats)")
    axis.legend(frameon=False, fontsize="small")


def _compared(axis, results, column: int) -> None:
    compared = results.compared()
    for x, (name, losses) in enumerate(compared.items()):
        colour = {"search": SEARCHED, "hypergradient": LEARNED}.get(name, DEFAULT)
        by_draw = losses[..., column].mean(axis=0)
        axis.plot(np.full(len(by_draw), x + 0.2), by_draw, ".", color=colour, markersize=4, alpha=0.6)
        mean, low, high = crossed_interval(losses[..., column])
        axis.errorbar(x, mean, [[mean - low], [high - mean]], fmt="_", color=colour, markersize=22, capsize=5)
    axis.set_xticks(range(len(compared)), compared, rotation=40, ha="right")
    axis.set(ylabel="test loss (nats); bars: mean, 95 % interval")
