"""The figure of trials over depth."""

from __future__ import annotations

import numpy as np

import hypergrad as hg
from experiments.shared.runner import seeds_in_words
from hypergrad.style import VERMILION, in_style


@in_style
def plot_trials(results, config, plt):
    """A row for each weight decay: losses with the law, learning curves, sharpness and growth over training."""
    rows = len(config.weight_decays)
    size = {"figsize": (15.0, 3.6 * rows + 1.3), "layout": "constrained"}
    figure, axes = plt.subplots(rows, 4, sharex="col", sharey="col", squeeze=False, **size)
    colours = plt.colormaps["viridis"](np.linspace(0.0, 0.9, len(config.depths)))
    for w, (decay, row) in enumerate(zip(config.weight_decays, axes)):
        _plot_losses(row[0], results, config, w, colours)
        for d, colour in enumerate(colours):
            _plot_courses(row[1:], results, config, w, d, colour)
        row[0].set_ylabel(f"weight decay {decay:g}\nloss, mean of the last {config.window} steps (nats)")
        row[1].set(ylabel="training loss (nats)", yscale="log")
        row[2].set(ylabel="sharpness / limit of stability", yscale="log")
        row[2].axhline(1.0, color="black", linewidth=0.8, linestyle="--")
        row[3].set_ylabel("growth λ of a perturbation (nats a step)")
        row[3].axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    axes[-1, 0].set_xlabel("depth (layers with weights)")
    for axis in axes[-1, 1:]:
        axis.set_xlabel("step")
    handles = axes[0, 0]
    for depth, colour in zip(config.depths, colours):
        handles.plot([], [], color=colour, linewidth=2, label=f"depth {depth}")
    handles.plot([], [], color="0.4", alpha=0.3, linewidth=0.7, label="single steps of seed 0")
    figure.legend(*handles.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=5)
    figure.suptitle(
        f"{config.title()}, {seeds_in_words(config.seeds)}. Curves: mean of the last {config.every_mean()} "
        "steps, a line a seed; sharpness: single steps",
        fontsize="medium",
    )
    return figure


def _plot_losses(axis, results, config, w: int, colours) -> None:
    depths = np.array(config.depths, dtype=float)
    loss = results.value[w]
    x = np.broadcast_to(depths[:, None], loss.shape) * (1.0 + 0.008 * (np.arange(loss.shape[1]) - loss.shape[1] // 2))
    for d, colour in enumerate(colours):
        axis.plot(x[d], loss[d], "o", color=colour, markersize=4)
    styles = (("s", "irregular, itself left out", 10), ("D", "irregular, its depth left out", 7))
    for (marker, label, size), flagged in zip(styles, results.flagged[:, w]):
        at = np.nan_to_num(flagged) > 0.5
        axis.plot(x[at], loss[at], marker, color=VERMILION, markersize=size, fillstyle="none", label=label)
    there = np.isfinite(loss)
    fine = np.geomspace(depths.min(), depths.max(), 60)
    for kept, style, label in (
        (there, "-", "law of all"),
        (there & (depths < depths.max())[:, None], "--", "but the last"),
    ):
        try:
            law = hg.fit.power_law(np.broadcast_to(depths[:, None], loss.shape)[kept], loss[kept], bootstraps=0)
        except hg.errors.FitError:
            continue
        axis.plot(fine, law.predict(fine), color="0.3", linestyle=style, linewidth=1.0, label=label)
    axis.set_xscale("log")
    axis.set_xticks(depths, [f"{depth:g}" for depth in depths])
    axis.minorticks_off()


def _plot_courses(axes, results, config, w: int, d: int, colour) -> None:
    curves, sharp, growth = axes
    window, steps = config.every_mean(), np.arange(results.curve.shape[-1])
    limit = hg.chaos.max_lr(1.0, config.momentum) / config.lr
    for s in range(results.value.shape[-1]):
        if s == 0:
            curves.plot(steps, results.curve[w, d, s], color=colour, alpha=0.25, linewidth=0.6)
        style = {"color": colour, "linewidth": 1.0}
        curves.plot(steps, hg.runs.running_mean(results.curve[w, d, s], window), **style)
        sharp.plot(
            results.looked_at,
            np.where(results.sharpness[w, d, s] > 0.0, results.sharpness[w, d, s], np.nan) / limit,
            **style,
        )
        growth.plot(steps, hg.runs.running_mean(results.growth[w, d, s], window), **style)
