"""Where descents along each estimator end on the recurrent net, at equal cost, beside random search; and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.parts.estimators_by_problem import estimator_recurrent
from experiments.parts.estimators_by_problem.estimator_recurrent import estimators, problem_of
from experiments.shared import descents
from experiments.shared.intervals import t_interval
from experiments.shared.runner import seeds_in_words
from experiments.shared.search import BOX, COST, DIVERGED, at_random
from hypergrad.meta.estimators.base import value_or_inf
from hypergrad.runs.parallel import compute
from hypergrad.style import RANDOM_SEARCH, in_style

SEARCH = "random search"
NAMES = ("exact", "truncated", "smoothed", "mixed", "persistent", SEARCH)  # forward mode has the exact one's gradient
COLOURS = (*(estimator_recurrent.COLOURS[estimator_recurrent.NAMES.index(name)] for name in NAMES[:-1]), RANDOM_SEARCH)


@dataclass(frozen=True, kw_only=True)
class Config(estimator_recurrent.Config):
    """The same training, from a log learning rate that is too low.

    Attributes:
      starts: log learning rates, at the log scale ``log_scale``.
      low, high: corners of the box within which all stay, (log learning rate, log scale).
      iterations: of the exact hypergradient; the others have as many trainings.
      fresh: unseen problems for each seed, with other waves, noise and initial weights.
    """

    starts: tuple[float, ...] = (-6.0,)
    low: tuple[float, float] = (-8.0, float(np.log(0.03)))
    high: tuple[float, float] = (-1.0, float(np.log(3.0)))
    iterations: int = 50
    fresh: int = 5

    def budget(self) -> int:
        """Trainings of each descent."""
        return COST * max(self.iterations // self.every, 2)

    def tested(self) -> int:
        """On how many unseen problems."""
        return self.fresh if self.every == 1 else 2

    def trainings(self, name: str) -> float:
        """What one estimate costs; of particles, one for a piece of the training."""
        pair, pieces = 2.0, self.steps // self.outer_every
        mixed = pair * (self.pairs // 2) * COST
        # Truncation goes back from every outer loss to the one before: through all of the steps, only in pieces.
        return dict(zip(NAMES, (COST, COST, pair * self.pairs, mixed, pair * self.pairs / pieces, 1)))[name]

    def updates(self, name: str) -> int:
        return max(int(self.budget() / self.trainings(name)), 1)


class Results(NamedTuple):
    """For s seeds, m starts, e of NAMES, f unseen problems; the objective. Search does not depend on the start."""

    growth: np.ndarray  # (s, m), λ at the start, nats a training step
    updates: np.ndarray  # (s, m, e), estimates seen; fewer where a descent came to losses without a gradient
    found: np.ndarray  # (s, m, e, 2), log learning rate and log scale
    own: np.ndarray  # (s, m, e), the objective there
    unseen: np.ndarray  # (s, m, e, f), and on unseen problems
    own_start: np.ndarray  # (s, m), the objective at the start
    unseen_start: np.ndarray  # (s, m, f)

    def by_seed(self) -> np.ndarray:
        """(s, m, e), the loss on a typical unseen problem: the median, since a few diverge; at most DIVERGED."""
        return np.minimum(np.median(self.unseen, axis=-1), DIVERGED)


SEED_AXIS = dict.fromkeys(Results._fields, 0)


def value(problem: hg.meta.Problem, h: np.ndarray, seed: int) -> float:
    """The objective, inf where it diverges or has no gradient on the way."""
    try:
        return value_or_inf(lambda: problem.f(h, seed))
    except hg.errors.NonFiniteLossGradientError:
        return np.inf


def searched(config: Config, problem: hg.meta.Problem, seed: int) -> np.ndarray:
    """The best of random points of the box."""
    low, high = np.array(config.low), np.array(config.high)
    at = lambda z: low + (high - low) * (z + BOX) / (2.0 * BOX)
    return at(at_random(lambda z, _: value(problem, at(z), seed), 2, config.updates(SEARCH), seed).points[-1])


def descended(config: Config, problem: hg.meta.Problem, name: str, start: np.ndarray) -> tuple[np.ndarray, int]:
    """What a descent recommends, and its updates: the best objective that was met, of pieces the last."""
    updates, last = config.updates(name), name == "persistent"  # whose values are of pieces
    found = descents.history(
        problem.f,
        start,
        steps=updates - (not last),  # a whole objective is seen after its update, of a piece not
        optimizer=hg.Adam(5.0 / updates),  # so that each descent can go five units
        bounds=(np.array(config.low), np.array(config.high)),
        estimator=estimators(config, problem)[name],
        recheck=False,
    )
    return (found[-1] if last else hg.meta.best(found)).hypers, len(found)


def seed_of(config: Config, seed: float) -> dict:
    """All descents of a seed, and the search."""
    seed = int(seed)
    problem = problem_of(config, seed)
    others = [10_000 + config.fresh * seed + i for i in range(config.tested())]
    unseen = lambda h: [value(problem_of(config, other), h, other) for other in others]
    starts = [np.array([log_lr, config.log_scale]) for log_lr in config.starts]
    by_search = searched(config, problem, seed), config.updates(SEARCH)
    ends = [[*(descended(config, problem, name, start) for name in NAMES[:-1]), by_search] for start in starts]
    growth = lambda h: hg.chaos.lyapunov(problem.loss, problem.init(h, seed), problem.optimizer(h), steps=problem.steps)
    tested = unseen(by_search[0])
    return {
        "growth": np.array([growth(start).exponents[0] for start in starts]),
        "updates": np.array([[made for _, made in row] for row in ends]),
        "found": np.array([[h for h, _ in row] for row in ends]),
        "own": np.array([[value(problem, h, seed) for h, _ in row] for row in ends]),
        "unseen": np.array([[*(unseen(h) for h, _ in row[:-1]), tested] for row in ends]),
        "own_start": np.array([value(problem, start, seed) for start in starts]),
        "unseen_start": np.array([unseen(start) for start in starts]),
    }


def run(config: Config, jobs: int, cache) -> Results:
    points = compute(partial(seed_of, config), config.numbered, n_jobs=jobs, cache=cache / "seeds", progress=False)
    return Results(*(np.array([one[name] for one in points]) for name in Results._fields))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: where descents end by start, on their own problem and on unseen ones."""
    found, by_seed = {}, results.by_seed()
    for m, start in enumerate(config.starts):
        found[f"λT, {start:g}"] = config.steps * np.median(results.growth[:, m])
        found[f"own, start, {start:g}"] = results.own_start[:, m].mean()
        found[f"unseen, start, {start:g}"] = np.median(results.unseen_start[:, m], axis=-1).mean()
        for e, name in enumerate(NAMES):
            words = f"{name}, {start:g}"
            found[f"own, {words}"] = t_interval(results.own[:, m, e])
            found[f"own less search, {words}"] = t_interval(results.own[:, m, e] - results.own[:, m, -1])
            found[f"own mean less search, {words}"] = found[f"own less search, {words}"].mean
            found[f"own less exact, {words}"] = t_interval(results.own[:, m, e] - results.own[:, m, 0])
            found[f"unseen less exact, {words}"] = t_interval(by_seed[:, m, e] - by_seed[:, m, 0])
            found[f"unseen, {words}"] = t_interval(by_seed[:, m, e])
            found[f"unseen less search, {words}"] = t_interval(by_seed[:, m, e] - by_seed[:, m, -1])
            found[f"found, {words}"] = np.median(results.found[:, m, e], axis=0)
            found[f"unseen median, {words}"] = np.median(by_seed[:, m, e])
            found[f"updates, {words}"] = config.updates(name)
            found[f"diverged, {words}"] = np.sum(results.unseen[:, m, e] > DIVERGED)
            found[f"cut short, {words}"] = np.sum(results.updates[:, m, e] < config.updates(name))
    tests = results.unseen[:, 0, 0].size
    return found | {"unseen problems": tests}


@in_style
def plot(results: Results, config: Config, plt):
    figure, (own, unseen, plane) = plt.subplots(1, 3, figsize=(15.0, 4.8), layout="constrained")
    for axis, losses, start_losses, words in (
        (own, results.own, results.own_start, "objective on the problem of the descent"),
        (
            unseen,
            results.by_seed(),
            np.median(results.unseen_start, axis=-1),
            f"objective, median of {config.tested()} unseen problems",
        ),
    ):
        for m, (start, marker) in enumerate(zip(config.starts, "os")):
            for e, colour in enumerate(COLOURS):
                if NAMES[e] == SEARCH and m:
                    continue  # it is one search
                place, row = e + 0.3 * m, losses[:, m, e]
                axis.plot(row, np.full(len(row), place), ".", color=colour, alpha=0.35)
                if len(row) > 1:
                    mean, low, high = t_interval(row)
                    bar = [[mean - low], [high - mean]]
                    axis.errorbar(mean, place, xerr=bar, fmt=marker, color=colour, capsize=4, markersize=7)
            horizon = config.steps * np.median(results.growth[:, m])
            label = f"from log learning rate {start:g}, λT = {horizon:.1f}".replace("-", "−")
            axis.plot([], [], marker, color="0.4", label=label)
            at, dashes = start_losses[:, m].mean(), ("--", ":")[m]
            axis.axvline(at, color="0.4", linestyle=dashes, linewidth=1, label=f"start, {start:g}".replace("-", "−"))
        axis.set_yticks(range(len(NAMES)), NAMES)
        axis.set_ylim(len(NAMES) - 0.4, -0.5)
        axis.set_xscale("log")
        axis.set_xticks((0.3, 0.5, 1.0, 2.0, 5.0, 10.0), ("0.3", "0.5", "1", "2", "5", "10"))
        axis.xaxis.set_minor_formatter(plt.NullFormatter())
        axis.set_xlabel(f"{words} (nats);\nlarge: mean and 95 % t interval, dots: seeds")
    own.legend(loc="center right", facecolor="white", edgecolor="none", framealpha=1.0, fontsize="small")
    for e, (name, colour) in enumerate(zip(NAMES, COLOURS)):
        for m, marker in enumerate("os"[: len(config.starts)]):
            label = name if m == 0 else None
            plane.plot(*results.found[:, m, e].T, marker, color=colour, alpha=0.7, markersize=5, label=label)
    for start in config.starts:
        plane.plot(start, config.log_scale, "x", color="0.4", markersize=10, markeredgewidth=2)
    margin = 0.2
    plane.set_xlim(config.low[0] - margin, config.high[0] + margin)
    plane.set_ylim(config.low[1] - margin, config.high[1] + margin)
    plane.set(xlabel="log learning rate", ylabel="log scale of the initial input weights")
    plane.set_title("where they end, each seed (crosses: starts)", fontsize="medium")
    plane.legend(frameon=False, fontsize="small")
    figure.suptitle(
        f"{config.units} gated oscillators, {config.sequences} sequences of {config.length} time steps, {config.steps} "
        f"training steps, momentum {config.momentum:g}; σ = {config.sigma:g}, {config.pairs} pairs, "
        f"K = {config.outer_every}; each descent: {config.budget()} trainings' cost; {seeds_in_words(config.seeds)}",
        fontsize="medium",
    )
    return figure
