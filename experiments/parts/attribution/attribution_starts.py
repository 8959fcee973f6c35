"""Which damping influence functions want, and whether scores from some initial weights hold for others; the figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from autograd import grad
from scipy.stats import spearmanr

import hypergrad as hg
from experiments.parts.attribution import attributions
from experiments.parts.attribution.attributions import along, correlations, losses_on, problem, random_halves, solve
from experiments.shared.intervals import t_interval
from experiments.shared.runner import seeds_in_words
from hypergrad.runs.parallel import compute
from hypergrad.style import INFLUENCE, WHOLE_RUN, in_style

METHODS = ("through the whole run", "influence functions")
COLOURS = (WHOLE_RUN, INFLUENCE)


@dataclass(frozen=True)
class Config(attributions.Config):
    """The training of the other parts. A quick run has ``every`` times fewer halves.

    Attributes:
      dampings: λ, of which those random halves that come first choose one for each seed.
      halves: the second half of them is what is reported.
      starts: k, numbers of initial weights that scores are averaged over.
      others: initial weights that are trained from, and have no part in the scores.
    """

    dampings: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    starts: tuple[int, ...] = (1, 2, 4)
    others: int = 3


class Results(NamedTuple):
    """Rank correlations of predicted and measured losses over halves: s seeds, d dampings, t test images, k of starts.

    The halves come in two, those to choose by and those to report.
    """

    value: np.ndarray  # (s, 2, d, t), of influence functions, with the same initial weights
    whole: np.ndarray  # (s, 2, t), of the derivative through the whole run, with the same initial weights
    chosen: np.ndarray  # (s,), which damping the first halves choose
    across: np.ndarray  # (s, 2, k, o, t), METHODS, averaged over k starts, for trainings from o others; halves reported
    repeated: np.ndarray  # (s, o, t), of trainings from the own initial weights with those from others
    measured: np.ndarray  # (s, h, t), losses after training on halves from the own initial weights, nats


def ranks(predicted, measured) -> np.ndarray:
    """(m, t), of predicted (m, h, t) and measured (h, t)."""
    return correlations(predicted, measured, lambda a, b: spearmanr(a, b)[0])


def scored(config: Config, seed: float) -> dict:
    """A piece of each array of the results."""
    seed = int(seed)
    model, loss, own, (X, T) = problem(config, seed)
    n, optimizer = config.examples, hg.SGD(config.lr, config.momentum)
    halves = random_halves(seed, max(8, config.halves // config.every), n)
    first, second = np.split(np.arange(len(halves)), 2)
    start = lambda number: own if number == 0 else model.init(1_000 * (seed + 1) + number)
    train = lambda params, weights: hg.train(loss, params, optimizer, weights, steps=config.steps)
    trained = lambda params, rows: np.array([losses_on(model, train(params, halves[row]), X, T) for row in rows])
    predicted = lambda scores, rows: (halves[rows] - 1.0) @ np.moveaxis(np.asarray(scores), -2, -1)  # (…, h, t)
    measures = [lambda p, x=x, t=t: model.loss(p, x[None], t[None]) for x, t in zip(X, T)]

    def whole(params) -> np.ndarray:
        found = partial(hg.probe.attribution, loss, params, optimizer, steps=config.steps, adjoint=hg.Stored())
        return np.array([found(measure=measure).gradient for measure in measures])

    def influence(params, dampings) -> np.ndarray:
        end = train(params, np.ones(n))
        hvp, slopes = model.gradient_with_hvp(end, loss.X, loss.T)[1], [grad(measure)(end) for measure in measures]
        return np.array(
            [[-along(model, loss, end, solve(hvp, slope, damping)) / n for slope in slopes] for damping in dampings]
        )

    measured = trained(own, range(len(halves)))
    by_damping, exact = influence(own, config.dampings), whole(own)
    value = np.array([ranks(predicted(by_damping, rows), measured[rows]) for rows in (first, second)])
    same = np.array([ranks(predicted(exact[None], rows), measured[rows])[0] for rows in (first, second)])
    chosen = int(np.argmax(value[0].mean(axis=-1)))

    numbers = range(1, max(config.starts))
    scores = np.array(
        [
            [exact, *(whole(start(number)) for number in numbers)],
            [
                by_damping[chosen],
                *(influence(start(number), config.dampings[chosen : chosen + 1])[0] for number in numbers),
            ],
        ]
    )  # (methods, starts, t, n)
    means = np.stack([scores[:, :k].mean(axis=1) for k in config.starts], axis=1)
    elsewhere = [trained(start(100 + number), second) for number in range(config.others)]
    across = np.array(
        [
            [[ranks(predicted(mean[None], second), losses)[0] for losses in elsewhere] for mean in of_method]
            for of_method in means
        ]
    )
    repeated = np.array([ranks(measured[None, second], losses)[0] for losses in elsewhere])
    return dict(zip(Results._fields, (value, same, np.array(chosen), across, repeated, measured)))


def run(config: Config, jobs: int, cache) -> Results:
    points = compute(partial(scored, config), range(config.seeds), n_jobs=jobs, cache=cache / "seeds", progress=False)
    return Results(*(np.array([one[name] for one in points]) for name in Results._fields))


def of_chosen(results: Results) -> np.ndarray:
    """(s, t): the correlation on the reported halves with the damping that the others chose."""
    return results.value[np.arange(len(results.chosen)), 1, results.chosen]


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: means over seeds with their t intervals."""
    found = {
        "whole": t_interval(results.whole[:, 1].mean(axis=-1)),
        "chosen": t_interval(of_chosen(results).mean(axis=-1)),
        "whole less chosen": t_interval((results.whole[:, 1] - of_chosen(results)).mean(axis=-1)),
        "damping": np.median(np.array(config.dampings)[results.chosen]),
        "repeated": t_interval(results.repeated.mean(axis=(1, 2))),
    }
    for d, damping in enumerate(config.dampings):
        found[f"λ = {damping:g}"] = t_interval(results.value[:, 1, d].mean(axis=-1))
    for m, method in enumerate(METHODS):
        for k, count in enumerate(config.starts):
            found[f"{method}, {count}"] = t_interval(results.across[:, m, k].mean(axis=(1, 2)))
    return found


@in_style
def plot(results: Results, config: Config, plt):
    figure, (dampings, starts) = plt.subplots(1, 2, figsize=(11.5, 4.4), layout="constrained")
    for half, (style, words) in enumerate((("o:", "halves to choose by"), ("s-", "halves reported"))):
        by_seed = results.value[:, half].mean(axis=-1)
        dampings.plot(config.dampings, by_seed.mean(axis=0), style, color=COLOURS[1], label=f"influence, {words}")
        dampings.plot(config.dampings, by_seed.T, "-", color=COLOURS[1], alpha=0.15, linewidth=0.8)
    whole = results.whole[:, 1].mean(axis=-1)
    dampings.axhline(whole.mean(), color=COLOURS[0], label=METHODS[0])
    dampings.set(
        xscale="log",
        xlabel="damping λ of influence functions",
        ylim=(min(0.0, results.value.mean(axis=-1).min()), 1.05),
    )
    dampings.set_ylabel("linear datamodelling score\n(rank correlation over halves, mean of the test images)")
    dampings.set_title("trainings from the same initial weights", fontsize="medium")
    dampings.legend(frameon=False, fontsize="small", loc="lower left")
    for m, (method, colour) in enumerate(zip(METHODS, COLOURS)):
        by_seed = results.across[:, m].mean(axis=(-2, -1))
        places = np.array(config.starts) * 1.04 ** (2 * m - 1)
        starts.plot(np.broadcast_to(places, by_seed.shape), by_seed, ".", color=colour, alpha=0.4)
        starts.plot(places, by_seed.mean(axis=0), "s-", color=colour, label=method)
        if len(by_seed) > 1:
            mean, low, high = np.transpose([t_interval(column) for column in by_seed.T])
            starts.errorbar(places, mean, yerr=(mean - low, high - mean), fmt="none", color=colour, capsize=4)
    starts.axhline(whole.mean(), color=COLOURS[0], linestyle=":", label=f"{METHODS[0]}, the same initial weights")
    starts.axhline(
        results.repeated.mean(), color="0.4", linestyle="--", label="training itself, from other initial weights"
    )
    starts.set(xscale="log", xlabel="initial weights that scores are averaged over")
    starts.set_xticks(config.starts, [str(k) for k in config.starts])
    starts.xaxis.set_minor_formatter(plt.NullFormatter())
    starts.set_ylim(dampings.get_ylim())
    starts.set_title(f"trainings from {config.others} other initial weights", fontsize="medium")
    starts.legend(frameon=False, fontsize="small", loc="lower left")
    figure.suptitle(
        f"{'-'.join(map(str, config.sizes))}, {config.examples:,} MNIST images, {config.steps} steps, "
        f"{len(results.measured[0])} random halves, {config.tests} test images, {seeds_in_words(config.seeds)}",
        fontsize="medium",
    )
    return figure
