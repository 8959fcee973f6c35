"""Is a wild derivative numerical instability, or is the function rough? The same one in three precisions.

A network of the same kind as that of :mod:`experiments.shared.setting`, but so small that it can be trained in
extended precision (64 bits of mantissa): 49-20-10-10 tanh on MNIST images averaged over 4 by 4 pixels.
Images, random draws and momentum are rounded to float32, so that all precisions compute one function.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.shared.runner import CommandError, PartConfig, seeds_in_words
from hypergrad.engine import forward
from hypergrad.engine.dynamics import Directions, zeros_like_schedules
from hypergrad.nests import flatten, unflatten
from hypergrad.problem import check_problem
from hypergrad.runs.parallel import compute
from hypergrad.style import BLUE, CYCLE, VERMILION, in_style

PRECISIONS = {"float32": np.float32, "float64": np.float64, "extended": np.longdouble}
SHORTER = tuple(enumerate(PRECISIONS))[:-1]  # than the one that the others are compared with
ZOOM_POINTS = 81  # odd, so that the middle is one
DECADES = (-np.inf, 0, 2, 3, 5, 7, 9, 11, np.inf)  # powers of ten between which derivatives are counted together


@dataclass(frozen=True, kw_only=True)
class Precision(PartConfig):
    """The derivative by the log of the initial scale, over a range of it, and central differences of the loss.

    Attributes:
      decades: the differences are over 10⁻¹ … 10^−decades to both sides.
      zoom_at: the log scale around which the loss of seed 0 is looked at closely.
      zooms: over how much to both sides.
    """

    low: float
    high: float
    values: int
    decades: int
    zoom_at: float
    zooms: tuple[float, ...]
    steps: int = 100
    log_lr: float = 0.0
    momentum: float = 0.9
    images: int = 100
    batch_size: int = 25


SEED_AXIS = {
    "log_scale": None,
    "loss": 0,
    "gradient": 0,
    "distance": None,
    "difference": 0,
    "offset": None,
    "zoom_loss": None,
    "zoom_gradient": None,
}


class Results(NamedTuple):
    """Arrays of n log scales, s seeds, p precisions, d distances, z zooms and m points in each."""

    log_scale: np.ndarray  # (n,)
    loss: np.ndarray  # (s, n, p), nats
    gradient: np.ndarray  # (s, n, p), nats per unit of log
    distance: np.ndarray  # (d,)
    difference: np.ndarray  # (s, n, d), difference quotients of the extended loss
    offset: np.ndarray  # (z, m), from zoom_at
    zoom_loss: np.ndarray  # (z, m), extended
    zoom_gradient: np.ndarray  # (z, m), extended


@lru_cache
def network(images: int, batch_size: int):
    """The small model and its minibatch loss."""
    ((X, T),) = hg.data.load_mnist(images)
    small = X.reshape(images, 7, 4, 7, 4).mean((2, 4)).reshape(images, 49)
    model = hg.nn.MLP([49, 20, 10, 10])
    return model, hg.nn.MinibatchLoss(model, small.astype(np.float32).astype(float), T, batch_size)


def trained(config: Precision, seed: int, log_scale, dtype, tangent: bool = True):
    """The training loss after all steps in this precision, and its derivative by ``log_scale`` if asked for.

    These are the engine's own loops; only the check that admits no other precision than float64 and
    float32 is passed by.
    """
    model, batch_loss = network(config.images, config.batch_size)
    params, structure = flatten(hg.init.scaled_normal(model.shapes, 1.0, seed, np.float32))
    optimizer = hg.SGD(float(np.exp(config.log_lr)), float(np.float32(config.momentum)))
    problem = check_problem(batch_loss, unflatten(structure, params), optimizer, None, config.steps)
    scaled = [np.exp(dtype(log_scale)) * draw.astype(dtype) for draw in params]
    dynamics = replace(problem, inputs=[*scaled, *problem.inputs[len(scaled) :]]).dynamics()
    if tangent:
        along = Directions([w[None] for w in scaled], [], zeros_like_schedules(dynamics, 1))  # one direction
        (after,), (dots,) = forward.train_with_tangents(dynamics, along, [config.steps])
    else:
        (after,) = forward.train(dynamics, [config.steps])
    after = unflatten(structure, after)
    loss = model.loss(after, batch_loss.X, batch_loss.T)
    if not tangent:
        return loss
    slopes = flatten(model.gradient(after, batch_loss.X, batch_loss.T))[0]
    return loss, sum(np.sum(slope * d[0]) for slope, d in zip(slopes, dots))


def compare(config: Precision, seed: int, log_scale: float) -> dict:
    """Loss and derivative in every precision, and differences of the extended loss, at one log scale."""
    both = [trained(config, seed, log_scale, dtype) for dtype in PRECISIONS.values()]
    x, differences = np.longdouble(log_scale), []
    for distance in distances(config):
        above, below = (trained(config, seed, y, np.longdouble, tangent=False) for y in (x + distance, x - distance))
        differences.append(float((above - below) / ((x + distance) - (x - distance))))
    loss, gradient = np.array(both, dtype=float).T
    return {"loss": loss, "gradient": gradient, "difference": np.array(differences)}


def distances(config: Precision) -> np.ndarray:
    """Powers of ten, in extended precision."""
    return np.longdouble(10) ** -np.arange(1, config.decades + 1)


def look_closely(config: Precision, width: float) -> dict:
    """The loss and its derivative, in extended precision, within ``width`` around one place."""
    offsets = np.linspace(-width, width, ZOOM_POINTS)[:: config.every].astype(np.longdouble)
    both = [trained(config, 0, np.longdouble(config.zoom_at) + offset, np.longdouble) for offset in offsets]
    loss, gradient = np.array(both, dtype=float).T
    return {"offset": offsets.astype(float), "zoom_loss": loss, "zoom_gradient": gradient}


def run(config: Precision, jobs: int, cache) -> Results:
    if np.finfo(np.longdouble).nmant < 63:
        raise CommandError("NumPy's longdouble has no extended precision here; run this part on x86-64 Linux")
    log_scale = np.linspace(config.low, config.high, config.values)[:: config.every]
    points = [
        compute(partial(compare, config, seed), log_scale, n_jobs=jobs, cache=cache / f"seed{seed}")
        for seed in config.numbered
    ]
    zooms = compute(partial(look_closely, config), config.zooms, n_jobs=jobs, cache=cache / "zooms")
    loss, gradient, difference = (
        np.array([[point[name] for point in row] for row in points]) for name in ("loss", "gradient", "difference")
    )
    closely = (np.array([zoom[name] for zoom in zooms]) for name in ("offset", "zoom_loss", "zoom_gradient"))
    return Results(log_scale, loss, gradient, distances(config).astype(float), difference, *closely)


def numbers(results: Results, config: Precision) -> dict:
    """What the log quotes, of all seeds together, by the magnitude of the extended derivative.

    Errors are relative to it, that of differences at the distance where they come nearest.
    """
    extended = results.gradient[..., -1]
    size = np.abs(extended)
    deviation = np.abs(results.difference / extended[..., None] - 1.0)
    found = {"seeds": config.seeds, "log scales": len(results.log_scale), "derivatives": extended.size}
    for low, high in pairwise(DECADES):
        there, words = (size >= 10.0**low) & (size < 10.0**high), f"from 10^{low:g} to 10^{high:g}"
        if not there.any():
            continue
        off = {name: np.abs(results.gradient[there, p] / extended[there] - 1.0) for p, name in SHORTER}
        off["differences"] = deviation[there].min(axis=-1)
        off["differences over the longest distance"] = deviation[there, 0]
        for name, values in off.items():
            for which, value in (("median", np.median(values)), ("largest", values.max())):
                found[f"{name}, {words}, {which}"], found[f"{name}, {words}, {which}, %"] = value, 100.0 * value
        found[f"derivatives {words}"] = np.count_nonzero(there)
        found[f"distance, {words}, median"] = np.median(results.distance[deviation[there].argmin(axis=-1)])
    for p, name in SHORTER:
        wrong = size[np.abs(results.gradient[..., p] / extended - 1.0) > 0.1]
        found[f"smallest that {name} has wrong by a tenth"] = wrong.min() if wrong.size else np.nan
    for width, losses in zip(config.zooms, results.zoom_loss):
        jumps = np.abs(np.diff(losses))
        found[f"jumps within {width:g}, median and largest"] = np.median(jumps), jumps.max()
    found["derivative in the middle"] = results.zoom_gradient[0, results.zoom_gradient.shape[1] // 2]
    return found


@in_style
def plot(results: Results, config: Precision, plt):
    """Above the loss at three magnifications; below the derivative in three precisions, and differences."""
    figure, axes = plt.subplots(2, 3, figsize=(11, 7), layout="constrained")
    for axis, *zoom in zip(axes[0], config.zooms, results.offset, results.zoom_loss, results.zoom_gradient):
        _plot_zoom(axis, *zoom)
    axes[0, 0].set_ylabel("training loss less that in the middle (nats)")
    axes[0, -1].legend(frameon=False, fontsize="small", loc="upper right")
    _plot_precisions(*axes[1, :2], results)
    _plot_differences(figure, axes[1, 2], results)
    figure.suptitle(
        f"49-20-10-10 tanh, {config.images} small MNIST images in minibatches of {config.batch_size}, {config.steps} "
        f"steps, learning rate {np.exp(config.log_lr):g}, {seeds_in_words(config.seeds)}\n"
        f"above: the loss of seed 0 in extended precision, closer and closer around log scale {config.zoom_at:g}",
        fontsize="medium",
    )
    return figure


def _plot_zoom(axis, width: float, offset, loss, gradient) -> None:
    middle = len(offset) // 2
    change = loss - loss[middle]
    axis.plot(offset / width, change, ".-", color=BLUE, linewidth=0.8, markersize=3, label="loss")
    axis.plot(
        offset / width, gradient[middle] * offset, color=VERMILION, label="line with the slope of\nthe derivative"
    )
    margin = 0.1 * np.ptp(change)
    axis.set(xlim=(-1, 1), ylim=(change.min() - margin, change.max() + margin))
    axis.set_xlabel(f"offset of the log scale, in units of {width:g}")
    axis.set_title(f"within ±{width:g}", fontsize="medium")


def _plot_precisions(over_scale, over_size, results: Results) -> None:
    extended = results.gradient[..., -1]
    largest = 6.0 if len(extended) < 5 else 4.0
    for p, (name, dtype) in enumerate(PRECISIONS.items()):
        style = {"color": CYCLE[p], "marker": "osD"[p], "linestyle": "", "markersize": (1.0 - 0.25 * p) * largest}
        style |= {"fillstyle": "none", "markeredgewidth": largest / 6.0}
        for seed, gradient in enumerate(np.abs(results.gradient[..., p])):
            over_scale.plot(results.log_scale, gradient, label=name if seed == 0 else None, **style)
        if name == "extended":
            continue
        error = np.abs(results.gradient[..., p] / extended - 1.0)
        over_size.plot(np.abs(extended).ravel(), error.ravel(), label=name, **style)
        size = np.array([1.0, np.abs(extended).max()])
        eps = np.finfo(dtype).eps
        over_size.plot(size, eps * size, ":", color=CYCLE[p], label=f"{eps:.0e} × derivative")
    over_size.axhline(1.0, color="0.6", linewidth=0.8)
    over_scale.set(yscale="log", xlabel="natural log of the initial scale", ylabel="magnitude of the derivative")
    over_size.set(xscale="log", yscale="log", xlabel="magnitude of the derivative (extended)")
    over_size.set_ylabel("relative error of the derivative")
    for axis in (over_scale, over_size):
        axis.legend(frameon=False, fontsize="small")


def _plot_differences(figure, axis, results: Results) -> None:
    from matplotlib import cm, colors

    extended = results.gradient[..., -1]
    width = 0.8 if len(extended) < 5 else 0.5
    size = cm.ScalarMappable(colors.LogNorm(np.abs(extended).min(), np.abs(extended).max()), "viridis_r")
    for derivative, quotients in zip(extended.ravel(), results.difference.reshape(extended.size, -1)):
        deviation = np.abs(quotients / derivative - 1.0)
        axis.plot(results.distance, deviation, linewidth=width, color=size.to_rgba(abs(derivative)))
    axis.axhline(1.0, color="0.6", linewidth=0.8)
    axis.set(xscale="log", yscale="log", xlabel="distance of the differences (log scale)", ylim=(1e-13, 1e3))
    axis.set_ylabel("relative deviation of differences\nof the loss from the derivative")
    figure.colorbar(size, ax=axis, label="magnitude of the derivative")
