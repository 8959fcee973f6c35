"""Figures of meta-descents: a column for each, and a curve for every meta-iteration."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from hypergrad.style import STYLE

SHOWN = 3  # seeds that have a column of their own, where there are more


def beside(seed: int, seeds: int) -> float:
    """Where the points of a seed lie beside a place at which those of all are shown, from −0.3 to 0.3."""
    return 0.6 * (seed - (seeds - 1) / 2.0) / seeds


class Panel(NamedTuple):
    """One quantity of a meta-descent over x, at every meta-iteration; for :func:`plot_by_iteration`.

    Attributes:
      x: shape (p,), or (s, n, p) if it differs among descents and iterations.
      y: shape (s, n, p) for s descents and n iterations, NaN where there is none.
      xlabel, ylabel: with units.
      limits: vertical range; what lies outside is cut off. Everything if None.
      scale: of the vertical axis, "linear", "log" or "symlog".
      linear_within: for "symlog", up to which magnitude it is linear.
      stairs: whether y is constant between the p + 1 edges x.
    """

    x: np.ndarray
    y: np.ndarray
    xlabel: str
    ylabel: str
    limits: tuple[float, float] | None = None
    scale: str = "linear"
    linear_within: float = 1.0
    stairs: bool = False


def rows_of_panels(rows: int, columns: int, size: tuple[float, float], below: bool = False):
    """A figure of rows of panels with the same axes in each, and below, if asked for, a row of three with their own.

    Returns:
      The figure, which is larger than the size given by what is below; its axes (rows, columns); those below, or none.
    """
    width, height = size
    figure = plt.figure(figsize=(width, height * (rows + below) / rows), layout="constrained")
    outer = figure.add_gridspec(1 + below, 1, height_ratios=(rows, 1)[: 1 + below])
    axes = outer[0].subgridspec(rows, columns).subplots(sharey="row", sharex="row", squeeze=False)
    return figure, axes, outer[1].subgridspec(1, 3).subplots() if below else ()


def plot_by_iteration(*panels: Panel, columns: list[str], title: str = "", below: Callable | None = None) -> Figure:
    """A column for each descent and a row for each panel; every meta-iteration is a curve, dark to light.

    Args:
      panels: the rows.
      columns: a heading for each descent.
      title: of the figure.
      below: draws three more panels below, which it is given.
    """
    iterations = panels[0].y.shape[1]
    colours = iteration_colours(iterations)
    with plt.rc_context(STYLE):
        size = (3.2 * len(columns) + 1.0, 2.4 * len(panels) + 0.8)
        figure, axes, more = rows_of_panels(len(panels), len(columns), size, below is not None)
        for row, panel in zip(axes, panels):
            for column, (axis, heading) in enumerate(zip(row, columns)):
                for iteration in range(iterations):
                    x = panel.x if panel.x.ndim == 1 else panel.x[column, iteration]
                    y = panel.y[column, iteration]
                    if panel.stairs and np.isfinite(y).all():
                        axis.stairs(y, x, color=colours(iteration), linewidth=1.2)
                    elif not panel.stairs:
                        axis.plot(x, y, color=colours(iteration), linewidth=1.2, marker="." if len(x) <= 25 else None)
                axis.set_xlabel(panel.xlabel)
                if panel is panels[0]:
                    axis.set_title(heading, fontsize="medium")
            options = {"linthresh": panel.linear_within} if panel.scale == "symlog" else {}
            row[0].set_yscale(panel.scale, **options)
            row[0].set_ylabel(panel.ylabel)
            if panel.limits is not None:
                row[0].set_ylim(panel.limits)
        show_iterations(figure, axes, iterations)
        if below is not None:
            below(more)
        figure.suptitle(title, fontsize="medium")
    plt.close(figure)
    return figure


def iteration_colours(iterations: int):
    """The colour of a meta-iteration: from dark, the first, to light."""
    return lambda iteration: matplotlib.colormaps["viridis"](0.95 * iteration / max(iterations - 1, 1))


def show_iterations(figure: Figure, axes, iterations: int) -> None:
    """A colour bar for :func:`iteration_colours`."""
    colours = [iteration_colours(iterations)(i) for i in range(iterations)]
    mapping = matplotlib.cm.ScalarMappable(
        matplotlib.colors.BoundaryNorm(np.arange(iterations + 1) - 0.5, iterations),
        matplotlib.colors.ListedColormap(colours),
    )
    ticks = np.unique(np.linspace(0, iterations - 1, min(iterations, 8)).astype(int))
    bar = figure.colorbar(mapping, ax=axes, shrink=0.6, aspect=40, pad=0.02, ticks=ticks)
    bar.set_label("meta-iteration")
    bar.ax.minorticks_off()
