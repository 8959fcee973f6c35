"""13 February 2015: from how many hyperparameters on do hypergradients find better ones than search at equal cost?

Setting: 784-50-50-50-10 tanh, 5,000 MNIST images in minibatches of 50 in order, 100 steps, in float32. The validation
loss after training, with other initial weights in every training, is minimised over 1 number (log learning rate), 5
(learning rate at three steps, momentum, scale), 20 (these five for each layer) or all 1,608 (a learning rate and a
momentum for every step and array, a scale for each), each space within the next, by

    hypergradient descent with Adam, 0.04 as in the paper or 0.2; random search; TPE; CMA-ES (diagonal from 100 on);

and constant, cosine and one-cycle schedules by a grid of peak, momentum and scale, and two rules that need no schedule,
a rate that follows the hypergradient of each step and schedule-free averaging, with what they need instead chosen by
TPE (shared/online_rules.py). Each spends 150 trainings, of which a hypergradient costs 3. It is 4 products a step and
layer by Stored(), a training 2 (docs/adjoints.md), so 2 trainings; by time 2.3 (docs/benchmarks.md, table b); it is
counted for 3. Test loss is on images and weights nothing was chosen by. Ten runs of each search. Scaled down
from feb03's minibatches of 200 (--full, with 600 trainings); TPE is left out for all 1,608, since it takes longer to
propose a point there than the training takes.

Needs the extra ``search``: python -m pip install -e '.[search]'
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.shared import descents, online_rules, runner, scheduled_net, search, search_plots
from experiments.shared.intervals import t_interval
from experiments.shared.scheduled_net import DESCENT, HELD_OUT, SEARCH, Net, seed_of

LOOK_AT = "Look at where the hypergradient's curves pass those of search, from panel to panel."
METHODS = ("hypergradient, Adam 0.04", "hypergradient, Adam 0.2", "random search", "TPE", "CMA-ES")
SHAPES = ("constant", "cosine", "one cycle")
RULES = ("online rate", "schedule-free")
GRID = (np.linspace(-1.5, 3.0, 10), np.array([0.0, 1.5, 3.0]), np.linspace(-1.0, 3.0, 5))  # units of z; 150 points


@dataclass(frozen=True)
class Config(runner.PartConfig):
    """``seeds`` runs of each search, each tested at ``weights`` unseen initial weights of its own.

    A quick run spends ``every`` times fewer trainings, and tests on as many fewer weights.
    """

    weights: int = 10
    trainings: int = 150
    budgets: tuple[int, ...] = (30, 60, 150)
    steps: int = 100
    batch_size: int = 50
    largest_of_tpe: int = 100  # hyperparameters

    def net(self) -> Net:
        return Net(steps=self.steps, batch_size=self.batch_size)

    def spaces(self) -> tuple[int, ...]:
        """How many numbers each space has."""
        return 1, 5, 20, self.net().numbers

    def takes(self, method: str, numbers: int) -> bool:
        """Whether a method is used for so many numbers; CMA-ES is for two or more."""
        return numbers <= self.largest_of_tpe if method == "TPE" else numbers > 1 or method != "CMA-ES"

    def shortened(self, number: int, least: int = search.COST) -> int:
        return max(least, number // self.every)


PARTS = {1: Config(seeds=10, quick_every=50)}
FULL = {
    1: Config(
        seeds=10,
        weights=12,
        trainings=600,
        budgets=(30, 60, 150, 300, 600),
        batch_size=200,
        largest_of_tpe=10_000,
    )
}


class Results(NamedTuple):
    """Test losses in nats: r runs, m METHODS, p spaces, b budgets, h initial weights; NaN if a method is not used."""

    value: np.ndarray  # (r, m, p, b, h)
    start: np.ndarray  # (r, h), of z = 0
    shaped: np.ndarray  # (r, 5, b, h), of SHAPES and RULES
    tuned: np.ndarray  # (r, 5, 3), of each the log peak, the logit of the momentum and the log scale


SEED_AXIS = dict.fromkeys(Results._fields, 0)


def searched(config: Config, method: str, numbers: int, run: int, cache) -> search.Path:
    """What a method recommends in a space of so many numbers after so many trainings."""
    net, trainings = config.net(), config.shortened(config.trainings)
    here = scheduled_net.space(net, numbers)

    def differentiable(z, number):
        return scheduled_net.loss(net, "validation", here.at(z), seed_of(run, DESCENT, number))

    def trained(z, number):
        return scheduled_net.plain_loss(net, "validation", here.at(z), seed_of(run, SEARCH, number))

    name = f"{method} {numbers} run{run}"
    if method.startswith("hypergradient"):
        rate = float(method.rpartition(" ")[2])
        return search.descent(differentiable, numbers, trainings, rate, cache / name)
    by = {"random search": search.at_random, "TPE": search.tpe, "CMA-ES": search.cma}[method]
    return search.kept(cache / f"{name}.npz", lambda: by(trained, numbers, trainings, run))


def tuned(config: Config, name: str, run: int, cache) -> tuple[Callable, search.Path]:
    """The loss of a shape or a rule, ``loss(on, z, seed)``, and what its search recommends after so many trainings."""
    net, trainings = config.net(), config.shortened(config.trainings)
    logistic = lambda logit: float(hg.schedules.bounded(logit, 0.0, 1.0))
    if name in SHAPES:
        rates = {"constant": np.ones(net.steps), "cosine": hg.schedules.cosine(1.0, net.steps)}
        here = scheduled_net.shaped(net, rates.get(name, hg.schedules.one_cycle(1.0, net.steps)))
        loss = lambda on, z, seed: scheduled_net.plain_loss(net, on, here.at(z), seed)
        axes = [axis[:: config.every] for axis in GRID]
        by = partial(search.on_grid, axes=axes)
    else:

        def rule(z):
            log_rate, logit = z[:2] + scheduled_net.START[:2]
            if name == "schedule-free":
                return online_rules.ScheduleFree(np.exp(log_rate), logistic(logit), net.steps)
            return online_rules.OnlineRate(np.exp(log_rate), logistic(z[3] - 2.0), logistic(logit))

        loss = lambda on, z, seed: scheduled_net.rule_loss(
            net, on, rule(z), np.exp(z[2] + scheduled_net.START[2]), seed
        )
        by = search.tpe

    def trained(z, number):
        return loss("validation", z, seed_of(run, SEARCH, number))

    numbers = 4 if name == "online rate" else 3
    return loss, search.kept(cache / f"{name} run{run}.npz", lambda: by(trained, numbers, trainings, run))


def measure(config: Config, _: str, run: int, cache) -> tuple:
    """Everything of one run: a piece of each array of the results."""
    net = config.net()
    budgets = [config.shortened(budget) for budget in config.budgets]
    others = [seed_of(run, HELD_OUT, i) for i in range(config.shortened(config.weights, 1))]
    known: dict[tuple, list[float]] = {}

    def test(loss, name, z):
        """At all other weights; once only, since a search often recommends the same after more trainings."""
        key = name, z.tobytes()
        if key not in known:
            known[key] = [loss("test", z, seed) for seed in others]
        return known[key]

    def scheduled(on, hypers, seed):
        return scheduled_net.plain_loss(net, on, hypers, seed)

    value = np.full((len(METHODS), 4, len(budgets), len(others)), np.nan)
    for m, method in enumerate(METHODS):
        for p, numbers in enumerate(config.spaces()):
            if not config.takes(method, numbers):
                continue
            path, here = searched(config, method, numbers, run, cache), scheduled_net.space(net, numbers)
            value[m, p] = [test(scheduled, "", here.at(path.after(budget))) for budget in budgets]
    shaped, best = [], []
    for name in (*SHAPES, *RULES):
        loss, path = tuned(config, name, run, cache)
        shaped.append([test(loss, name, path.after(budget)) for budget in budgets])
        best.append(path.points[-1][:3] + scheduled_net.START)
    return value, test(scheduled, "", net.start()), shaped, best


def run(config: Config, jobs: int, cache) -> Results:
    """Every run with searches and initial weights of its own."""
    if absent := missing():
        raise runner.CommandError(absent)
    return Results(*(array[0] for array in descents.in_parallel(measure, config, ("all",), jobs, cache)))


missing = search.missing
plot = partial(search_plots.plot_equal_cost, methods=METHODS, shapes=(*SHAPES, *RULES))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: test losses after all trainings, means over runs and the initial weights of each.

    Intervals are over the runs, whose searches and weights are their own; differences in pairs of the same run.
    """
    by_run = results.value.mean(axis=-1)  # (r, m, p, b)
    final, shaped = by_run[..., -1], results.shaped[:, :, -1].mean(axis=-1)
    named = {
        "start": t_interval(results.start.mean(axis=-1)),
        "hyperparameters": config.net().numbers,
        "runs": config.seeds,
        "weights": config.weights,
    }
    for s, shape in enumerate((*SHAPES, *RULES)):
        named[shape], named[f"{shape}, mean"] = t_interval(shaped[:, s]), shaped[:, s].mean()
        named[f"{shape}, worst run"] = shaped[:, s].max()
        named[f"{shape}, peak, momentum, scale"] = _natural(results.tuned[:, s].mean(axis=0))
    best_shape = shaped[:, np.argmin(shaped.mean(axis=0))]
    for p, space in enumerate(config.spaces()):
        for m, method in enumerate(METHODS):
            if np.isfinite(final[:, m, p]).all():
                named[f"{method}, {space}"] = t_interval(final[:, m, p])
                named[f"{method}, {space}, worst run"] = final[:, m, p].max()
        rate = np.argmin(final[:, :2, p].mean(axis=0))
        others = 2 + np.nanargmin(final[:, 2:, p].mean(axis=0))
        named[f"better rate, {space}"] = t_interval(final[:, rate, p])
        named[f"hypergradient less best search, {space}"] = t_interval(final[:, rate, p] - final[:, others, p])
        named[f"hypergradient 0.04 less best search, {space}"] = t_interval(final[:, 0, p] - final[:, others, p])
        named[f"hypergradient less best shape, {space}"] = t_interval(final[:, rate, p] - best_shape)
        for b, budget in enumerate(config.budgets):
            means = by_run[:, :, p, b].mean(axis=0)
            named[f"all methods, {space}, {budget} trainings"] = means[np.isfinite(means)]
    by_search = final[:, 2:].reshape(len(final), -1)
    best = by_search[:, np.nanargmin(by_search.mean(axis=0))]
    named["best of any search"] = t_interval(best)
    named["best of any search less hypergradient, all"] = t_interval(best - final[:, rate, -1])
    early = config.budgets.index(30)
    after_30 = by_run[..., early].mean(axis=0)
    named["best search of any space, 30 trainings"] = np.nanmin(after_30[2:])
    named["best hypergradient of any space, 30 trainings"] = np.nanmin(after_30[:2])
    named["shapes and rules, 30 trainings"] = results.shaped[:, :, early].mean(axis=(0, -1))
    return named


def _natural(z) -> np.ndarray:
    """Learning rate, momentum and scale."""
    return np.array([np.exp(z[0]), 1.0 / (1.0 + np.exp(-z[1])), np.exp(z[2])])


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
