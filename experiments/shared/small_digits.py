"""The 1,797 digits of scikit-learn, 8 by 8 pixels, in the size of MNIST's."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

EXTRA = "python -m pip install -e '.[search]'"
_SHUFFLE = 31  # the purpose of these random numbers, in seeds (seed, purpose)


def missing() -> str:
    """What has to be installed, in a sentence; empty if nothing."""
    return "" if find_spec("sklearn") else f"scikit-learn is not installed: {EXTRA}"


def enlarged(images: np.ndarray) -> np.ndarray:
    """Images (n, 8, 8) with values from 0 to 16 as (n, 784) from 0 to 1: each pixel is 3 by 3, with a frame of 2."""
    large = np.repeat(np.repeat(images / 16.0, 3, axis=1), 3, axis=2)
    return np.pad(large, ((0, 0), (2, 2), (2, 2))).reshape(len(images), 784)


def pieces(*counts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Disjoint random pieces of so many images and labels each; the same ones always."""
    from sklearn.datasets import load_digits

    found = load_digits()
    rows, ends = np.random.default_rng((0, _SHUFFLE)).permutation(len(found.target)), np.cumsum(counts)
    X, T = enlarged(found.images), np.eye(10)[found.target]
    return [(X[rows[end - count : end]], T[rows[end - count : end]]) for end, count in zip(ends, counts)]
