"""Logistic regression on MNIST with a penalty for each weight: the trainings of jan21_relevance and of its rivals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import hypergrad as hg
from experiments.shared.mnist import mnist_pieces
from experiments.shared.penalties import penalised
from experiments.shared.runner import PartConfig

MODEL = hg.nn.MLP([784, 10])
RULE = hg.SGD(1.0, 0.9)
RANGE = (-12.0, 2.0)  # of the log penalties; past 2.9, where 2 e^λ > 2(1+β) / ((1−β)α), training is unstable
POOL, VALID, UNSEEN, TEST = range(4)  # the pieces of MNIST, 10,000 images each
SETS, START = 1, 2  # the purposes of random numbers, in seeds (seed, purpose, …)


@dataclass(frozen=True, kw_only=True)
class Setting(PartConfig):
    """A training.

    Attributes:
      log_start: the log penalties with which descents and searches begin.
    """

    images: int = 500
    batch_size: int = 100
    steps: int = 50
    log_start: float = float(np.log(0.01))
    log_scale: float = -4.0


def pieces():
    """Images to draw training sets from, to validate on, to draw unseen training sets from, and to test on."""
    return mnist_pieces(4)


def rows(config: Setting, seed: int, number: int, pool: int) -> np.ndarray:
    """Which images of a pool a training set of a seed has; those of one pass through the pool have none in common."""
    images = len(pieces()[pool][0])
    in_a_pass, size = images // config.images, config.images
    shuffled = np.random.default_rng((seed, SETS, pool, number // in_a_pass)).permutation(images)
    return shuffled[number % in_a_pass * size :][:size]


def trained(config: Setting, log_penalty, seed: int, number: int, pool: int = POOL, more=None, rule=RULE, **options):
    """The weights after training on one of the training sets of a seed, from initial weights of its own.

    Args:
      log_penalty: of a shape that is broadcast to that of the weights; None for no penalty.
      number: of the training set.
      pool: which piece of MNIST its images are drawn from.
      more: further images and labels; then the minibatches are such that the steps go over all once.
      rule: the optimizer.
      options: of the training.
    """
    chosen, draw = rows(config, seed, number, pool), np.random.default_rng((seed, START, pool, number))
    X, T, batch_size = pieces()[pool][0][chosen], pieces()[pool][1][chosen], config.batch_size
    params = hg.init.scaled_normal(MODEL.shapes, np.exp(config.log_scale), int(draw.integers(2**31)))
    if more is not None:
        mixed = draw.permutation(config.images + len(more[0]))
        X, T = np.concatenate([X, more[0]])[mixed], np.concatenate([T, more[1]])[mixed]
        batch_size = -(-len(X) // config.steps)
    images = hg.nn.MinibatchLoss(MODEL, X, T, batch_size)
    loss, hyper = (images, None) if log_penalty is None else (penalised(images), log_penalty + np.zeros((784, 10)))
    return hg.train(loss, params, rule, hyper, steps=config.steps, adjoint=hg.Stored(), **options)
