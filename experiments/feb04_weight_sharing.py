"""4 February 2015: can gradient descent find out which layers related tasks should share?

Setting: ten tasks, each to tell two digits apart: 0/1, 2/3, 4/5, 6/7 and 8/9, and the same five with all images rotated
by 90 degrees. 20 MNIST images for each task, averaged to 14 by 14 pixels. Every task has a 196-16-16-2 tanh network of
its own, all with the same initial weights; what is minimised is the sum of their cross-entropies and, for each layer,

    1/2 Σ_tu A_tu <w_t, w_u>,    A = r 1 + Σ_t<u c_tu (e_t − e_u)(e_t − e_u)ᵀ,

so r/2 |w_t|² for each task's weights w_t and c_tu/2 |w_t − w_u|² for each pair of tasks: with c = 0 the networks
are separate, with a large c they are tied. Full batches, 60 steps, learning rate 1, momentum 0.9, r = 0.01.

Part 1: the 135 couplings c of three layers and 45 pairs of tasks, between 10⁻⁴ and 1, by descent along the
    hypergradient of the validation loss; other training images and initial weights at every meta-iteration. Beside it
    separate and tied networks, and plain searches for one coupling for all, and one for each layer; ten descents and
    searches.

Scaled down: in 2015 the tasks were five alphabets of Omniglot, of up to 55 characters, and the same rotated; here two
digits stand for an alphabet. ``--full`` takes whole images, wider networks, and more steps and meta-iterations.
"""

import itertools
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.parts.feb04_weight_sharing import sharing_plot
from experiments.shared import descents, proposals, runner, search

LOOK_AT = "Look at the matrices: which tasks share which layer; and at the losses beside those of a plain search."

TASKS = [f"{a}/{a + 1}{turned}" for turned in ("", " rotated") for a in range(0, 10, 2)]
FIRST, SECOND = np.triu_indices(10, 1)  # the tasks of the 45 pairs
PAIRS = np.eye(10)[FIRST] - np.eye(10)[SECOND]  # e_t − e_u
LAYERS = 3
WAYS = ("separate", "first layer tied", "all tied", "one coupling", "one for each layer", "learned")
SEARCH = 5  # the purpose of these random numbers, in seeds (seed, purpose)
UNSEEN = 10**6  # the first of the draws that nothing was learned on


@dataclass(frozen=True)
class Config(runner.PartConfig):
    """A quick run ends the descent, the searches and the comparison ``every`` times earlier.

    Attributes:
      trainings: of the search for one coupling.
      draws: that each candidate of the search for one in each layer is tried on.
      unseen: draws of training images and initial weights for the comparison.
    """

    iterations: int
    step_size: float = 0.2
    trainings: int = 12
    draws: int = 3
    unseen: int = 20
    per_digit: int = 10
    held_out: int = 100  # images of a digit, of each task, for validation and again for test
    side: int = 14
    hidden: int = 16
    steps: int = 60
    log_lr: float = 0.0
    penalty: float = 0.01
    lowest: float = 1e-4
    largest: float = 1.0
    pool: int = 6_000


PARTS = {1: Config(60, quick_every=30, seeds=10)}
FULL = {1: Config(200, step_size=0.1, unseen=50, side=28, hidden=50, steps=200, held_out=400, pool=20_000)}


class Results(NamedTuple):
    """Arrays of s seeds, n meta-iterations, l layers, p pairs of tasks, c candidates, w ways, u unseen draws."""

    value: np.ndarray  # (s, n), validation loss of the descent, each on a draw of its own, nats
    log_coupling: np.ndarray  # (s, n, l, p), natural logs
    learned: np.ndarray  # (s, l, p), the mean over the last third of the descent
    one: np.ndarray  # (s, c, 2), natural logs of candidates for all layers, and their validation losses
    per_layer: np.ndarray  # (s, c, l + 1), the same for each layer
    train: np.ndarray  # (s, w, u), nats a task
    test: np.ndarray  # (s, w, u), nats a task, on images of a third split


SEED_AXIS = dict.fromkeys(Results._fields, 0)


@lru_cache
def images(side: int, pool: int) -> list:
    """The images of every digit in each of three splits: to train on, to validate, to test."""
    found, block = [], 28 // side
    for X, T in hg.data.load_mnist(pool, pool, pool):
        small = X.reshape(-1, side, block, side, block).mean((2, 4))
        found.append([small[T[:, digit] == 1.0] for digit in range(10)])
    return found


def examples(config: Config, split: int, per_digit: int, rng) -> np.ndarray:
    """Inputs of all tasks, (10, 2 · per_digit, pixels): the lower digit first; each task has images of its own."""
    found, by_digit = [], images(config.side, config.pool)[split]
    for turns in (0, 1):
        for digit in range(0, 10, 2):
            drawn = [rng.choice(by_digit[d], per_digit, replace=False) for d in (digit, digit + 1)]
            found.append(np.rot90(np.concatenate(drawn), turns, axes=(1, 2)).reshape(2 * per_digit, -1))
    return np.stack(found)


def mean_loss(params, X):
    """The mean cross-entropy of the tasks, in nats; parameters with one row for all are shared."""
    for W, b in params[:-1]:
        X = anp.tanh(anp.matmul(X, W) + b)
    W, b = params[-1]
    answers = np.broadcast_to(np.arange(X.shape[1]) >= X.shape[1] // 2, X.shape[:2]).astype(int)
    return hg.nn.softmax_cross_entropy(anp.matmul(X, W) + b, answers)


def matrices(config: Config, log_coupling) -> list:
    """The matrix A of every layer, from the logs of its couplings (l, p)."""
    return [config.penalty * np.eye(10) + anp.dot(PAIRS.T * anp.exp(logs), PAIRS) for logs in log_coupling]


def start(config: Config, draw: int, tied: int = 0) -> list:
    """The same initial weights of 1/√fan-in for all tasks: a row for each, and one row in the first ``tied`` layers."""
    sizes = (config.side**2, config.hidden, config.hidden, 2)
    shapes = [((1, m, n), (1, 1, n)) for m, n in itertools.pairwise(sizes)]
    drawn = hg.init.scaled_normal(shapes, [(m**-0.5, 0.0) for m in sizes[:-1]], draw)
    return [pair if i < tied else tuple(np.repeat(w, 10, axis=0) for w in pair) for i, pair in enumerate(drawn)]


def trained(config: Config, draw: int, A: list, tied: int = 0):
    """The parameters of all tasks, and the training images; in tied layers A is not asked for but by its diagonal."""
    X = examples(config, 0, config.per_digit, np.random.default_rng((draw, 4)))

    def loss(params, A, step):
        rows = [[anp.reshape(w, (len(w), -1)) for w in pair] for pair in params]
        penalty = sum(0.5 * anp.sum(a * anp.dot(w, w.T)) for a, pair in zip(A, rows) for w in pair)
        return 10.0 * mean_loss(params, X) + penalty

    # Tied layers get the mean gradient of the tasks, as if a coupling without bound held them together.
    lr = [np.exp(config.log_lr) / (10.0 if layer < tied else 1.0) for layer in range(LAYERS)]
    A = [np.array([[10.0 * config.penalty]]) if layer < tied else a for layer, a in enumerate(A)]
    return hg.train(loss, start(config, draw, tied), hg.SGD(lr, 0.9), A, steps=config.steps, adjoint=hg.Stored()), X


def search_layers(config: Config, seed: int, candidates: int, f) -> search.Tried:
    """Logs of one coupling for each layer, half of them from everywhere, half around the best so far."""
    low, high = (np.full(LAYERS, end) for end in np.log([config.lowest, config.largest]))
    where = proposals.around_best(np.random.default_rng((seed, SEARCH)), low, high, candidates)
    return search.tried(lambda logs, _: f(logs), where)


def learn(config: Config, name: str, seed: int, cache) -> tuple:
    """A descent, both searches and the comparison on unseen draws: a piece of each array of the results."""
    valid, test = (examples(config, split, config.held_out, np.random.default_rng(4)) for split in (1, 2))
    ends = np.log([config.lowest, config.largest])
    iterations = max(2, config.iterations // config.every)

    def validation_loss(log_coupling, draw):
        return mean_loss(trained(config, draw, matrices(config, log_coupling))[0], valid)

    def drawn(iteration):  # draws of no other seed, and none of the comparison
        return 1_000 * seed + iteration

    def for_all(log):
        return np.full((LAYERS, len(PAIRS)), log)

    def for_layers(logs):
        return np.repeat(logs[:, None], len(PAIRS), axis=1)

    grid = np.linspace(*ends, config.trainings)[:: config.every]
    one = np.array([[log, validation_loss(for_all(log), drawn(0))] for log in grid])
    best_of_one = one[np.argmin(one[:, 1]), 0]

    inside = np.clip(best_of_one, ends[0] + 0.5, ends[1] - 0.5)  # bounded values have no slope at their ends
    found = descents.history(
        lambda free, iteration: validation_loss(hg.schedules.bounded(free, *ends), drawn(iteration)),
        hg.schedules.unbounded(for_all(inside), *ends),
        steps=iterations,
        step_size=config.step_size,
        seeds=1,
        optimizer=hg.Adam(1.0),
        cache=cache / f"seed{seed}",
    )
    log_coupling = np.array([hg.schedules.bounded(e.hypers, *ends) for e in found])
    learned = log_coupling[2 * len(found) // 3 :].mean(axis=0)

    # A hypergradient is counted as three trainings, and the descent began where the search for one coupling ended.
    candidates = (len(grid) + 3 * len(found)) // config.draws
    on_draws = lambda logs: np.mean([validation_loss(for_layers(logs), drawn(i)) for i in range(config.draws)])
    tried = search_layers(config, seed, candidates, on_draws)
    per_layer, best_of_layers = np.column_stack(tried), tried.best

    nothing = [config.penalty * np.eye(10)] * LAYERS
    ways = [(nothing, 0), (nothing, 1), (nothing, LAYERS)]
    ways += [(matrices(config, logs), 0) for logs in (for_all(best_of_one), for_layers(best_of_layers), learned)]
    losses = np.empty((2, len(WAYS), max(2, config.unseen // config.every)))
    for w, (A, tied) in enumerate(ways):
        for draw in range(losses.shape[-1]):
            params, X = trained(config, UNSEEN + draw, A, tied)
            losses[:, w, draw] = mean_loss(params, X), mean_loss(params, test)
    (value,) = descents.columns([(e.value,) for e in found], iterations + 1)
    (path,) = descents.columns([(logs,) for logs in log_coupling], iterations + 1)
    return value, path, learned, one, per_layer, *losses


def run(config: Config, jobs: int, cache) -> Results:
    return Results(*(array[0] for array in descents.in_parallel(learn, config, ("learned",), jobs, cache)))


plot, numbers = sharing_plot.plot, sharing_plot.numbers

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
