"""The figure of MLPs with and without a gate."""

from __future__ import annotations

import numpy as np

from experiments.shared.intervals import t_interval
from experiments.shared.runner import seeds_in_words
from hypergrad.style import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, in_style

STYLES = {  # colour, dashes and marker of each
    "MLP, gelu": (SKY, "-", "o"),
    "MLP, silu": (BLUE, "-", "o"),
    "gate, gelu": (ORANGE, "--", "s"),
    "gate, silu": (VERMILION, "--", "s"),
    "gate, no φ": (PURPLE, "--", "s"),
    "wide gate, silu": (GREEN, "--", "^"),
}
SHOWN = (  # differences: each less the other, and what is equal besides the FLOPs of the training
    ("gate, gelu", "MLP, gelu", "parameters"),
    ("gate, silu", "MLP, silu", "parameters"),
    ("gate, no φ", "MLP, silu", "parameters"),
    ("wide gate, silu", "MLP, silu", "hidden units"),
    ("wide gate, silu", "gate, silu", ""),
)


@in_style
def plot_gates(results, config, plt):
    """Above the test loss over steps and over FLOPs; below the grid of rates, and differences at the end."""
    figure, axes = plt.subplots(2, 2, figsize=(13.0, 9.4), layout="constrained")
    by_steps, by_flops, rates, apart = axes.flat
    for k, (name, (colour, dashes, marker)) in enumerate(STYLES.items()):
        mean, low, high = np.transpose([t_interval(losses) for losses in results.value[k].T])
        style = {"color": colour, "linestyle": dashes, "marker": marker, "markersize": 4, "linewidth": 1.2}
        label = f"{name}: {results.hidden[k]} hidden, {results.parameters[k]:,} parameters"
        for axis, x in ((by_steps, results.steps[k]), (by_flops, results.flops[k])):
            axis.plot(x, mean, **style, label=label if axis is by_steps else None)
            axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        rates.plot(10.0 ** np.array(config.log_rates), results.by_rate[k].mean(axis=-1), **style)
    for axis, label in ((by_steps, "training step"), (by_flops, "compute of the training (FLOPs)")):
        axis.set(xscale="log", yscale="log", xlabel=label, ylabel="test loss (nats a character)")
    by_steps.legend(frameon=False, fontsize="small")
    by_steps.set_title(f"{results.value.shape[1]} unseen draws: mean and 95 % interval (t)", fontsize="medium")
    by_flops.set_title("the same over matrix products", fontsize="medium")
    rates.set(xscale="log", xlabel="learning rate", ylabel="validation loss at the end (nats a character)")
    rates.set_xticks(10.0 ** np.array(config.log_rates), [f"{10.0**rate:.3g}" for rate in config.log_rates])
    rates.xaxis.set_minor_formatter("")
    rates.set_title(f"grid of rates, mean over {seeds_in_words(config.seeds)}", fontsize="medium")
    for axis in (by_steps, by_flops):
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
    _differences(apart, results)
    figure.suptitle(
        f"A character transformer with a gate in its MLP: width {config.width}, depth {config.depth}, pieces of "
        f"{config.length}, minibatches of {config.characters} characters, a constant rate of Adam",
        fontsize="medium",
    )
    return figure


def _differences(axis, results) -> None:
    names, labels = list(STYLES), []
    for y, (name, other, equal) in enumerate(SHOWN):
        differences = results.value[names.index(name), :, -1] - results.value[names.index(other), :, -1]
        colour = STYLES[name][0]
        axis.plot(differences, np.full(len(differences), y + 0.2), ".", color=colour, markersize=5, alpha=0.6)
        mean, low, high = t_interval(differences)
        axis.errorbar(mean, y, xerr=[[mean - low], [high - mean]], fmt="|", color=colour, markersize=14, capsize=4)
        labels.append(f"{name}\nless {other}" + f"\n(equal {equal})" * bool(equal))
    axis.axvline(0.0, color="0.6", linewidth=0.8)
    axis.set_yticks(range(len(SHOWN)), labels, fontsize="small")
    axis.set_ylim(len(SHOWN) - 0.4, -0.6)
    axis.set(xlabel="difference of the test loss at the end (nats a character)")
    axis.set_title("at equal FLOPs of the training: each draw, mean and 95 % interval (t)", fontsize="medium")
