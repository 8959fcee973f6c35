"""7,840 penalties of a logistic regression: estimators against the exact hypergradient, descents; the figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.parts.estimators_by_problem.costs import allocated, timed
from experiments.shared import descents, digits
from experiments.shared.intervals import t_interval
from experiments.shared.penalties import penalised
from experiments.shared.runner import PartConfig, seeds_in_words
from experiments.shared.search import by_evolution
from hypergrad.meta.estimators.base import value_or_inf
from hypergrad.runs.parallel import compute
from hypergrad.style import CYCLE, EXACT, IMPLICIT, IMPLICIT_NEUMANN, SMOOTHED, TRUNCATED, TRUNCATED_LONG, in_style

SEARCH = "one penalty, by search"
NAMES = ("exact", "truncated, K = T/2", "truncated, K = T/10", "implicit, CG", "implicit, Neumann", "smoothed")
DESCENTS = ("exact", "truncated, K = T/10", "implicit, CG", "smoothed", SEARCH)
COLOURS = (EXACT, TRUNCATED_LONG, TRUNCATED, IMPLICIT, IMPLICIT_NEUMANN, SMOOTHED)
COST = 3.0  # trainings that a hypergradient counts as
MODEL = hg.nn.MLP([784, 10])


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """Softmax regression 784-10 with the penalty Σ e^h w², a log penalty h for each weight; all images at each step.

    Attributes:
      images: of training, and of validation, whose loss is the objective.
      log_start: of all log penalties; low and high are those between which they stay.
      horizons: T at which gradients are compared.
      terms: of the implicit methods, ``rate`` that of the series.
      sigma, pairs: of the smoothed estimate.
      descent_steps, iterations: T of the descents, and how many hypergradients the exact one has.
      unseen: training sets that penalties are tested on, for each seed.
      test: images.
    """

    images: int = 100
    lr: float = 0.3
    momentum: float = 0.9
    log_scale: float = -4.0
    log_start: float = float(np.log(0.01))
    low: float = -12.0
    high: float = 1.0
    horizons: tuple[int, ...] = (10, 50, 200, 1_000)
    terms: int = 20
    rate: float = 0.5
    sigma: float = 0.1
    pairs: int = 2
    descent_steps: int = 40
    iterations: int = 50
    unseen: int = 10
    test: int = 2_000

    def used(self) -> tuple[int, ...]:
        return self.horizons if self.every == 1 else self.horizons[:2]

    def budget(self) -> float:
        """Trainings of each descent."""
        return COST * max(self.iterations // self.every, 2)


class Results(NamedTuple):
    """For s seeds, t horizons, e estimators of NAMES, d descents of DESCENTS, u unseen training sets."""

    cosine: np.ndarray  # (s, t, e), with the exact hypergradient
    ratio: np.ndarray  # (s, t, e), of their norms
    seconds: np.ndarray  # (s, t, e), of processor time for an estimate
    memory: np.ndarray  # (t, e), bytes allocated at most, seed 0
    products: np.ndarray  # (t, e), of matrices, over those of the training
    stationary: np.ndarray  # (s, t), norm of the gradient of the training loss at the end
    validation: np.ndarray  # (s, d), lowest validation loss of a descent, nats
    own: np.ndarray  # (s, d), test loss after training on its own images, nats
    unseen: np.ndarray  # (s, d, u), test loss after training on sets that nothing was learned on
    at_start: np.ndarray  # (s, u), and with the penalties of the start


def problem_of(config: Config, steps: int, seed: int) -> tuple:
    """The problem, and the test loss for some penalties and a training set."""
    pieces = digits.draw(seed, config.images, config.images, *[config.images] * config.unseen, test=config.test)
    own, (X, T), *others, test = pieces
    loss_of = lambda piece: penalised(hg.nn.MinibatchLoss(MODEL, *piece))
    start = hg.init.scaled_normal(MODEL.shapes, np.exp(config.log_scale), seed)
    optimizer = hg.SGD(config.lr, config.momentum)
    problem = hg.meta.Problem(
        loss_of(own),
        init=lambda h, _: start,
        optimizer=lambda h: optimizer,
        outer_loss=lambda params: MODEL.loss(params, X, T),
        steps=steps,
        hyper=lambda h: h,
        adjoint=hg.Stored(),
    )

    def tested(h, piece) -> float:
        trained = hg.train(loss_of(piece), start, optimizer, h, steps=steps)
        return float(MODEL.loss(trained, *test))

    return problem, lambda h: tested(h, own), lambda h: np.array([tested(h, piece) for piece in others])


def estimators(config: Config, problem: hg.meta.Problem) -> dict:
    kinds, T = hg.meta.estimators, problem.steps
    return {
        "exact": kinds.exact(problem),
        "truncated, K = T/2": kinds.truncated(problem, steps=T // 2),
        "truncated, K = T/10": kinds.truncated(problem, steps=T // 10),
        "implicit, CG": kinds.implicit(problem, terms=config.terms),
        "implicit, Neumann": kinds.implicit(problem, method="neumann", terms=config.terms, rate=config.rate),
        "smoothed": kinds.smoothed(problem, sigma=config.sigma, samples=config.pairs),
    }


def gradients(config: Config, seed: float) -> dict:
    """Every estimate at the start, for every horizon."""
    shape = len(config.used()), len(NAMES)
    found = {name: np.full(shape, np.nan) for name in ("cosine", "ratio", "seconds", "memory", "products")}
    found["stationary"] = np.full(shape[0], np.nan)
    h = np.full((784, 10), config.log_start)
    for t, T in enumerate(config.used()):
        problem, _, _ = problem_of(config, T, int(seed))
        exact = None
        for e, (name, estimator) in enumerate(estimators(config, problem).items()):
            one, found["seconds"][t, e] = timed(lambda estimator=estimator: estimator(h, int(seed)))
            exact = one.gradient if exact is None else exact
            norms = np.linalg.norm(one.gradient), np.linalg.norm(exact)
            found["cosine"][t, e] = np.sum(one.gradient * exact) / (norms[0] * norms[1])
            found["ratio"][t, e] = norms[0] / norms[1]
            products = one.diagnostics.products
            found["products"][t, e] = 2.0 * config.pairs if np.isnan(products) else products / (2.0 * T)
            if name == "implicit, Neumann":
                found["stationary"][t] = one.diagnostics.gradient_norm
            if int(seed) == 0:
                found["memory"][t, e] = allocated(lambda estimator=estimator: estimator(h, 0))
    return found


def descent(config: Config, name: str, seed: float) -> dict:
    """Where a descent, or the search for one penalty, ends."""
    seed, T = int(seed), config.descent_steps
    problem, own, unseen = problem_of(config, T, seed)
    start = np.full((784, 10), config.log_start)
    if name == SEARCH:
        f = lambda x: value_or_inf(lambda: problem.f(np.full((784, 10), float(x)), seed))
        tried = by_evolution(f, config.low, config.high, (), int(config.budget()), seed)
        value, h = tried.values.min(), np.full((784, 10), float(tried.best))
    else:
        implicit = 1.0 + config.terms / T  # products beside those of the training
        truncated = 1.0 + 0.1 * (COST - 1.0)
        cost = dict(zip(DESCENTS, (COST, truncated, implicit, 2.0 * config.pairs)))[name]
        updates = max(int(config.budget() / cost), 1)
        found = descents.history(
            problem.f,
            start,
            steps=updates,
            optimizer=hg.Adam(5.0 / updates),  # so that each descent can go five units
            bounds=(config.low, config.high),
            estimator=estimators(config, problem)[name],
            recheck=False,
        )
        best = hg.meta.best(found)
        value, h = best.value, best.hypers
    return {"validation": np.array(value), "own": np.array(own(h)), "unseen": unseen(h), "at_start": unseen(start)}


def run(config: Config, jobs: int, cache) -> Results:
    seeds = range(config.seeds)
    of = lambda f, folder: compute(f, seeds, n_jobs=jobs, cache=cache / folder, progress=False)
    compared = of(partial(gradients, config), "gradients")
    ended = [of(partial(descent, config, name), name) for name in DESCENTS]
    stacked = lambda name: np.array([one[name] for one in compared])
    by_seed = lambda name: np.moveaxis(np.array([[one[name] for one in row] for row in ended]), 0, 1)
    return Results(
        stacked("cosine"),
        stacked("ratio"),
        stacked("seconds"),
        compared[0]["memory"],
        compared[0]["products"],
        stacked("stationary"),
        by_seed("validation"),
        by_seed("own"),
        by_seed("unseen"),
        by_seed("at_start")[:, 0],
    )


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: medians over seeds for each horizon, test losses of the descents."""
    found = {}
    for t, T in enumerate(config.used()):
        found[f"stationary, {T}"] = np.median(results.stationary[:, t])
        for e, name in enumerate(NAMES):
            found[f"cosine, {name}, {T}"] = np.median(results.cosine[:, t, e])
            found[f"ratio, {name}, {T}"] = np.median(results.ratio[:, t, e])
            found[f"seconds, {name}, {T}"] = np.median(results.seconds[:, t, e])
            found[f"megabytes, {name}, {T}"] = results.memory[t, e] / 1e6
            found[f"trainings, {name}, {T}"] = results.products[t, e]
    unseen = results.unseen.mean(axis=-1)
    for d, name in enumerate(DESCENTS):
        found[f"validation, {name}"] = results.validation[:, d].mean()
        found[f"own, {name}"] = t_interval(results.own[:, d])
        found[f"unseen, {name}"] = t_interval(unseen[:, d])
        found[f"own less search, {name}"] = t_interval(results.own[:, d] - results.own[:, -1])
        found[f"unseen less search, {name}"] = t_interval(unseen[:, d] - unseen[:, -1])
    return found | {"unseen, start": t_interval(results.at_start.mean(axis=-1))}


@in_style
def plot(results: Results, config: Config, plt):
    figure, (cosines, ratios, times, ends) = plt.subplots(1, 4, figsize=(16.5, 4.4), layout="constrained")
    horizons = np.array(config.used())
    memory = np.maximum(results.memory, 1.0) / 1e6
    for e, (name, colour) in enumerate(zip(NAMES, COLOURS)):
        cosines.semilogx(horizons, np.median(results.cosine[:, :, e], axis=0), "o-", color=colour, label=name)
        ratios.loglog(horizons, np.median(results.ratio[:, :, e], axis=0), "o-", color=colour)
        times.loglog(np.median(results.seconds[:, :, e], axis=0), memory[:, e], "o-", color=colour)
    cosines.set(xlabel="T, steps", ylabel="cosine with the exact hypergradient")
    cosines.set_ylim(-0.15, 1.75)
    cosines.legend(frameon=False, fontsize="small", ncols=2, loc="upper left")
    ratios.set(xlabel="T, steps", ylabel="norm over that of the exact one")
    times.set(xlabel="processor time of an estimate (s)", ylabel="memory allocated (MB)")
    times.xaxis.set_minor_formatter(plt.NullFormatter())
    times.set_title(f"T = {', '.join(f'{T:,}' for T in horizons)}, from left to right", fontsize="medium")
    for k, (rows, marker, words) in enumerate(
        ((results.own, "o", "its own images"), (results.unseen.mean(axis=-1), "s", "unseen training sets"))
    ):
        places = np.arange(len(DESCENTS)) + 0.3 * k
        ends.plot(rows, np.broadcast_to(places, rows.shape), ".", color=CYCLE[k], alpha=0.3)
        ends.plot(rows.mean(axis=0), places, marker, color=CYCLE[k], label=f"trained on {words}")
        if len(rows) > 1:
            mean, low, high = np.transpose([t_interval(column) for column in rows.T])
            ends.errorbar(mean, places, xerr=(mean - low, high - mean), fmt="none", color=CYCLE[k], capsize=3)
    ends.axvline(results.at_start.mean(), color="0.5", linewidth=1, linestyle="--")
    ends.set_yticks(range(len(DESCENTS)), [name.replace(", ", ",\n") for name in DESCENTS])
    ends.set_xlabel("test loss (nats), mean and 95 % t interval;\ndashed: start, on unseen training sets")
    ends.set_title(f"descents, T = {config.descent_steps}, {config.budget():g} trainings' cost", fontsize="medium")
    ends.set_ylim(len(DESCENTS) + 0.6, -0.5)
    ends.legend(frameon=False, fontsize="small", loc="lower left")
    figure.suptitle(
        f"784-10, {config.images} MNIST images, a log penalty for each of 7,840 weights, from ln "
        f"{np.exp(config.log_start):g}; learning rate {config.lr:g}, momentum {config.momentum:g}; medians over "
        f"{seeds_in_words(config.seeds)}",
        fontsize="medium",
    )
    return figure
