"""21 January 2015: what is a penalty for every single weight worth?

Setting: logistic regression, 784-10, on 500 MNIST images in minibatches of 100, 50 steps, learning rate 1, momentum
0.9, log parameter scale −4. The training loss is the cross-entropy plus Σ e^λ w² over the weights; the log penalties
λ, from ln 0.01, are learned along the exact hypergradient of the loss on 10,000 validation images, by Adam: 7,840 of
them (one a weight), 10 (one a class) or one. They are compared with the best that as many trainings of plain search
find (a hypergradient counts as three), on 10,000 test images, after training on sets that nothing was learned on.

Part 1: one training set, as in 2015; but of 500 images, where there were 10,000, which leave penalties little to do.
Part 2: another training set in every meta-iteration.
Part 3: what each of the usual ways finds with as many trainings as part 2, 123, each on another training set: search
    of the penalties; one penalty and a constant, cosine or one-cycle rate, or a rule that needs no schedule. Needs the
    extra ``search``: python -m pip install -e '.[search]'
"""

import sys
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from autograd import grad

import hypergrad as hg
from experiments.shared import descents, image_plots, penalty_rivals, rivals, runner, search
from experiments.shared.intervals import crossed_interval, t_interval
from experiments.shared.penalised_regression import MODEL, POOL, RANGE, TEST, UNSEEN, VALID, Setting, pieces, trained
from experiments.shared.scores import loss_and_error
from hypergrad.style import BLACK, DEFAULT, LEARNED, LEARNED_TOO, SEARCHED, SEARCHED_TOO, darker

LOOK_AT = "Look at the penalties: low where ink decides, as in the middle of a 0; the rest depends on the training set."

PER_WEIGHT = "7,840, by descent"


class Way(NamedTuple):
    """How the penalties are chosen.

    Attributes:
      shape: of the log penalties, which is broadcast to that of the weights; None for no penalty.
      searched: by plain search; by descent otherwise.
      with_validation: the validation images are trained on too.
    """

    shape: tuple[int, ...] | None = None
    searched: bool = False
    with_validation: bool = False


WAYS = {
    "no penalty": Way(),
    "one, by search": Way((1, 1), searched=True),
    "one, by descent": Way((1, 1)),
    "10, by search": Way((1, 10), searched=True),
    "10, by descent": Way((1, 10)),
    PER_WEIGHT: Way((784, 10)),
    "no penalty, trained on the validation images too": Way(with_validation=True),
}
COLOURS = (DEFAULT, SEARCHED_TOO, LEARNED_TOO, SEARCHED, LEARNED, darker(LEARNED), BLACK)


@dataclass(frozen=True)
class Config(Setting):
    """A quick run ends its descents ``every`` times earlier, and tests as many times less.

    Attributes:
      fresh: another training set in every meta-iteration.
      compared: training sets on which every trial of a search is trained; as many fewer are the trials.
      meta_step: learning rate of Adam on the free values that a sigmoid maps into the range of the log penalties.
      unseen: training sets, of other images, on which penalties are tested.
    """

    iterations: int
    fresh: bool = False
    compared: int = 1
    meta_step: float = 0.05
    unseen: int = 20


PARTS = {
    1: Config(80, seeds=10, quick_every=40),
    2: Config(40, seeds=10, quick_every=20, fresh=True, compared=5, meta_step=0.1, unseen=10),
    3: rivals.Config(
        of="penalty_rivals",
        names=penalty_rivals.NAMES,
        measured=("test loss (nats)", "test error (%)"),
        setting="logistic regression on 500 MNIST images in minibatches of 100, 50 steps, momentum 0.9",
        trainings=123,
        seeds=10,
        quick_every=41,
    ),
}
FULL = {1: Config(80, images=10_000, batch_size=200), 3: replace(PARTS[3], held_out=20)}


class Results(NamedTuple):
    """Arrays of w ways, s seeds, n meta-iterations, u unseen training sets."""

    value: np.ndarray  # (w, s, n), nats: validation loss; of a search the lowest so far; NaN where it is trained on
    log_penalty: np.ndarray  # (w, s, 784, 10), as chosen; −inf for none
    gradient: np.ndarray  # (s, 784, 10), of the validation loss by single log penalties at the start, nats
    own: np.ndarray  # (w, s, 2), loss and error rate on the test images, trained on the first training set of the seed
    unseen: np.ndarray  # (w, s, u, 2), the same for training sets that nothing was learned on


SEED_AXIS = dict.fromkeys(Results._fields, 1) | {"gradient": 0}


def choose(config: Config, name: str, seed: int, cache) -> tuple:
    """Choose penalties one way, and test them: a piece of each array of the results but the gradient."""
    way, validation, test = WAYS[name], pieces()[VALID], pieces()[TEST]
    iterations = max(1, config.iterations // config.every)

    def validation_loss(log_penalty, number):
        return MODEL.loss(trained(config, log_penalty, seed, number if config.fresh else 0), *validation)

    def mean_loss(log_penalty):
        return np.mean([validation_loss(log_penalty, number) for number in range(config.compared)])

    if way.shape is None:
        log_penalty, value = None, np.full(iterations + 1, np.nan if way.with_validation else mean_loss(None))
    elif way.searched:
        trials = np.maximum(1, 3 * np.arange(1, iterations + 2) // config.compared)
        tried = search.by_evolution(mean_loss, *RANGE, way.shape, trials[-1], seed)
        log_penalty, value = tried.best, tried.lowest(trials)
    else:
        found = descents.history(
            lambda free, iteration: validation_loss(hg.schedules.bounded(free, *RANGE), iteration),
            hg.schedules.unbounded(np.full(way.shape, config.log_start), *RANGE),
            steps=iterations,
            optimizer=hg.Adam(config.meta_step),
            seeds=1,
            cache=cache / f"{name} seed{seed}",
        )
        log_penalty, value = hg.schedules.bounded(found[-1].hypers, *RANGE), np.array([e.value for e in found])

    def tested(seed, number, pool):
        params = trained(config, log_penalty, seed, number, pool, validation if way.with_validation else None)
        return loss_and_error(MODEL, params, *test)

    unseen = [tested(0, number, UNSEEN) for number in range(max(2, config.unseen // config.every))]
    stored = np.full((784, 10), -np.inf) if log_penalty is None else log_penalty + np.zeros((784, 10))
    return value, stored.astype(np.float32), tested(seed, 0, POOL), unseen


def first_gradient(config: Config, name: str, seed: int, cache) -> tuple:
    """The hypergradient by single log penalties where the descents begin."""
    f = lambda log_penalty: MODEL.loss(trained(config, log_penalty, seed, 0), *pieces()[VALID])
    return (grad(f)(np.full((784, 10), config.log_start)).astype(np.float32),)


def run(config: Config, jobs: int, cache) -> Results:
    value, log_penalty, own, unseen = descents.in_parallel(choose, config, tuple(WAYS), jobs, cache)
    (gradient,) = descents.in_parallel(first_gradient, config, ("start",), jobs, cache)
    return Results(value, log_penalty, gradient[0], own, unseen)


def plot(results, config):
    return image_plots.plot_penalties(results, config, dict(zip(WAYS, COLOURS, strict=True)), PER_WEIGHT)


def numbers(results, config) -> dict:
    """What the log quotes; errors in percent. Intervals are over seeds and the unseen training sets together."""
    names, unseen, found = list(WAYS), results.unseen * [1.0, 100.0], {}
    for way, name in enumerate(names):
        found[f"loss, {name}"], found[f"error, {name}"] = (crossed_interval(unseen[way, ..., k]) for k in (0, 1))
        found[f"own loss, {name}"], found[f"own error, {name}"] = map(t_interval, results.own[way].T * [[1.0], [100.0]])
        found[f"validation loss, {name}"] = results.value[way, :, -1].mean()
        found[f"error only, {name}"] = found[f"error, {name}"].mean
    learned, single = names.index(PER_WEIGHT), names.index("one, by search")
    found["first validation loss"] = results.value[learned, :, 0].mean()
    worth = unseen[names.index("no penalty")] - unseen[single]
    found["one penalty is worth"] = crossed_interval(worth[..., 1])
    for name in (name for name in names if name != PER_WEIGHT):
        lead = unseen[names.index(name)] - unseen[learned]
        losses, errors = (crossed_interval(lead[..., k]) for k in (0, 1))
        found[f"less loss than {name}"], found[f"less error than {name}"] = losses, errors
        found[f"points less than {name}"] = errors.mean
        own = 100.0 * (results.own[names.index(name)] - results.own[learned])[:, 1]
        found[f"less own error than {name}"] = t_interval(own)
    penalties = results.log_penalty[learned].reshape(config.seeds, -1).astype(float)
    one = results.log_penalty[single, :, 0, 0]
    found["one"] = one.min(), one.max()
    found["percentiles"], found["median"] = np.percentile(penalties, [5, 95]), np.median(penalties)
    middle = results.log_penalty[learned].reshape(-1, 28, 28, 10)[:, 10:18, 10:18, :2]  # of the outputs for 0 and 1
    found["middle"] = middle.mean(axis=(0, 1, 2))
    alike = np.corrcoef(penalties)[np.triu_indices(config.seeds, 1)]
    found["correlation"], found["correlation, range"] = alike.mean(), (alike.min(), alike.max())
    found["trainings"] = 3 * results.value.shape[-1]
    return found


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
