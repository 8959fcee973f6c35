"""5 June 2026: which activation does a character model learn with, and can its shape be learned through training?

Setting: a network on the text of `experiments/shared/text.py` that predicts a character from the 8 before it: rows of
16 numbers for each, three hidden layers of 64, 256-way softmax; minibatches of 64, none seen twice; 100 steps of Adam
with ε = 10⁻⁵; float32. Weights start at 1/√fan-in (he: √2 times that), rows at 1. Scaled down from width 128,
minibatches of 128 and 2,000 steps (--full). What is minimised is the loss on validation text.

Part 1: gelu, relu, relu with he, leaky relu with slope 0.98, x, x + tanh x, x − a·tanh(x/b) for four pairs (a, b),
    sigmoid and tanh, the rate of each by the same grid. Then a and b of each layer and the log rate, seven numbers, by
    hypergradient, from x and from x + tanh x at a third of the best rate, where it is calm, each meta-iteration at two
    new seeds; and by an evolution strategy from the better of the two at its best rate, which trains as often (a
    hypergradient counts as three trainings); ten runs of each. All are compared on draws and text that nothing was
    chosen by.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.parts.jun05_activations import activation_plots
from experiments.shared import character_runs, descents, pieces, runner, text
from experiments.shared.intervals import crossed_interval, t_interval
from experiments.shared.search import by_evolution_from

LOOK_AT = "Look at the right: how far the learned shapes are from those that they started from."
LAYERS = 3
MINIBATCHES, HELD_OUT = 1, 2  # purposes of random numbers
UNSEEN = 10**6  # the first seed that nothing was chosen by


class Kind(NamedTuple):
    """An activation, and the standard deviation of the weights over 1/√fan-in."""

    activation: Callable
    scale: float = 1.0


KINDS = {
    "gelu": Kind(hg.nn.gelu),
    "relu": Kind(hg.nn.relu),
    "relu, he": Kind(hg.nn.relu, 2**0.5),
    "leaky relu 0.98": Kind(hg.nn.leaky_relu(0.98)),
    "x": Kind(hg.nn.identity),
    "x + tanh x": Kind(hg.nn.tanhshrink(-1.0, 1.0)),
    "x − tanh x": Kind(hg.nn.tanhshrink(1.0, 1.0)),
    "x − ½ tanh x": Kind(hg.nn.tanhshrink(0.5, 1.0)),
    "x − tanh(x/2)": Kind(hg.nn.tanhshrink(1.0, 2.0)),
    "x − 2 tanh(x/2)": Kind(hg.nn.tanhshrink(2.0, 2.0)),
    "sigmoid": Kind(hg.nn.sigmoid),
    "tanh": Kind(hg.nn.tanh),
}
STARTS = {"x": 0.0, "x + tanh x": -1.0}  # a of all layers from which descents start; b = 1


@dataclass(frozen=True)
class Config(character_runs.Config):
    """A quick run trains, descends and searches ``every`` times shorter, and compares fewer draws.

    Attributes:
      log_rates: log10 of the learning rates of the grid.
      meta_step: of the descents, by Adam, on a, log b and the natural log of the rate.
      slower: how far below the best rate of the grid descents start, in powers of 10.
    """

    context: int = 8
    features: int = 16
    width: int = 64
    batch_size: int = 64
    log_rates: tuple[float, ...] = (-2.5, -2.25, -2.0, -1.75, -1.5, -1.25)
    meta_step: float = 0.2
    slower: float = 0.5
    examples: int = 2_048  # of validation text, and of test text


PARTS = {1: Config(seeds=10, quick_every=20)}
FULL = {1: Config(seeds=10, width=128, batch_size=128, steps=2_000, iterations=30, meta_step=0.1, unseen=20)}


class Results(NamedTuple):
    """Arrays of k activations, d starts, s seeds, n meta-iterations, u unseen draws; losses in nats a character.

    Hyperparameters are a of each layer, log b of each layer, and the natural log of the rate: z, (7,).
    """

    by_rate: np.ndarray  # (k, q), validation loss at each rate
    fixed: np.ndarray  # (k, u), test loss at the best of them
    value: np.ndarray  # (d, s, n), validation loss along the descents, each meta-iteration at draws of its own
    z: np.ndarray  # (d, s, n, 7), there
    learned: np.ndarray  # (d, s, u), test loss at the end
    trial: np.ndarray  # (s, t, 7), of the search
    trial_value: np.ndarray  # (s, t)
    searched: np.ndarray  # (s, u), test loss at the best trial

    def rates(self, config: Config) -> np.ndarray:
        """(k,): log10 of the best rate of each activation."""
        return np.array(config.log_rates)[np.nanargmin(self.by_rate, axis=1)]

    def best_trials(self) -> np.ndarray:
        """(s, 7): what each search recommends."""
        return self.trial[np.arange(len(self.trial)), np.nanargmin(self.trial_value, axis=1)]

    def compared(self) -> dict[str, np.ndarray]:
        """(r, u) by way: of r runs that chose, or of one activation that no seed chose."""
        learned = {f"learned from {name}": losses for name, losses in zip(STARTS, self.learned)}
        return dict(zip(KINDS, self.fixed[:, None])) | learned | {"search": self.searched}


SEED_AXIS = dict.fromkeys(Results._fields, 0) | dict.fromkeys(("value", "z", "learned"), 1)
SEED_AXIS |= {"by_rate": None, "fixed": None}  # which no seed chose


def logits(params, characters, activations):
    """Of the next character; an activation for each hidden layer."""
    rows = hg.nn.embedding(params["embedding"], characters)
    h = anp.reshape(rows, (len(characters), -1))
    for (w, b), activation in zip(params["hidden"], activations):
        h = activation(anp.dot(h, w) + b)
    w, b = params["head"]
    return anp.dot(h, w) + b


def initial(config: Config, scale: float, seed: int):
    """Normal weights, scale/√fan-in in the hidden layers."""
    sizes = (config.context * config.features, *[config.width] * LAYERS)
    pairs = list(pairwise(sizes))
    shapes = {"embedding": (256, config.features), "hidden": [((m, n), (n,)) for m, n in pairs]}
    stds = {"embedding": 1.0, "hidden": [(scale * m**-0.5, 0.0) for m, _ in pairs]}
    shapes["head"], stds["head"] = ((config.width, 256), (256,)), (config.width**-0.5, 0.0)
    return hg.init.scaled_normal(shapes, stds, seed, np.float32)


@lru_cache
def held_out(config: Config):
    """Contexts and the characters after them, of validation and of test text."""
    parts = text.validation(), text.test()
    pieces = (text.windows(part, config.examples, config.context, (0, HELD_OUT)) for part in parts)
    return [(X, T[:, -1]) for X, T in pieces]


@lru_cache(4)
def examples(config: Config, seed: int):
    """Contexts and the characters after them, of training text."""
    count = config.trained_steps * config.batch_size
    X, T = text.windows(text.training(), count, config.context, (seed, MINIBATCHES))
    return X, T[:, -1]


def shapes_of(z) -> list:
    """x − a·tanh(x/b) for each layer."""
    return [hg.nn.tanhshrink(z[i], anp.exp(z[LAYERS + i])) for i in range(LAYERS)]


def losses_of(config: Config, kind: Kind | None, z, seed: int, which=(0,), **options) -> list:
    """On validation (0) and test text (1) after training: with an activation at log rate z[-1], or with those of z."""
    X, T = examples(config, seed)

    def of(params, z, X, T):
        activations = shapes_of(z) if kind is None else [kind.activation] * LAYERS
        return hg.nn.softmax_cross_entropy(logits(params, X, activations), T)

    def batch_loss(params, z, step):
        rows = slice(step * config.batch_size, (step + 1) * config.batch_size)
        return of(params, z, X[rows], T[rows])

    start = initial(config, 1.0 if kind is None else kind.scale, seed)
    optimizer = hg.Adam(anp.exp(z[-1]), eps=config.eps)
    options = {"steps": config.trained_steps, "adjoint": hg.Stored(), **options}
    params = hg.train(batch_loss, start, optimizer, z, **options)
    return [of(params, z, *held_out(config)[i]) for i in which]


def mean_loss(config: Config, kind: Kind | None, z, first: int) -> float:
    """The mean validation loss over draws from this one on; NaN where one diverges."""
    draws = range(first, first + config.draws)
    return float(np.mean([losses_of(config, kind, z, draw, on_divergence="nan")[0] for draw in draws]))


def unseen_losses(config: Config, kind: Kind | None, z) -> np.ndarray:
    """(u,): the test loss at draws that nothing was chosen by."""
    draws = range(UNSEEN, UNSEEN + config.unseen_draws)
    return np.array([losses_of(config, kind, z, draw, (1,), on_divergence="nan")[0] for draw in draws], dtype=float)


def start_of(name: str, log_rate: float) -> np.ndarray:
    """(7,): a, log b and the natural log of the rate."""
    return np.array([STARTS[name]] * LAYERS + [0.0] * LAYERS + [log_rate * np.log(10.0)])


def descend(config: Config, name: str, start: np.ndarray, seed: int, cache) -> tuple:
    """A meta-descent, and what its end, not its lowest value, which draws differ by, gives on unseen draws."""
    found = descents.history(
        lambda z, draw: losses_of(config, None, z, 1_000 * (seed + 1) + draw)[0],
        start,
        steps=config.evaluations - 1,
        optimizer=hg.Adam(config.meta_step),
        seeds=config.draws,
        cache=cache / f"{name} seed{seed}",
    )
    arrays = descents.columns([(e.value, e.hypers) for e in found], config.evaluations)
    return *arrays, unseen_losses(config, None, found[-1].hypers)


def search(config: Config, start: np.ndarray, seed: int) -> tuple:
    """An evolution strategy from a start, at the same draws in all trials, and its best on unseen draws."""
    f = lambda z: mean_loss(config, None, z, 1_000 * (seed + 1))
    tried = by_evolution_from(f, start, config.trials, seed, length=0.3)
    return *tried, unseen_losses(config, None, tried.best)


def run(config: Config, jobs: int, cache) -> Results:
    many, kinds, seeds = partial(pieces.each, jobs=jobs, cache=cache), list(KINDS.values()), config.numbered
    rates = np.log(10.0) * np.array(config.log_rates)[:, None]
    by_rate = np.reshape(many(mean_loss, [(config, k, z, 0) for k in kinds for z in rates]), (len(kinds), -1))
    best = {name: config.log_rates[np.nanargmin(losses)] for name, losses in zip(KINDS, by_rate)}
    tuned = [np.log(10.0) * np.array([rate]) for rate in best.values()]
    once = config.first_seed == 0  # what no seed chose, too
    fixed = many(unseen_losses, [(config, kind, z) for kind, z in zip(kinds, tuned) if once])
    fixed = np.reshape(fixed, (-1, config.unseen_draws))
    starts = {name: start_of(name, best[name]) for name in STARTS}
    calm = {name: start_of(name, best[name] - config.slower) for name in STARTS}
    learned = many(descend, [(config, name, z, seed, cache) for name, z in calm.items() for seed in seeds])
    value, z, learned = (np.reshape(a, (len(starts), len(seeds), *np.shape(a[0]))) for a in zip(*learned))
    better = min(starts, key=lambda name: np.nanmin(by_rate[list(KINDS).index(name)]))
    searched = many(search, [(config, starts[better], seed) for seed in seeds])
    return Results(by_rate, fixed, value, z, learned, *map(np.stack, zip(*searched)))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: losses in nats a character, means and 95 % intervals over the runs and the unseen draws.

    A difference is taken in pairs of one draw, and of runs of one seed.
    """
    found = {"trainings": config.draws * config.trials, "trainings of a grid": config.draws * len(config.log_rates)}
    compared = results.compared()
    best = list(KINDS)[np.nanargmin([losses.mean() for losses in results.fixed])]
    for name, losses in compared.items():
        found[name], found[f"{name}, mean"] = crossed_interval(losses), losses.mean()
        for word, other in ((best, best), ("search", "search"), ("x", "x"), ("relu", "relu"), ("tanh", "tanh")):
            if other != name:
                found[f"{name} less {word}"] = crossed_interval(losses - compared[other])
        if name not in KINDS:
            runs = losses.mean(axis=1)
            found[f"worst run, {name}"], found[f"median run, {name}"] = runs.max(), np.median(runs)
            for other in ("gelu", "relu", "x"):
                found[f"runs below {other}, {name}"] = np.sum(runs < compared[other].mean())
    for name, rate in zip(KINDS, results.rates(config)):
        found[f"log10 rate, {name}"] = rate
    for name, z, value, learned in zip(STARTS, results.z[:, :, -1], results.value, results.learned):
        a, b = z[:, :LAYERS], np.exp(z[:, LAYERS:-1])
        worst = learned.mean(axis=1).argmax()
        found[f"slope at 0, from {name}, worst run"] = (1.0 - a / b)[worst]
        found[f"validation of the worst run, from {name}, lowest and last"] = value[worst].min(), value[worst, -1]
        found[f"a, from {name}, range"] = a.min(), a.max()
        for word, values in (("a", a), ("b", b), ("slope at 0", 1.0 - a / b)):
            found[f"{word}, from {name}"] = values.mean(axis=0)
            for layer, column in enumerate(values.T, 1):
                found[f"{word}, from {name}, layer {layer}"] = t_interval(column)
        found[f"log10 rate, from {name}"] = rates = t_interval(z[:, -1] / np.log(10.0))
        found[f"log10 rate, from {name}, mean"] = rates.mean
        found[f"log10 rate of the start, {name}"] = found[f"log10 rate, {name}"] - config.slower
    return found


plot = activation_plots.plot_activations

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
