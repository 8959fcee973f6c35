"""A small recurrent net that reads 200 time steps: all estimators, in the calm and in chaos; and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.parts.estimators_by_problem.costs import allocated, timed
from experiments.shared.runner import PartConfig, seeds_in_words
from hypergrad.meta.estimators.base import value_or_inf
from hypergrad.runs.parallel import compute
from hypergrad.style import CYCLE, EXACT, FORWARD, MIXED, PERSISTENT, SMOOTHED, TRUNCATED, in_style

RIGHT = 0.2  # of the norm of the truth; an estimate that is off by less
NAMES = ("exact", "forward", "truncated", "smoothed", "mixed", "persistent")
COLOURS = (EXACT, FORWARD, TRUNCATED, SMOOTHED, MIXED, PERSISTENT)
_WAVES = 35  # the purpose of these random numbers, in seeds (seed, purpose)


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """Gated damped oscillators find sine waves in noise; the hyperparameters are the log learning rate and the log
    scale of the initial input weights, the objective is the mean of the validation losses on the way.

    Attributes:
      length: time steps of a sequence.
      sequences: of training, and as many of validation; all at every training step.
      units: of the network.
      noise: standard deviation; the waves have amplitude 1.
      steps, outer_every: of training, and after how many the objective looks.
      log_lrs, log_scale: where.
      sigma: of smoothing, in both.
      nodes: of the quadrature in each direction that gives the truth, and of the rougher one that gives its error.
      pairs: of values of a smoothed estimate; half as many of hypergradients in a mix; of particles.
    """

    length: int = 200
    sequences: int = 8
    units: int = 6
    noise: float = 0.5
    steps: int = 15
    outer_every: int = 5
    momentum: float = 0.9
    log_lrs: tuple[float, ...] = (-4.0, -3.0, -2.0)
    log_scale: float = float(np.log(0.3))
    sigma: float = 0.1
    nodes: tuple[int, int] = (5, 3)
    pairs: int = 4

    def used(self) -> tuple[float, ...]:
        return self.log_lrs if self.every == 1 else self.log_lrs[:1]


class Results(NamedTuple):
    """For s seeds, p learning rates and the estimators of NAMES (e); gradients by the two hyperparameters, nats.

    NaN where a loss on the way has no finite gradient, which estimators do not take for divergence.
    """

    objective: np.ndarray  # (s, p)
    growth: np.ndarray  # (s, p), λ of a perturbation, nats a training step
    truth: np.ndarray  # (s, p, 2), gradient of the smoothed objective
    rough: np.ndarray  # (s, p, 2), the same by fewer nodes
    gradient: np.ndarray  # (s, p, e, 2), one estimate of each
    seconds: np.ndarray  # (s, p, e), of processor time
    memory: np.ndarray  # (e,), bytes allocated at most, seed 0


def problem_of(config: Config, seed: int) -> hg.meta.Problem:
    rng = np.random.default_rng((seed, _WAVES))
    shape = (2 * config.sequences, 1)
    waves = np.sin(np.arange(config.length) * rng.uniform(0.05, 0.3, shape) + rng.uniform(0.0, 2.0 * np.pi, shape))
    waves = waves[..., None]
    seen, n = waves + config.noise * rng.standard_normal(waves.shape), config.sequences
    model = hg.nn.DiagonalRecurrence(1, config.units, 1, gated=True, targets="reals")
    count = config.steps // config.outer_every
    return hg.meta.Problem(
        hg.nn.MinibatchLoss(model, seen[:n], waves[:n]),
        init=lambda h, _: model.init(seed, scales={"input": anp.exp(h[1])}),
        optimizer=lambda h: hg.SGD(anp.exp(h[0]), config.momentum),
        outer_loss=lambda params: model.loss(params, seen[n:], waves[n:]) / count,
        steps=config.steps,
        objective="sum",
        every=config.outer_every,
    )


def gradient_by_quadrature(f, at: np.ndarray, sigma: float, nodes: int) -> np.ndarray:
    """∇ E f(x + σ z) from values, z standard normal in some dimensions: a product of Gauss-Hermite rules."""
    z, weights = np.polynomial.hermite_e.hermegauss(nodes)
    grid = np.array(list(product(z, repeat=len(at))))
    shares = np.prod(list(product(weights / weights.sum(), repeat=len(at))), axis=1)
    values = np.array([f(at + sigma * step) for step in grid])
    values = np.where(np.isfinite(values), values, values[np.isfinite(values)].max())  # as the estimators take them
    return (shares * values) @ grid / sigma


def estimators(config: Config, problem: hg.meta.Problem) -> dict:
    kinds, K = hg.meta.estimators, config.outer_every
    return {
        "exact": kinds.exact(problem),
        "forward": kinds.forward(problem),
        "truncated": kinds.truncated(problem, steps=K),
        "smoothed": kinds.smoothed(problem, sigma=config.sigma, samples=config.pairs),
        "mixed": kinds.mixed(problem, sigma=config.sigma, samples=config.pairs // 2),
        "persistent": kinds.persistent(problem, sigma=config.sigma, samples=config.pairs, steps=K),
    }


def estimate(estimator, h: np.ndarray, seed: int, problem: hg.meta.Problem) -> np.ndarray:
    """Its gradient; of persistent particles the sum over a training."""
    pieces = (
        range(0, problem.steps, getattr(estimator, "steps", problem.steps)) if hasattr(estimator, "reset") else (0,)
    )
    return np.sum([estimator(h, seed + 1_000 * piece).gradient for piece in pieces], axis=0)


def at_rate(config: Config, problem: hg.meta.Problem, log_lr: float, seed: int) -> tuple:
    """The objective, λ, truth, rough truth, gradients and times; NaN where the loss has no gradient on the way."""
    h = np.array([log_lr, config.log_scale])
    f = lambda x: value_or_inf(lambda: problem.f(x, seed))
    try:
        truth, rough = (gradient_by_quadrature(f, h, config.sigma, nodes) for nodes in config.nodes)
        growth = hg.chaos.lyapunov(problem.loss, problem.init(h, seed), problem.optimizer(h), steps=problem.steps)
        found = [timed(partial(estimate, e, h, seed, problem)) for e in estimators(config, problem).values()]
    except hg.errors.NonFiniteLossGradientError:
        return np.nan, np.nan, *np.full((2, 2), np.nan), np.full((len(NAMES), 2), np.nan), np.full(len(NAMES), np.nan)
    gradient, seconds = (np.array(column) for column in zip(*found))
    return problem.f(h, seed), growth.exponents[0], truth, rough, gradient, seconds


def point(config: Config, seed: float) -> dict:
    """Everything of one seed."""
    seed = int(seed)
    problem = problem_of(config, seed)
    rows = [at_rate(config, problem, log_lr, seed) for log_lr in config.used()]
    named = dict(zip(Results._fields, (np.array(column) for column in zip(*rows))))
    used, h = [np.nan] * len(NAMES), np.array([config.used()[0], config.log_scale])
    if seed == 0:
        used = [allocated(partial(estimate, e, h, seed, problem)) for e in estimators(config, problem).values()]
    return named | {"memory": np.array(used)}


def run(config: Config, jobs: int, cache) -> Results:
    points = compute(partial(point, config), range(config.seeds), n_jobs=jobs, cache=cache / "seeds", progress=False)
    stacked = [np.array([one[name] for one in points]) for name in Results._fields]
    return Results(*stacked[:-1], stacked[-1][0])


def errors(results: Results) -> np.ndarray:
    """Distance of each estimate from the truth, over its norm; (s, p, e)."""
    truth = results.truth[:, :, None]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.linalg.norm(results.gradient - truth, axis=-1) / np.linalg.norm(truth, axis=-1)


def cosines(results: Results) -> np.ndarray:
    """With the truth; (s, p, e)."""
    largest = np.abs(results.gradient).max(axis=-1, keepdims=True)  # first of all, since squares would overflow
    unit, truth = results.gradient / largest, results.truth[:, :, None]
    return np.sum(unit * truth, axis=-1) / (np.linalg.norm(unit, axis=-1) * np.linalg.norm(truth, axis=-1))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes, medians over the seeds, by the log learning rate."""
    found = {}
    off = np.linalg.norm(results.rough - results.truth, axis=-1) / np.linalg.norm(results.truth, axis=-1)
    ratio = np.linalg.norm(results.gradient, axis=-1) / np.linalg.norm(results.truth, axis=-1)[..., None]
    for p, log_lr in enumerate(config.used()):
        found[f"λT, {log_lr:g}"] = config.steps * np.nanmedian(results.growth[:, p])
        found[f"without gradient, {log_lr:g}"] = np.isnan(results.objective[:, p]).sum()
        found[f"truth, {log_lr:g}"] = np.nanmedian(off[:, p])
        for e, name in enumerate(NAMES):
            found[f"error, {name}, {log_lr:g}"] = np.nanmedian(errors(results)[:, p, e])
            found[f"cosine, {name}, {log_lr:g}"] = np.nanmedian(cosines(results)[:, p, e])
            found[f"ratio, {name}, {log_lr:g}"] = np.nanmedian(ratio[:, p, e])
        right = errors(results)[:, p] < RIGHT
        exact = right[:, NAMES.index("exact")]
        found[f"seeds with exact right, {log_lr:g}"] = np.count_nonzero(exact)
        for name in ("mixed", "truncated"):
            found[f"of those {name} too, {log_lr:g}"] = np.count_nonzero(exact & right[:, NAMES.index(name)])
    for e, name in enumerate(NAMES):
        found[f"seconds, {name}"] = np.nanmedian(results.seconds[:, :, e])
        found[f"megabytes, {name}"] = results.memory[e] / 1e6
    return found


@in_style
def plot(results: Results, config: Config, plt):
    figure, (off, directions, costs) = plt.subplots(1, 3, figsize=(14.5, 4.4), layout="constrained")
    for axis, values in ((off, np.clip(errors(results), 1e-4, 1e8)), (directions, cosines(results))):
        for p, (log_lr, marker) in enumerate(zip(config.used(), "osD")):
            places = np.arange(len(NAMES)) + 0.22 * (p - 1)
            horizon = config.steps * np.nanmedian(results.growth[:, p])
            axis.plot(values[:, p], np.broadcast_to(places, values[:, p].shape), ".", color=CYCLE[p], alpha=0.4)
            label = f"log learning rate {log_lr:g}, λT = {horizon:.1f}"
            axis.plot(np.nanmedian(values[:, p], axis=0), places, marker, color=CYCLE[p], markersize=8, label=label)
        axis.set_yticks(range(len(NAMES)), NAMES)
        axis.invert_yaxis()
    off.axvline(1.0, color="0.5", linewidth=1, linestyle="--")
    off.set_xscale("log")
    off.set_xlabel("distance from the gradient of the smoothed\nobjective, over its norm (cut off at 10⁻⁴ and 10⁸)")
    off.legend(frameon=False, fontsize="small", loc="lower right")
    directions.set_xlabel("cosine with the gradient of the smoothed objective\n(large: medians, dots: seeds)")
    for e, (name, colour) in enumerate(zip(NAMES, COLOURS)):
        costs.plot(
            np.nanmedian(results.seconds[:, :, e]), results.memory[e] / 1e6, "o", color=colour, markersize=9, label=name
        )
    costs.set(xscale="log", yscale="log")
    costs.set(xlabel="processor time of an estimate (s)", ylabel="memory allocated (MB)")
    for axis, ticks in ((costs.xaxis, (0.1, 0.2, 0.4)), (costs.yaxis, (3.0, 10.0, 30.0))):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_minor_formatter(plt.NullFormatter())
    costs.legend(frameon=False, fontsize="small", loc="center right")
    figure.suptitle(
        f"{config.units} gated oscillators, {config.sequences} sequences of {config.length} time steps, {config.steps} "
        f"training steps, momentum {config.momentum:g}; by log learning rate and log scale; σ = {config.sigma:g}, "
        f"{config.pairs} pairs, K = {config.outer_every}; {seeds_in_words(config.seeds)}",
        fontsize="medium",
    )
    return figure
