"""The figures of descents on what can be drawn as images: penalties of weights, and training images."""

from __future__ import annotations

import textwrap

import numpy as np

from experiments.shared.intervals import crossed_interval
from experiments.shared.runner import seeds_in_words
from experiments.shared.ticks import label_some
from hypergrad.style import in_style


def mosaic(images) -> np.ndarray:
    """Images (n, 784) in rows of ten, as one of 28·n/10 by 280 pixels."""
    return np.reshape(images, (-1, 10, 28, 28)).swapaxes(1, 2).reshape(-1, 280)


def draw_mosaic(axis, images, low: float, high: float, colours: str):
    """The images in rows of ten, with lines between them."""
    shown = mosaic(images)
    drawn = axis.imshow(shown, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    for place in range(28, 280, 28):
        axis.axvline(place - 0.5, color="0.6", linewidth=0.6)
    for place in range(28, len(shown), 28):
        axis.axhline(place - 0.5, color="0.6", linewidth=0.6)
    axis.set_xticks(np.arange(14, 280, 28) - 0.5, range(10), fontsize="small")
    axis.set_yticks([])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return drawn


def draw_by_trainings(axis, values, colours) -> None:
    """Losses (ways, seeds, n) against the trainings spent: the mean over seeds thick, single ones thin."""
    trainings = 3 * np.arange(1, values.shape[-1] + 1)  # a hypergradient counts as three
    for one, colour in zip(values, colours):
        axis.plot(trainings, one.T, color=colour, linewidth=0.7, alpha=0.4)
        axis.plot(trainings, one.mean(axis=0), color=colour, linewidth=1.8)
    axis.set(xlabel="trainings spent", ylabel="validation loss (nats)")
    axis.set_title("Thick: mean of the seeds;\ncolours: see the names", fontsize="medium")


def draw_intervals(axis, values, colours, offset: float, marker: str, label: str) -> None:
    """In a row for each way the mean of its values (ways, seeds, draws), and its 95 % interval over both together."""
    for row, (one, colour) in enumerate(zip(values, colours)):
        mean, low, high = crossed_interval(one)
        axis.plot([low, high], [row + offset] * 2, color=colour, linewidth=2.0, solid_capstyle="butt")
        axis.plot([mean], [row + offset], marker, color=colour, markersize=5, label=label if row == 0 else None)
        place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": "x-small"}
        axis.annotate(f"{mean:.3g}", (high, row + offset), **place)


def name_rows(axis, ways: dict[str, str]) -> None:
    """The ways from top to bottom, each name in its colour."""
    axis.set_yticks(range(len(ways)), [textwrap.fill(name, 24) for name in ways], fontsize="small")
    for label, colour in zip(axis.get_yticklabels(), ways.values()):
        label.set_color(colour)
    axis.set_ylim(len(ways) - 0.4, -0.6)
    axis.margins(x=0.12)
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)


@in_style
def plot_penalties(results, config, ways: dict[str, str], drawn, plt):
    """Above the hypergradient and penalties by weight, below losses by trainings and on unseen sets; ways by colour."""
    learned, gradient, seeds = results.log_penalty[list(ways).index(drawn)], results.gradient[0], len(results.gradient)
    steepest, (low, high) = np.percentile(np.abs(gradient), 99.5), np.percentile(learned, (1, 99))
    strips = [(gradient, -steepest, steepest, "PuOr", "hypergradient\nby λ at the start\n(nats), seed 0")]
    strips += [(one, low, high, "cividis", f"log penalty λ\nlearned, seed {seed}") for seed, one in enumerate(learned)]
    figure = plt.figure(figsize=(11.5, 9.2), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.1, 1.0])
    for axis, (one, low, high, colours, label) in zip(upper.subplots(min(3, len(strips)), 1), strips):
        image = draw_mosaic(axis, one.T, low, high, colours)
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize="small")
        upper.colorbar(image, ax=axis, extend="both", pad=0.01, aspect=8)
    axis.set_xlabel("weights from the pixels to the output for each digit")
    losses, *tests = lower.subplots(1, 3)
    draw_by_trainings(losses, results.value, ways.values())
    for which, (axis, label) in enumerate(zip(tests, ("test loss (nats)", "test error (%)"))):
        unseen, own = ((1.0, 100.0)[which] * array[..., which] for array in (results.unseen, results.own))
        draw_intervals(axis, unseen, ways.values(), -0.14, "o", "unseen training sets")
        for row, (one, colour) in enumerate(zip(own, ways.values())):
            first = "first training set of each seed" if row == 0 else None
            axis.plot(one, np.full(len(one), row + 0.2), "|", color=colour, label=first)
        name_rows(axis, ways)
        axis.set_xlabel(label)
    tests[1].set_yticklabels([])
    tests[1].legend(frameon=False, fontsize="x-small", loc="lower right")
    sets = "another training set" if config.fresh else "the same training set"
    figure.suptitle(
        f"Logistic regression on {config.images:,} MNIST images, {config.steps} steps, with penalties learned by the "
        f"loss on 10,000 others;\n{sets} in every meta-iteration; {seeds_in_words(seeds)}, on unseen training sets "
        "the mean and its 95 % interval over seeds and sets",
        fontsize="medium",
    )
    return figure


@in_style
def plot_data(results, config, ways: dict[str, str], drawn, models, plt):
    """Above images, below the loss by trainings spent, and errors of models trained on them; ways by colour."""
    strips = config.per_digit == 1
    figure = plt.figure(figsize=(11.5, 8.8 if strips else 10.2), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.0, 1.1] if strips else [1.1, 1.0])
    axes = np.ravel(upper.subplots(len(drawn), 1) if strips else upper.subplots(1, len(drawn)))
    for axis, name in zip(axes, drawn):
        images = results.images[list(ways).index(name), 0]
        widest = np.percentile(np.abs(images), 99.5)
        image = draw_mosaic(axis, images, -widest, widest, "PuOr_r")
        axis.set_title(f"{name}, seed 0", fontsize="medium")
        place = {"pad": 0.01, "aspect": 8} if strips else {"location": "bottom", "aspect": 30}
        upper.colorbar(image, ax=axis, extend="both", label="grey value", **place)
    losses, *tests = lower.subplots(1, 1 + len(models))
    draw_by_trainings(losses, results.value, ways.values())
    losses.set(xscale="log", yscale="log")
    for line in (losses.xaxis, losses.yaxis):
        label_some(line, "24")
    for m, (axis, model) in enumerate(zip(tests, models)):
        for c, (count, marker) in enumerate(zip(config.counts, "os")):
            error = 100.0 * results.unseen[:, :, m, c, :, 1]
            draw_intervals(axis, error, ways.values(), 0.36 * c - 0.18, marker, f"after {count} steps")
        name_rows(axis, ways)
        axis.set(xlabel="test error (%), unseen initial weights")
        axis.set_title(f"{model} trained on these images", fontsize="medium")
    tests[-1].set_yticklabels([])
    tests[-1].legend(frameon=False, fontsize="small")
    figure.suptitle(
        f"{10 * config.per_digit} training images ({config.per_digit} of each digit, which their places give) for "
        f"{config.counts[0]} steps with ten each, learned by the loss on 10,000 real images;\n"
        f"{seeds_in_words(results.images.shape[1])}, errors: mean and 95 % interval over seeds and initial weights",
        fontsize="medium",
    )
    return figure
