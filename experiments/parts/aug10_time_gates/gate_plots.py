"""The figures of :mod:`experiments.aug10_time_gates`."""

from __future__ import annotations

import numpy as np

from experiments.shared.iteration_plots import beside
from experiments.shared.memory_plots import COLOURS, ERROR, scatter_with_mean
from experiments.shared.runner import seeds_in_words
from hypergrad.style import in_style


@in_style
def plot_gates(results, config, names: tuple[str, ...], plt):
    """The errors of every model on unseen images, and the quartiles of its time."""
    figure, (errors, times) = plt.subplots(1, 2, figsize=(13.0, 4.6), layout="constrained", width_ratios=(1.6, 1.0))
    for w in range(len(names)):
        scatter_with_mean(errors, w, results.value[w], COLOURS[w])
        for seed, (low, middle, high) in enumerate(results.time[w]):
            x = w + beside(seed, len(results.time[w]))
            times.plot([x, x], [low, high], "-", color=COLOURS[w])
            times.plot(x, middle, "o", color=COLOURS[w], markersize=3)
    for axis in (errors, times):
        axis.set_xticks(range(len(names)), names, fontsize="small", rotation=30, ha="right", rotation_mode="anchor")
    errors.set_yscale("log")
    errors.set_ylabel(f"{ERROR},\nunseen images")
    errors.set_title("one point a seed; mean and 95 % interval", fontsize="medium")
    times.set(ylabel="t of the lowest level:\nmedian (point) and quartiles, by seed", ylim=(-0.02, 1.05))
    figure.suptitle(
        f"Each pixel of a digit ({config.side} × {config.side}) predicted from those before it, {config.units} units, "
        f"{config.steps} steps, {seeds_in_words(results.value.shape[1])}; levels have gates",
        fontsize="medium",
    )
    return figure


@in_style
def plot_completions(results, config, names: tuple[str, ...], own, plt):
    """Completions of seed 0 in rows of ten digits; mixtures of two digits; errors by digit."""
    figure = plt.figure(figsize=(14.0, 9.4), layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=(1.15, 1.0))
    axis, side = figure.add_subplot(grid[0, :2]), config.side
    rows = [results.drawn[0, 0]] + [results.drawn[w, row] for w in range(len(names)) for row in (1, 2)]
    labels = [f"{name}{words}" for name in names for words in ("", ",\ndigit left out\nin training")]
    _page(axis, np.array(rows), side, ["the digit", *labels], [str(digit) for digit in range(10)])
    axis.set_title("lower halves drawn after reading the upper ones", fontsize="medium")
    axis = figure.add_subplot(grid[0, 2])
    rows = results.shown.reshape(-1, *results.shown.shape[2:])
    labels = [f"{name},\nmixed {what}" for name in names for what in ("states", "inputs")]
    _page(axis, rows, side, labels, ["0", "1/4", "1/2", "3/4", "1"])
    axis.set_title("between two digits; share of the second", fontsize="medium")
    errors, looks, between = (figure.add_subplot(grid[1, column]) for column in range(3))
    digits = np.arange(10)
    for row, (name, values) in enumerate((*zip(names, results.value), ("ridge regression", results.baseline[2]))):
        mean, left_out = values[:, 0].mean(axis=0), own(values).mean(axis=0)
        errors.plot(digits, mean, "o-", color=COLOURS[row], label=name)
        errors.plot(digits, left_out, "x--", color=COLOURS[row], label=f"{name}, digit left out")
    errors.plot(digits, results.baseline[0][:, 0].mean(axis=0), ":", color="0.4", label="mean lower half")
    errors.set(xlabel="digit", ylabel=f"{ERROR},\nlower halves of unseen images", xticks=digits)
    errors.legend(frameon=False, fontsize="x-small")
    image = looks.imshow(results.looks[-1, :, 1].mean(axis=0), cmap="cividis", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=looks, label="share of the completions")
    looks.set(xticks=digits, yticks=digits, xlabel="digit whose mean lower half is nearest", ylabel="digit left out")
    looks.set_title(f"what is drawn for it ({names[-1]})", fontsize="medium")
    shares = np.linspace(0.0, 1.0, results.between.shape[-1])
    for w, name in enumerate(names):
        for what, (word, style) in enumerate((("states", "--"), ("inputs", "-"))):
            curve = results.between[w, :, what].mean(axis=0)
            between.plot(shares, curve, "o" + style, color=COLOURS[w], label=f"{name}, mixed {word}", mfc="none")
    between.set(
        xlabel="share of the second digit",
        ylabel="distance from the same mixture of the two\n(distance of the two = 1)",
    )
    between.legend(frameon=False, fontsize="small")
    figure.suptitle(
        f"Lower halves of digits drawn by {config.units} units after reading the upper ones ({side} × {side} pixels), "
        f"{config.images} training images, means of {seeds_in_words(results.value.shape[1])}; pictures of seed 0",
        fontsize="medium",
    )
    return figure


def _page(axis, rows, side: int, labels, heads) -> None:
    """Rows of images (r, k, side²), with a word for each row and each column."""
    r, k, step = len(rows), rows.shape[1], side + 2
    page = np.zeros((r * step, k * step))
    for i, row in enumerate(rows):
        for j, pixels in enumerate(row):
            page[i * step : i * step + side, j * step : j * step + side] = pixels.reshape(side, side)
    axis.imshow(page, cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest")
    axis.set_yticks([i * step + side / 2 for i in range(r)], labels, fontsize="x-small")
    axis.set_xticks([j * step + side / 2 for j in range(k)], heads, fontsize="small")
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
