"""The figure of activations and of the shapes that were learned."""

from __future__ import annotations

import numpy as np

from experiments.shared.intervals import crossed_interval
from experiments.shared.scale_plots import draw_price
from hypergrad.style import BLUE, DEFAULT, GREEN, LEARNED, LEARNED_TOO, ORANGE, PURPLE, SEARCHED, in_style

BY_LAYER = (BLUE, ORANGE, PURPLE)
FROM = (LEARNED, LEARNED_TOO)  # of the two starts of descents


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
        f"steps of Adam, minibatches of {config.batch_size}; {config.seeds} runs of descent and of search",
        fontsize="medium",
    )
    return figure


def _compared(axis, results, config) -> None:
    compared = results.compared()
    learned = iter(FROM)
    for y, (name, losses) in enumerate(compared.items()):
        colour = SEARCHED if name == "search" else next(learned) if name.startswith("learned") else DEFAULT
        by_draw = losses.mean(axis=0)
        axis.plot(by_draw, np.full(len(by_draw), y + 0.2), ".", color=colour, markersize=4, alpha=0.6)
        mean, low, high = crossed_interval(losses)
        axis.errorbar(mean, y, xerr=[[mean - low], [high - mean]], fmt="|", color=colour, markersize=14, capsize=4)
    axis.set_yticks(range(len(compared)), compared)
    axis.invert_yaxis()
    axis.set(xlabel="test loss (nats a character)")
    axis.set_title(f"{config.unseen_draws} unseen draws (of runs their mean), mean, 95 % interval", fontsize="medium")


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
    learned = {name: (colour, values) for name, colour, values in zip(names, FROM, results.value)}
    draw_price(axis, learned, results.trial_value, config.draws)
    axis.set_title("new draws at every step of a descent, the same in a search", fontsize="medium")


def _shapes(axis, several, layers: int) -> None:
    x = np.linspace(-4.0, 4.0, 81)
    for layer, colour in enumerate(BY_LAYER):
        shapes = np.array([x - z[layer] * np.tanh(x / np.exp(z[layers + layer])) for z in several])
        axis.plot(x, shapes.T, color=colour, linewidth=0.6, alpha=0.4)
        axis.plot(x, shapes.mean(axis=0), color=colour, linewidth=2.0, label=f"layer {layer + 1}")
    axis.plot(x, x, color="0.8", linewidth=0.8, zorder=0)
    axis.set(xlabel="x", ylabel="x − a tanh(x/b)")
    axis.legend(frameon=False, fontsize="small", title="thin: a run each; thick: mean", title_fontsize="small")
