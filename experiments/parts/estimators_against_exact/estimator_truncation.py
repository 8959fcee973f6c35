"""What truncation leaves out on a quadratic, against how far it goes back; and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared.runner import PartConfig
from hypergrad.runs.parallel import compute
from hypergrad.style import in_style


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """The quadratic L = Σ λ_i w_i² / 2, from w_i = 1.

    Attributes:
      eigenvalues: how many, at equal logarithmic distances from ``smallest`` to 1.
      lr, momentum: at which the hypergradient is taken, the same at every step.
      lengths: T.
      shares: K / T, rounded up to a step.
    """

    eigenvalues: int = 20
    smallest: float = 1e-3
    lr: float = 0.5
    momentum: float = 0.9
    lengths: tuple[int, ...] = (10, 100, 1_000, 5_000)
    shares: tuple[float, ...] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)

    def lambdas(self) -> np.ndarray:
        return np.geomspace(self.smallest, 1.0, self.eigenvalues)


class Results(NamedTuple):
    """For n lengths and k shares; NaN where two shares make the same number of steps."""

    lengths: np.ndarray  # (n,)
    steps: np.ndarray  # (n, k), K
    cosine: np.ndarray  # (n, k), of the truncated with the exact hypergradient, by the T log learning rates
    ratio: np.ndarray  # (n, k), of their norms
    total: np.ndarray  # (n, k), truncated over exact derivative by one log learning rate for all steps


def point(config: Config, length: float) -> dict:
    steps = int(length)
    lambdas = config.lambdas()
    problem = hg.meta.Problem(
        lambda w, hyper, step: anp.sum(lambdas * w**2) / 2.0,
        init=lambda log_lr, seed: np.ones(len(lambdas)),
        optimizer=lambda log_lr: hg.SGD(anp.exp(log_lr), config.momentum),
        outer_loss=lambda w: anp.sum(lambdas * w**2) / 2.0,
        steps=steps,
    )
    at = np.full(steps, np.log(config.lr))
    exact = hg.meta.estimators.exact(problem)(at).gradient
    backs = np.unique(np.ceil(np.array(config.shares) * steps).astype(int))
    rows = np.full((3, len(config.shares)), np.nan)
    for k, back in enumerate(backs):
        found = hg.meta.estimators.truncated(problem, steps=int(back))(at).gradient
        norms = np.linalg.norm(found), np.linalg.norm(exact)
        rows[:, k] = found @ exact / (norms[0] * norms[1]), norms[0] / norms[1], found.sum() / exact.sum()
    padded = np.append(backs.astype(float), np.full(len(config.shares) - len(backs), np.nan))
    return dict(zip(Results._fields, (length, padded, *rows)))


def run(config: Config, jobs: int, cache) -> Results:
    lengths = config.lengths[:: config.every]
    points = compute(partial(point, config), lengths, n_jobs=jobs, cache=cache / "lengths", progress=True)
    return Results(*(np.array([one[name] for one in points]) for name in Results._fields))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: at the longest of the lengths, and at the shortest for one rate."""
    share = lambda row, value: int(np.nanargmin(np.abs(results.steps[row] / results.lengths[row] - value)))
    found = {f"cosine, {s:g}": results.cosine[-1, share(-1, s)] for s in (0.01, 0.1, 0.5)}
    found |= {f"total, {s:g}": results.total[-1, share(-1, s)] for s in (0.1, 0.5)}
    return found | {"total, shortest, 0.5": results.total[0, share(0, 0.5)]}


@in_style
def plot(results: Results, config: Config, plt):
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
    labels = "cosine with the exact hypergradient", "derivative by one rate for all,\ntruncated over exact"
    colours = plt.colormaps["viridis"](np.linspace(0.0, 0.85, len(results.lengths)))
    for axis, values, label in zip(axes, (results.cosine, results.total), labels):
        for steps, line, length, colour in zip(results.steps, values, results.lengths, colours):
            axis.semilogx(steps / length, line, ".-", color=colour, label=f"T = {length:g}")
        axis.axhline(1.0, color="0.5", linewidth=1, linestyle="--")
        axis.set(xlabel="share of the steps that is gone back over, K / T", ylabel=label)
    axes[0].legend(frameon=False, fontsize="small")
    figure.suptitle(
        f"Truncation on a quadratic of {config.eigenvalues} eigenvalues from {config.smallest:g} to 1, learning rate "
        f"{config.lr:g}, momentum {config.momentum:g}: the final loss by a log learning rate for every step",
        fontsize="medium",
    )
    return figure
