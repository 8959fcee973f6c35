"""3 February 2015: what do a learning rate and a momentum for every step and layer look like when they are learned?

Setting: 784-50-50-50-10 tanh, 10,000 MNIST images in minibatches of 200 in order, 100 steps. A log learning rate and
the logit of a momentum for every step and each of the 8 arrays (weights and biases of 4 layers), and the log scale of
each initial array: 1,608 hyperparameters. Adam with 0.04 along the hypergradient, 50 meta-iterations, other initial
weights in each; what is learned is taken from the best of them. The paper shuffles the images in each, too; here they
stay in order. Scaled down: trained in float32 (--full: float64, 1,000 draws of weights in part 1, 20 held out in
part 2). Ten runs of everything.

Part 1: as in the paper: from learning rate e⁻¹, momentum 0.5 and scale e⁻³, the training loss after the last
    step as the objective; and the first hypergradient, averaged over 100 initial weights.
Part 2: past it: from the best constant learning rate, momentum and scale of 12 trainings of random search, with the
    validation loss as the objective; against the best constant of 162 trainings, as many as 12 and 50 hypergradients
    at 3 each; on test images and weights that nothing was chosen by.
Part 3: from where the paper starts, what each of the usual ways finds with as many trainings as 25 hypergradients cost,
    75: search of all 1,608 numbers, or of 5 for each layer; constant, cosine and one-cycle schedules by a grid of
    peak, momentum and scale; rules that need no schedule. In minibatches of 50, to make it cheaper. Needs the extra
    ``search``: python -m pip install -e '.[search]'
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from autograd import grad

import hypergrad as hg
from experiments.parts.feb03_training_schedules import learned_schedule_plots
from experiments.shared import descents, rivals, runner, schedule_rivals, scheduled_net, search
from experiments.shared.intervals import t_interval
from experiments.shared.scheduled_net import DESCENT, FIRST, HELD_OUT, SEARCH, Net, seed_of

LOOK_AT = "Look at the output layer's learning rate, and at how the scales part; in part 2, whether test loss gains."
STEEP = 100.0  # nats; a first hypergradient with a larger norm than that comes from a start past the edge of chaos
WAYS = ("best constant of 12 trainings", "best constant of 162 trainings", "learned schedules")


@dataclass(frozen=True)
class Config(runner.PartConfig):
    """A quick run ends its descents and its searches ``every`` times earlier, and draws as many fewer weights."""

    objectives: tuple[str, ...]
    iterations: int = 50
    meta_step: float = 0.04
    first: int = 0  # initial weights over which each seed's first hypergradient is averaged
    searched: int = 0  # trainings by which the start is found; 0 for that of the paper
    held_out: int = 0  # initial weights on which the test loss is measured
    points: int = 21  # of a learning curve
    single: bool = True  # whether training is in float32

    def net(self) -> Net:
        return Net(single=self.single)

    @property
    def equal_cost(self) -> int:
        """Trainings that the search for the start and the descent cost together."""
        return self.searched + search.COST * self.iterations

    def shortened(self, number: int) -> int:
        return -(-number // self.every)


PARTS = {
    1: Config(("training",), seeds=10, first=10, quick_every=25),
    2: Config(("validation",), seeds=10, searched=12, held_out=10, quick_every=50),
    3: rivals.Config(
        of="schedule_rivals",
        names=schedule_rivals.NAMES,
        measured=("test loss (nats)",),
        setting="784-50-50-50-10 tanh, 5,000 MNIST images in minibatches of 50, 100 steps",
        seeds=10,
        trainings=75,
        quick_every=25,
    ),
}
FULL = {
    1: Config(("training",), single=False, seeds=10, first=100),
    2: Config(("validation", "training"), single=False, searched=12, held_out=20, seeds=10),
    3: replace(PARTS[3], held_out=50),
}


class Results(NamedTuple):
    """Arrays of o objectives, s seeds, n meta-iterations and k hyperparameters; NaN after a descent ended early."""

    value: np.ndarray  # (o, s, n), the objective at the weights of each meta-iteration, nats
    gradient_norm: np.ndarray  # (o, s, n), of the hypergradient
    log_scale: np.ndarray  # (o, s, n, 8)
    start: np.ndarray  # (o, s, k)
    learned: np.ndarray  # (o, s, k), where the objective was lowest
    constant: np.ndarray  # (o, s, 3), best of as many trainings, by validation loss: a point of a Space; none in part 1
    curve: np.ndarray  # (o, s, 2, c), training loss during training, before and after, at other weights; nats
    curve_steps: np.ndarray  # (o, s, c)
    first: np.ndarray  # (o, s, 3, k), hypergradient at the start: at one draw of weights; mean; standard deviation
    test: np.ndarray  # (o, s, 3, h), test loss of WAYS at weights not used before, nats


SEED_AXIS = dict.fromkeys(Results._fields, 1)


def constants(config: Config, seed: int, cache) -> tuple[np.ndarray, np.ndarray]:
    """Points of the space of constants: the best of few trainings, and of as many as the descent will have cost."""
    net = config.net()
    constant = scheduled_net.space(net, 3)

    def trained(z, number):
        return scheduled_net.plain_loss(net, "validation", constant.at(z), seed_of(seed, SEARCH, number))

    budgets = [config.shortened(config.searched), config.shortened(config.equal_cost)]
    path = search.kept(
        cache / f"constants seed{seed}.npz", lambda: search.at_random(trained, constant.numbers, budgets[1], seed)
    )
    few, many = (path.after(budget) for budget in budgets)
    return few, many


def descend(config: Config, objective: str, seed: int, cache) -> tuple:
    """A meta-descent and what is measured around it: a piece of each array of the results."""
    net, iterations = config.net(), config.shortened(config.iterations)
    start, constant = net.start(), np.empty(0)
    if config.searched:
        few, constant = constants(config, seed, cache)
        start = scheduled_net.space(net, 3).at(few)

    found = descents.history(
        lambda hypers, iteration: scheduled_net.loss(net, objective, hypers, seed_of(seed, DESCENT, iteration)),
        start,
        steps=iterations - 1,
        optimizer=hg.Adam(config.meta_step),
        seeds=1,
        cache=cache / f"{objective} seed{seed}",
    )
    learned = hg.meta.best(found).hypers
    rows = [(e.value, e.gradient_norm, net.parts(e.hypers)[2]) for e in found]

    counts = np.linspace(0, net.steps, config.points).astype(int)
    curves = [scheduled_net.curve(net, hypers, seed_of(seed, HELD_OUT), counts) for hypers in (start, learned)]

    draws = [seed_of(seed, FIRST, i) for i in range(config.shortened(config.first))]
    gradients = [grad(partial(scheduled_net.loss, net, objective))(start, draw) for draw in draws]
    first = [gradients[0], np.mean(gradients, axis=0), np.std(gradients, axis=0)] if draws else np.empty((3, 0))

    compared = [start, scheduled_net.space(net, 3).at(constant), learned] if config.searched else []
    others = [seed_of(seed, HELD_OUT, i) for i in range(config.shortened(config.held_out))]
    test = [[scheduled_net.plain_loss(net, "test", hypers, i) for i in others] for hypers in compared]
    return *descents.columns(rows, iterations), start, learned, constant, curves, counts, first, test


def run(config: Config, jobs: int, cache) -> Results:
    return Results(*descents.in_parallel(descend, config, config.objectives, jobs, cache))


def plot(results: Results, config: Config):
    drawn = learned_schedule_plots.plot_compared if config.searched else learned_schedule_plots.plot_published
    return drawn(results, config)


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes."""
    net = config.net()
    lr, momentum, scale = learned_schedule_plots.unpacked(net, results.learned[0])
    by_run, highest = momentum[:, ::2].mean(axis=(1, 2)), results.curve[0, :, 1, 4:].max(axis=1)  # from step 20 on
    log_scale = results.log_scale[0].mean(axis=0)
    late = log_scale[-1] - log_scale[30]
    named = {
        "hyperparameters": net.numbers,
        "value first": results.value[:, :, 0].mean(axis=1),
        "value last": results.value[:, :, -1].mean(axis=1),
        "lr, first ten steps": lr[:, ::2, :10].mean(axis=(0, 2)),
        "lr, middle": lr[:, ::2, 45:55].mean(axis=(0, 2)),
        "lr, last ten steps": lr[:, ::2, -10:].mean(axis=(0, 2)),
        "lr, last step": lr[:, ::2, -1].mean(axis=0),
        "momentum, middle": momentum[:, ::2, 45:55].mean(axis=(0, 2)),
        "momentum, first ten steps": momentum[:, ::2, :10].mean(axis=(0, 2)),
        "momentum, last ten steps": momentum[:, ::2, -10:].mean(axis=(0, 2)),
        "weight scales": scale[:, ::2].mean(axis=0),
        "bias scales": scale[:, 1::2].mean(axis=0),
        "norm first": results.gradient_norm[:, :, 0].mean(axis=1),
        "norm last": results.gradient_norm[:, :, -1].mean(axis=1),
        "norm largest": results.gradient_norm.max(axis=(1, 2)),
        "norm after 30": results.gradient_norm[:, :, 30].mean(axis=1),
        "value last, interval": t_interval(results.value[0, :, -1]),
        "momenta, lowest and highest run": (by_run.min(), by_run.max()),
        "highest loss from step 20 on": highest.max(),
        "highest loss from step 20 on, median": np.median(highest),
        "runs with more than 1 nat from step 20 on": np.count_nonzero(highest > 1.0),
        "lowest": results.value.min(axis=(1, 2)),
        "momentum of layer 1, first ten steps": momentum[:, 0, :10].mean(),
        "weight scale of layer 1": scale[:, 0].mean(),
        "weight scales of layers 2 to 4": scale[:, 2::2].mean(axis=0),
        "weight scales, logs, from the 30th on": late[::2],
        "bias scales, logs, from the 30th on": late[1::2],
        "curve ends, after and before": results.curve[0, :, ::-1, -1].mean(axis=0),
    }
    if config.first:
        _, mean, deviation = np.moveaxis(results.first[0], 1, 0)
        total, within = mean.mean(axis=0), np.mean(deviation**2 + mean**2, axis=0)
        spread = np.sqrt(within - total**2)
        by_lr = [net.parts(array)[0][::2] for array in (total, spread)]
        named |= {
            "draws": config.first * config.seeds,
            "signal to noise, one draw": np.median(np.abs(by_lr[0]) / by_lr[1]),
            "negative share": 100.0 * np.mean(total[: net.arrays * net.steps] < 0.0),
            "first by layer": by_lr[0].sum(axis=1),
        }
    if config.held_out:
        start, constant, learned = np.moveaxis(
            results.test[0].mean(axis=-1), 1, 0
        )  # means over the weights of each run
        before = learned_schedule_plots.unpacked(net, results.start[0])[1][:, ::2]
        fall = (lr[:, ::2, -10:].mean(axis=2) / lr[:, ::2, 45:55].mean(axis=2)).mean(axis=1)
        norms = results.gradient_norm[0, :, 0]
        calm = norms < STEEP
        named |= {
            "start": t_interval(start),
            "constant": t_interval(constant),
            "learned": t_interval(learned),
            "learned less constant": t_interval(learned - constant),
            "percent less": 100.0 * (1.0 - learned.mean() / constant.mean()),
            "runs with a gain": np.count_nonzero(learned < constant),
            "calm starts": np.count_nonzero(calm),
            "learned less constant, calm starts": t_interval((learned - constant)[calm]),
            "learned, calm starts": t_interval(learned[calm]),
            "learned less constant, other starts": (learned - constant)[~calm],
            "learned, other starts": learned[~calm],
            "start, other starts": start[~calm],
            "norm first, other starts": norms[~calm],
            "norm first, calm starts, largest": norms[calm].max(),
            "lowest of a run, calm starts": t_interval(results.value[0].min(axis=1)[calm]),
            "rates at the end over the middle, calm starts": t_interval(fall[calm]),
            "momenta, largest move": np.abs(by_run - before.mean(axis=(1, 2))).max(),
            "momenta of single steps, largest move": np.abs(momentum[:, ::2] - before).max(),
            "runs": config.seeds,
            "held out": config.held_out,
        }
    return named


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
