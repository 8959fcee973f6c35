"""The error of each estimator against the gradient of the smoothed loss, from the calm to chaos; and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared import small_net
from experiments.shared.runner import seeds_in_words
from hypergrad.runs.parallel import compute
from hypergrad.style import EXACT, MIXED, SMOOTHED, TRUNCATED, TRUNCATED_LONG, in_style

NAMES = ("exact", "truncated, 25 steps", "truncated, 5 steps", "smoothed", "mixed")
COLOURS = (EXACT, TRUNCATED_LONG, TRUNCATED, SMOOTHED, MIXED)
LABELS = {"exact": "exact", "smoothed": "smoothed, from values", "mixed": "mixed by inverse variance"}


@dataclass(frozen=True, kw_only=True)
class Config(small_net.Config):
    """One log learning rate.

    Attributes:
      low, high, values: where.
      sigma: of the smoothing, in log learning rates.
      nodes: of the quadrature that gives the truth; half of them give its error.
      samples: pairs of values of the smoothed estimate; the others have as many products: a pair is 4 a step, a
        hypergradient 4.
      draws: estimates of each random kind, from which their error is.
    """

    low: float = -1.0
    high: float = 3.0
    values: int = 17
    sigma: float = 0.1
    nodes: int = 32
    samples: int = 8
    draws: int = 6

    def grid(self) -> np.ndarray:
        return np.linspace(self.low, self.high, self.values)[:: self.every]


class Results(NamedTuple):
    """For s seeds, v learning rates and the estimators of NAMES, in nats and nats per unit of log learning rate."""

    log_lr: np.ndarray  # (v,)
    loss: np.ndarray  # (s, v)
    truth: np.ndarray  # (s, v), derivative of the smoothed loss
    truth_error: np.ndarray  # (s, v), how far half of the nodes are off
    bias: np.ndarray  # (s, v, e), mean over draws minus truth
    error: np.ndarray  # (s, v, e), root mean square over draws of estimate minus truth
    weight: np.ndarray  # (s, v), mean weight of the hypergradients in the mix


SEED_AXIS = dict.fromkeys(Results._fields, 0) | {"log_lr": None}


def problem_of(config: Config, seed: int) -> hg.meta.Problem:
    net = small_net.run_of(config)
    model, batch_loss, params = small_net.problem(net, seed)
    return hg.meta.Problem(
        batch_loss,
        init=lambda log_lr, _: params,
        optimizer=lambda log_lr: hg.SGD(anp.exp(log_lr), net.momentum),
        outer_loss=lambda trained: model.loss(trained, batch_loss.X, batch_loss.T),
        steps=net.steps,
    )


def derivative_by_quadrature(f, at: float, sigma: float, nodes: int) -> float:
    """d/dx E f(x + σ z), from values: E f(x + σ z) z / σ, z standard normal, by the Gauss-Hermite rule."""
    z, weights = np.polynomial.hermite_e.hermegauss(nodes)
    values = np.array([f(at + sigma * step) for step in z])
    return float(np.sum(weights * values * z) / (sigma * weights.sum()))


def point(config: Config, seed: int, log_lr: float) -> dict:
    problem = problem_of(config, seed)
    kinds = hg.meta.estimators
    truth = derivative_by_quadrature(problem.f, log_lr, config.sigma, config.nodes)
    rough = derivative_by_quadrature(problem.f, log_lr, config.sigma, config.nodes // 2)
    made = {
        "exact": kinds.exact(problem),
        "truncated, 25 steps": kinds.truncated(problem, steps=config.steps // 2),
        "truncated, 5 steps": kinds.truncated(problem, steps=config.steps // 10),
        "smoothed": kinds.smoothed(problem, sigma=config.sigma, samples=config.samples),
        "mixed": kinds.mixed(problem, sigma=config.sigma, samples=config.samples // 2),
    }
    bias, error, weight = [], [], np.nan
    for name in NAMES:
        random = name in ("smoothed", "mixed")
        found = [made[name](log_lr, draw) for draw in range(config.draws if random else 1)]
        off = np.array([e.gradient for e in found]) - truth
        bias.append(off.mean())
        error.append(np.sqrt(np.mean(off**2)))
        weight = np.mean([e.diagnostics.weights[0] for e in found]) if name == "mixed" else weight
    return dict(
        zip(
            Results._fields[1:], (problem.f(log_lr), truth, abs(rough - truth), np.array(bias), np.array(error), weight)
        )
    )


def run(config: Config, jobs: int, cache) -> Results:
    seeds = [
        compute(partial(point, config, seed), config.grid(), n_jobs=jobs, cache=cache / f"seed{seed}")
        for seed in config.numbered
    ]
    return Results(
        config.grid(), *(np.array([[one[name] for one in points] for points in seeds]) for name in Results._fields[1:])
    )


def relative(results: Results) -> np.ndarray:
    """The error of each estimator over the magnitude of the truth, medians over the seeds; shape (v, e)."""
    return np.median(results.error / np.abs(results.truth)[..., None], axis=0)


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: relative errors, medians over seeds and learning rates of the calm, the edge and past it."""
    found, off = {"seeds": len(results.truth)}, results.error / np.abs(results.truth)[..., None]
    for where, low, high in (("calm", -1.0, 1.0), ("edge", 1.75, 2.25), ("chaos", 2.5, 3.0)):
        inside = (results.log_lr >= low) & (results.log_lr <= high)
        by_seed = np.median(off[:, inside], axis=1)
        for e, name in enumerate(NAMES):
            found[f"{name}, {where}"] = np.median(off[:, inside, e])
            found[f"{name}, {where}, range"] = by_seed[:, e].min(), by_seed[:, e].max()
        found[f"seeds nearer by mix than by values, {where}"] = np.count_nonzero(by_seed[:, -1] < by_seed[:, -2])
        found[f"weight, {where}"] = np.median(results.weight[:, inside])
        found[f"truth, {where}"] = np.median((results.truth_error / np.abs(results.truth))[:, inside])
    return found


@in_style
def plot(results: Results, config: Config, plt):
    figure, axes = plt.subplots(1, 3, figsize=(13.5, 4.4), layout="constrained")
    axes[0].semilogy(results.log_lr, results.loss.T, color="0.6", linewidth=0.8)
    axes[0].semilogy(results.log_lr, np.median(results.loss, axis=0), color="black", label="median of the seeds")
    axes[0].set_ylabel("training loss after 50 steps (nats)")
    axes[0].legend(frameon=False, fontsize="small")
    for e, (name, colour) in enumerate(zip(NAMES, COLOURS)):
        axes[1].semilogy(results.log_lr, relative(results)[:, e], color=colour, label=LABELS.get(name, name))
    axes[1].axhline(1.0, color="0.5", linewidth=1, linestyle="--")
    axes[1].set_ylabel("error over the true derivative")
    axes[1].legend(frameon=False, fontsize="small")
    axes[2].plot(results.log_lr, results.weight.T, color="0.6", linewidth=0.8)
    axes[2].plot(results.log_lr, np.median(results.weight, axis=0), color="black")
    axes[2].set_ylabel("weight of hypergradients in the mix")
    for axis in axes:
        axis.set_xlabel("log learning rate")
    figure.suptitle(
        f"{config.network()}, {config.steps} steps, {seeds_in_words(config.seeds)}; truth: loss smoothed over σ = "
        f"{config.sigma:g} in the log learning rate; {4 * config.samples} products a step for each random estimate",
        fontsize="medium",
    )
    return figure
