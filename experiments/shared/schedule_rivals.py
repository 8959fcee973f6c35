"""What the schedules of feb03_training_schedules are compared with: its network, from where the paper starts.

Every training has initial weights of its own. A number z is a unit of the log learning rate, of the log scale, or of
the logit of what lies between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import hypergrad as hg
from experiments.shared import online_rules, scheduled_net, search
from experiments.shared.rivals import Config, Rival, by_descent, by_grid
from experiments.shared.scheduled_net import DESCENT, HELD_OUT, SEARCH, Net, seed_of

NET = Net(batch_size=50)
RATES = (0.1, 0.2)  # of Adam; the 0.04 of the paper is for twice as many steps
NAMES = (
    *(f"descent, Adam {rate}, 1,608 numbers" for rate in RATES),
    "random search, 1,608 numbers",
    "CMA-ES, 1,608 numbers",
    "random search, 20 numbers",
    "TPE, 20 numbers",
    "CMA-ES, 20 numbers",
    "constant, grid",
    "cosine, grid",
    "one cycle, grid",
    "online rate, TPE",
    "schedule-free, TPE",
)
GRID = (np.linspace(-1.5, 3.0, 5), np.array([0.0, 1.5, 3.0]), np.linspace(-1.0, 3.0, 5))  # units of z; 75 points


def rivals(config: Config, seed: int, cache) -> dict[str, Rival]:
    """By name."""

    def rival(numbers: int, by: Callable, loss: Callable, f: Callable | None = None) -> Rival:
        searched = lambda z, number: loss("validation", z, seed_of(seed, SEARCH, number))
        return Rival(numbers, by, f or searched, lambda z, i: loss("test", z, seed_of(10_000, HELD_OUT, i)))

    def in_space(space: scheduled_net.Space) -> Callable:
        return lambda on, z, draw: scheduled_net.plain_loss(NET, on, space.at(z), draw)

    def by_rule(rule: Callable) -> Callable:
        """Of the log rate, the logit, the log scale, and what else the rule takes."""

        def loss(on, z, draw):
            log_rate, logit, log_scale = z[:3] + scheduled_net.START
            return scheduled_net.rule_loss(NET, on, rule(np.exp(log_rate), logit, z[3:]), np.exp(log_scale), draw)

        return loss

    def logistic(logit) -> float:
        return float(hg.schedules.bounded(logit, 0.0, 1.0))

    def differentiable(z, number):
        return scheduled_net.loss(NET, "validation", every.at(z), seed_of(seed, DESCENT, number))

    every, some = scheduled_net.space(NET, NET.numbers), scheduled_net.space(NET, 20)
    found = [
        rival(NET.numbers, by_descent(rate, cache / f"adam {rate} seed{seed}"), in_space(every), differentiable)
        for rate in RATES
    ]
    found += [rival(NET.numbers, by, in_space(every)) for by in (search.at_random, search.cma)]
    found += [rival(20, by, in_space(some)) for by in (search.at_random, search.tpe, search.cma)]
    for shape in (np.ones(NET.steps), hg.schedules.cosine(1.0, NET.steps), hg.schedules.one_cycle(1.0, NET.steps)):
        found.append(rival(3, by_grid(*GRID), in_space(scheduled_net.shaped(NET, shape))))
    online = lambda rate, logit, more: online_rules.OnlineRate(rate, logistic(more[0] - 2.0), logistic(logit))
    free = lambda rate, logit, more: online_rules.ScheduleFree(rate, logistic(logit), NET.steps)
    found += [rival(4, search.tpe, by_rule(online)), rival(3, search.tpe, by_rule(free))]
    return dict(zip(NAMES, found, strict=True))
