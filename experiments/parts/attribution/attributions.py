"""Scores of training images: what a weight of each does to the loss on a test image, and trainings to compare with."""

from __future__ import annotations

from dataclasses import dataclass

import autograd.numpy as anp
import numpy as np
from autograd import make_jvp
from scipy.sparse.linalg import LinearOperator, cg

import hypergrad as hg
from experiments.shared import digits
from experiments.shared.runner import PartConfig
from hypergrad.nests import flatten, unflatten

_HALVES = 29  # the purpose of these random numbers, in seeds (seed, purpose)


@dataclass(frozen=True)
class Config(PartConfig):
    """The training, so many test images, and random halves of the images that are trained on."""

    sizes: tuple[int, ...]
    examples: int = 1_000
    batch_size: int = 100
    steps: int = 40
    lr: float = 0.3
    momentum: float = 0.9
    tests: int = 4
    halves: int = 100


def problem(config: Config, seed: int):
    """The model, its weighted loss, initial weights, and the test images."""
    (X, T), tests, _ = digits.draw(seed, config.examples, config.tests)
    model = hg.nn.MLP(config.sizes)
    return model, hg.nn.MinibatchLoss(model, X, T, config.batch_size, weights="hyper"), model.init(seed), tests


def losses_on(model, params, X, T):
    """The loss on each image, in nats."""
    return -anp.sum(T * hg.nn.log_softmax(model.logits(params, X)), axis=1)


def along(model, loss, params, direction) -> np.ndarray:
    """The derivative of the loss on each training image along a direction of the parameters."""
    return make_jvp(lambda p: losses_on(model, p, loss.X, loss.T))(params)(direction)[1]


def random_halves(seed: int, count: int, n: int) -> np.ndarray:
    """Weights of n images, (count, n): 2 for a random half of them, so that the mean over all is one over these."""
    rng, halves = np.random.default_rng((seed, _HALVES)), np.zeros((count, n))
    for half in halves:
        half[rng.permutation(n)[: n // 2]] = 2.0
    return halves


def solve(hvp, right, damping: float):
    """(H + λ)⁻¹ times a nest, by conjugate gradients."""
    leaves, structure = flatten(right)
    ends = np.cumsum([leaf.size for leaf in leaves])

    def nest(vector):
        return unflatten(structure, [p.reshape(w.shape) for p, w in zip(np.split(vector, ends[:-1]), leaves)])

    def vector(nest):
        return np.concatenate([np.ravel(leaf) for leaf in flatten(nest)[0]])

    damped = LinearOperator((ends[-1], ends[-1]), matvec=lambda v: vector(hvp(nest(v))) + damping * v, dtype=float)
    return nest(cg(damped, vector(right), rtol=1e-3, maxiter=30)[0])


def correlations(predicted, measured, correlation) -> np.ndarray:
    """(m, t), of predicted (m, k, t) and measured (k, t)."""
    return np.array([[correlation(p[:, t], measured[:, t]) for t in range(measured.shape[1])] for p in predicted])
