"""Processor time and memory of each estimator on the network of one learning rate and on the inverse-time rate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.parts.estimators_by_problem import estimator_horizons, estimator_inverse_time
from experiments.parts.estimators_by_problem.costs import allocated, timed
from experiments.shared import pooled
from experiments.shared.runner import PartConfig, seeds_in_words
from experiments.shared.search import COST
from hypergrad.runs.parallel import compute
from hypergrad.style import in_style

ONE_RATE, INVERSE_TIME = estimator_horizons.Config(), estimator_inverse_time.Config()  # sizes, σ and pairs of theirs
NAMES = {"one rate": estimator_horizons.NAMES, "inverse time": estimator_inverse_time.NAMES}
COLOURS = {"one rate": estimator_horizons.COLOURS, "inverse time": estimator_inverse_time.COLOURS}
TICKS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """One estimate each; of pieces and particles all those of a training.

    Attributes:
      horizons: T.
      log_lr: of the network with one learning rate, where it is calm.
      place: (log θ0, log θ1) of the inverse-time rate.
      iterations: of a descent, for what it would take.
    """

    horizons: tuple[int, ...] = (200, 1_000)
    log_lr: float = 0.0
    place: tuple[float, float] = (0.0, 1.0)
    iterations: int = 50

    def used(self) -> tuple[int, ...]:
        """The horizons: in a quick run the first one."""
        return self.horizons if self.every == 1 else self.horizons[:1]


class Results(NamedTuple):
    """For s seeds, t horizons, the estimators of NAMES (e for one rate, i for the inverse-time rate)."""

    seconds: np.ndarray  # (s, t, e), of processor time
    memory: np.ndarray  # (t, e), bytes allocated at most, seed 0
    inverse_seconds: np.ndarray  # (s, t, i)
    inverse_memory: np.ndarray  # (t, i)

    def of(self, problem: str) -> tuple[np.ndarray, np.ndarray]:
        """Median seconds and megabytes, (t, e) or (t, i)."""
        inverse = problem == "inverse time"
        seconds, memory = (self.inverse_seconds, self.inverse_memory) if inverse else (self.seconds, self.memory)
        return np.median(seconds, axis=0), memory / 1e6


def one_rate(config: Config, steps: int, seed: int) -> dict:
    """Calls that make an estimate for the network with one learning rate, by name."""
    model, batch_loss = pooled.network(ONE_RATE.images, ONE_RATE.side, ONE_RATE.hidden, ONE_RATE.batch_size)
    problem = hg.meta.Problem(
        batch_loss,
        init=lambda log_lr, _: model.init(seed),
        optimizer=lambda log_lr: hg.SGD(anp.exp(log_lr), ONE_RATE.momentum),
        outer_loss=lambda params: model.loss(params, batch_loss.X, batch_loss.T),
        steps=steps,
    )
    kinds, sigma, pairs = hg.meta.estimators, ONE_RATE.sigma, ONE_RATE.pairs
    made = (
        kinds.exact(problem),
        kinds.truncated(problem, steps=steps // 2),
        kinds.truncated(problem, steps=steps // 10),
        kinds.smoothed(problem, sigma=sigma, samples=pairs),
        kinds.mixed(problem, sigma=sigma, samples=pairs // 2),
    )
    return {name: partial(e, config.log_lr, seed) for name, e in zip(NAMES["one rate"], made)}


def inverse_time(config: Config, steps: int, seed: int) -> dict:
    """The same for the inverse-time rate."""
    problem = estimator_inverse_time.problem_of(INVERSE_TIME, steps)
    made = estimator_inverse_time.estimators(INVERSE_TIME, problem)
    call = lambda e: partial(estimator_inverse_time.passed, e, np.array(config.place), seed, problem)
    return {name: call(made[name]) for name in NAMES["inverse time"]}


def point(config: Config, seed: float) -> dict:
    """Everything of one seed."""
    found = {}
    for prefix, calls_of in (("", one_rate), ("inverse_", inverse_time)):
        names = NAMES["inverse time" if prefix else "one rate"]
        seconds, memory = np.full((2, len(config.used()), len(names)), np.nan)
        for t, steps in enumerate(config.used()):
            calls = calls_of(config, steps, int(seed))
            seconds[t] = [timed(calls[name])[1] for name in names]
            if seed == 0:
                memory[t] = [allocated(calls[name]) for name in names]
        found |= {f"{prefix}seconds": seconds, f"{prefix}memory": memory}
    return found


def run(config: Config, jobs: int, cache) -> Results:
    points = compute(partial(point, config), range(config.seeds), n_jobs=jobs, cache=cache / "seeds", progress=False)
    seconds = lambda name: np.array([one[name] for one in points])
    return Results(seconds("seconds"), points[0]["memory"], seconds("inverse_seconds"), points[0]["inverse_memory"])


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: seconds and megabytes; and hours of one core that longer descents would take."""
    found = {}
    for problem, names in NAMES.items():
        seconds, memory = results.of(problem)
        for t, T in enumerate(config.used()):
            for e, name in enumerate(names):
                found[f"{problem}: seconds, {name}, {T}"] = seconds[t, e]
                found[f"{problem}: megabytes, {name}, {T}"] = memory[t, e]
    seconds, _ = results.of("inverse time")
    trainings = COST * config.iterations
    spent = [trainings / INVERSE_TIME.cost(name) * seconds[:, i] for i, name in enumerate(NAMES["inverse time"])]
    search = trainings / 2.0 * seconds[:, NAMES["inverse time"].index("smoothed")]  # whose pair is two trainings
    for t, T in enumerate(config.used()):
        hours = config.seeds * (sum(one[t] for one in spent) + search[t]) / 3_600.0
        found |= {f"hours, {T}": hours, f"hours, {INVERSE_TIME.steps} by {T}": hours * INVERSE_TIME.steps / T}
    return found


@in_style
def plot(results: Results, config: Config, plt):
    figure, axes = plt.subplots(1, 2, figsize=(11.5, 4.6), layout="constrained")
    words = {
        "one rate": f"one log learning rate, {ONE_RATE.pairs} pairs",
        "inverse time": f"inverse-time rate, {INVERSE_TIME.pairs} pair; exact: forward mode",
    }
    for axis, (problem, names) in zip(axes, NAMES.items()):
        seconds, memory = results.of(problem)
        for e, (name, colour) in enumerate(zip(names, COLOURS[problem])):
            axis.loglog(seconds[:, e], memory[:, e], "o-", color=colour, label=name)
        axis.set(xlabel="processor time of an estimate (s)", ylabel="memory allocated (MB)")
        for one, limits in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
            ticks = [tick for tick in TICKS if limits[0] <= tick <= limits[1]]
            one.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
            one.set_minor_formatter(plt.NullFormatter())
        axis.set_title(words[problem], fontsize="medium")
        axis.legend(frameon=False, fontsize="small")
    sizes = ["-".join(map(str, (one.side**2, *one.hidden, 10))) for one in (ONE_RATE, INVERSE_TIME)]
    figure.suptitle(
        f"T = {', '.join(f'{T:,}' for T in config.used())}, from left to right; {' and '.join(sizes)} tanh; "
        f"medians over {seeds_in_words(config.seeds)}, memory of seed 0",
        fontsize="medium",
    )
    return figure
