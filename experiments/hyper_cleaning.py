"""26 November 2026: which training labels are wrong?

Setting: after Franceschi et al. (2017, arXiv:1703.01785), hyper-cleaning. Half of the training labels are replaced by
random ones; softmax regression, its examples weighted in [0, 1] with a sum of at most R. Projected descent on the
weights along the exact hypergradient of the loss on clean validation images, the training run backwards bit for bit.
Then training again on the examples of weight above 0 and the validation images.

Part 1: 1,000 training, 1,000 validation and 10,000 test images, 100 steps on minibatches of 100, 25 meta-iterations,
    R of 300, 500, 700, 10 seeds. Published were 5,000, 5,000 and 10,000 images, 2,000 steps on all of them, 500
    meta-iterations and R of 1,000 to 2,500: the config of that size is in FULL.

Beside it what needs no hypergradient: to keep the examples with the smallest loss under a model of the validation
images alone. How many, a search finds with as many trainings as a descent takes, in two folds of the validation images.
"""

import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.parts.hyper_cleaning import cleaning_figure
from experiments.parts.hyper_cleaning.cleaning_figure import precision_and_recall
from experiments.shared import descents, digits, runner
from experiments.shared.intervals import t_interval

LOOK_AT = "Look at the weights of right and of wrong labels, and at how much of the difference the test error sees."

MODEL = hg.nn.MLP([784, 10])
START = [(np.zeros((784, 10)), np.zeros(10))]  # the loss is convex, so that nothing depends on where it starts
_LABELS = 28  # the purpose of these random numbers, in seeds (seed, purpose)


@dataclass(frozen=True)
class Config(runner.PartConfig):
    """A quick run has ``every`` times fewer meta-iterations and candidates of the search."""

    images: int = 1_000  # for training, and as many for validation
    test: int = 10_000
    replaced: float = 0.5  # share of the training labels
    steps: int = 100
    batch_size: int = 100
    lr: float = 0.5
    momentum: float = 0.9
    iterations: int = 25
    meta_step: float = 0.25  # largest change of a weight in a meta-iteration, before the projection
    budgets: tuple[int, ...] = (300, 500, 700)


PARTS = {1: Config(seeds=10, quick_every=12)}
FULL = {
    1: Config(
        seeds=10, images=5_000, steps=2_000, batch_size=5_000, iterations=500, budgets=(1_000, 1_500, 2_000, 2_500)
    )
}


class Results(NamedTuple):
    """Arrays of r budgets R, s seeds, n training images, i meta-iterations."""

    value: np.ndarray  # (r, s, i), loss on the validation images, nats
    weights: np.ndarray  # (r, s, n), after the last meta-iteration
    cleaned: np.ndarray  # (r, s), test error after training on what is kept, and the validation images
    wrong: np.ndarray  # (s, n), whether the label is another than the true one
    others: np.ndarray  # (s, 4), test errors of OTHERS
    filtered: np.ndarray  # (s, n), whether the filter that was searched for keeps the example


OTHERS = ("oracle: right labels only", "baseline: all labels", "validation images only", "filter by loss, searched")


@dataclass(frozen=True)
class ProjectedDescent(hg.Optimizer):
    """Steps whose largest entry is ``lr``, projected onto weights in [0, 1] with a sum of at most ``budget``."""

    lr: Any
    budget: Any

    def init(self, w):
        return ()

    def step(self, w, s, g, h, step):
        return projected(w - h.lr * g / anp.max(anp.abs(g)), h.budget), ()


def projected(w, budget):
    """The nearest weights in [0, 1] with a sum of at most ``budget``: clip(w − τ) with the smallest such τ ≥ 0."""
    if np.clip(w, 0.0, 1.0).sum() <= budget:
        return np.clip(w, 0.0, 1.0)
    low, high = 0.0, w.max()
    for _ in range(60):  # bisection, to the last bit
        middle = 0.5 * (low + high)
        low, high = (middle, high) if np.clip(w - middle, 0.0, 1.0).sum() > budget else (low, middle)
    return np.clip(w - high, 0.0, 1.0)


def data(config: Config, seed: int):
    """Training images with the labels given to them, which of those are wrong, validation images, test images."""
    (X, T), valid, test = digits.draw(seed, config.images, config.images, test=config.test)
    rng = np.random.default_rng((seed, _LABELS))
    rows = rng.permutation(len(X))[: round(config.replaced * len(X))]
    given = T.copy()
    given[rows] = np.eye(10)[rng.integers(0, 10, len(rows))]
    return (X, given), np.any(given != T, axis=1), valid, test


def train_on(config: Config, *pieces):
    """The parameters after training on all of these images."""
    X, T = (np.concatenate(arrays) for arrays in zip(*pieces))
    loss = hg.nn.MinibatchLoss(MODEL, X, T, min(config.batch_size, len(X)))
    return hg.train(loss, START, hg.SGD(config.lr, config.momentum), steps=config.steps)


def clean(config: Config, budget: int, seed: int, cache) -> tuple:
    """A descent on the weights, and the test error without the examples of weight 0."""
    (X, given), _, valid, test = data(config, seed)
    batch_loss = hg.nn.MinibatchLoss(MODEL, X, given, config.batch_size, weights="hyper")
    optimizer = hg.SGD(config.lr, config.momentum, exact=True)

    def validation_loss(weights):
        trained = hg.train(batch_loss, START, optimizer, weights, steps=config.steps, adjoint=hg.Reversible())
        return MODEL.loss(trained, *valid)

    found = descents.history(
        validation_loss,
        np.full(len(X), budget / len(X)),
        steps=max(1, config.iterations // config.every),
        step_size=None,
        optimizer=ProjectedDescent(config.meta_step, float(budget)),
        cache=cache / f"R{budget} seed{seed}",
    )
    weights = found[-1].hypers
    kept = weights > 0.0
    cleaned = MODEL.error_rate(train_on(config, (X[kept], given[kept]), valid), *test)
    return [evaluation.value for evaluation in found], weights, cleaned


def without_hypergradient(config: Config, _, seed: int, cache) -> tuple:
    """Test errors of the oracle, of the baseline, of the validation images alone, and of the filter."""
    (X, given), wrong, valid, test = data(config, seed)
    kept = filtered(config, (X, given), valid)
    choices = (~wrong, np.full(len(X), True), np.full(len(X), False), kept)
    errors = [MODEL.error_rate(train_on(config, (X[rows], given[rows]), valid), *test) for rows in choices]
    return wrong, errors, kept


def filtered(config: Config, train, valid) -> np.ndarray:
    """Which examples to keep: those of the smallest loss, their number found by a search in two folds.

    In each fold a model of one half of the validation images orders the examples, and every candidate is trained on
    what it keeps and that half; the other half says how good it is. A descent takes 3 trainings an iteration.
    """
    (X, given), halves = train, [(valid[0][i::2], valid[1][i::2]) for i in range(2)]
    candidates = max(2, 3 * (config.iterations // config.every) // 2)
    counts = np.linspace(0, len(X), candidates + 1).astype(int)[1:]
    accuracy = np.zeros(candidates)
    for half, other in (halves, halves[::-1]):
        order = np.argsort(losses_of_rows(train_on(config, half), X, given))
        for i, count in enumerate(counts):
            rows = order[:count]
            accuracy[i] += MODEL.accuracy(train_on(config, (X[rows], given[rows]), half), *other)
    kept = np.full(len(X), False)
    kept[np.argsort(losses_of_rows(train_on(config, valid), X, given))[: counts[np.argmax(accuracy)]]] = True
    return kept


def losses_of_rows(params, X, T) -> np.ndarray:
    return -np.sum(T * hg.nn.log_softmax(MODEL.logits(params, X)), axis=1)


def run(config: Config, jobs: int, cache) -> Results:
    cleaned = descents.in_parallel(clean, config, config.budgets, jobs, cache)
    others = descents.in_parallel(without_hypergradient, config, ("others",), jobs, cache)
    return Results(*cleaned, *(array[0] for array in others))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: means over seeds with their t intervals, in per cent where they are shares."""
    wrong = results.wrong.astype(bool)
    found = {"wrong labels": wrong.sum(axis=1).mean()}
    removed = {f"R = {budget}": w == 0.0 for budget, w in zip(config.budgets, results.weights)}
    for name, rows in {**removed, "filter": ~results.filtered.astype(bool)}.items():
        for what, share in zip(("precision", "recall"), precision_and_recall(rows, wrong)):
            found[f"{what}, {name}"] = t_interval(100.0 * share)
    for name, errors in zip(("oracle", "baseline", "validation", "filter"), 100.0 * results.others.T):
        found[f"error, {name}"] = t_interval(errors)
    for budget, errors, values in zip(config.budgets, 100.0 * results.cleaned, results.value):
        found[f"error, R = {budget}"] = t_interval(errors)
        for name, others in zip(("oracle", "baseline", "validation", "filter"), 100.0 * results.others.T):
            found[f"R = {budget} less {name}"] = t_interval(errors - others)
        found[f"gain on validation, R = {budget}"] = t_interval(100.0 * results.others[:, 2] - errors)
        found[f"gain on baseline, R = {budget}"] = (100.0 * results.others[:, 1] - errors).mean()
        found[f"validation loss, R = {budget}"] = values[:, 0].mean(), values[:, -1].mean()
    return found


def plot(results: Results, config: Config):
    X, given = data(config, 0)[0]
    return cleaning_figure.plot_cleaning(results, config, OTHERS, X, np.argmax(given, axis=1))


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
