"""The figure of a cleaning of labels: descent, weights, errors, and some of the images removed."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from experiments.shared import digits
from experiments.shared.intervals import t_interval
from experiments.shared.runner import seeds_in_words
from hypergrad.style import BLUE, DEFAULT, GREEN, LEARNED, ORANGE, PURPLE, SEARCHED, STYLE, VERMILION

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE)  # of Okabe and Ito, for all kinds of sight
OTHERS = (GREEN, DEFAULT, PURPLE, SEARCHED)  # of what there is without the hypergradient
EDGES = np.linspace(0.0, 1.0, 21)


def precision_and_recall(removed, wrong) -> tuple[np.ndarray, np.ndarray]:
    """Of those removed, the share with wrong labels; of those with wrong labels, the share removed."""
    hits = np.sum(removed & wrong, axis=-1)
    return hits / np.maximum(1, removed.sum(axis=-1)), hits / wrong.sum(axis=-1)


def plot_cleaning(results, config, others, X, given):
    """``others`` names the columns of ``results.others``; X and ``given`` are images and labels of seed 0."""
    budgets, middle = np.array(config.budgets), len(config.budgets) // 2
    removed, wrong = results.weights == 0.0, results.wrong.astype(bool)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(13.0, 7.8), layout="constrained")
        (descent, weights, errors), (found, right, mistaken) = axes
        for r, budget in enumerate(budgets):
            for seed, values in enumerate(results.value[r]):
                descent.plot(values, color=COLOURS[r], alpha=0.6, label=f"R = {budget}" if seed == 0 else None)
        descent.set(xlabel="meta-iteration", ylabel="loss on the validation images (nats)", yscale="log")
        descent.set_title("descent on the weights", fontsize="medium")
        descent.legend(frameon=False)
        for rows, colour, label in ((~wrong, COLOURS[0], "right label"), (wrong, COLOURS[1], "wrong label")):
            counts, _ = np.histogram(results.weights[middle][rows], EDGES)
            weights.stairs(counts, EDGES, color=colour, fill=True, alpha=0.35)
            weights.stairs(counts, EDGES, color=colour, linewidth=1.5, label=label)
        weights.set(yscale="log", xlabel="weight", ylabel=f"examples, {config.seeds} seeds")
        weights.set_title(f"weights found, R = {budgets[middle]}", fontsize="medium")
        weights.legend(frameon=False)
        _intervals(errors, budgets, 100.0 * results.cleaned, color=LEARNED, label="cleaned")
        for column, label in enumerate(others):
            values = 100.0 * results.others[:, column]
            errors.axhline(values.mean(), color=OTHERS[column], linestyle="--", label=label)
            if len(values) > 1:
                _, low, high = t_interval(values)
                errors.axhspan(low, high, color=OTHERS[column], alpha=0.15, linewidth=0)
        errors.set(xlabel="R, the largest sum of the weights", ylabel="test error (%)", xticks=budgets)
        errors.set_title("trained again on what is kept and validation;\nmean and 95 % t interval", fontsize="medium")
        errors.legend(frameon=False, fontsize="small")
        for share, colour, label in zip(
            precision_and_recall(removed, wrong), (COLOURS[0], COLOURS[1]), ("precision", "recall")
        ):
            _intervals(found, budgets, 100.0 * share, color=colour, label=label)
        by_loss = precision_and_recall(~results.filtered.astype(bool), wrong)
        for share, colour, label in zip(by_loss, (COLOURS[0], COLOURS[1]), ("precision", "recall")):
            found.axhline(100.0 * share.mean(), color=colour, linestyle=":", label=f"{label} of the filter by loss")
        found.set(xlabel="R, the largest sum of the weights", ylabel="%", xticks=budgets)
        found.set_title("wrong labels among those of weight 0", fontsize="medium")
        found.legend(frameon=False, fontsize="small")
        for axis, rows, title in (
            (right, removed[middle, 0] & wrong[0], "removed, and the label is wrong"),
            (mistaken, removed[middle, 0] & ~wrong[0], "removed, though the label is right"),
        ):
            some = np.flatnonzero(rows)[:24]
            digits.show(axis, X[some], [f"{label}" for label in given[some]], columns=8)
            axis.set_title(f"{title}\n(seed 0, R = {budgets[middle]}, label below)", fontsize="medium")
        figure.suptitle(
            f"softmax regression, {config.images:,} MNIST images, half of their labels replaced, {config.images:,} to "
            f"validate, {config.steps:,} steps, {seeds_in_words(config.seeds)}",
            fontsize="medium",
        )
    plt.close(figure)
    return figure


def _intervals(axis, x, values, **options) -> None:
    """The mean over seeds of values (x, seeds), and the interval where there are several."""
    means = values.mean(axis=1)
    ends = [t_interval(row)[1:] if len(row) > 1 else (mean, mean) for row, mean in zip(values, means)]
    axis.errorbar(x, means, np.abs(np.array(ends).T - means), marker="o", capsize=4, **options)
