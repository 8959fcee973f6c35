"""26 November 2026: which training examples is a prediction made of, and who can tell without training again?

Setting: 1,000 MNIST images in minibatches of 100, 40 steps, momentum 0.9; 10 draws of images and initial weights, 4
test images each. Predicted is how the loss on one test image changes with the weight of every training image;
measured is what happens when the training is repeated, with the same initial weights and order of minibatches, on
100 random halves of the images (linear datamodelling score: the rank correlation over the halves of predicted and
measured losses, Park et al. 2023, arXiv:2303.14186), and without single images (correlation over 20 of them).

Part 1: softmax regression. Part 2: 784-20-10 tanh.
Part 3: softmax regression again: influence functions with dampings from 0.03 to 30, of which half of the random
halves chooses one and the others test it; and whether scores from some initial weights predict trainings from others.
Part 4: the same for 784-20-10 tanh.

Compared are the exact derivative through the whole run, influence functions (Koh and Liang 2017, arXiv:1703.04730:
−∇m (H + λ)⁻¹ ∇ℓ_i / n at the end, by conjugate gradients), a sum of products of gradients over 10 checkpoints, after
TracIn (Pruthi et al. 2020, arXiv:2002.08484), and random numbers.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from autograd import grad
from scipy.stats import spearmanr

import hypergrad as hg
from experiments.parts.attribution import attribution_figure, attribution_starts, attributions
from experiments.parts.attribution.attributions import along, correlations, losses_on, problem, random_halves, solve
from experiments.shared import descents, runner
from experiments.shared.intervals import t_interval

LOOK_AT = "Look at the scores: how much do those predict that look at the end of the run only, or at checkpoints?"

_LEFT_OUT, _RANDOM = 30, 31  # the purposes of random numbers, in seeds (seed, purpose)


@dataclass(frozen=True)
class Config(attributions.Config):
    """A quick run has ``every`` times fewer halves and left-out images."""

    left_out: int = 20
    checkpoints: int = 10
    dampings: tuple[float, ...] = (0.01, 0.1)

    def methods(self) -> list[str]:
        """In the order of the results."""
        influence = [f"influence functions, λ = {damping:g}" for damping in self.dampings]
        return ["through the whole run", *influence, "products at checkpoints", "random"]


SIZES = {1: (784, 10), 2: (784, 20, 10)}
PARTS = {part: Config(sizes, seeds=10, quick_every=20) for part, sizes in SIZES.items()}
FULL = {part: Config(sizes, seeds=10, steps=1_000, tests=20, halves=300, left_out=100) for part, sizes in SIZES.items()}
PARTS |= {part + 2: attribution_starts.Config(sizes, seeds=10, quick_every=10) for part, sizes in SIZES.items()}


class Results(NamedTuple):
    """Arrays of s seeds, m methods, h halves, l left-out images, t test images."""

    value: np.ndarray  # (s, m, t), rank correlation of predicted and measured over the halves
    left_out: np.ndarray  # (s, m, t), correlation of predicted and measured over the left-out images
    predicted: np.ndarray  # (s, m, h, t), loss on the test image after training on a half, up to a constant, nats
    measured: np.ndarray  # (s, h, t), nats
    predicted_without: np.ndarray  # (s, m, l, t), change of the loss without an image, nats
    measured_without: np.ndarray  # (s, l, t), nats
    helpful: np.ndarray  # (s, 8), numbers of the images that lower the first test image's loss most, whole run
    harmful: np.ndarray  # (s, 8), and of those that raise it most


def attribute(config: Config, _, seed: int, cache) -> tuple:
    """What each method predicts and what training again measures: a piece of each array of the results."""
    model, loss, params, (X_test, T_test) = problem(config, seed)
    n, every = config.examples, config.every
    ones, optimizer = np.ones(n), hg.SGD(config.lr, config.momentum)
    checkpoints = np.linspace(0, config.steps, config.checkpoints + 1).astype(int)[1:].tolist()
    losses_of = partial(losses_on, model, X=X_test, T=T_test)

    def losses_after(weights):
        return losses_of(hg.train(loss, params, optimizer, weights, steps=config.steps))

    saved = hg.train(loss, params, optimizer, ones, steps=config.steps, save_at=checkpoints)
    hvp = model.gradient_with_hvp(saved[-1], loss.X, loss.T)[1]
    scores, first = [], None
    for x, t in zip(X_test, T_test):
        measure = lambda p, x=x, t=t: model.loss(p, x[None], t[None])
        found = hg.probe.attribution(loss, params, optimizer, steps=config.steps, measure=measure, adjoint=hg.Stored())
        first = found if first is None else first
        slopes = [grad(measure)(checkpoint) for checkpoint in saved]
        influence = [-along(model, loss, saved[-1], solve(hvp, slopes[-1], damping)) / n for damping in config.dampings]
        products = -sum(along(model, loss, p, slope) for p, slope in zip(saved, slopes))
        scores.append([found.gradient, *influence, products])
    random = np.random.default_rng((seed, _RANDOM)).standard_normal((config.tests, 1, n))
    scores = np.moveaxis(np.concatenate([scores, random], axis=1), 0, -1)  # (m, n, t)

    halves = random_halves(seed, max(4, config.halves // every), n)
    without = np.ones((max(4, config.left_out // every), n))
    without[np.arange(len(without)), np.random.default_rng((seed, _LEFT_OUT)).permutation(n)[: len(without)]] = 0.0
    base = losses_of(saved[-1])
    measured, measured_without = (np.array([losses_after(w) for w in many]) for many in (halves, without))
    measured_without = measured_without - base
    predicted, predicted_without = ((many - 1.0) @ scores for many in (halves, without))
    return (
        correlations(predicted, measured, lambda a, b: spearmanr(a, b)[0]),
        correlations(predicted_without, measured_without, lambda a, b: np.corrcoef(a, b)[0, 1]),
        predicted,
        measured,
        predicted_without,
        measured_without,
        first.most_helpful(8),
        first.most_harmful(8),
    )


def run(config: Config, jobs: int, cache) -> Results:
    return Results(*(array[0] for array in descents.in_parallel(attribute, config, ("attribution",), jobs, cache)))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: means over seeds with their t intervals."""
    found = {"change without an image": np.median(np.abs(results.measured_without))}
    for m, method in enumerate(config.methods()):
        found[f"halves, {method}"] = t_interval(results.value[:, m].mean(axis=-1))
        found[f"without one, {method}"] = t_interval(results.left_out[:, m].mean(axis=-1))
    return found


def plot(results: Results, config: Config):
    _, loss, _, (X_test, T_test) = problem(config, 0)
    return attribution_figure.plot_attribution(results, config, (loss.X, loss.T), (X_test[0], T_test[0]))


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
