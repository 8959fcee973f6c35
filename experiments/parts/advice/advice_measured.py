"""The advice on many tiny trainings, held to the errors of all estimators; and the figure."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.parts.advice import advice_problems
from experiments.parts.advice.advice_errors import Candidate, candidates, error_of, truth_of, vector, with_one_start
from experiments.parts.advice.advice_held_out import held_out
from experiments.shared.intervals import clopper_pearson
from experiments.shared.runner import PartConfig
from hypergrad.errors import NonFiniteGradientWarning
from hypergrad.runs.parallel import compute
from hypergrad.style import CALM, CHAOTIC, in_style

NAMES = ("exact", "forward", "truncated", "greedy", "implicit", "smoothed", "mixed", "persistent")
FLOOR = 1e-3  # errors below count as this
WITHIN = 2.0  # times the best error


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """Which problems.

    Attributes:
      round: 0, the development set; from 1 on, held-out problems, drawn once for each seed.
      draws: estimates of each random kind, from which their error is.
    """

    round: int = 1
    draws: int = 12

    def cases(self) -> list[advice_problems.Case]:
        """All problems."""
        return held_out(self.round, self.seeds) if self.round else advice_problems.development()


class Results(NamedTuple):
    """For p problems and the estimators of NAMES."""

    index: np.ndarray  # (p,), of the problem among all
    error: np.ndarray  # (p, e), of the best setting of each estimator, relative to the truth; NaN where it is out
    advised: np.ndarray  # (p,), which estimator
    advised_error: np.ndarray  # (p,)
    expected: np.ndarray  # (p,), what the advice said of it
    past: np.ndarray  # (p,), 1 past the edge
    calm: np.ndarray  # (p,), 1 where the advice took it for calm
    missed: np.ndarray  # (p,), of the integral, by 64 trapezoids
    unsure: np.ndarray  # (p,), of the truth, relative
    growth: np.ndarray  # (p,), of the tangent, nats over the training
    numbers: np.ndarray  # (p,), of hyperparameters
    budget: np.ndarray  # (p,), trainings
    spent: np.ndarray  # (p,), trainings for the advice

    def best(self) -> np.ndarray:
        """The smallest error of all, not below FLOOR; NaN where none is known; (p,)."""
        return np.maximum(np.fmin(np.fmin.reduce(self.error, axis=1), self.advised_error), FLOOR)

    def ratio(self, errors=None) -> np.ndarray:
        """The errors of the advised, or others, over the smallest; (p,)."""
        errors = self.advised_error if errors is None else errors
        with np.errstate(invalid="ignore"):  # nothing over nothing, where no truth is known
            return np.where(np.isfinite(errors), np.fmax(errors, FLOOR), np.inf) / self.best()

    def judged(self) -> np.ndarray:
        """Where the truth is known better than the best estimator knows it; (p,)."""
        return np.isfinite(self.best()) & ~(self.unsure > self.best())


def point(config: Config, index: float) -> dict:
    case = config.cases()[int(index)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteGradientWarning)  # past the edge derivatives do overflow
        truth = truth_of(case)
        found = candidates(case)
        errors = np.full(len(NAMES), np.nan)
        for candidate in found:
            place = NAMES.index(candidate.name)
            errors[place] = np.fmin(errors[place], error_of(candidate, truth, config.draws))
        advice = hg.probe.advise(case.problem, case.hypers, step=case.step, budget=case.budget)
        advised = error_of(as_advised(case, advice, found), truth, config.draws)
    measured = advice.measured
    return {
        "index": index,
        "error": errors,
        "advised": NAMES.index(advice.estimator),
        "advised_error": advised,
        "expected": advice.error,
        "past": int(truth.past),
        "calm": int(advice.calm),
        "missed": truth.missed,
        "unsure": truth.unsure,
        "growth": measured.growth * case.problem.steps,
        "numbers": measured.numbers,
        "budget": case.budget,
        "spent": measured.spent,
    }


def as_advised(case: advice_problems.Case, advice, found: list[Candidate]) -> Candidate:
    """The advised estimator, with the arguments advised; pieces of a training are put together as they are for all."""
    if advice.estimator == "persistent":
        return next(candidate for candidate in found if candidate.name == "persistent")
    estimator = hg.meta.estimators.build(advice, with_one_start(case.problem))
    random = advice.estimator in ("smoothed", "mixed")
    return Candidate(
        advice.estimator,
        advice.code,
        lambda draw: vector(estimator(case.hypers, draw if random else 0).gradient),
        random,
    )


def run(config: Config, jobs: int, cache) -> Results:
    count = len(config.cases())
    indices = np.arange(float(max(1, count // config.every)))  # of a quick run the first, which are below the edge
    points = compute(partial(point, config), indices, n_jobs=jobs, cache=cache / "problems", progress=True)
    return Results(*(np.array([one[name] for one in points]) for name in Results._fields))


def misses(results: Results, config: Config) -> list[str]:
    """A row of a table for each judged problem that is not within WITHIN, the worst first."""
    cases, ratio = config.cases(), results.ratio()
    rows = []
    for p in sorted(np.flatnonzero(results.judged() & (ratio > WITHIN)), key=lambda p: -ratio[p]):
        name, best = cases[int(results.index[p])].name, NAMES[int(np.nanargmin(results.error[p]))]
        errors = (
            f"{results.expected[p]:.2g} | {results.advised_error[p]:.2g} | {best} | {np.nanmin(results.error[p]):.2g}"
        )
        rows.append(f"| {name} | {NAMES[int(results.advised[p])]} | {errors} |")
    return rows


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: how many are judged, the shares within WITHIN in percent with their interval, and those of
    always taking the same estimator."""
    judged, past = results.judged(), results.past == 1
    found = {"problems": len(judged), "not judged": int((~judged).sum())}
    for name, among in (("all", judged), ("below", judged & ~past), ("past", judged & past)):
        within = int((results.ratio()[among] <= WITHIN).sum())
        found[f"judged, {name}"], found[f"within, {name}"] = int(among.sum()), within
        if among.any():
            found[f"share, {name}"] = 100.0 * within / among.sum()
            found[f"interval, {name}"] = 100.0 * np.array(clopper_pearson(within, int(among.sum())))
            found[f"median ratio, {name}"] = np.median(results.ratio()[among])
        for estimator in ("exact", "smoothed", "mixed"):
            ratio = results.ratio(results.error[:, NAMES.index(estimator)])
            found[f"always {estimator}, {name}"] = 100.0 * np.mean(ratio[among] <= WITHIN) if among.any() else np.nan
    always = {name: results.ratio(results.error[:, NAMES.index(name)]) <= WITHIN for name in ("exact", "smoothed")}
    found["always exact, within"] = int(always["exact"][judged].sum())
    by_side = np.where(past, always["smoothed"], always["exact"])
    found["exact below and values past, within"] = int(by_side[judged].sum())
    found["same side"] = int((past[judged] == (results.calm[judged] == 0)).sum())
    random = judged & past & (results.advised_error > 0.0)
    expected = results.expected[random] / results.advised_error[random]
    found["expected over measured, past"] = np.median(expected) if random.any() else np.nan
    unsure = ~judged & np.isfinite(results.best())
    found["judged or not, within"] = int((results.ratio()[judged | unsure] <= WITHIN).sum())
    found["judged or not"] = int((judged | unsure).sum())
    found["spent"] = np.median(results.spent)
    found["hyperparameters"] = results.numbers.min(), results.numbers.max()
    return found


@in_style
def plot(results: Results, config: Config, plt):
    figure, axes = plt.subplots(1, 3, figsize=(13.5, 4.6), layout="constrained")
    judged, past, ratio = results.judged(), results.past == 1, results.ratio()
    kinds = ((~past, "o", CALM, "below the edge"), (past, "^", CHAOTIC, "past the edge"))
    advised = np.fmax(results.advised_error, FLOOR)
    for axis, x in zip(axes, (results.best(), results.growth, results.numbers)):
        for among, marker, colour, label in kinds:
            shown = judged & among
            y = advised if axis is axes[0] else ratio
            axis.plot(x[shown], y[shown], marker, color=colour, markersize=5, alpha=0.75, label=label)
    ends = np.array([FLOOR, 1.5 * max(1.0, np.max(advised[judged & np.isfinite(advised)], initial=1.0))])
    axes[0].loglog(ends, ends, color="0.4", linewidth=1, label="the best")
    axes[0].loglog(ends, WITHIN * ends, color="0.4", linewidth=1, linestyle="--", label="twice as far off")
    axes[0].set(xlabel="error of the best estimator, relative", ylabel="error of the advised estimator, relative")
    for axis in axes[1:]:
        axis.set_yscale("log")
        axis.axhline(WITHIN, color="0.4", linewidth=1, linestyle="--")
        axis.set_ylabel("error of the advised over that of the best")
    axes[1].set_xscale("symlog", linthresh=1.0)
    axes[1].set_xlabel("growth of the tangent over the training, λT (nats)")
    axes[2].set_xscale("log")
    axes[2].set_xlabel("number of hyperparameters")
    axes[0].legend(frameon=False, fontsize="small")
    found = numbers(results, config)
    which = f"held-out problems, round {config.round}" if config.round else "the development set"
    figure.suptitle(
        f"{which}: within {WITHIN:g} × of the best estimator's error in {found['within, all']} of "
        f"{found['judged, all']}; errors below {FLOOR:g} drawn at {FLOOR:g}",
        fontsize="medium",
    )
    return figure
