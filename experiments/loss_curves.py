"""26 November 2026: how does the loss of small character transformers fall over steps, characters and compute?

Setting: the King James Bible, 90 % to train on, pieces of 64 characters from random places, none planned twice; causal
transformers of one family (2 heads, rotary positions), Adam with one constant learning rate; 131,072 characters for
each training, in minibatches of 2, 8 or 32 pieces. The curves are the loss of each minibatch before its step,
averaged in bins that are even in the log of the step.

Part 1: five shapes, one of them with two other minibatches as well, ten seeds: the losses, their lower envelope and
    its power law, beside the exponents of Kaplan et al. (2020).

Scaled down to a few minutes of one core from models of millions of parameters and billions of tokens.
"""

import sys
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.shared import flops, runner, text
from experiments.shared.fitted_laws import envelope, estimate, rows_of, straight
from experiments.shared.intervals import t_interval
from experiments.shared.pieces import Losses
from hypergrad.runs.parallel import compute
from hypergrad.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, in_style

LOOK_AT = "Look at which shape forms the lower envelope where, and at the slopes of Kaplan et al. beside it."
PIECES = 61  # the purpose of the random places in the text, in seeds (seed, purpose)
AXES = ("step", "characters", "compute", "size")
KAPLAN = {"characters": 0.095, "compute": 0.050, "size": 0.076}  # equations 1.1 to 1.3: α_D, α_C^min and α_N


@dataclass(frozen=True, kw_only=True)
class Config(runner.PartConfig):
    """A quick run reads ``every`` times fewer characters.

    Attributes:
      widths, depths, batches: of each shape; a minibatch has so many pieces.
      length: characters of a piece.
      characters: seen by each training.
      bins: of a curve, at most.
      fit_from: laws are fitted to what lies past this share of the largest step, characters or compute.
      tested: pieces of the test text for the loss at the end.
    """

    widths: tuple[int, ...] = (8, 16, 32, 32, 64, 32, 32)
    depths: tuple[int, ...] = (1, 1, 1, 2, 2, 2, 2)
    batches: tuple[int, ...] = (8, 8, 8, 8, 8, 2, 32)
    heads: int = 2
    vocabulary: int = 128
    length: int = 64
    lr: float = 0.005
    characters: int = 2**17
    bins: int = 30
    fit_from: float = 0.05
    tested: int = 256
    bootstraps: int = 200
    quick_every: int = 16

    def steps(self) -> list[int]:
        """Of each shape."""
        return [self.characters // (self.every * self.length * batch) for batch in self.batches]

    def model(self, shape: int) -> hg.nn.Transformer:
        size = {"width": self.widths[shape], "depth": self.depths[shape], "heads": self.heads, "length": self.length}
        return hg.nn.Transformer(self.vocabulary, **size)

    def named(self, shape: int) -> str:
        """In words, for legends."""
        return f"width {self.widths[shape]}, depth {self.depths[shape]}, minibatches of {self.batches[shape]}"


PARTS = {1: Config(seeds=10)}
FULL = {
    1: Config(
        widths=(64, 128, 256, 512, 768, 256, 256),
        depths=(2, 3, 4, 6, 8, 4, 4),
        batches=(64, 64, 64, 64, 64, 16, 256),
        heads=8,
        length=256,
        lr=0.001,
        characters=2**27,
    )
}


class Results(NamedTuple):
    """For k shapes, s seeds, m bins, the three axes of a curve (step, characters, compute), and b bootstrap samples."""

    value: np.ndarray  # (k, s, m), mean loss in a bin, nats a character; NaN where a curve has fewer bins
    step: np.ndarray  # (k, m), from 1: the middle of each bin, geometric
    final: np.ndarray  # (k, s), loss on the test text at the end
    parameters: np.ndarray  # (k,), without embedding and head
    per_step: np.ndarray  # (k, 3), what a step adds on each axis: 1, characters, FLOPs
    exponents: np.ndarray  # (4, s), of a power law without a floor: of the lower envelope on each axis, and over size
    laws: np.ndarray  # (4, 1 + b, 3), E, A and α of E + A x^−α for the same points of all seeds


SEED_AXIS = {"value": 1, "step": None, "final": 1, "parameters": None, "per_step": None}


def trained(config: Config, shape: int, seed: int) -> tuple[np.ndarray, float]:
    """The loss of each minibatch before its step, and that on the test text at the end."""
    model, steps = config.model(shape), config.steps()[shape]
    X, T = text.windows(text.training(), steps * config.batches[shape], config.length, (seed, PIECES))
    seen = Losses()
    params = hg.train(
        hg.nn.MinibatchLoss(model, X, T, config.batches[shape]),
        model.init(seed, dtype=np.float32),
        hg.Adam(config.lr),
        steps=steps,
        callback=seen,
    )
    X, T = text.windows(text.test(), config.tested, config.length, PIECES)
    return np.array(seen.losses), float(model.loss(params, X, T))


def binned(losses: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Means in bins that are even in the log of the step, counted from 1, and the middles of the bins; then NaN."""
    edges = np.unique(np.rint(np.geomspace(1, len(losses) + 1, bins + 1)).astype(int))
    middles, means = np.full((2, bins), np.nan)
    for i, (low, high) in enumerate(pairwise(edges)):
        middles[i], means[i] = np.sqrt(low * (high - 1)), losses[low - 1 : high - 1].mean()
    return middles, means


def point(config: Config, seed: int, shape: float) -> dict:
    losses, final = trained(config, int(shape), seed)
    step, value = binned(losses, config.bins)
    return {"value": value, "step": step, "final": final}


def run(config: Config, jobs: int, cache) -> Results:
    shapes = range(len(config.widths))
    seeds = [
        compute(partial(point, config, seed), shapes, n_jobs=jobs, cache=cache / f"seed{seed}")
        for seed in config.numbered
    ]
    value, step, final = (
        np.array([[one[name] for one in points] for points in seeds]).swapaxes(0, 1)
        for name in ("value", "step", "final")
    )
    models = [config.model(shape) for shape in shapes]
    parameters = np.array([flops.parameters(model, embedded=False) for model in models])
    read = config.length * np.array(config.batches)
    per_step = np.transpose([np.ones(len(read)), read, read * [float(flops.training(model)) for model in models]])
    return completed(Results(value, step[:, 0], final, parameters, per_step, np.empty(0), np.empty(0)), config)


def completed(results: Results, config: Config) -> Results:
    """With the laws of all seeds."""
    seeds = range(results.final.shape[1])
    fitted = [[points_of(results, config, axis, seed) for seed in seeds] for axis in AXES]
    exponents = [[-straight(*one)[1] if len(one[0]) > 1 else np.nan for one in points] for points in fitted]
    laws = [rows_of(*np.concatenate(points, axis=1), config.bootstraps // config.every) for points in fitted]
    return results._replace(exponents=np.array(exponents), laws=np.array(laws))


def curves(results: Results, axis: str, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k, m): x and losses of all shapes on one of the three axes of a curve."""
    return results.step * results.per_step[:, AXES.index(axis), None], losses


def enveloped(results: Results, axis: str, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points of curves (k, m) that no curve is below at smaller x, in order of x."""
    x, y = (array.ravel() for array in curves(results, axis, losses))
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    mask = envelope(x, y)
    order = np.argsort(x[mask])
    return x[mask][order], y[mask][order]


def points_of(results: Results, config: Config, axis: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What a law is fitted to, for one seed: the lower envelope, or the losses at the end over size."""
    if axis == "size":
        same = np.array(config.batches) == config.batches[0]
        return results.parameters[same].astype(float), results.final[same, seed]
    x, y = enveloped(results, axis, results.value[:, seed])
    late = x >= config.fit_from * x.max()
    return x[late], y[late]


def ends(results: Results) -> np.ndarray:
    """(k, s): the mean loss in the last bin of each curve."""
    last = np.isfinite(results.value).sum(axis=-1, keepdims=True) - 1
    return np.take_along_axis(results.value, last, axis=-1)[..., 0]


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: exponents with 95 % t intervals over the seeds, those of laws with a floor by bootstrap."""
    found = {}
    for i, axis in enumerate(AXES):
        found[f"exponent over {axis}"] = t_interval(results.exponents[i])
        found[f"exponent over {axis}, mean"] = results.exponents[i].mean()
        found[f"exponent over {axis}, with a floor"] = estimate(results.laws[i])
        found[f"floor over {axis}"] = estimate(results.laws[i], 0)
        if axis in KAPLAN:
            found[f"exponent over {axis}, times that of Kaplan et al."] = results.exponents[i].mean() / KAPLAN[axis]
    small = ends(results).argmin(axis=0) == np.argmin(config.batches)
    found["seeds in which the smallest minibatches end lowest"] = small.sum()
    for word, rows in (("they end lowest", small), ("others", ~small)):
        for i, axis in enumerate(AXES[:3]):
            found[f"exponent over {axis}, {word}"] = results.exponents[i, rows].mean() if rows.any() else np.nan
    for shape in range(len(config.widths)):
        found[f"test loss, {config.named(shape)}"] = results.final[shape].mean()
        found[f"parameters, {config.named(shape)}"] = results.parameters[shape]
    found["test loss, lowest"] = results.final.mean(axis=1).min()
    return found


COLOURS = (SKY, BLUE, GREEN, VERMILION, BLACK, ORANGE, PURPLE)
DASHES = ("-", "-", "-", "-", "-", "--", ":")
LABELS = {
    "step": "training step",
    "characters": "characters seen (tokens)",
    "compute": "compute (FLOPs)",
    "size": "parameters without embedding and head",
}


@in_style
def plot(results: Results, config: Config, plt):
    """Losses over steps, characters and compute with lower envelope and law; losses at the end over size."""
    figure, axes = plt.subplots(2, 2, figsize=(13.0, 10.0), sharey=True, layout="constrained")
    for axis, name in zip(axes.flat, AXES):
        for k in range(len(config.widths)):
            style = {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k % len(DASHES)]}
            if name == "size":
                x = np.full(results.final.shape[1], results.parameters[k])
                marker = "o" if config.batches[k] == config.batches[0] else "x"
                axis.plot(x, results.final[k], marker, color=style["color"])
                continue
            x, y = curves(results, name, results.value.mean(axis=1))
            axis.plot(x[k], y[k], **style, linewidth=1.2, label=config.named(k) if name == "step" else None)
            low, high = results.value[k].min(axis=0), results.value[k].max(axis=0)
            axis.fill_between(x[k], low, high, color=style["color"], alpha=0.2, linewidth=0)
        _plot_laws(axis, results, config, name)
        axis.set(xscale="log", yscale="log", xlabel=LABELS[name])
        axis.legend(frameon=False, fontsize="small", loc="lower left")
    axes[0, 0].yaxis.set_major_formatter("{x:g}")
    axes[0, 0].yaxis.set_minor_formatter("{x:g}")
    for axis in axes[:, 0]:
        axis.set_ylabel("loss (nats a character)")
    low, high = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(low * (low / high) ** 0.55, high)  # room for the legends
    axes[1, 1].set_title("at the end, on the test text; × other minibatches, not fitted", fontsize="medium")
    figure.suptitle(
        f"Character transformers, {config.heads} heads, pieces of {config.length}, Adam {config.lr:g}, "
        f"{runner.seeds_in_words(config.seeds)}: means, and bands from the lowest to the highest seed",
        fontsize="medium",
    )
    return figure


def _plot_laws(axis, results: Results, config: Config, name: str) -> None:
    """The lower envelope, its power law, and the slope of Kaplan et al. through the end of it."""
    i = AXES.index(name)
    if name == "size":
        points = [points_of(results, config, name, seed) for seed in range(config.seeds)]
        x, y = points[0][0], np.mean([losses for _, losses in points], axis=0)
    else:
        x, y = enveloped(results, name, results.value.mean(axis=1))
        axis.plot(x, y, color="0.35", linewidth=4, alpha=0.45, label="lower envelope")
        late = x >= config.fit_from * x.max()
        x, y = x[late], y[late]
    if len(x) < 2:
        return
    ends = np.array([x.min(), x.max()])
    scale, power = straight(x, y)
    words = f"power law: α = {results.exponents[i].mean():.3f}"
    if config.seeds > 1:
        _, low, high = t_interval(results.exponents[i])
        words += f" [{low:.3f}, {high:.3f}]"
    axis.plot(ends, scale * ends**power, color="red", linewidth=1.6, label=words)
    if name in KAPLAN:
        line = scale * ends[-1] ** power * (ends / ends[-1]) ** -KAPLAN[name]
        words = f"slope of Kaplan et al. (2020): α = {KAPLAN[name]:.3f}"
        axis.plot(ends, line, color="red", linestyle="-.", linewidth=1.4, label=words)


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
