"""The figure of :mod:`experiments.feb04_weight_sharing`, and what is read off its results."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Normalize

from experiments.shared.intervals import crossed_interval, t_interval
from experiments.shared.runner import seeds_in_words
from hypergrad.style import (
    BLUE,
    CONSTANT,
    DEFAULT,
    GREEN,
    LEARNED,
    ORANGE,
    SEARCHED,
    SEARCHED_TOO,
    in_style,
)

TASKS = [f"{a}/{a + 1}{turned}" for turned in ("", " ↺") for a in range(0, 10, 2)]
FIRST, SECOND = np.triu_indices(10, 1)
LAYERS = ("input weights", "middle weights", "output weights")
KINDS = {  # of pairs of tasks
    "both upright or both rotated": FIRST // 5 == SECOND // 5,
    "the same digits, one rotated": SECOND - FIRST == 5,
    "other digits, one rotated": (FIRST // 5 != SECOND // 5) & (SECOND - FIRST != 5),
}
WAYS = ("separate", "first layer\ntied", "all tied", "one coupling\n(search)", "one a layer\n(search)", "learned")
WAY_COLOURS = (DEFAULT, CONSTANT, CONSTANT, SEARCHED, SEARCHED_TOO, LEARNED)
COLOURS = (BLUE, ORANGE, GREEN)  # of kinds of pairs
MARKERS = "osD"


def by_kind(log_coupling) -> np.ndarray:
    """(…, kinds): the means of log couplings (…, pairs) over the kinds of pairs."""
    return np.stack([log_coupling[..., kind].mean(axis=-1) for kind in KINDS.values()], axis=-1)


def matrix(log_coupling) -> np.ndarray:
    """The couplings of a layer as a symmetric matrix of their base-10 logarithms, NaN on the diagonal."""
    full = np.full((10, 10), np.nan)
    full[FIRST, SECOND] = full[SECOND, FIRST] = log_coupling / np.log(10.0)
    return full


@in_style
def plot(results, config, plt):
    """The learned matrices above; below what they say of kinds of pairs, the descents, and the losses of all ways."""
    figure = plt.figure(figsize=(12.5, 8.2), layout="constrained")
    grid = figure.add_gridspec(2, 6, height_ratios=(1.05, 1.0))
    above = [figure.add_subplot(grid[0, 2 * layer : 2 * layer + 2]) for layer in range(3)]
    ends = Normalize(np.log10(config.lowest), np.log10(config.largest))
    for axis, name, logs in zip(above, LAYERS, results.learned.mean(axis=0)):
        image = axis.imshow(matrix(logs), cmap="cividis", norm=ends)
        axis.set_xticks(range(10), TASKS, rotation=90, fontsize="small")
        axis.set_yticks(range(10), TASKS, fontsize="small")
        axis.set_title(name)
    bar = figure.colorbar(image, ax=above, shrink=0.9, pad=0.01)
    bar.set_label("log₁₀ of the coupling c of two tasks\n(separate: −∞)")
    _kinds(figure.add_subplot(grid[1, :2]), results)
    _descents(figure.add_subplot(grid[1, 2:4]), results)
    _losses(figure.add_subplot(grid[1, 4:]), results)
    sizes = f"{config.side**2}-{config.hidden}-{config.hidden}-2"
    figure.suptitle(
        f"Ten tasks of {2 * config.per_digit} images, each with a {sizes} tanh network, {config.steps} steps; learned "
        f"couplings (↺: images rotated by 90°), geometric mean of {seeds_in_words(len(results.value))}",
        fontsize="medium",
    )
    return figure


def _kinds(axis, results) -> None:
    found = by_kind(results.learned) / np.log(10.0)
    for k, name in enumerate(KINDS):
        for seed, logs in enumerate(found[..., k]):
            x = np.arange(3) + 0.2 * (k - 1)
            axis.plot(x, logs, MARKERS[k], color=COLOURS[k], label=name if seed == 0 else None, fillstyle="none")
        axis.plot(np.arange(3) + 0.2 * (k - 1), found[..., k].mean(axis=0), "_", color=COLOURS[k], markersize=16)
    axis.set_xticks(range(3), ["input", "middle", "output"])
    axis.set(xlabel="weights", ylabel="mean log₁₀ coupling\n(one point a descent)", title="By kind of pair")
    axis.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18))


def _descents(axis, results) -> None:
    axis.plot(results.value.T, color=LEARNED, linewidth=0.6, alpha=0.4)
    axis.lines[0].set_label("each")
    axis.plot(results.value.mean(axis=0), color=LEARNED, linewidth=2.0, label="mean")
    axis.set(xlabel="meta-iteration", ylabel="validation loss (nats a task),\nof another draw each time")
    axis.set_title("The descents")
    axis.legend(frameon=False, fontsize="small")


def _losses(axis, results) -> None:
    for row, (losses, marker) in enumerate(((results.train, "^"), (results.test, "o"))):
        for way, found in enumerate(losses.swapaxes(0, 1)):
            (mean, low, high), values = crossed_interval(found), found.mean(axis=0)
            x = way + 0.18 * (2 * row - 1)
            axis.plot(np.full(len(values), x), values, ".", color="0.75", markersize=3, zorder=0)
            style = {"color": WAY_COLOURS[way], "capsize": 3, "fillstyle": "none" if row == 0 else "full"}
            axis.errorbar(x, mean, [[mean - low], [high - mean]], fmt=marker, **style)
    axis.plot([], [], "^", color="0.3", fillstyle="none", label="training images")
    axis.plot([], [], "o", color="0.3", label="test images")
    labels = [f"{name}\n{mean:.3f}" for name, mean in zip(WAYS, results.test.mean(axis=(0, 2)))]
    axis.set_xticks(range(len(WAYS)), labels, fontsize="xx-small")
    axis.set_xlabel("(under each name its mean test loss)", fontsize="small")
    axis.set(yscale="log", ylabel="loss (nats a task)")
    title = f"On {results.test.shape[-1]} unseen draws: mean, and 95 %\ninterval over descents and draws"
    axis.set_title(title, fontsize="medium")
    axis.legend(frameon=False, fontsize="small")


def numbers(results, config) -> dict:
    """What the log quotes, in nats a task. Intervals are over descents, and over the draws together with them."""
    train, test = results.train.swapaxes(0, 1), results.test.swapaxes(0, 1)  # (w, s, u)
    log10 = results.learned / np.log(10.0)
    kinds, by_seed = by_kind(log10), (results.test[:, 4] - results.test[:, -1]).mean(axis=-1)
    named = {}
    for way, name in enumerate(("separate", "first layer tied", "all tied", "one", "layers", "learned")):
        named[f"test, {name}"] = crossed_interval(test[way])
        named[f"train, {name}"] = train[way].mean()
        if name != "learned":
            named[f"{name} less learned"] = crossed_interval(test[way] - test[-1])
    for layer, name in enumerate(("input", "middle", "output")):
        one_orientation, same_digits, others = kinds[:, layer].T
        named[f"one orientation less others, {name}"] = t_interval(one_orientation - others)
        named[f"same digits less others, {name}"] = t_interval(same_digits - others)
        first = np.argmax(log10[:, layer], axis=-1)
        named[f"descents with the same strongest pair, {name}"] = np.bincount(first).max()
    return named | {
        "learned less separate, %": 100.0 * (1.0 - test[-1].mean() / test[0].mean()),
        "test, learned, mean": test[-1].mean(),
        "one less layers": crossed_interval(test[3] - test[4]),
        "layers less learned, range": (by_seed.min(), by_seed.max()),
        "trainings": config.trainings + 3 * results.value.shape[1],
        "candidates": results.per_layer.shape[1],
        "kinds, lowest and highest": (kinds.mean(axis=0).min(), kinds.mean(axis=0).max()),
        "strongest, log10": log10.mean(axis=0).max(axis=-1),
        "spread in a layer": log10.std(axis=-1).mean(axis=0),
        "agreement, input": _agreement(log10[:, 0]),
        "agreement, above": [_agreement(log10[:, layer]) for layer in (1, 2)],
    }


def _agreement(log_coupling) -> float:
    """The mean correlation over pairs of tasks between the couplings (s, p) that two descents learned."""
    correlation = np.corrcoef(log_coupling)
    return float(correlation[np.triu_indices(len(correlation), 1)].mean()) if len(log_coupling) > 1 else 1.0
