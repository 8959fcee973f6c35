"""The figures of descents on what can be drawn as images: penalties of weights, and training images."""

from __future__ import annotations

import textwrap

import numpy as np

from experiments.shared.intervals import t_interval
from hypergrad.probe.figures import in_style

COLOURS = ("0.45", "#E69F00", "#D55E00", "#56B4E9", "#0072B2", "#009E73", "#CC79A7")  # Okabe & Ito, told apart by all


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


def draw_by_trainings(axis, values, names, colours, per_iteration: int = 3) -> None:
    """Losses (ways, seeds, n) against the trainings spent: the mean over seeds thick, single ones thin."""
    trainings = per_iteration * np.arange(1, values.shape[-1] + 1)
    for one, name, colour in zip(values, names, colours):
        axis.plot(trainings, one.T, color=colour, linewidth=0.7, alpha=0.4)
        axis.plot(trainings, one.mean(axis=0), color=colour, linewidth=1.8, label=name)


def draw_intervals(axis, values, names, colours, offset: float = 0.0, marker: str = "o", label: str | None = None):
    """A row for each way: the mean of its values (ways, n), and its 95 % interval from Student's t."""
    for row, (one, colour) in enumerate(zip(values, colours)):
        mean, low, high = t_interval(one)
        y = row + offset
        axis.plot([low, high], [y, y], color=colour, linewidth=2.0, solid_capstyle="butt")
        style = {"color": colour, "markersize": 6, "label": label if row == 0 else None}
        axis.plot([mean], [y], marker, **style)
        axis.annotate(f"{mean:.3g}", (high, y), (4, 0), textcoords="offset points", va="center", fontsize="x-small")
    axis.set_yticks(range(len(names)), [textwrap.fill(name, 24) for name in names], fontsize="small")
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)


@in_style
def plot_penalties(results, config, names, drawn, plt):
    """Above the hypergradient and penalties by weight, below losses against trainings and on unseen training sets."""
    learned = results.log_penalty[names.index(drawn)]
    steepest = np.percentile(np.abs(results.gradient), 99.5)
    strips = [(results.gradient[0], -steepest, steepest, "PuOr", "hypergradient\nat the start\n(nats, training set 0)")]
    low, high = np.percentile(learned, (1, 99))
    strips += [
        (one, low, high, "cividis", f"log penalty λ\nlearned from\ntraining set {seed}")
        for seed, one in enumerate(learned[:2])
    ]
    if config.fresh:
        strips = [(one, *rest, label.replace("training set", "seed")) for one, *rest, label in strips]
    figure = plt.figure(figsize=(11.5, 9.0), layout="constrained")
    grid = figure.add_gridspec(4, 3, height_ratios=[1, 1, 1, 3.0])
    for row, (one, low, high, colours, label) in enumerate(strips):
        axis = figure.add_subplot(grid[row, :])
        image = draw_mosaic(axis, one.T, low, high, colours)
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize="small")
        figure.colorbar(image, ax=axis, extend="both", pad=0.01, aspect=8)
    axis.set_xlabel("weights of the output for each digit, at their pixels")
    losses, test_loss, test_error = (figure.add_subplot(grid[3, column]) for column in range(3))
    draw_by_trainings(losses, results.value, names, COLOURS)
    losses.set(xlabel="trainings spent", ylabel="validation loss (nats)", title="Thick: mean of the seeds")
    for axis, which, label in ((test_loss, 0, "test loss (nats)"), (test_error, 1, "test error (%)")):
        scale = 100.0 if which else 1.0
        draw_intervals(
            axis, scale * results.unseen[..., which].mean(axis=1), names, COLOURS, -0.12, "o", "unseen training sets"
        )
        for row, colour in enumerate(COLOURS[: len(names)]):
            own = scale * results.own[row, :, which]
            axis.plot(
                own,
                np.full(len(own), row + 0.18),
                "|",
                color=colour,
                label="first own training set" if row == 0 else None,
            )
        axis.set_xlabel(label)
    test_error.set_yticklabels([])
    figure.suptitle(
        f"Logistic regression on {config.images:,} MNIST images, {config.steps} steps, one penalty for each weight\n"
        f"learned by the loss on 10,000 others; {'another training set' if config.fresh else 'the same training set'} "
        "in every meta-iteration",
        fontsize="medium",
    )
    return figure


@in_style
def plot_data(results, config, names, drawn, models, plt):
    """Above images, below the loss against trainings spent, and the errors of models that were trained on them."""
    strips = config.per_digit == 1
    figure = plt.figure(figsize=(11.5, 8.5 if strips else 9.5), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.0, 1.1] if strips else [1.2, 1.0])
    axes = np.ravel(upper.subplots(len(drawn), 1) if strips else upper.subplots(1, len(drawn)))
    for axis, name in zip(axes, drawn):
        images = results.images[names.index(name), 0]
        widest = np.percentile(np.abs(images), 99.8)
        shown = draw_mosaic(axis, images, -widest, widest, "PuOr_r")
        axis.set_title(name if "learned" not in name else f"{name}, seed 0", fontsize="medium")
        upper.colorbar(shown, ax=axis, extend="both", pad=0.02, label="grey value", shrink=1.0 if strips else 0.7)
    axes[-1].set_xlabel("label")
    losses, *errors = lower.subplots(1, 1 + len(models))
    draw_by_trainings(losses, results.value, names, COLOURS)
    losses.set(xlabel="trainings spent", ylabel="validation loss (nats)", xscale="log", yscale="log")
    for m, (axis, model) in enumerate(zip(errors, models)):
        for c, (count, marker) in enumerate(zip(config.counts, "os")):
            of_way = 100.0 * results.unseen[:, :, m, c, :, 1].mean(axis=1)
            draw_intervals(axis, of_way, names, COLOURS, 0.36 * c - 0.18, marker, f"after {count} steps")
        axis.set(xlabel="test error (%)", title=model)
    errors[-1].set_yticklabels([])
    errors[-1].legend(frameon=False, fontsize="small")
    return figure
