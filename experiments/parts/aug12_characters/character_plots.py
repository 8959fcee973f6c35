"""The figures of :mod:`experiments.aug12_characters`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

import numpy as np

from experiments.parts.aug12_characters.character_memory import COLOURS, GATES
from experiments.shared import text
from experiments.shared.intervals import geometric_interval, t_interval
from experiments.shared.memory_plots import scatter_with_mean
from hypergrad.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, in_style

BY_SIZE = (SKY, BLUE, GREEN, ORANGE, VERMILION, PURPLE, BLACK)
MARKERS = dict(zip(GATES, "os"))
LOSS = "nats a character"


def by_log2(axis, x, rows, style: tuple, interval: Callable = t_interval) -> None:
    """Values (n, s) above places x (n,) on a log axis: each as a point, means as a line, and their 95 % intervals.

    Args:
      style: colour, label, marker, and by what power of 2 to shift, so that nothing hides the other.
      interval: which mean, and which interval.
    """
    colour, label, marker, shift = style
    at = np.asarray(x) * 2.0**shift
    axis.plot(np.repeat(at, rows.shape[1]), np.ravel(rows), ".", color=colour, alpha=0.35, markersize=3.5)
    found = np.array([interval(values) if len(values) > 1 else np.repeat(values, 3) for values in rows])
    axis.plot(at, found[:, 0], "-", marker=marker, color=colour, label=label, markersize=5)
    for place, (_, low, high) in zip(at, found):
        axis.plot([place, place], [low, high], "-", color=colour)
    axis.set_xscale("log", base=2)
    axis.set_xticks(x, [f"{value:g}" for value in x])
    axis.set_xticks([], minor=True)


def _title(config, words: str) -> str:
    return f"{words}; {config.seeds} unseen seed{'s' * (config.seeds > 1)}"


@in_style
def plot_one_string(results, config, plt):
    """Above, the share of characters that is right over the training; below, what is left at its end."""
    figure, axes = plt.subplots(2, 2, figsize=(11.0, 8.0), layout="constrained")
    for axis, name, right in zip(axes[0], GATES, results.right):
        for units, colour, rows in zip(config.units, BY_SIZE, right):
            axis.plot(results.steps, 100.0 * rows.mean(axis=0), ".-", color=colour, label=f"{units} units")
            low, high = 100.0 * rows.min(axis=0), 100.0 * rows.max(axis=0)
            axis.fill_between(results.steps, low, high, color=colour, alpha=0.12, linewidth=0.0)
        for n, share, style in zip(config.orders, results.table.mean(axis=0), ((0, (1, 1)), "--", "-.")):
            label = f"table of the last {n}" if n > 1 else "table of the last character"
            axis.axhline(100.0 * share, color="0.4", linestyle=style, linewidth=1.0, label=label)
        axis.set(xscale="log", xlabel="training steps", ylabel="characters predicted right (%)", title=name)
    axes[0, 0].legend(framealpha=0.85, edgecolor="none", fontsize="small", loc="upper left")
    for m, name in enumerate(GATES):
        style = (COLOURS[name], name, MARKERS[name], 0.08 * (2 * m - 1))
        by_log2(axes[1, 0], config.units, results.value[m, :, :, -1], style, geometric_interval)
        by_log2(axes[1, 1], config.units, 100.0 * results.drawn[m], style)
    axes[1, 0].set(yscale="log", xlabel="units", ylabel=f"loss at the end ({LOSS})")
    axes[1, 1].set(xlabel="units", ylabel="drawn right from the first character alone (%)")
    axes[1, 0].legend(frameon=False, fontsize="small")
    words = f"One string of {config.length} characters memorised, {results.steps[-1]} steps of Adam"
    figure.suptitle(
        _title(config, words)
        + "\nbands: from the least to the most; below: mean (of losses the geometric one) and 95 % interval",
        fontsize="medium",
    )
    return figure


@in_style
def plot_told_apart(results, config, tasks, plt):
    """For each task: characters right of the endings, of their beginnings, where the model draws; and losses."""
    panels = (
        (100.0 * results.right, "characters of the endings right (%),\nall before them given"),
        (100.0 * results.parting, "first characters of the endings right (%)"),
        (100.0 * results.drawn, "characters of the endings right (%),\ndrawn from prompt or key alone"),
        (results.value, f"loss over all of the sequences\n({LOSS})"),
    )
    figure, axes = plt.subplots(2, 2, figsize=(13.0, 9.0), layout="constrained")
    axes = axes.ravel()
    for axis, (measured, words) in zip(axes, panels):
        for k in range(len(tasks)):
            for m, name in enumerate(GATES):
                for u, units in enumerate(config.units):
                    x = k + 0.2 * (m * len(config.units) + u - (2 * len(config.units) - 1) / 2)
                    colour = BY_COLUMN[m * len(config.units) + u]
                    label = f"{name}, {units} units" if k == 0 else None
                    scatter_with_mean(axis, x, measured[k, m, u], colour, MARKERS[name], label)
        axis.set_xticks(range(len(tasks)), [name.replace(" ", "\n") for name in tasks], fontsize="small")
        axis.set(ylabel=words)
    for axis in axes[:3]:
        axis.set_ylim(-6, 105)
    for k, task in enumerate(tasks.values()):
        for n, share, style in zip(config.orders, results.table[k].mean(axis=0), ("--", ":")):
            label = f"table of the last {n} characters" if k == 0 else None
            axes[0].plot([k - 0.45, k + 0.45], [100.0 * share] * 2, style, color="0.4", label=label)
        if task.shared:
            (chance,) = axes[1].plot([k - 0.45, k + 0.45], [100.0 / task.sequences] * 2, "-.", color="0.4")
    axes[1].legend([chance], [CHANCE], frameon=False, fontsize="small", loc=(0.02, 0.3))
    axes[0].legend(frameon=False, fontsize="small", loc="lower left")
    words = "Sentences that go on as their first characters say, and entries by their key"
    words = f"{words}; {config.trained_steps} steps of Adam"
    figure.suptitle(_title(config, words) + "; points: seeds; mean and 95 % interval", fontsize="medium")
    return figure


CHANCE = "the most without\na memory of the prompt"


def by_doubling(curve) -> tuple[np.ndarray, np.ndarray]:
    """A curve's first point, its next, next two, next four and so on: their last positions, from 1, and their means."""
    first = np.concatenate([[0], 2 ** np.arange(int(np.log2(len(curve))))])
    ends = np.append(first[1:], len(curve))
    return ends, np.add.reduceat(curve, first) / (ends - first)


BY_COLUMN = (SKY, BLUE, ORANGE, VERMILION, GREEN, PURPLE, BLACK)


@in_style
def plot_batch_and_length(results, config, plt):
    """Above: test loss by length and by batch; below: by position, and how long memory lasts."""
    figure, axes = plt.subplots(2, 2, figsize=(12.5, 9.0), layout="constrained")
    by_length, by_batch = results.arms(config)
    for m, name in enumerate(GATES):
        by_log2(axes[0, 0], config.lengths, by_length[m], (COLOURS[name], name, MARKERS[name], 0.06 * (2 * m - 1)))
    ticks = [f"{length}\n{config.a_step // length}" for length in config.lengths]
    axes[0, 0].set_xticks(config.lengths, ticks)
    axes[0, 0].set(
        xlabel="length of the pieces trained on (characters),\nand how many of them a step",
        ylabel=f"test loss ({LOSS})",
    )
    axes[0, 0].set_title(f"{config.units} units, {config.a_step} characters a step", fontsize="medium")
    for units, colour, rows in zip(config.sizes, BY_SIZE[1::2], by_batch):
        by_log2(axes[0, 1], config.batches, rows, (colour, f"{units} units", "o", 0.0))
    steps = [f"{batch}\n{config.seen // (batch * config.piece):,}" for batch in config.batches]
    axes[0, 1].set_xticks(config.batches, steps)
    axes[0, 1].set(xlabel="pieces in a minibatch,\nand how many steps are taken", ylabel=f"test loss ({LOSS})")
    axes[0, 1].set_title(f"with gates, pieces of {config.piece} characters", fontsize="medium")
    for axis in axes[0]:
        lows, highs = axis.get_ylim()
        for order, loss in enumerate(results.table[0]):
            if lows - 0.25 < loss < highs + 0.1:
                axis.axhline(
                    loss, color="0.45", linewidth=0.9, linestyle=TABLE_STYLES[order], label=f"table, {order} before"
                )
        axis.legend(frameon=False, fontsize="small", ncols=2)
    split = len(config.lengths)
    for name, start, style in zip(GATES, (0, split), ("--", "-")):
        for i, colour in ((0, SKY), (split // 2, GREEN), (split - 1, VERMILION)):
            places, means = by_doubling(results.by_position[start + i].astype(float).mean(axis=0))
            axes[1, 0].plot(
                places, means, "." + style, color=colour, label=f"{config.lengths[i]}, {name}", linewidth=1.2
            )
    axes[1, 0].set(
        xscale="log",
        xlabel="up to so many characters read before the one predicted",
        ylabel=f"test loss ({LOSS}),\nmean over seeds",
    )
    axes[1, 0].legend(frameon=False, fontsize="small", title="trained on pieces of", title_fontsize="small")
    for m, name in enumerate(GATES):
        middle = results.half_lives[m * split : (m + 1) * split, :, 1:4]
        rows = np.median(middle, axis=1)
        at = np.array(config.lengths) * 2.0 ** (0.1 * (2 * m - 1))
        axes[1, 1].plot(at, rows[:, 1], MARKERS[name] + "-", color=COLOURS[name], label=name)
        for x, (low, _, high) in zip(at, rows):
            axes[1, 1].plot([x, x], [low, high], "-", color=COLOURS[name])
    axes[1, 1].axhspan(*START_HALF_LIVES, color="0.85", label="at the start")
    axes[1, 1].set_xscale("log", base=2)
    axes[1, 1].set_xticks(config.lengths, [str(length) for length in config.lengths])
    axes[1, 1].set(yscale="log", xlabel="length of the pieces trained on (characters)")
    axes[1, 1].set_ylabel("half-life of a unit after training (characters,\nwith gates at t = 1): median and quartiles")
    axes[1, 1].legend(frameon=False, fontsize="small")
    words = f"Characters of the text, {config.seen:,} seen in each training, judged on pieces of {config.judged}"
    figure.suptitle(_title(config, words) + "; points: seeds; mean and 95 % interval", fontsize="medium")
    return figure


TABLE_STYLES = ((0, (1, 3)), ":", "-.", "--", (0, (5, 1)))
START_HALF_LIVES = np.log(2.0) / -np.log1p(-np.array([1e-3, 1e-4]))  # between these, in characters
LINE = 60  # characters of a line of a sample


def shown(characters) -> str:
    """A sample in lines of a page, with ends of verses marked, and what is no printed character."""
    words = re.sub("[^ -~¶]", "▯", text.as_text(characters).replace("\n", "¶"))
    return "\n".join(textwrap.wrap(words, LINE))


@in_style
def plot_samples(results, config, ways, plt):
    """A page of samples after the same prompt, and below it words and losses."""
    figure = plt.figure(figsize=(14.0, 11.0), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(2.2, 1.0))
    page = figure.add_subplot(grid[0, :])
    page.set_axis_off()
    _page(page, results, config, ways)
    words, losses = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
    colours = (*COLOURS.values(), GREEN)
    for w, (name, colour, marker) in enumerate(zip(ways, colours, (*MARKERS.values(), "^"))):
        for t in range(len(config.temperatures)):
            label = name if t == 0 else None
            scatter_with_mean(words, t + 0.22 * (w - 1), 100.0 * results.words[w, :, t], colour, marker, label)
        scatter_with_mean(losses, w, results.value[w], colour, marker)
    mean = 100.0 * results.of_text.mean()
    words.axhline(mean, color="0.4", linestyle="--", linewidth=1.0, label="the true text")
    words.set_xticks(range(len(config.temperatures)), [f"{t:g}" for t in config.temperatures])
    words.set(xlabel="temperature", ylabel="words of the samples that\nthe training text has (%)")
    words.legend(frameon=False, fontsize="small", loc="lower left")
    losses.set_xticks(range(len(ways)), ways)
    losses.set(ylabel=f"test loss ({LOSS})")
    seen = config.trained_steps * config.batch_size * config.length
    title = f"Samples after {seen:,} characters, {config.units} units; tables of the last {config.order} characters"
    figure.suptitle(
        _title(config, title) + "; those of the first seed are shown; mean and 95 % interval", fontsize="medium"
    )
    return figure


def _page(axis, results, config, ways) -> None:
    """Rows of temperatures, columns of ways, for the first seed and prompt; above them the prompt and the true text."""
    font = {"family": "monospace", "fontsize": 7.6, "va": "top", "transform": axis.transAxes}
    bold = {"fontsize": 9.5, "va": "top", "transform": axis.transAxes, "weight": "bold"}
    places = [(0.0, 1.0, "prompt (¶: end of a verse)", results.prompt[0, 0])]
    places.append((0.345, 1.0, "the text goes on", results.true[0, 0]))
    for t, temperature in enumerate(config.temperatures):
        for w, name in enumerate(ways):
            words = f"{name}, temperature {temperature:g}"
            places.append((0.345 * w, 0.76 - 0.26 * t, words, results.sampled[w, 0, t, 0]))
    for x, y, words, characters in places:
        axis.text(x, y, words, **bold)
        axis.text(x, y - 0.035, shown(characters), **font)
