"""The figure of :mod:`experiments.trainability_map`: maps, zooms, and the dimension of the boundary."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from experiments.parts.trainability_map.box_counting import boundary, dimension
from experiments.shared.runner import seeds_in_words
from hypergrad.style import CYCLE, in_style

PUBLISHED = (1.17, 1.98)  # range of the dimensions that Sohl-Dickstein reports
MAPS = (  # field of the results, colours, lowest value shown, labelled shares of the largest, label, and of the ticks
    (
        "measure",
        "RdBu_r",
        -127,
        (-1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0),
        "steps until it converged (blue)\nor diverged (red)",
        "{:.0f}",
    ),
    (
        "growth",
        "cividis",
        0,
        (0.0, 0.01, 0.1, 0.3, 0.5, 1.0),
        "growth rate λ of a tangent (nats\nper step, cut off at 0 and 1)",
        "{:g}",
    ),
)


@in_style
def plot(results, config, plt):
    """Maps of seed 0 and their zooms; dimensions of all seeds."""
    levels = results.frames.shape[1]
    size = {"figsize": (2.7 * (levels + 1) + 1.2, 6.2), "layout": "constrained"}
    figure, axes = plt.subplots(2, levels + 1, squeeze=False, **size)
    frames = results.frames[0]
    for row, (field, colours, lowest, shares, label, text) in enumerate(MAPS):
        for level, frame in enumerate(frames):
            axis = axes[row, level]
            style = {"cmap": colours, "norm": Normalize(lowest, 127), "interpolation": "nearest"}
            image = axis.imshow(
                getattr(results, field)[0, level], origin="lower", extent=frame.ravel(), aspect="auto", **style
            )
            if level + 1 < levels:
                (left, right), (low, high) = frames[level + 1]
                frame_style = {"fill": False, "edgecolor": "black", "linewidth": 1.2}
                axis.add_patch(Rectangle((left, low), right - left, high - low, **frame_style))
            axis.locator_params(nbins=4)
            axis.ticklabel_format(useOffset=False)
            axis.tick_params(labelsize="small")
            width = frames[0, 0, 1] - frames[0, 0, 0]
            times = width / (frame[0, 1] - frame[0, 0])
            closer = "whole range" if level == 0 else f"{times:.0f} times closer"
            axis.set_title(f"map {level + 1}: {closer}", fontsize="small")
        ticks = 127 * np.sign(shares) * np.sqrt(np.abs(shares))
        ends = "neither" if lowest else "min"
        bar = figure.colorbar(image, ax=axes[row, :levels], ticks=ticks, extend=ends)
        unit = config.steps if field == "measure" else 1.0
        bar.set_ticklabels([text.format(abs(x) * unit) for x in shares])
        bar.set_label(label)
    names = ["log learning rate of the input layer", "log learning rate of the output layer"]
    if config.by_scale:
        names = ["log learning rate", "log scale of the initial weights"]
    for axis in axes[:, 0]:
        axis.set_ylabel(names[1], fontsize="small")
    for axis in axes[1, :levels]:
        axis.set_xlabel(names[0], fontsize="small")
    draw_dimensions(axes[:, levels], results.measure)
    batch = "full batch" if config.batch_size == config.data else f"minibatches of {config.batch_size}"
    figure.suptitle(
        f"{config.units}-{config.units}-1 {config.activation}, {config.data} points, {batch}, {config.steps} steps, "
        f"{seeds_in_words(results.measure.shape[0])}",
        fontsize="medium",
    )
    return figure


def dimensions(measure) -> list[list]:
    """For every seed and map the dimension of the boundary between converged and diverged runs."""
    return [[dimension(boundary(one > 0)) for one in maps] for maps in measure]


def draw_dimensions(axes, measure) -> None:
    """The counts of boxes above, and the dimensions below with the standard error of each fit."""
    found = dimensions(measure)
    for seed, maps in enumerate(found):
        for level, one in enumerate(maps):
            style = {"color": CYCLE[level], "alpha": 1.0 if seed == 0 else 0.45}
            axes[0].plot(one.sizes, one.counts, ".-", label=f"map {level + 1}" if seed == 0 else None, **style)
            x = level + 1 + 0.12 * seed
            axes[1].errorbar(x, one.value, one.error, fmt="o", capsize=3, **style)
    axes[0].set(xscale="log", yscale="log", xlabel="side of the boxes (cells)", ylabel="boxes with a boundary")
    axes[0].set_xticks(one.sizes, map(str, one.sizes), minor=False)
    axes[0].set_xticks([], minor=True)
    axes[0].legend(frameon=False, fontsize="small")
    axes[1].axhspan(*PUBLISHED, color="0.92", zorder=-1)
    axes[1].text(0.98, 0.96, "shaded: Sohl-Dickstein 2024", transform=axes[1].transAxes, ha="right", fontsize="small")
    axes[1].set(xlim=(0.5, measure.shape[1] + 0.7), ylim=(0.8, 2.1), xticks=range(1, measure.shape[1] + 1))
    axes[1].set(xlabel="map", ylabel="box-counting dimension")
    if measure.shape[1] > 1:
        zooms = [one.value for maps in found for one in maps[1:]]
        words = f"mean of the zooms {np.mean(zooms):.2f} ± {np.std(zooms, ddof=1):.2f}"
        axes[1].set_title(words, fontsize="small")
