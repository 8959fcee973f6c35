"""The figures of schedules that were learned for every step and array: as in the paper, and against constants."""

from __future__ import annotations

import textwrap

import numpy as np

import hypergrad as hg
from experiments.shared.intervals import t_interval
from hypergrad.style import BLUE, CONSTANT, DEFAULT, GREEN, LEARNED, LEARNED_TOO, ORANGE, VERMILION, in_style

# Of Okabe & Ito, who chose them so that colour-blind readers can tell them apart.
LAYERS = (BLUE, ORANGE, GREEN, VERMILION)
WINDOW = 9  # steps, of the moving averages of schedules


def unpacked(net, hypers) -> tuple:
    """Learning rates and momenta (s, arrays, steps) and scales (s, arrays) of s vectors of hyperparameters."""
    log_lr, logit_momentum, log_scale = (np.array(part) for part in zip(*map(net.parts, hypers)))
    return np.exp(log_lr), 1.0 / (1.0 + np.exp(-logit_momentum)), np.exp(log_scale)


def names(net) -> list[str]:
    return [f"layer {i + 1} ({m}-{n})" for i, (m, n) in enumerate(zip(net.sizes, net.sizes[1:]))]


def title(net) -> str:
    return (
        f"{'-'.join(map(str, net.sizes))} tanh, 10,000 MNIST images in minibatches of {net.batch_size}, "
        f"{net.steps} steps, {net.numbers:,} hyperparameters"
    )


@in_style
def plot_published(results, config, plt):
    """The learned schedules; curves and scales along the descent; the first hypergradient and the norm of each."""
    net = config.net()
    lr, momentum, _ = unpacked(net, results.learned[0])
    figure, axes = plt.subplots(3, 3, figsize=(12.0, 10.0), layout="constrained")
    draw_schedules(axes[0, 0], lr[:, ::2], net)
    draw_schedules(axes[0, 1], lr[:, 1::2], net)
    draw_schedules(axes[0, 2], momentum[:, ::2], net)
    axes[0, 0].set(title="Learned rates of the weights", ylabel="learning rate", yscale="log")
    axes[0, 1].set(title="Learned rates of the biases", ylabel="learning rate", yscale="log")
    axes[0, 2].set(title="Learned momenta of the weights", ylabel="momentum")
    axes[0, 0].legend(
        frameon=False, fontsize="small", title=f"mean over {WINDOW} steps;\nthin: each run", title_fontsize="small"
    )
    draw_curves(axes[1, 0], results.curve[0], results.curve_steps[0, 0])
    draw_values(axes[1, 1], results.value, config.objectives)
    draw_scales(axes[1, 2], results.log_scale[0], net)
    draw_first(axes[2, :2], results.first[0], config, net)
    draw_lines(axes[2, 2], np.arange(results.gradient_norm.shape[-1]), results.gradient_norm[0], LEARNED)
    axes[2, 2].set(yscale="log", xlabel="meta-iteration", ylabel="norm of the hypergradient (nats)")
    axes[2, 2].set_title("Norm of the hypergradient,\ngeometric mean; thin: each run", fontsize="medium")
    figure.suptitle(
        f"{title(net)},\nAdam {config.meta_step:g} along the hypergradient; {config.seeds} runs", fontsize="medium"
    )
    return figure


@in_style
def plot_compared(results, config, plt):
    """Schedules learned for the validation loss, curves and scales along the descent, and the test losses."""
    net = config.net()
    lr, momentum, _ = unpacked(net, results.learned[0])
    figure, axes = plt.subplots(2, 3, figsize=(12.0, 7.2), layout="constrained")
    draw_schedules(axes[0, 0], lr[:, ::2], net)
    draw_schedules(axes[0, 1], momentum[:, ::2], net)
    axes[0, 0].set(title="Learned rates of the weights", ylabel="learning rate", yscale="log")
    axes[0, 1].set(title="Learned momenta of the weights", ylabel="momentum")
    axes[0, 0].legend(
        frameon=False, fontsize="small", title=f"mean over {WINDOW} steps;\nthin: each run", title_fontsize="small"
    )
    draw_scales(axes[0, 2], results.log_scale[0], net)
    draw_values(axes[1, 0], results.value, config.objectives)
    draw_curves(axes[1, 1], results.curve[0], results.curve_steps[0, 0])
    draw_test(axes[1, 2], results, config)
    figure.suptitle(
        f"{title(net)},\nfrom the best constant of {config.searched} trainings, by the validation loss; "
        f"{config.seeds} runs",
        fontsize="medium",
    )
    return figure


def draw_schedules(axis, rows, net) -> None:
    """A line for each layer: the geometric mean over seeds and neighbouring steps; thin: each run."""
    for layer, name in enumerate(names(net)):
        middle = np.exp(hg.schedules.moving_average(np.log(rows[:, layer]).mean(axis=0), WINDOW))
        axis.plot(rows[:, layer].T, color=LAYERS[layer], linewidth=0.5, alpha=0.3)
        axis.plot(middle, color=LAYERS[layer], linewidth=1.8, label=name)
    axis.set_xlabel("training step")


def draw_lines(axis, x, lines, colour, label=None, style: str = "-") -> None:
    """A thin line for each run, and their geometric mean; over those left, where a descent ended early."""
    for line in lines:
        axis.plot(x, line, style, color=colour, linewidth=0.6, alpha=0.4)
    axis.plot(x, np.exp(np.nanmean(np.log(lines), axis=0)), style, color=colour, linewidth=1.8, label=label)


def draw_curves(axis, curves, counts) -> None:
    draw_lines(axis, counts, curves[:, 0], DEFAULT, "before", "--")
    draw_lines(axis, counts, curves[:, 1], LEARNED, "after")
    axis.set(xlabel="training step", ylabel="training loss (nats)", yscale="log")
    axis.set_title("Learning curves, other weights;\ngeometric mean; thin: each run", fontsize="medium")
    axis.legend(frameon=False, fontsize="small", title="meta-learning", title_fontsize="small")


def draw_values(axis, value, objectives) -> None:
    for values, objective, colour, style in zip(value, objectives, (LEARNED, LEARNED_TOO), ("-", "--")):
        draw_lines(axis, np.arange(value.shape[-1]), values, colour, f"{objective} loss", style)
    what = f"{objectives[0]} loss" if len(objectives) == 1 else "loss"
    axis.set(xlabel="meta-iteration", ylabel=f"{what} after the last step (nats)", yscale="log")
    axis.set_title("Meta-learning,\ngeometric mean; thin: each run", fontsize="medium")
    if len(objectives) > 1:
        axis.legend(frameon=False, fontsize="small", title="objective", title_fontsize="small")


def draw_scales(axis, log_scale, net) -> None:
    """The scales along the descent, means over seeds, and 1/√fan-in for the weights."""
    means = np.exp(log_scale.mean(axis=0))
    for layer in range(net.arrays // 2):
        axis.plot(means[:, 2 * layer], color=LAYERS[layer], label=f"weights, layer {layer + 1}")
        axis.plot(means[:, 2 * layer + 1], "--", color=LAYERS[layer], label=f"biases, layer {layer + 1}")
    for fan_in in sorted(set(net.sizes[:-1])):
        axis.axhline(fan_in**-0.5, color="0.4", linestyle=":", linewidth=1.2)
        axis.annotate(f"1/√{fan_in}", (0.01, fan_in**-0.5), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
    axis.set(xlabel="meta-iteration", ylabel="scale of the initial array", yscale="log")
    axis.set_title("Initial scales, geometric means of the runs", fontsize="medium")
    axis.set_ylim(0.5 * min(means.min(), max(net.sizes) ** -0.5), 1.4 * max(means.max(), min(net.sizes[:-1]) ** -0.5))
    axis.legend(frameon=False, fontsize="x-small", ncols=2, loc="lower center")


def draw_first(axes, first, config, net) -> None:
    """The first hypergradient by the log learning rates of the weights: at one draw, and its mean with its error."""
    one, mean, deviation = np.moveaxis(first, 1, 0)
    draws = config.first * config.seeds
    total = mean.mean(axis=0)
    spread = np.sqrt(np.mean(deviation**2 + mean**2, axis=0) - total**2)
    for axis, array, words in zip(axes, (one[0], total), ("at one draw of weights", f"mean of {draws} draws")):
        axis.axhline(0.0, color="0.6", linewidth=0.8)
        for layer, row in enumerate(net.parts(array)[0][::2]):
            axis.plot(row, color=LAYERS[layer], linewidth=1.2, label=names(net)[layer])
        axis.set(xlabel="training step", ylabel="hypergradient (nats per\nunit of log learning rate)")
        axis.set_title(f"First hypergradient, {words}")
        axis.sharey(axes[0])
    axes[0].legend(frameon=False, fontsize="small", loc="upper left")
    for layer, (row, error) in enumerate(zip(net.parts(total)[0][::2], net.parts(spread / np.sqrt(draws))[0][::2])):
        axes[1].fill_between(np.arange(net.steps), row - 2 * error, row + 2 * error, color=LAYERS[layer], alpha=0.2)


def draw_test(axis, results, config) -> None:
    """A dot for the mean test loss of each run, and the mean of the runs with its interval."""
    columns = [("best of\n12", 0, 0, DEFAULT), (f"best of\n{config.equal_cost}", 0, 1, CONSTANT)]
    columns += [(f"learned:\n{name}", i, 2, (LEARNED, LEARNED_TOO)[i]) for i, name in enumerate(config.objectives)]
    for x, (_, objective, way, colour) in enumerate(columns):
        draw_runs(axis, x, results.test[objective, :, way].mean(axis=-1), colour)
    axis.set_xticks(range(len(columns)), [name for name, *_ in columns], fontsize="small")
    axis.set(ylabel="test loss (nats)", yscale="log")
    axis.set_title("On unseen images and weights;\nbars: 95 % (t)", fontsize="medium")


def draw_runs(axis, x: float, values, colour, label=None, marker: str = "s") -> None:
    """A small dot for each run, and their mean with its 95 % interval."""
    spread = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(1)
    axis.plot(x + spread, values, ".", color=colour, alpha=0.5, markersize=4)
    if len(values) > 1:
        _, low, high = t_interval(values)
        axis.plot([x, x], [low, high], color=colour, linewidth=2)
    axis.plot(x, np.mean(values), marker, color=colour, markersize=6, label=label)


def wrapped(text: str, width: int = 14) -> str:
    return textwrap.fill(text, width)
