"""What the penalties of jan21_relevance are compared with: its setting, with another training set in every training.

A number z is a unit of the free value that a sigmoid maps into the range of a log penalty, of the log learning rate,
or of the logit of what lies between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import hypergrad as hg
from experiments.shared import online_rules, search
from experiments.shared.penalised_regression import MODEL, RANGE, RULE, TEST, UNSEEN, VALID, Setting, pieces, trained
from experiments.shared.rivals import Config, Rival, by_descent, by_grid
from experiments.shared.scores import loss_and_error

RATE = 0.1  # of Adam, as in part 2
NAMES = (
    "descent, 7,840 penalties",
    "descent, 10 penalties",
    "random search, 7,840 penalties",
    "CMA-ES, 7,840 penalties",
    "random search, 10 penalties",
    "TPE, 10 penalties",
    "CMA-ES, 10 penalties",
    "one penalty, grid",
    "constant rate and one penalty, grid",
    "cosine and one penalty, grid",
    "one cycle and one penalty, grid",
    "online rate and one penalty, TPE",
    "schedule-free and one penalty, TPE",
)


def rivals(config: Config, seed: int, cache) -> dict[str, Rival]:
    """By name; ``config`` says how many trainings the grid of single penalties has points for."""
    setting, validation, test = Setting(), pieces()[VALID], pieces()[TEST]
    start = hg.schedules.unbounded(setting.log_start, *RANGE)
    steps, momentum = setting.steps, RULE.momentum

    def log_penalty(z, shape):
        return hg.schedules.bounded(start + z.reshape(shape), *RANGE)

    def differentiable(shape: tuple[int, int]) -> Callable:
        return lambda z, number: MODEL.loss(trained(setting, log_penalty(z, shape), seed, number), *validation)

    def rival(numbers: int, by: Callable, shape=(1, 1), rule: Callable | None = None, f: Callable | None = None):
        penalties = int(np.prod(shape))

        def params(z, *which):
            with np.errstate(all="ignore"):
                optimizer = RULE if rule is None else rule(z[penalties:])
                options = {"rule": optimizer, "on_divergence": "nan"}
                return trained(setting, log_penalty(z[:penalties], shape), *which, **options)

        def searched(z, number):
            with np.errstate(all="ignore"):
                return search.bounded(MODEL.loss(params(z, seed, number), *validation))

        def tested(z, i):
            with np.errstate(all="ignore"):
                loss, error = loss_and_error(MODEL, params(z, 0, i, UNSEEN), *test)
            return search.bounded(loss), 100.0 * error

        return Rival(numbers, by, f or searched, tested)

    def logistic(z) -> float:
        return float(hg.schedules.bounded(z, 0.0, 1.0))

    each, ten = (784, 10), (1, 10)
    found = [
        rival(np.prod(shape), by_descent(RATE, cache / f"{i} seed{seed}", last=True), shape, f=differentiable(shape))
        for i, shape in enumerate((each, ten))
    ]
    found += [rival(np.prod(each), by, each) for by in (search.at_random, search.cma)]
    found += [rival(10, by, ten) for by in (search.at_random, search.tpe, search.cma)]
    found.append(rival(1, by_grid(np.linspace(-search.BOX, search.BOX, config.trainings))))
    both = by_grid(np.linspace(-search.BOX, search.BOX, 11), np.linspace(-2.0, 2.0, 11))
    for shape in (np.ones(steps), hg.schedules.cosine(1.0, steps), hg.schedules.one_cycle(1.0, steps)):
        found.append(rival(2, both, rule=lambda z, shape=shape: hg.SGD(np.exp(z[0]) * shape, momentum)))
    online = lambda z: online_rules.OnlineRate(np.exp(z[0]), logistic(z[1] - 2.0), momentum)
    free = lambda z: online_rules.ScheduleFree(np.exp(z[0] - 1.0), logistic(z[1] + 2.0), steps)
    found += [rival(3, search.tpe, rule=rule) for rule in (online, free)]
    return dict(zip(NAMES, found, strict=True))
