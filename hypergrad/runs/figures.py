"""Learning curves of a grid of trainings."""

from __future__ import annotations

import numpy as np

from ..style import in_style
from .smoothing import running_mean


@in_style
def plot_curves(found, curve: str, by: str, window: int, plt, *, xlabel: str, ylabel: str, log: bool, title: str):
    """The figure of :meth:`hypergrad.runs.Trials.plot`."""
    others = [name for name in found.grid if name != by and len(found.grid[name]) > 1]
    panels = list(dict.fromkeys(tuple(row.point[name] for name in others) for row in found.rows))
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    size = {"figsize": (4.5 * columns + 0.5, 3.4 * lines + 0.8), "layout": "constrained"}
    figure, axes = plt.subplots(lines, columns, sharex=True, sharey=True, squeeze=False, **size)
    values = found.grid[by]
    colours = dict(zip(values, plt.colormaps["viridis"](np.linspace(0.0, 0.9, len(values)))))
    for axis, panel in zip(axes.flat, panels):
        for row in found.rows:
            if tuple(row.point[name] for name in others) == panel and curve in row.curves:
                _draw(axis, row, row.curves[curve], window, colours[row.point[by]])
        axis.set_title(", ".join(f"{name} {value}" for name, value in zip(others, panel)), fontsize="medium")
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel(ylabel)
    for axis in axes.flat[max(0, len(panels) - columns) : len(panels)]:
        axis.set_xlabel(xlabel)
    if log:
        axes[0, 0].set_yscale("log")
    for value, colour in colours.items():
        axes[0, 0].plot([], [], color=colour, label=f"{by} {value}")
    if window > 1:
        axes[0, 0].plot([], [], color="0.4", label=f"mean of the last {window} steps")
        axes[0, 0].plot([], [], color="0.4", alpha=0.25, linewidth=0.7, label="single steps")
    if (found.diverged_at >= 0).any():
        axes[0, 0].plot([], [], "x", color="0.4", label="diverged")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=4)
    figure.suptitle(title, fontsize="medium")
    return figure


def _draw(axis, row, values, window: int, colour) -> None:
    steps = np.arange(len(values))
    there = np.isfinite(values)  # a curve that is known at every n-th step only is joined by straight lines
    smooth = running_mean(values, window) if window > 1 else values
    if window > 1:
        axis.plot(steps[there], values[there], color=colour, alpha=0.25, linewidth=0.7)
    axis.plot(steps[there], smooth[there], color=colour, linewidth=1.4)
    if row.diverged_at >= 0 and there.any():
        axis.plot(steps[there][-1], smooth[there][-1], "x", color=colour)
