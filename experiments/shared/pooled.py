"""MNIST images pooled to fewer pixels, and small networks on them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

import hypergrad as hg


@lru_cache
def images(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The first training images, means over squares of pixels, (count, side²), and their labels; side divides 28."""
    ((X, T),) = hg.data.load_mnist(count)
    width = 28 // side
    return X.reshape(count, side, width, side, width).mean(axis=(2, 4)).reshape(count, side * side), T


_DRAW = 27  # the purpose of these random numbers, in seeds (seed, purpose)


def draw(seed: int, *counts: int, pool: int, test: int, side: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Disjoint random pieces (X, T) of a pool, the first training images, and the ``test`` images after those."""
    X, T = images(pool + test, side)
    rows = np.random.default_rng((seed, _DRAW)).permutation(pool)
    ends = np.cumsum(counts)
    pieces = [rows[end - count : end] for end, count in zip(ends, counts)]
    return [*((X[piece], T[piece]) for piece in pieces), (X[pool:], T[pool:])]


@lru_cache
def network(count: int, side: int, hidden: tuple[int, ...], batch_size: int):
    """A tanh network, its minibatch loss on the first images, in order; made once in every process."""
    X, T = images(count, side)
    model = hg.nn.MLP([side * side, *hidden, 10])
    return model, hg.nn.MinibatchLoss(model, X, T, batch_size)
