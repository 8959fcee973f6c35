"""MNIST images drawn anew for each seed, and pictures of some of them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

import hypergrad as hg

POOL = 10_000  # training images that seeds draw from; the test images are those after them

_DRAW = 27  # the purpose of these random numbers, in seeds (seed, purpose)


@lru_cache
def _pool(images: int) -> tuple[np.ndarray, np.ndarray]:
    ((X, T),) = hg.data.load_mnist(images)
    return X, T


def draw(seed: int, *counts: int, test: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Disjoint random pieces (X, T) of the first 10,000 training images, and the ``test`` images after those."""
    X, T = _pool(POOL + test)
    rows = np.random.default_rng((seed, _DRAW)).permutation(POOL)
    ends = np.cumsum(counts)
    pieces = [rows[end - count : end] for end, count in zip(ends, counts)]
    return [*((X[piece], T[piece]) for piece in pieces), (X[POOL:], T[POOL:])]


def show(axis, images, words, columns: int) -> None:
    """Draw images (k, 784) in rows of so many, each with its word below."""
    rows = max(1, -(-len(images) // columns))
    page = np.ones((rows * 38, columns * 30))
    for i, (image, word) in enumerate(zip(images, words)):
        top, left = i // columns * 38, i % columns * 30
        page[top : top + 28, left : left + 28] = 1.0 - image.reshape(28, 28)
        axis.text(left + 14, top + 33, word, ha="center", va="center", fontsize="small")
    axis.imshow(page, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axis.set_axis_off()
