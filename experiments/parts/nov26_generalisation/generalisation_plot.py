"""The figure of descents on validation sets of several sizes: against the number of hyperparameters, and on the way."""

from __future__ import annotations

import numpy as np

from experiments.parts.nov26_generalisation import overfitting
from experiments.shared.intervals import t_interval
from experiments.shared.runner import seeds_in_words
from hypergrad.style import BLACK, CYCLE, SKY, YELLOW, in_style

HIGHEST = 1.3  # nats; a few spikes of single seeds are cut off
STYLES = {"training": ":", "validation": "--", "third split": "-"}


@in_style
def plot(results, config, plt):
    """A column for each size of the validation set; below, where there are rivals, gaps and two ways to stop early."""
    rows, columns = 2 + config.rivals, len(config.sizes)
    figure, axes = plt.subplots(rows, columns, figsize=(4.4 * columns, 3.7 * rows + 0.6), layout="constrained")
    for row in axes[:2]:
        for axis in row[1:]:
            axis.sharey(row[0])
        row[0].set_ylabel("loss (nats)")
    for column, (n, by_number, by_iteration) in enumerate(zip(config.sizes, axes[0], axes[1])):
        _by_number(by_number, results, config, n, column)
        _by_iteration(by_iteration, results, config, n)
        by_number.set_title(f"n = {n:,} validation images\nat the last meta-iteration", fontsize="medium")
    axes[0, 0].set_ylim(0.0, HIGHEST)
    axes[1, 0].set_ylim(0.0, HIGHEST)
    if config.rivals:
        _gaps(axes[2, 0], results, config)
        lowest, half = (
            np.stack([overfitting.chosen(results, config, n, way)[0] for n in config.sizes], axis=1)
            for way in ("lowest validation", "other half")
        )
        title = "n/2 to descend on, the others choose the iteration,\nless n to descend on and to choose by"
        _differences(axes[2, 1], half - lowest, config, title)
        title = "training stopped at its step of lowest validation loss,\nless all steps, after the descent"
        _differences(axes[2, 2], results.stopped[..., 1, 1].astype(float) - lowest, config, title)
    axes[0, 0].legend(fontsize="x-small", loc="upper left")
    axes[1, 0].legend(fontsize="x-small", loc="upper left", ncols=2, title="hyperparameters", title_fontsize="x-small")
    figure.suptitle(
        f"196-20-10 tanh, {config.images:,} MNIST images, {config.steps} steps; {config.evaluations()} meta-iterations "
        f"of Adam {config.meta_step:g};\nmeans over {seeds_in_words(config.seeds)}"
        + ", bars and bands 95 % intervals (t)"
        * (config.seeds > 1),
        fontsize="medium",
    )
    return figure


def _interval(values) -> tuple[float, float, float]:
    """Mean and ends, which are the mean where there is one seed alone."""
    return tuple(t_interval(values)) if len(values) > 1 else (values[0],) * 3


def _bars(axis, x, values, **options) -> None:
    """Means over seeds of values (x, s) and their intervals."""
    mean, low, high = np.transpose([_interval(row) for row in values])
    axis.errorbar(x, mean, [mean - low, high - mean], capsize=2.5, **options)


def _by_number(axis, results, config, n: int, column: int) -> None:
    numbers = np.array(list(config.spaces()))
    for (name, style), marker, array in zip(STYLES.items(), "^so", overfitting.of(results, config, n)[:3]):
        _bars(axis, numbers, array[..., -1], color=BLACK, linestyle=style, marker=marker, markersize=4, label=name)
    third = overfitting.of(results, config, n)[2][0, :, 0]
    axis.axhline(third.mean(), color="0.6", linewidth=1.0, label="third split, start")
    if config.rivals:
        values, _ = overfitting.chosen(results, config, n, "other half")
        label = "third split, n/2 to descend on,\nthe others choose the iteration"
        _bars(axis, numbers * 1.12, values, color=SKY, marker="o", markersize=4, label=label)
        searched = [overfitting.best_of_search(results, place, column)[:, 0] for place in range(2)]
        options = {"markeredgecolor": BLACK, "ecolor": BLACK, "markersize": 9, "label": "third split, plain search"}
        _bars(axis, numbers[:2] * 1.25, searched, color=YELLOW, marker="*", linestyle="", **options)
    axis.set(xscale="log", xlabel="number of hyperparameters")


def _by_iteration(axis, results, config, n: int) -> None:
    _, valid, third, _ = overfitting.of(results, config, n)
    at = np.arange(third.shape[-1])
    for place, numbers in enumerate(config.spaces()):
        colour = CYCLE[place]
        axis.plot(at, valid[place].mean(axis=0), STYLES["validation"], color=colour, linewidth=1.2)
        axis.plot(at, third[place].mean(axis=0), STYLES["third split"], color=colour, label=f"{numbers:,}")
        _, low, high = np.transpose([_interval(values) for values in third[place].T])
        axis.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        turn = overfitting.turn(third[place])
        axis.plot(turn, third[place, :, turn].mean(), "o", color=colour, markersize=6)
    axis.set(xlabel="meta-iteration")
    axis.set_title("solid: third split (dot: lowest), dashed: validation", fontsize="small")


def _gaps(axis, results, config) -> None:
    for place, numbers in enumerate(config.spaces()):
        sizes = np.array(config.descended())
        values = [overfitting.gap(results, config, n)[place] for n in sizes]
        _bars(axis, numbers / sizes, values, color=CYCLE[place], marker="o", markersize=4, label=f"{numbers:,}")
    line = np.array([1e-3, 2.0])
    axis.plot(line, line, color="0.5", linestyle=":", label="hyperparameters / images")
    axis.set(
        xscale="log",
        xlabel="hyperparameters / validation images",
        ylabel="growth of third loss less validation loss (nats)",
    )
    axis.set_yscale("symlog", linthresh=0.01)
    axis.axhline(0.0, color="0.8", linewidth=1.0)
    axis.legend(fontsize="x-small", loc="lower right")


def _differences(axis, differences, config, title: str) -> None:
    """Of third losses (p, n, s), by size and, in the colours of the spaces, by number of hyperparameters."""
    from matplotlib.ticker import NullLocator

    axis.axhline(0.0, color="0.8", linewidth=1.0)
    for place, values in enumerate(differences):
        x = np.array(config.sizes) * 1.12 ** (place - 2)
        _bars(axis, x, values, color=CYCLE[place], marker="o", markersize=4, linestyle="")
    axis.set(xscale="log", xlabel="validation images", ylabel="third loss, difference (nats)")
    axis.set_title(title, fontsize="small")
    axis.set_xticks(config.sizes, [f"{n:,}" for n in config.sizes])
    axis.xaxis.set_minor_locator(NullLocator())
