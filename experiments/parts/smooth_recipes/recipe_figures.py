"""Figures of training recipes: a table in colours, and curves over the learning rate."""

from __future__ import annotations

import numpy as np

from hypergrad.style import BLUE, GREEN, ORANGE, PURPLE, in_style

COLOURS = ("black", BLUE, ORANGE, GREEN, PURPLE)  # those of Okabe and Ito
MARKERS = "osD^v"


def goodness(head: str, column: np.ndarray) -> np.ndarray:
    """From 0, useless, to 1: how far each quantity is from what a differentiable training has; NaN counts as 0."""
    if head.startswith("Ŝ"):
        good = column
    elif head.startswith("actual"):
        with np.errstate(all="ignore"):
            good = 1.0 - np.abs(np.log(np.where(column > 0.0, column, 0.0))) / np.log(10.0)
    elif head == "edge":
        good = (column - np.nanmin(column)) / max(np.ptp(column), 1e-9)
    elif head.startswith("λ"):
        good = 1.0 - column / 0.1
    else:
        good = 1.0 - (np.log(column) - np.log(np.nanmin(column))) / max(np.ptp(np.log(column)), 1e-9)
    return np.clip(np.nan_to_num(good, nan=0.0, neginf=0.0), 0.0, 1.0)


@in_style
def plot_table(columns: dict, config, names: tuple, in_words, plt):
    """A row for each recipe, a column for each quantity."""
    colours = np.column_stack([goodness(head, column[:, 0]) for head, column in columns.items()])
    size = (1.15 * len(columns) + 2.6, 0.38 * len(names) + 2.4)
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    image = axis.imshow(colours, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
    for j, (head, column) in enumerate(columns.items()):
        for i, values in enumerate(column):
            ink = "black" if colours[i, j] > 0.5 else "white"
            words = in_words(head, values).replace(" [", "\n[")
            axis.text(
                j, i, words, ha="center", va="center", color=ink, fontsize="small" if len(values) == 1 else "x-small"
            )
    heads = [
        head.replace(" at ", "\nat ").replace("lowest loss below it", "lowest loss\nbelow the edge") for head in columns
    ]
    axis.set_xticks(range(len(columns)), [head.replace("actual/", "actual/\n") for head in heads], fontsize="small")
    axis.set_yticks(range(len(names)), names)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axis, shrink=0.6, ticks=(0.0, 1.0), pad=0.01)
    bar.ax.set_yticklabels(["useless", "good"])
    figure.suptitle(
        f"{config.title()}. One recipe a row: medians over the seeds;\n"
        "of edge and loss means (of the loss the geometric one) with 95 % intervals by Student's t.\n"
        "Ŝ: metasmoothness; λ: growth of perturbations, nats a step, second half;\n"
        f"actual/predicted: change of the loss over a step of {config.step:g}, over that by the derivative;\n"
        f"'at x', and the edge: natural log of the learning rate (edge up to {config.high:g}); loss in nats",
        fontsize="small",
    )
    return figure


@in_style
def plot_curves(results, config, ratio, names: tuple, plt):
    """Loss, metasmoothness, growth and prediction over the learning rate, one colour for each recipe."""
    x, edges = np.array(config.log_lrs[:: config.every]), results.edges(config).mean(axis=0)
    figure, axes = plt.subplots(2, 2, figsize=(10.0, 7.6), sharex=True, layout="constrained")
    panels = (results.loss, "training loss after 50 steps (nats)"), (results.smoothness, "metasmoothness Ŝ")
    panels += (
        (results.growth, "growth rate λ, second half\n(nats a step)"),
        (ratio, "actual over predicted change of the loss"),
    )
    for axis, (data, label) in zip(axes.flat, panels):
        for i, (name, colour, marker) in enumerate(zip(names, COLOURS, MARKERS)):
            middle = np.median(data[:, i], axis=0)
            style = {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 1.2}
            axis.plot(x, middle, label=name, **style)
            for one in data[:, i]:
                axis.plot(x, one, color=colour, linewidth=0.5, alpha=0.4)
            if x[0] <= edges[i] <= x[-1]:
                axis.axvline(edges[i], color=colour, linestyle=":", linewidth=1.2)
        axis.set_ylabel(label.replace("50", str(config.steps)))
    axes[0, 0].set_yscale("log")
    axes[0, 1].axhline(1.0, color="0.7", linewidth=0.8, zorder=0)
    axes[1, 0].axhline(0.0, color="0.7", linewidth=0.8, zorder=0)
    axes[1, 1].axhline(1.0, color="0.7", linewidth=0.8, zorder=0)
    axes[1, 1].set_yscale("symlog", linthresh=2.0)
    for axis in axes[1]:
        axis.set_xlabel("natural log of the learning rate")
    axes[0, 0].plot([], [], ":", color="0.3", label="edge of chaos (mean)")
    axes[0, 0].plot([], [], color="0.3", linewidth=0.5, alpha=0.6, label="single seeds")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"{config.title()}; medians; step {config.step:g}", fontsize="medium")
    return figure
