"""The figures of searches at equal cost, and of schedules carried over to other settings."""

from __future__ import annotations

import numpy as np

from experiments.shared.intervals import geometric_interval, t_interval
from experiments.shared.ticks import label_some
from hypergrad.style import (
    CONSTANT,
    DEFAULT,
    EVOLUTION,
    LEARNED,
    LEARNED_TOO,
    OWN_RULE,
    RANDOM_SEARCH,
    SEARCHED_TOO,
    TPE,
    in_style,
)

COLOURS = (LEARNED_TOO, LEARNED, RANDOM_SEARCH, TPE, EVOLUTION)  # of descents in two step sizes, and searches
CARRIED = (LEARNED, LEARNED_TOO, SEARCHED_TOO, CONSTANT)  # of what is carried over, and of the constant found there
MARKERS = ("o", "s", "^", "D", "v")
BELOW = 0.08  # of a row: where the single schedules lie, below their mean
LEAST = 1e-3  # nats; where an interval that reaches below zero ends on a log axis
STYLES = (":", "--", "-.", ":", "--")  # of the shapes, and, in another colour, the rules


@in_style
def _plot_equal_cost(results, config, methods, shapes, plt):
    budgets, spaces = np.array(config.budgets), config.spaces()
    figure, axes = plt.subplots(2, 2, figsize=(11.0, 8.4), layout="constrained", sharex=True, sharey=True)
    start = highest = results.start.mean()
    for p, (axis, space) in enumerate(zip(axes.flat, spaces)):
        for s, (shape, style) in enumerate(zip(shapes, STYLES)):
            losses = results.shaped[:, s].mean(axis=(0, -1))
            by, colour = ("grid", CONSTANT) if s < 3 else ("TPE", OWN_RULE)
            axis.plot(budgets, losses, style, color=colour, linewidth=1.4, label=f"{shape}, {by}")
        for m, method in enumerate(methods):
            runs = results.value[:, m, p].mean(axis=-1)
            if not np.isfinite(runs).all():
                continue
            at = budgets * 1.03 ** (m - 2)  # side by side
            axis.plot(at, runs.mean(axis=0), MARKERS[m], linestyle="-", color=COLOURS[m], label=method, markersize=5)
            highest = max(highest, runs.mean(axis=0).max())
            if len(runs) > 1:
                _, low, high = np.transpose([t_interval(values) for values in runs.T])
                highest = max(highest, high.max())
                axis.vlines(at, np.maximum(low, LEAST), high, color=COLOURS[m], linewidth=1.4)
        axis.axhline(start, color=DEFAULT, linewidth=1.0, label="start of all searches")
        axis.set_title(f"{space:,} hyperparameter{'s' if space > 1 else ''}")
        axis.set(xscale="log", yscale="log")
        axis.set_xticks(budgets, map(str, budgets))
        axis.set_xticks([], minor=True)
    for axis in axes[1]:
        axis.set_xlabel("trainings spent (a hypergradient counts as 3)")
    for axis in axes[:, 0]:
        axis.set_ylabel("test loss (nats)")
    lowest = min(np.nanmin(results.value.mean(axis=(0, -1))), results.shaped.mean(axis=(0, -1)).min())
    axes[0, 0].set_ylim(0.8 * lowest, 1.1 * highest)
    label_some(axes[0, 0].yaxis, "23457")
    figure.legend(*axes[0, 1].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
    net = config.net()
    figure.suptitle(
        f"{'-'.join(map(str, net.sizes))} tanh, {min(10_000, net.steps * net.batch_size):,} MNIST images in "
        f"minibatches of {net.batch_size}, {net.steps} steps;\nmean of {config.seeds} runs, each "
        f"tested at {config.weights} unseen initial weights of its own; bars: 95 % (t) over runs",
        fontsize="medium",
    )
    return figure


def plot_equal_cost(results, config, *, methods, shapes):
    """Test loss against trainings spent, a panel for each number of hyperparameters."""
    return _plot_equal_cost(results, config, methods, shapes)


@in_style
def _plot_transfer(results, config, ways, calm, plt):
    settings = config.taken()
    figure, axes = plt.subplots(1, 2, figsize=(11.0, 0.95 * len(settings) + 2.0), layout="constrained", sharey=True)
    losses, ratios = axes
    by_seed = results.value.mean(axis=-1)
    for n in range(len(settings)):
        for w, (way, colour, marker) in enumerate(zip(ways, CARRIED, "s^Do")):
            y, values = n + 0.2 * (w - 1.5), by_seed[:, n, w]
            _row(losses, y, values, calm, colour, marker, way if n == 0 else None)
            if w < 3:
                _row(ratios, y, values / by_seed[:, n, 3], calm, colour, marker, None)
    losses.set_yticks(range(len(settings)), settings)
    losses.invert_yaxis()
    losses.set(xscale="log", xlabel="test loss (nats)")
    ratios.set(xscale="log", xlabel="test loss relative to the best constant found there")
    ratios.axvline(1.0, color="0.3", linewidth=1.0)
    figure.legend(*losses.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    crosses = "" if calm.all() else f"crosses: the {np.count_nonzero(~calm)} learned from a steep start; "
    figure.suptitle(
        f"Carried over from 784-50-50-50-10, 100 steps, minibatches of 200: {config.seeds} learned schedules, "
        f"each on {config.held_out} initial weights;\ndots below: each schedule; {crosses}"
        "large: geometric mean of all; bars: 95 % (t of the logs)",
        fontsize="medium",
    )
    return figure


def _row(axis, y: float, values, calm, colour, marker: str, label) -> None:
    for shown, small in ((values[calm], "."), (values[~calm], "x")):
        axis.plot(shown, np.full(len(shown), y + BELOW), small, color=colour, alpha=0.6, markersize=5)
    mean = values[0]
    if len(values) > 1:
        mean, low, high = geometric_interval(values)
        axis.plot([low, high], [y, y], color=colour, linewidth=2)
    axis.plot(mean, y, marker, color=colour, markersize=7, label=label)


def plot_transfer(results, config, *, ways, calm):
    """A row for each setting: test losses, and relative to the constant found there; ``calm`` schedules are dots."""
    return _plot_transfer(results, config, ways, calm)
