"""26 November 2026: does a schedule that was learned in one setting help in another?

Setting: the schedules that part 2 of feb03_training_schedules learned for the validation loss of 784-50-50-50-10 tanh,
100 steps, minibatches of 200, one for each of its runs, as they are checked in. They are carried over to 200 steps
(stretched), to width 100 (weights scaled by 1/√fan-in as before), and to minibatches of 50, all else as it
was; and compared there with their means over the steps (a rate, a momentum and a scale for each array), with the best
constant learning rate, momentum and scale of the same run, carried over the same way, and with the best constant that
as many trainings in the new setting find, by random search, as a learned schedule cost (162). Test images, and initial
weights that nothing was chosen by. In float32. Scaled down: one search in each new setting (--full: one for each
learned schedule; 400 steps, width 200 and minibatches of 500 too).

Part 1: to other numbers of steps, widths and minibatches.
Part 2: to another data set, the 1,797 digits of scikit-learn, 8 by 8 pixels enlarged to 24 by 24 with a frame: 1,000 to
    train on, 297 to validate, 500 to test. Needs the extra ``search``: python -m pip install -e '.[search]'
"""

import sys
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from experiments import feb03_training_schedules as feb03
from experiments.shared import descents, runner, scheduled_net, search, search_plots, small_digits
from experiments.shared.intervals import geometric_interval, t_interval
from experiments.shared.results import FIGURES, load
from experiments.shared.scheduled_net import HELD_OUT, SEARCH, Net, seed_of

LOOK_AT = "Look at whether the learned schedule, carried over, is left of the best constant found in the new setting."
WAYS = (
    "learned schedules, carried over",
    "their means over the steps, carried over",
    "best constant, carried over",
    "best constant, found there",
)
LEARNED_IN = Net()
SETTINGS = {
    "as learned": LEARNED_IN,
    "minibatches of 50": replace(LEARNED_IN, batch_size=50),
    "200 steps": replace(LEARNED_IN, steps=200),
    "width 100": replace(LEARNED_IN, sizes=(784, 100, 100, 100, 10)),
    "digits of scikit-learn": replace(LEARNED_IN, data="digits"),
    "minibatches of 500": replace(LEARNED_IN, batch_size=500),
    "400 steps": replace(LEARNED_IN, steps=400),
    "width 200": replace(LEARNED_IN, sizes=(784, 200, 200, 200, 10)),
}


@dataclass(frozen=True)
class Config(runner.PartConfig):
    """A quick run searches ``every`` times fewer points, and takes as many fewer weights, in two settings."""

    trainings: int = feb03.PARTS[2].equal_cost
    held_out: int = 4
    settings: tuple[str, ...] = tuple(SETTINGS)[:4]
    own_searches: bool = False  # whether each schedule has one of its own in each new setting, not one for all

    def taken(self) -> tuple[str, ...]:
        """The settings; in a quick run the cheaper ones."""
        return self.settings if self.every == 1 else self.settings[:2]

    def shortened(self, number: int) -> int:
        return -(-number // self.every)


PARTS = {
    1: Config(seeds=feb03.PARTS[2].seeds, quick_every=80),
    2: Config(
        seeds=feb03.PARTS[2].seeds,
        quick_every=80,
        held_out=10,
        own_searches=True,
        settings=("digits of scikit-learn",),
    ),
}
FULL = {1: Config(seeds=feb03.PARTS[2].seeds, held_out=20, own_searches=True, settings=tuple(SETTINGS))}


class Results(NamedTuple):
    """Arrays of s learned schedules, one from each run, and n settings."""

    value: np.ndarray  # (s, n, 4, h), test loss of WAYS at h initial weights, nats
    tuned: np.ndarray  # (s, n, 3), of the constant found there the log learning rate, logit of momentum, log scale


SEED_AXIS = dict.fromkeys(Results._fields, 0)


def found_there(config: Config, net: Net, name: str, number: int, cache) -> np.ndarray:
    """The best constant of a search in a setting, as a point of the space of constants."""
    constant = scheduled_net.space(net, 3)

    def trained(z, i):
        return scheduled_net.plain_loss(net, "validation", constant.at(z), seed_of(number, SEARCH, i))

    trainings = config.shortened(config.trainings)
    path = search.kept(
        cache / f"{name} {number}.npz", lambda: search.at_random(trained, constant.numbers, trainings, number)
    )
    return path.after(trainings)


def measure(config: Config, _: str, seed: int, cache) -> tuple:
    """The test losses of a learned schedule and its rivals in every setting: a piece of each array of the results."""
    _, learned = load(feb03, FIGURES / "feb03_training_schedules", 2)
    schedule, constant = learned.learned[0, seed], learned.constant[0, seed]
    before = schedule, scheduled_net.averaged(LEARNED_IN, schedule), scheduled_net.space(LEARNED_IN, 3).at(constant)
    others = [seed_of(seed, HELD_OUT, i) for i in range(config.shortened(config.held_out))]
    value, tuned = [], []
    for name in config.taken():
        net = SETTINGS[name]
        z = learned.constant[0, seed]
        if net != LEARNED_IN:
            z = found_there(config, net, name, seed if config.own_searches else 0, cache)
        carried = [scheduled_net.carried_over(hypers, LEARNED_IN, net) for hypers in before]
        compared = [*carried, scheduled_net.space(net, 3).at(z)]
        value.append([[scheduled_net.plain_loss(net, "test", hypers, i) for i in others] for hypers in compared])
        tuned.append(z + scheduled_net.START)
    return value, tuned


def run(config: Config, jobs: int, cache) -> Results:
    if "digits of scikit-learn" in config.taken() and (absent := small_digits.missing()):
        raise runner.CommandError(absent)
    return Results(*(array[0] for array in descents.in_parallel(measure, config, ("all",), jobs, cache)))


def calm(seeds: int) -> np.ndarray:
    """(seeds,): whether the descent that learned a schedule began where the hypergradient was not steep."""
    _, learned = load(feb03, FIGURES / "feb03_training_schedules", 2)
    return learned.gradient_norm[0, :seeds, 0] < feb03.STEEP


def plot(results: Results, config: Config):
    return search_plots.plot_transfer(results, config, ways=WAYS, calm=calm(config.seeds))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: mean test losses, and differences in pairs of the same weights; intervals over schedules."""
    by_seed, some = results.value.mean(axis=-1), calm(config.seeds)
    named = {
        "weights": results.value.shape[-1],
        "schedules": config.seeds,
        "calm schedules": np.count_nonzero(some),
        "trainings": config.trainings,
    }
    for n, name in enumerate(config.taken()):
        learned, means, carried, found = by_seed[:, n].T
        for way, losses in zip(WAYS, by_seed[:, n].T):
            named[f"{name}, {way}"], named[f"{name}, {way}, median"] = t_interval(losses), np.median(losses)
            named[f"{name}, {way}, above 1 nat"] = np.count_nonzero(losses > 1.0)
        named[f"{name}, learned, lowest and highest"] = learned.min(), learned.max()
        named[f"{name}, learned below found there"] = np.count_nonzero(learned < found)
        named[f"{name}, learned relative to found there"] = geometric_interval(learned / found)
        named[f"{name}, learned above 1 nat, calm"] = np.count_nonzero(learned[some] > 1.0)
        apart = {
            "less found there": learned - found,
            "less constant carried over": learned - carried,
            "less their means": learned - means,
            "means less found there": means - found,
            "constant carried over less found there": carried - found,
        }
        for words, values in apart.items():
            named[f"{name}, {words}"] = t_interval(values)
            if np.count_nonzero(some) > 1:
                named[f"{name}, {words}, calm"] = t_interval(values[some])
    return named


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
