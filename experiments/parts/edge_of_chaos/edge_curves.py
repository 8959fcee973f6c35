"""How the edge of chaos moves with each setting, against the linear stability bound, and their figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from experiments.shared import small_net
from experiments.shared.intervals import t_interval
from hypergrad.runs.parallel import compute
from hypergrad.style import ORANGE, VERMILION, in_style

LABELS = {
    "steps": "number of steps",
    "momentum": "momentum β, on the scale of 1 − β",
    "log_scale": "natural log of the parameter scale",
    "width": "width of the hidden layer",
    "hidden_layers": "number of hidden layers",
    "batch_size": "images in a minibatch",
}
LOGARITHMIC = ("steps", "width", "batch_size")
BOUNDS = (("0.5", "--"), (ORANGE, "-"), (VERMILION, "-"), ("0.5", ":"))  # colours and dashes
HIGHEST_OF_BATCHES = "highest of single minibatches in a calm training"
CHECKPOINTS = 11  # step counts at which the sharpness is computed


@dataclass(frozen=True, kw_only=True)
class Config(small_net.Config):
    """The values of each setting, while the others stay.

    Attributes:
      calm: log of the factor by which the learning rate of the calm training lies below the edge.
    """

    varied_steps: tuple[int, ...]
    varied_momentum: tuple[float, ...]
    varied_log_scale: tuple[float, ...]
    varied_width: tuple[int, ...]
    varied_hidden_layers: tuple[int, ...]
    varied_batch_size: tuple[int, ...]
    calm: float = 1.0

    def curve(self, name: str) -> list[small_net.SmallNet]:
        """The runs of the curve of a setting."""
        return [small_net.run_of(self, **{name: x}) for x in getattr(self, f"varied_{name}")[:: self.every]]

    def nets(self) -> list[small_net.SmallNet]:
        """All runs, those that several curves share once."""
        return list(dict.fromkeys(net for name in LABELS for net in self.curve(name)))


class Results(NamedTuple):
    """For s seeds, the n runs of ``Config.nets`` and c step counts of a calm training."""

    location: np.ndarray  # (s, n), the edge, natural log of a learning rate; NaN if there is none
    bracket: np.ndarray  # (s, n, 2)
    counts: np.ndarray  # (n, c)
    loss: np.ndarray  # (s, n, c), on all images, nats
    sharpness: np.ndarray  # (s, n, c), of the loss on all images
    batch_sharpness: np.ndarray  # (s, n, c), of the loss on the next minibatch


SEED_AXIS = dict.fromkeys(Results._fields, 0) | {"counts": None}


def point(config: Config, seed: int, number: float) -> dict:
    net = config.nets()[int(number)]
    edge = small_net.find_edge(net, seed, config)
    counts = np.linspace(0, net.steps, CHECKPOINTS).round().astype(int)
    calm = (config.high if np.isnan(edge.location) else edge.location) - config.calm
    columns = small_net.sharpness_along(net, seed, calm, counts).T
    return dict(zip(Results._fields, (edge.location, edge.bracket, counts, *columns)))


def run(config: Config, jobs: int, cache) -> Results:
    numbers = range(len(config.nets()))
    seeds = [
        compute(partial(point, config, seed), numbers, n_jobs=jobs, cache=cache / f"seed{seed}")
        for seed in config.numbered
    ]
    results = Results(*(np.array([[one[name] for one in points] for points in seeds]) for name in Results._fields))
    return results._replace(counts=results.counts[0])


def bounds(results: Results, nets: list) -> dict[str, np.ndarray]:
    """Logs of the learning rates up to which SGD is stable at these sharpnesses, (s, n) each."""
    sharpness = {
        "sharpness at initialisation": results.sharpness[..., 0],
        "highest sharpness in a calm training": results.sharpness.max(axis=-1),
        HIGHEST_OF_BATCHES: results.batch_sharpness.max(axis=-1),
        "sharpness at the end of a calm training": results.sharpness[..., -1],
    }
    return {name: small_net.log_max_lr(s, [net.momentum for net in nets]) for name, s in sharpness.items()}


def value_of(net: small_net.SmallNet, name: str) -> str:
    """The setting of a run in words: "width 8"."""
    return f"{name.replace('_', ' ')} {getattr(net, name):g}"


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes; intervals are 95 %, Student's t, over the seeds. Bounds are those of all images."""
    nets, lines = config.nets(), bounds(results, config.nets())
    base = results.location[:, nets.index(small_net.run_of(config))]
    bound, of_batches = lines["highest sharpness in a calm training"], lines[HIGHEST_OF_BATCHES]
    less = results.location - bound
    spread, wide = np.ptp(results.location, axis=0), np.ptp(results.bracket, axis=-1)
    found = {"seeds": len(less), "edges": less.size, "edges missing": np.isnan(less).sum()}
    found["brackets, median and widest"] = np.median(wide), wide.max()
    found["brackets wider than 0.8"] = np.sum(wide > 0.8)
    found["largest less smallest of the seeds, range"] = spread.min(), spread.max()
    found["standard deviation of the seeds, median"] = np.median(
        results.location.std(axis=0, ddof=min(1, len(less) - 1))
    )
    for name in LABELS:
        curve = config.curve(name)
        at = [nets.index(net) for net in curve]
        found[f"edge, {name}"] = results.location[:, at].mean(axis=0)
        found[f"bound, {name}"] = bound[:, at].mean(axis=0)
        found[f"median edge and bound, {name}"] = np.ravel(
            np.transpose([np.median(array[:, at], axis=0) for array in (results.location, bound)])
        )
        for net, place in zip(curve, at):
            value = value_of(net, name)
            found[f"edge, {value}"] = t_interval(results.location[:, place])
            found[f"edge less that of the base, {value}"] = t_interval(results.location[:, place] - base)
            found[f"edge less bound, {value}"] = t_interval(less[:, place])
            found[f"edge less bound, mean, {value}"] = less[:, place].mean()
            found[f"edge less bound, range, {value}"] = less[:, place].min(), less[:, place].max()
            found[f"seeds with the edge above the bound, {value}"] = np.sum(less[:, place] > 0.0)
        first, last = at[0], at[-1]
        for word, array in (("edge", results.location), ("bound", bound), ("bound of minibatches", of_batches)):
            found[f"{word}, last less first {name}"] = t_interval(array[:, last] - array[:, first])
            found[f"{word}, last less first {name}, mean"] = (array[:, last] - array[:, first]).mean()
    for kind in ("at initialisation", "at the end of a calm training"):
        found[f"bound {kind}, most above that of the highest sharpness"] = np.median(
            lines[f"sharpness {kind}"] - bound, axis=0
        ).max()
        found[f"bound {kind}, highest"] = np.median(lines[f"sharpness {kind}"], axis=0).max()
    return found


@in_style
def plot(results: Results, config: Config, plt):
    figure, axes = plt.subplots(2, 3, figsize=(12, 8), sharey=True, layout="constrained")
    nets = config.nets()
    lines = bounds(results, nets)
    for axis, (name, label) in zip(axes.flat, LABELS.items()):
        curve = config.curve(name)
        at = [nets.index(net) for net in curve]
        x = np.array([getattr(net, name) for net in curve], dtype=float)
        ticks, x = x, -np.log10(1.0 - x) if name == "momentum" else np.log(x) if name in LOGARITHMIC else x
        for (kind, bound), (colour, dashes) in zip(lines.items(), BOUNDS, strict=True):
            low, middle, high = np.quantile(bound[:, at], (0.0, 0.5, 1.0), axis=0)
            axis.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
            axis.plot(x, middle, dashes, color=colour, label=f"bound from the {kind}")
        shift = 0.01 * np.ptp(x)
        for seed, (location, bracket) in enumerate(zip(results.location[:, at], results.bracket[:, at])):
            low, high = np.clip(bracket, config.low, config.high).T
            where = x + shift * (seed - (len(results.location) - 1) / 2.0)
            axis.vlines(where, low, high, color="black", linewidth=0.6, alpha=0.4)
            words = None if seed else "edge of chaos of each seed, bracket"
            axis.plot(where, location, ".", color="black", markersize=3, label=words)
        axis.plot(
            x,
            np.nanmedian(results.location[:, at], axis=0),
            color="black",
            linewidth=1.5,
            label="edge of chaos, median",
        )
        axis.set_xticks(x, [f"{tick:g}" for tick in ticks], minor=False)
        for usual in x[ticks == getattr(config, name)]:
            axis.axvline(usual, color="0.85", zorder=-1)
        axis.set_xlabel(label)
    for axis in axes[:, 0]:
        axis.set_ylabel("natural log of the learning rate")
    explained = (
        "bounds: a quadratic of this sharpness is stable up to the learning rate 2(1 + β) / ((1 − β) sharpness), "
        f"median and range of the seeds;\na calm training has a log learning rate {config.calm:g} below the edge"
    )
    entries = axes[0, 0].get_legend_handles_labels()
    figure.legend(*entries, loc="outside lower center", ncols=2, frameon=False, title=explained)
    figure.suptitle(
        f"{config.title()}; in each panel one of these is varied (grey line: this value)", fontsize="medium"
    )
    return figure
