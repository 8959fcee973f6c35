"""19 January 2015: can the training images themselves be learned?

Setting: logistic regression, 784-10, 20 steps with ten images each, one of each digit, learning rate 1, momentum 0.9,
log parameter scale −4. The pixels are learned from blank images along the exact hypergradient of the loss on 10,000
validation images after the last step, by Adam, with other initial weights in every meta-iteration. Tested on 10,000
other images, from initial weights not seen, against real images, the best of as many draws of them as the descent
took trainings (a hypergradient counts as three), and class means, as they are and with the contrast that as many
trainings find. The same images then train an MLP, 784-50-10 tanh, for which images are learned too.

Part 1: ten images, one of each digit.
Part 2: a hundred, ten of each digit, in ten minibatches, so that every one is seen twice.
"""

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.shared import descents, image_plots, runner
from experiments.shared.intervals import crossed_interval
from experiments.shared.mnist import mnist_pieces
from experiments.shared.scores import loss_and_error
from hypergrad.style import BLACK, DEFAULT, LEARNED, LEARNED_TOO, OWN_RULE, SEARCHED, SEARCHED_TOO

LOOK_AT = "Look at the learned images: no digits, but what the weights of a classifier are added up from."

MODELS = {"logistic regression": hg.nn.MLP([784, 10]), "MLP": hg.nn.MLP([784, 50, 10])}
DRAW, START = 1, 2  # the purposes of random numbers, in seeds (…, purpose)
SEEN = 1_000_000  # number of the first initial weights that are learned on; those below are for tests


class Way(NamedTuple):
    """Where training images come from: learned, or real ones, or means of these.

    Attributes:
      learned_for: the model that they are learned for.
      means: they are means of a class; otherwise drawn from the real images, anew for each test.
      searched: the best of so many draws, or of so many contrasts of means, as the descent takes trainings.
      everything: all the validation images, in minibatches of 100.
    """

    learned_for: str = ""
    means: bool = False
    searched: bool = False
    everything: bool = False


WAYS = {
    "one draw of real images": Way(),
    "the best draw": Way(searched=True),
    "class means": Way(means=True),
    "class means, best contrast": Way(means=True, searched=True),
    "learned for logistic regression": Way(learned_for="logistic regression"),
    "learned for the MLP": Way(learned_for="MLP"),
    "all 10,000 real images": Way(everything=True),
}
COLOURS = (DEFAULT, SEARCHED_TOO, OWN_RULE, SEARCHED, LEARNED, LEARNED_TOO, BLACK)
SHOWN = ("class means, best contrast", "learned for logistic regression", "learned for the MLP")


@dataclass(frozen=True)
class Config(runner.PartConfig):
    """A quick run ends its descents ``every`` times earlier, and tests as many times less.

    Attributes:
      per_digit: images of each digit.
      meta_step: learning rate of Adam on the pixels.
      counts: numbers of steps after which a model is tested; the images are learned for the first of them.
      unseen: initial weights that nothing was learned on.
    """

    per_digit: int
    iterations: int
    meta_step: float = 0.02
    counts: tuple[int, ...] = (20, 100)
    unseen: int = 10
    log_scale: float = -4.0


PARTS = {1: Config(1, 60, seeds=10, quick_every=30), 2: Config(10, 60, seeds=10, quick_every=30, counts=(20,))}
FULL = {
    part: dataclasses.replace(config, iterations=200, unseen=20, counts=(20, 200)) for part, config in PARTS.items()
}


class Results(NamedTuple):
    """Arrays of w ways, s seeds, n meta-iterations, d images, m models, c step counts, u initialisations."""

    value: np.ndarray  # (w, s, n), nats: validation loss, of a search the lowest after as many trainings
    images: np.ndarray  # (w, s, d, 784), grey values
    unseen: np.ndarray  # (w, s, m, c, u, 2), loss and error rate on the test images


SEED_AXIS = dict.fromkeys(Results._fields, 1)


def pieces():
    """Images to learn from and validate on, and images to test on."""
    return mnist_pieces(2)


def start(name: str, log_scale: float, number: int):
    """Initial weights: of one scale for logistic regression, as in 2015; of 1/√fan-in for the MLP."""
    model, seed = MODELS[name], int(np.random.default_rng((START, number)).integers(2**31))
    return model.init(seed, np.exp(log_scale) if name == "logistic regression" else None)


def trained(name: str, images, params, counts) -> list:
    """The weights after these numbers of steps on ten images each, one of each digit; or, for None, on all images."""
    model = MODELS[name]

    def loss(params, images, step):
        first = 10 * step % len(images)
        return model.loss(params, images[first : first + 10], np.eye(10))

    if images is None:
        loss = hg.nn.MinibatchLoss(model, *pieces()[0], batch_size=100)
    return hg.train(loss, params, hg.SGD(1.0, 0.9), images, steps=counts[-1], save_at=counts, adjoint=hg.Stored())


def real_images(per_digit: int, rng) -> np.ndarray:
    """Drawn from the validation images, one of each digit in every ten."""
    X, T = pieces()[0]
    rows = [rng.choice(np.flatnonzero(T[:, digit]), per_digit, replace=False) for digit in range(10)]
    return X[np.ravel(rows, order="F")]


def class_means(per_digit: int) -> np.ndarray:
    """Means of the validation images of each digit, or of as many parts of them as there are to be images of it."""
    X, T = pieces()[0]
    parts = [np.array_split(X[T[:, digit] == 1.0], per_digit) for digit in range(10)]
    return np.array([parts[digit][n].mean(axis=0) for n in range(per_digit) for digit in range(10)])


def tries(way: Way, per_digit: int, rng) -> Iterator[np.ndarray | None]:
    """What there is to choose from, without end: draws of real images, or contrasts of class means."""
    means = class_means(per_digit)
    while True:
        if way.means and way.searched:
            contrast, share = np.exp(rng.uniform(-2.0, 2.0)), rng.uniform(0.0, 1.0)
            yield contrast * (means - share * means.mean(axis=0))
        elif way.everything:
            yield None
        else:
            yield means if way.means else real_images(per_digit, rng)


def learn(config: Config, name: str, seed: int, cache) -> tuple:
    """Learn or choose images one way, and test them: a piece of each array of the results."""
    way, iterations = WAYS[name], max(1, config.iterations // config.every)
    model = way.learned_for or "logistic regression"
    validation, test = pieces()

    def validation_loss(images, number):
        params = start(model, config.log_scale, SEEN + 1_000 * seed + number)
        return MODELS[model].loss(*trained(model, images, params, config.counts[:1]), *validation)

    if way.learned_for:
        found = descents.history(
            validation_loss,
            np.zeros((10 * config.per_digit, 784)),
            steps=iterations,
            optimizer=hg.Adam(config.meta_step),
            seeds=1,
            cache=cache / f"{name} seed{seed}",
        )
        images, value = found[-1].hypers, np.array([e.value for e in found])
    else:
        trials = 3 * np.arange(1, iterations + 2) if way.searched else np.ones(iterations + 1, dtype=int)
        values: list = []
        for tried in islice(tries(way, config.per_digit, np.random.default_rng((seed, DRAW))), int(trials[-1])):
            values.append(validation_loss(tried, len(values)))
            images = tried if values[-1] == min(values) else images
        value = np.minimum.accumulate(values)[trials - 1]

    def tested(model, number):
        tried = images
        if way == Way():  # other images for each test
            tried = real_images(config.per_digit, np.random.default_rng((number, DRAW)))
        saved = trained(model, tried, start(model, config.log_scale, number), config.counts)
        return [loss_and_error(MODELS[model], params, *test) for params in saved]

    tests = range(max(2, config.unseen // config.every))
    unseen = np.array([[tested(model, number) for number in tests] for model in MODELS])
    stored = np.full((10 * config.per_digit, 784), np.nan) if images is None else images
    return value, stored.astype(np.float32), unseen.swapaxes(1, 2)


def run(config: Config, jobs: int, cache) -> Results:
    return Results(*descents.in_parallel(learn, config, tuple(WAYS), jobs, cache))


def plot(results, config):
    return image_plots.plot_data(results, config, dict(zip(WAYS, COLOURS, strict=True)), SHOWN, tuple(MODELS))


def numbers(results, config) -> dict:
    """What the log quotes; errors in percent. Intervals are over seeds and the unseen initialisations together."""
    found, names = {}, list(WAYS)
    for m, model in enumerate(MODELS):
        for c, count in enumerate(config.counts):
            loss, error = np.moveaxis(results.unseen[:, :, m, c] * [1.0, 100.0], -1, 0)  # (w, s, u)
            for way, name in enumerate(names):
                which = f"{model}, {count} steps, {name}"
                found[f"loss, {which}"], found[f"error, {which}"] = map(crossed_interval, (loss[way], error[way]))
                found[f"error only, {which}"] = error[way].mean()
            other, own = (error[names.index(name)] for name in SHOWN[1:])
            for name in ("class means", SHOWN[0]):
                lead = crossed_interval(error[names.index(name)] - other)
                found[f"less error than {name}, {model}, {count} steps"] = lead
            found[f"less error if learned for the MLP, {model}, {count} steps"] = crossed_interval(other - own)
    for way, name in enumerate(names):
        last = results.value[way, :, -1]
        found[f"validation loss, {name}"] = last.mean()
        found[f"validation loss range, {name}"] = last.min(), last.max()
        if not WAYS[name].everything:
            found[f"values, {name}"] = results.images[way].min(), results.images[way].max()
    found["trainings"] = 3 * results.value.shape[-1]
    return found


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
