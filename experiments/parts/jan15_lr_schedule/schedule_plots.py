"""The figures of meta-descents on learning-rate schedules."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.ticker import MaxNLocator

from experiments.shared.intervals import t_interval
from experiments.shared.iteration_plots import (
    SHOWN,
    Panel,
    beside,
    iteration_colours,
    plot_by_iteration,
    rows_of_panels,
    show_iterations,
)
from hypergrad.style import BLUE, GREEN, ORANGE, PURPLE, SKY, STYLE, VERMILION, in_style

# Told apart by the colour-blind too; the five of the remedies, and two for plain search.
COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE)
COLOUR_OF = dict(
    zip(("none", "mean over epochs", "4 initialisations", "steps taken back", "all three"), COLOURS, strict=True)
)
SEARCH = {"best constant": ("black", 1), "best constant of 4 initialisations": (SKY, 4)}
BANDS = {"up to 1/8, without 0": "0.6", "above 1/8": COLOURS[0], "0 (the mean)": "black"}  # of the spectrum
MARKERS = ("o", "s", "^")  # of the seeds, where colours say something else
FEW = 25  # steps, up to which each can be told apart in a map
GRADIENT = "hypergradient (nats per unit of log\nlearning rate), linear within ±{:g}"


def plot_schedules(results, config):
    """Schedule, hypergradient and learning curve by meta-iteration; or a comparison of remedies."""
    if len(config.remedies) > 1:
        return _plot_remedies(results, config)
    if results.log_lr.shape[-1] <= FEW:
        return _plot_by_step(results, config)
    log_lr, gradient, curve = results.log_lr[0], results.gradient[0], results.curve[0]
    step = np.arange(log_lr.shape[-1])
    calm = 10.0 ** np.ceil(np.log10(np.abs(gradient[:SHOWN, 0]).max()))
    widest = min(4.0, 1.2 * np.nanmax(np.abs(log_lr[:SHOWN])) + 0.1)
    steepest = min(1e3 * calm, 2.0 * np.nanmax(np.abs(gradient[:SHOWN])))
    return plot_by_iteration(
        Panel(step, log_lr, "training step", "log learning rate", limits=(-widest, widest)),
        Panel(
            step,
            gradient,
            "training step",
            GRADIENT.format(0.1 * calm),
            scale="symlog",
            linear_within=0.1 * calm,
            limits=(-steepest, steepest),
        ),
        Panel(
            results.curve_steps[0, 0],
            curve,
            "training step",
            "loss on the first 1,000\ntraining images (nats)",
            limits=(0.5 * np.nanmin(curve[:SHOWN]), 5.0),
            scale="log",
        ),
        columns=headings(results.value[0])[:SHOWN],
        title=f"{setting(config)},\n{log_lr.shape[-1]:,} steps, meta-step {config.meta_step:g}; {config.remedies[0]}"
        + of_all(results.value[0]),
        below=(lambda axes: _draw_all_seeds(axes, results, config)) if len(log_lr) > SHOWN else None,
    )


def headings(value: np.ndarray) -> list[str]:
    """What each descent did to the final training loss, (s, n)."""
    found = []
    for seed, values in enumerate(value):
        end, best = np.isfinite(values).sum() - 1, np.nanargmin(values)
        first = (
            f"seed {seed}: final loss at first {values[0]:#.3g},\nlowest {values[best]:#.3g} in meta-iteration {best}"
        )
        found.append(first + (f";\nrates overflow after {end}" if end < len(values) - 1 else ""))
    return found


def lowest_mean(value: np.ndarray) -> int:
    """The meta-iteration with the lowest mean loss over the descents, (s, n), while all of them go on."""
    return int(np.argmin(np.where(np.isfinite(value).all(axis=0), np.nan_to_num(value).mean(axis=0), np.inf)))


def _draw_all_seeds(axes, results, config) -> None:
    """What the columns show of a few, of all: losses, norms of the hypergradient, and schedules where they are best."""
    losses, norms, schedules = axes
    value, log_lr, colour = results.value[0], results.log_lr[0], COLOUR_OF[config.remedies[0]]
    with np.errstate(over="ignore"):
        norm = np.linalg.norm(results.gradient[0], axis=-1)
    thin = {"color": colour, "linewidth": 0.8, "alpha": 0.4}
    losses.plot(value.T, **thin)
    lowest = np.fmin.accumulate(value, axis=-1).mean(axis=0)
    losses.plot(lowest, color=colour, linewidth=2.0, label=f"lowest so far, mean of {len(value)} seeds")
    losses.set(ylabel="final training loss (nats)", ylim=(0.9 * np.nanmin(value), 4.0 * value[:, 0].max()))
    norms.plot(norm.T, **thin)
    there = np.isfinite(value).any(axis=0)
    median = np.nanmedian(norm[:, there], axis=0)
    norms.plot(np.flatnonzero(there), median, color=colour, linewidth=2.0, label="median of those that go on")
    norms.set(ylabel="norm of the\nhypergradient (nats)", ylim=(0.5 * np.nanmin(norm), 1e4 * np.median(norm[:, 0])))
    for axis in (losses, norms):
        axis.set(xlabel="meta-iteration", yscale="log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    at, steps = lowest_mean(value), np.arange(log_lr.shape[-1])
    schedules.plot(steps, log_lr[:, at].T, **thin)
    mean, low, high = np.transpose([t_interval(rates) for rates in log_lr[:, at].T])
    schedules.plot(steps, mean, color=colour, linewidth=2.0, label="mean and 95 % interval")
    schedules.fill_between(steps, low, high, color=colour, alpha=0.25, linewidth=0.0)
    schedules.set(xlabel="training step", ylabel="log learning rate", title=f"of all seeds, in meta-iteration {at}")
    losses.set_title(f"all {len(value)} seeds")
    norms.set_title(f"all {len(value)} seeds")
    for axis in axes:
        axis.title.set_fontsize("medium")
        axis.legend(frameon=False, fontsize="small", loc="best")


def of_all(value: np.ndarray) -> str:
    """What the descents came to, (s, n), where only the first few are shown."""
    if len(value) <= SHOWN:
        return ""
    best, ends = np.nanmin(value, axis=-1), np.isfinite(value).sum(axis=-1) - 1
    last = f"the last meta-iteration is {ends.min()} to {ends.max()}"
    return f"\nof all {len(value)} seeds: lowest final loss {best.min():#.3g} to {best.max():#.3g}, {last}"


@in_style
def _plot_by_step(results, config, plt):
    """Schedule and hypergradient as maps of meta-iteration and step, which many lines would hide; learning curves."""
    log_lr, gradient, curve = results.log_lr[0], results.gradient[0], results.curve[0]
    seeds, iterations, steps = log_lr[:SHOWN].shape
    calm = 10.0 ** np.ceil(np.log10(np.abs(gradient[:, 0]).max()))
    figure, axes, more = rows_of_panels(3, seeds, (3.4 * seeds + 1.8, 7.8), below=len(log_lr) > SHOWN)
    maps = (
        (log_lr, Normalize(-4.0, 4.0), "log learning rate"),
        (gradient, SymLogNorm(0.1 * calm, vmin=-1e3 * calm, vmax=1e3 * calm), GRADIENT.format(0.1 * calm)),
    )
    for row, (arrays, norm, label) in zip(axes, maps):
        for axis, array in zip(row, arrays):
            axis.set_facecolor("0.8")  # where there are no rates any more
            edges = np.arange(steps + 1) - 0.5, np.arange(iterations + 1) - 0.5
            mesh = axis.pcolormesh(*edges, array, norm=norm, cmap="PuOr", rasterized=True)
            axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        row[0].set_ylabel("meta-iteration")
        figure.colorbar(mesh, ax=row, extend="both", aspect=12).set_label(label, fontsize="small")
    for seed, heading in enumerate(headings(results.value[0])[:SHOWN]):
        axes[0, seed].set_title(heading, fontsize="medium")
        for i, one in enumerate(curve[seed]):
            axes[2, seed].plot(results.curve_steps[0, 0], one, color=iteration_colours(iterations)(i), linewidth=1.2)
        axes[2, seed].set(xlabel="training step", yscale="log", ylim=(0.5 * np.nanmin(curve), 5.0))
    axes[2, 0].set_ylabel("loss on the first 1,000\ntraining images (nats)")
    show_iterations(figure, axes[2], iterations)
    if len(more):
        _draw_all_seeds(more, results, config)
    words = f"{setting(config)},\n{steps} steps, meta-step {config.meta_step:g}; grey: the descent has ended"
    words += of_all(results.value[0])
    figure.suptitle(words, fontsize="medium")
    return figure


def setting(config) -> str:
    return f"784-200-50-10 tanh, {config.images:,} MNIST images in minibatches of 250, momentum 0.9"


def _plot_remedies(results, config):
    """Above the loss and the schedules by remedy, beside plain search; below the spectrum of plain descent."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(15.0, 8.0), layout="constrained")
        _draw_losses(axes[0, 0], results, config)
        _draw_fresh(axes[0, 1], results, config, axes[0, 0].get_ylim())
        _draw_constants(axes[0, 2], results, config, axes[0, 0].get_ylim())
        _draw_spectra(axes[1, 0], axes[1, 1], results)
        _draw_best_schedules(axes[1, 2], results, config)
        figure.suptitle(f"{setting(config)}, 20 steps, meta-step {config.meta_step:g}", fontsize="medium")
    plt.close(figure)
    return figure


def _draw_losses(axis, results, config) -> None:
    for r, name in enumerate(config.remedies):
        values, kept = results.value[r], results.taken_back[r] == 0
        for seed, one in enumerate(np.where(kept, values, np.nan)):
            best = np.fmin.accumulate(one)
            axis.plot(np.clip(one, None, 5.0), color=COLOURS[r], alpha=0.3, linewidth=0.8)
            axis.plot(best, color=COLOURS[r], label=name if seed == 0 else None, linewidth=1.8)
            if np.isnan(values[seed, -1]):
                end = np.isfinite(values[seed]).sum() - 1
                axis.plot(end, best[end], "x", color="black", markersize=7, markeredgewidth=1.5, zorder=5)
    for name, (colour, draws) in SEARCH.items():
        for seed, chosen in enumerate(results.chosen(draws)):
            label = name if seed == 0 else None
            axis.axhline(results.constant[seed, :draws, chosen].mean(), color=colour, linestyle=":", label=label)
    axis.set(yscale="log", ylim=(0.05, 5.0), xlabel="meta-iteration", ylabel="final training loss (nats)")
    axis.set_title(
        f"loss (thin) and best so far (thick), {len(results.value[0])} seeds;\ncross: descent ended", fontsize="medium"
    )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(framealpha=0.85, edgecolor="none", fontsize="small", loc="upper right")


def _draw_fresh(axis, results, config, limits) -> None:
    for r in range(len(config.remedies)):
        for seed, (start, found) in enumerate(results.fresh[r]):
            x = r + beside(seed, len(results.fresh[r]))
            axis.plot(np.full(len(start), x - 0.04), start, ".", color="0.7", markersize=4)
            axis.plot(np.full(len(found), x + 0.04), found, ".", color=COLOURS[r], markersize=4)
    for c, (colour, draws) in enumerate(SEARCH.values(), len(config.remedies)):
        for seed, chosen in enumerate(results.chosen(draws)):
            losses = results.constant_fresh[:, chosen]
            x = c + beside(seed, results.constant.shape[0])
            axis.plot(np.full(len(losses), x), losses, ".", color=colour, markersize=4)
    names = [textwrap.fill(name, 13, break_long_words=False) for name in (*config.remedies, *SEARCH)]
    axis.set_xticks(range(len(names)), names, fontsize="x-small", rotation=40)
    axis.set(yscale="log", ylim=limits, ylabel="final training loss (nats)")
    axis.set_title(
        "best schedule of each seed on 10 other initialisations\n(grey: all learning rates 1)", fontsize="medium"
    )


def _draw_constants(axis, results, config, limits) -> None:
    """Plain search, and where the best learned schedules of each seed lie."""
    log_rates = np.array(config.constants)[:: config.every]
    for seed, losses in enumerate(results.constant):
        label = f"own initialisations of the {len(results.constant)} seeds" if seed == 0 else None
        axis.plot(log_rates, losses[0], ".-", color="0.6", linewidth=0.8, label=label)
    mean = results.constant_fresh.mean(axis=0)
    axis.plot(log_rates, mean, "o-", color="black", label="10 other initialisations, mean")
    for r, name in enumerate(config.remedies):
        if name in ("none", "all three"):
            learned = np.mean(results.fresh[r, :, 1])
            axis.axhline(learned, color=COLOURS[r], linestyle="--", label=f"learned schedules there, {name}: mean")
    axis.set(yscale="log", ylim=limits, xlabel="log of the constant learning rate", ylabel="final training loss (nats)")
    axis.set_title("plain search: one rate for all steps", fontsize="medium")
    axis.legend(frameon=False, fontsize="small", loc="upper right")


def _draw_best_schedules(axis, results, config) -> None:
    r = len(config.remedies) - 1
    kept = np.where(results.taken_back[r] == 0, results.value[r], np.nan)
    for seed, best in enumerate(np.nanargmin(kept, axis=-1)):
        style = {"color": COLOURS[r], "marker": MARKERS[seed % 3], "markersize": 4}
        label = f"learned, seed {seed}" if len(kept) <= SHOWN else "learned, each seed" if seed == 0 else None
        axis.plot(results.log_lr[r, seed, best], **style, label=label)
    chosen = np.array(config.constants)[:: config.every][results.chosen(4)]
    for seed, log_rate in enumerate(chosen):
        label = "best constant of 4 initialisations" if seed == 0 else None
        axis.axhline(
            log_rate, color=SEARCH[label or "best constant of 4 initialisations"][0], linestyle=":", label=label
        )
    axis.set(xlabel="training step", ylabel="log learning rate")
    axis.set_title(f"best schedules, {config.remedies[r]}", fontsize="medium")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(frameon=False, fontsize="small")


def _draw_spectra(spectrum, share, results) -> None:
    plain = results.gradient[0]
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.abs(np.fft.rfft(plain, axis=-1)) ** 2 / plain.shape[-1]
    frequency = np.fft.rfftfreq(plain.shape[-1])
    iterations = 1 + int(np.isfinite(results.value[0]).all(axis=0).sum() - 1)
    colours = iteration_colours(iterations)
    for i in range(iterations):
        spectrum.plot(frequency, np.exp(np.mean(np.log(power[:, i]), axis=0)), ".-", color=colours(i), label=f"{i}")
    spectrum.set(
        yscale="log", xlabel="frequency (cycles per training step)", ylabel="power of the hypergradient (nats²)"
    )
    spectrum.set_title("spectrum without remedy, by meta-iteration", fontsize="medium")
    spectrum.legend(frameon=False, fontsize="small", title="meta-iteration", ncols=2)
    few = plain.shape[0] <= len(MARKERS)
    low = (frequency <= 0.125) & (frequency > 0)
    for seed in range(plain.shape[0]):
        parts = power[seed, :, low].sum(axis=0), power[seed, :, frequency > 0.125].sum(axis=0), power[seed, :, 0]
        for part, (label, colour) in zip(parts, BANDS.items()):
            marker = MARKERS[seed] if few else "."
            style = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.0 if few else 0.6}
            share.plot(part, **style, label=label if seed == 0 else None)
    share.set(
        yscale="log", ylim=spectrum.get_ylim(), xlabel="meta-iteration", ylabel="power of the hypergradient (nats²)"
    )
    for seed in range(plain.shape[0] if few else 0):
        share.plot([], [], MARKERS[seed], color="0.4", markersize=4, label=f"seed {seed}")
    share.set_title("without remedy, its power by frequency", fontsize="medium")
    share.legend(
        frameon=False, fontsize="small", title=f"cycles per step; {'seeds' if few else 'a line for each seed'}", ncols=2
    )
