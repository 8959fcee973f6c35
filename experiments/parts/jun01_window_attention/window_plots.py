"""The figure of a recurrence with attention in a window."""

from __future__ import annotations

import numpy as np

from experiments.shared.intervals import t_interval
from experiments.shared.runner import seeds_in_words
from hypergrad.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, in_style

WINDOWS = {"recurrence": ("1", "2", "5", "all"), "attention": ("2", "5", "all")}
COLOURS = {"recurrence": BLUE, "attention": VERMILION}
NAMES = {"recurrence": "recurrence, then attention", "attention": "attention alone"}
DASHES, MARKERS = ("--", "-"), ("o", "s")  # of the lengths
REFERENCE = "recurrence, all"  # what losses by position are compared with
SHOWN = {  # there: colour and dashes
    "recurrence": (BLACK, "-"),
    "recurrence, 2": (SKY, "-"),
    "recurrence, 5": (BLUE, "-"),
    "attention, 2": (PURPLE, "--"),
    "attention, 5": (ORANGE, "--"),
    "attention, all": (VERMILION, "--"),
}


@in_style
def plot_windows(results, config, plt):
    """Above losses by window, what shorter windows cost, and rates; below losses by position, for each length."""
    names = ["recurrence", *(f"{below}, {window}" for below in COLOURS for window in WINDOWS[below])]
    figure, axes = plt.subplot_mosaic(
        [["by window", "cost", "rates"], ["short", "long", "rates"]], figsize=(15.5, 9.0), layout="constrained"
    )
    losses = results.own(config)
    _by_window(axes["by window"], losses, names, config)
    _cost(axes["cost"], losses, names, config)
    _rates(axes["rates"], results, names, config)
    for i, key in ((0, "short"), (-1, "long")):
        _by_position(axes[key], results.value[i], names, config, config.lengths[i])
    axes["short"].sharey(axes["long"])
    figure.suptitle(
        f"Character models of width {config.width}, depth {config.depth}, {config.trained_steps} steps on minibatches "
        f"of {config.characters} characters; {results.value.shape[2]} unseen draws: mean and 95 % interval (t)",
        fontsize="medium",
    )
    return figure


def _by_window(axis, losses, names, config) -> None:
    for i, length in enumerate(config.lengths):
        for below, colour in COLOURS.items():
            several = [losses[i, names.index(f"{below}, {window}")] for window in WINDOWS[below]]
            mean, low, high = np.transpose(list(map(t_interval, several)))
            style = {"color": colour, "linestyle": DASHES[i % 2], "marker": MARKERS[i % 2], "markersize": 5}
            label = f"{NAMES[below]}, pieces of {length}"
            style |= {"capsize": 3, "linewidth": 1.2, "label": label}
            axis.errorbar(range(5 - len(mean), 5), mean, [mean - low, high - mean], **style)
        mean, low, high = t_interval(losses[i, names.index("recurrence")])
        axis.errorbar(0, mean, [[mean - low], [high - mean]], color=BLACK, marker=MARKERS[i % 2], capsize=3)
    axis.set_xticks(range(5), ["no attention", *WINDOWS["recurrence"]])
    axis.set(xlabel="history that attention sees (characters)", ylabel="test loss (nats a character)")
    axis.set_title("mean over a piece of the length of training", fontsize="medium")
    axis.legend(frameon=False, fontsize="small")


def _cost(axis, losses, names, config) -> None:
    for i, length in enumerate(config.lengths):
        for j, (below, colour) in enumerate(COLOURS.items()):
            whole = losses[i, names.index(f"{below}, all")]
            for x, window in enumerate(WINDOWS[below][:-1], start=4 - len(WINDOWS[below])):
                values = losses[i, names.index(f"{below}, {window}")] - whole
                at = x + 0.18 * (2 * i + j - 1.5)
                axis.plot(np.full(len(values), at + 0.06), values, ".", color=colour, markersize=4, alpha=0.5)
                mean, low, high = t_interval(values)
                label = f"{NAMES[below]}, pieces of {length}" if window == "2" else None
                style = {"color": colour, "marker": MARKERS[i % 2], "capsize": 3, "linestyle": "none", "label": label}
                axis.errorbar(at, mean, [[mean - low], [high - mean]], markersize=5, **style)
    axis.axhline(0.0, color="0.6", linewidth=0.8)
    axis.set_xticks(range(3), WINDOWS["recurrence"][:-1])
    axis.set(xlabel="history that attention sees (characters)", ylabel="loss less that with all in sight (nats)")
    axis.set_title("what a short window costs: each draw, mean, interval", fontsize="medium")
    low, high = axis.get_ylim()
    axis.set_ylim(low - 0.4 * (high - low), high)  # room for the legend
    axis.legend(frameon=False, fontsize="small", loc="lower left")


def _rates(axis, results, names, config) -> None:
    palette = {**SHOWN, REFERENCE: (GREEN, "-"), "recurrence, 1": ("0.6", "-")}
    for name, losses in zip(names, results.by_rate):
        colour, dashes = palette[name]
        style = {"color": colour, "linestyle": dashes, "marker": "s", "markersize": 4, "linewidth": 1.2}
        axis.plot(10.0 ** np.array(config.log_rates), losses.mean(axis=-1), **style, label=name)
    axis.set(xscale="log", xlabel="learning rate", ylabel="validation loss (nats a character)")
    axis.set_xticks(10.0 ** np.array(config.log_rates), [f"{10.0**rate:.3g}" for rate in config.log_rates])
    axis.xaxis.set_minor_formatter("")
    axis.set_title(f"pieces of {max(config.lengths)}, {seeds_in_words(config.seeds)}: mean", fontsize="medium")
    axis.legend(frameon=False, fontsize="small", ncols=2)
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.35 * (high - low))  # room for the legend


def _by_position(axis, values, names, config, length: int) -> None:
    x = np.sqrt((config.bins[:-1] + 1.0) * config.bins[1:])
    for name, (colour, dashes) in SHOWN.items():
        apart = values[names.index(name)] - values[names.index(REFERENCE)]
        mean, low, high = np.transpose([t_interval(column) for column in apart.T])
        axis.plot(x, mean, dashes, color=colour, marker=".", linewidth=1.2, label=name)
        axis.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
    if length < max(config.lengths):
        axis.axvline(length, color="0.6", linewidth=0.8, linestyle=":")
    axis.set(xscale="log", xlabel="characters read of the piece")
    axis.set_ylabel(f"loss less that of {REFERENCE} (nats)")
    axis.set_xticks(config.bins[1:], config.bins[1:])
    axis.xaxis.set_minor_formatter("")
    axis.axhline(0.0, color="0.6", linewidth=0.8)
    axis.set_title(f"trained on pieces of {length}, tested on {max(config.lengths)}", fontsize="medium")
    axis.legend(frameon=False, fontsize="small")
