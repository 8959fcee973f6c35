"""The figure of activations and of the shapes that were learned."""

from __future__ import annotations

import numpy as np

from experiments.shared.intervals import t_interval
from experiments.shared.runner import seeds_in_words
from hypergrad.style import BLUE, DEFAULT, GREEN, LEARNED, LEARNED_TOO, ORANGE, PURPLE, SEARCHED, in_style

BY_LAYER = (BLUE, ORANGE, PURPLE)
FROM = (LEARNED, LEARNED_TOO)  # of the two starts of descents
DASHES = ("-", "--", ":")  # of the seeds


@in_style
def plot_activations(results, config, plt):
    """Left what all are worth; in the middle the grid of rates and the descents; right the shapes that were learned."""
    figure, axes = plt.subplot_mosaic(
        [["compared", "rates", "first"], ["compared", "descents", "second"]], figsize=(15.0, 8.6), layout="constrained"
    )
    _compared(axes["compared"], results, config)
    _rates(axes["rates"], results, config)
    _descents(axes["descents"], results, config)
    layers = results.z.shape[-1] // 2
    names = [name for name in results.compared() if name.startswith("learned from")]
    for axis, name, z in zip((axes["first"], axes["second"]), names, results.z[:, :, -1]):
        _shapes(axis, z, layers)
        axis.set_title(name, fontsize="medium")
    figure.suptitle(
        f"Characters from the {config.context} before: three hidden layers of {config.width}, {config.trained_steps} "
        f"steps of Adam, minibatches of {config.batch_size}; {seeds_in_words(config.seeds)}",
        fontsize="medium",
    )
    return figure


def _compared(axis, results, config) -> None:
    compared = results.compared()
    learned = iter(FROM)
    for y, (name, losses) in enumerate(compared.items()):
        colour = SEARCHED if name == "search" else next(learned) if name.startswith("learned") else DEFAULT
        axis.plot(losses, np.full(len(losses), y + 0.2), ".", color=colour, markersize=4, alpha=0.6)
        mean, low, high = t_interval(losses)
        axis.errorbar(mean, y, xerr=[[mean - low], [high - mean]], fmt="|", color=colour, markersize=14, capsize=4)
    axis.set_yticks(range(len(compared)), compared)
    axis.invert_yaxis()
    axis.set(xlabel="test loss (nats a character)")
    axis.set_title(f"{config.unseen_draws} unseen seeds: each, mean and 95 % interval", fontsize="medium")


def _rates(axis, results, config) -> None:
    shown = {"gelu": BLUE, "relu": ORANGE, "x": "black", "x + tanh x": GREEN, "tanh": PURPLE}
    names = list(results.compared())
    for name, losses in zip(names, results.by_rate):
        style = {"color": shown[name], "label": name, "zorder": 3} if name in shown else {"color": "0.75"}
        axis.plot(10.0 ** np.array(config.log_rates), losses, ".-", **style)
    axis.plot([], [], color="0.75", label="others")
    axis.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="validation loss (nats)")
    axis.xaxis.set_minor_formatter("")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.set_title(f"grid, mean of {config.draws} draws", fontsize="medium")
    axis.legend(frameon=False, fontsize="small")


def _descents(axis, results, config) -> None:
    names = [name for name in results.compared() if name.startswith("learned from")]
    for name, colour, several in zip(names, FROM, results.value):
        for seed, values in enumerate(several):
            spent = 3 * config.draws * (1 + np.arange(len(values)))
            label = name if seed == 0 else None
            axis.plot(spent, values, "o-", markersize=3, color=colour, label=label)
    for seed, values in enumerate(results.trial_value):
        best = np.fmin.accumulate(values)
        spent = config.draws * (1 + np.arange(len(values)))
        axis.plot(spent, best, "--", color=SEARCHED, label="search, best so far" if seed == 0 else None)
    axis.set(xlabel="trainings spent (a hypergradient counts as three)", ylabel="validation loss (nats)")
    axis.set_title("new draws at every step of a descent, the same in a search", fontsize="medium")
    axis.legend(frameon=False, fontsize="small")


def _shapes(axis, several, layers: int) -> None:
    x = np.linspace(-4.0, 4.0, 81)
    for z, dashes in zip(several, DASHES):
        for layer, colour in enumerate(BY_LAYER):
            a, b = z[layer], np.exp(z[layers + layer])
            label = f"layer {layer + 1}" if dashes == "-" else None
            axis.plot(x, x - a * np.tanh(x / b), dashes, color=colour, linewidth=1.2, label=label)
    axis.plot(x, x, color="0.8", linewidth=0.8, zorder=0)
    axis.set(xlabel="x", ylabel="x − a tanh(x/b)")
    axis.legend(frameon=False, fontsize="small", title="a line for each seed", title_fontsize="small")
