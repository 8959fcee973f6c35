"""The figure of attributions: how well they predict, and the images they name."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from experiments.shared import digits
from experiments.shared.intervals import t_interval
from experiments.shared.runner import seeds_in_words
from hypergrad.style import GREEN, INFLUENCE, ORANGE, STYLE, WHOLE_RUN

COLOURS = (WHOLE_RUN, INFLUENCE, ORANGE, GREEN, "#999999")


def plot_attribution(results, config, train, test):
    """``train`` are the images and labels of seed 0, ``test`` is its first test image and label."""
    methods = config.methods()
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(12.5, 6.6), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=(3.4, 1.0))
        halves, single, points = above.subplots(1, 3)
        for axis, scores, label in (
            (halves, results.value, "linear datamodelling score\n(rank correlation, mean of the test images)"),
            (single, results.left_out, "correlation of the change without\none image (mean of the test images)"),
        ):
            by_seed = scores.mean(axis=-1)
            for m in range(len(methods)):
                axis.plot(np.full(len(by_seed), m), by_seed[:, m], ".", color=COLOURS[m], alpha=0.5)
                if len(by_seed) > 1:
                    mean, low, high = t_interval(by_seed[:, m])
                    half = 0.5 * (high - low)
                    axis.errorbar(m + 0.2, mean, half, color=COLOURS[m], marker="s", capsize=4)
            axis.axhline(0.0, color="0.7", linewidth=0.8)
            axis.set_xticks(range(len(methods)), methods, rotation=35, ha="right", fontsize="small")
            axis.set(ylabel=label, ylim=(min(-0.3, 1.1 * by_seed.min()), 1.05))
        halves.set_title(
            f"trained on {results.measured.shape[1]} random halves;\ndots: seeds, squares: mean and 95 % t interval",
            fontsize="medium",
        )
        single.set_title(f"trained without one of {results.measured_without.shape[1]} images", fontsize="medium")
        measured = results.measured[0, :, 0]
        for m in (0, 1, 3):
            predicted = results.predicted[0, m, :, 0]
            scaled = (predicted - predicted.mean()) / predicted.std()  # the products have no scale of their own
            points.plot(scaled, measured, ".", color=COLOURS[m], alpha=0.7, label=methods[m])
        points.set(xlabel="predicted loss (standardised)", ylabel="measured loss (nats)")
        points.set_title("halves, first test image of seed 0", fontsize="medium")
        points.legend(frameon=False, fontsize="small")
        (X, T), (x, t) = train, test
        panels = below.subplots(1, 3, width_ratios=(1.5, 8, 8))
        digits.show(panels[0], x[None], [f"{np.argmax(t)}"], columns=1)
        panels[0].set_title("test image", fontsize="medium")
        for axis, rows, title in zip(
            panels[1:], (results.helpful[0], results.harmful[0]), ("most helpful", "most harmful")
        ):
            rows = rows.astype(int)
            digits.show(axis, X[rows], [f"{label}" for label in np.argmax(T[rows], axis=1)], columns=8)
            axis.set_title(f"{title} training images, through the whole run", fontsize="medium")
        figure.suptitle(
            f"{'-'.join(map(str, config.sizes))}, {config.examples:,} MNIST images in minibatches of "
            f"{config.batch_size}, {config.steps:,} steps, learning rate {config.lr:g}, momentum {config.momentum:g}, "
            f"{config.tests} test images, {seeds_in_words(config.seeds)}",
            fontsize="medium",
        )
    plt.close(figure)
    return figure
