"""The figure of part 1 of :mod:`experiments.aug08_trained_memory`, and what figures of recurrences have in common."""

from __future__ import annotations

import numpy as np

from experiments.shared.intervals import crossed_interval
from experiments.shared.runner import seeds_in_words
from hypergrad.style import in_style

COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "black", "0.5")  # after Okabe and Ito
ERROR = "mean squared error (grey values²)"


def scatter_with_mean(axis, x: float, values, colour, marker: str = "o", label: str | None = None) -> None:
    """Values (n,) as small points above x, and beside them their mean with its 95 % t interval.

    Of values (r, n) of r runs the points are the means of the runs, and the interval has their luck in it, too.
    """
    rows = np.atleast_2d(values)
    axis.plot(np.full(rows.shape[1], x - 0.12), rows.mean(axis=0), ".", color=colour, alpha=0.5, markersize=4)
    if rows.shape[1] > 1:
        _, low, high = crossed_interval(rows)
        axis.plot([x + 0.05, x + 0.05], [low, high], "-", color=colour)
    axis.plot(x + 0.05, np.mean(values), marker, color=colour, label=label)


def half_life(log_decay):
    """After how many pixels half of a state is left, of log −log size."""
    return np.log(2.0) / np.exp(log_decay)


@in_style
def plot_trained(results, config, plt):
    """Learning curves above, one panel for each number of units; below, where the memories start and end."""
    columns = len(config.units)
    figure, axes = plt.subplots(2, columns, figsize=(4.2 * columns, 7.6), layout="constrained", sharey="row")
    for n, units in enumerate(config.units):
        _curves(axes[0, n], results, n)
        axes[0, n].set_title(f"{units} units")
        _memories(axes[1, n], results.memory[n, :, :, :, :units])
        axes[1, n].axvline(config.side, color="0.6", linewidth=0.8, zorder=0, label="a row of pixels")
    axes[0, 0].set_ylabel(f"{ERROR},\nunseen images")
    axes[1, 0].set_ylabel("half-life of a unit (pixels)")
    for row in axes:
        row[0].legend(frameon=False, fontsize="small")
    figure.suptitle(
        f"Each pixel of a digit ({config.side} × {config.side}) predicted from those before it, "
        f"{seeds_in_words(results.value.shape[1])}",
        fontsize="medium",
    )
    return figure


def _curves(axis, results, n: int) -> None:
    later = results.steps > 0  # the start is far above all that follows
    for seed in range(results.value.shape[1]):
        for way, name in enumerate(("fixed memory", "trained memory")):
            curve = results.value[n, seed, way, later]
            label = name if seed == 0 else None
            axis.plot(results.steps[later], curve, color=COLOURS[way], linewidth=1.0, label=label)
        label = "best weights for the fixed memory" if seed == 0 else None
        limit = results.limit[n, seed, 1]
        axis.plot(results.steps[later][[0, -1]], [limit, limit], ":", color="0.3", linewidth=1.0, label=label)
    axis.set(xlabel="training steps", yscale="log")


def _memories(axis, memory) -> None:
    """Half-lives and periods of all units and seeds, (s, before and after, decay and angle, units)."""
    for when, (name, marker) in enumerate((("at the start", "o"), ("after training", "x"))):
        decay, angle = np.moveaxis(memory[:, when], 1, 0)
        period = 2.0 * np.pi / np.abs(angle)
        axis.plot(period.ravel(), half_life(decay).ravel(), marker, color=COLOURS[when], ms=3.5, mfc="none", label=name)
    axis.set(xscale="log", yscale="log", xlabel="period of a unit (pixels)")
