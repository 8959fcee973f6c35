"""Pieces of MNIST for experiments, loaded once in every process.

Here and not in an experiment, since what remembers its results in a module that is run cannot be handed to workers.
"""

from __future__ import annotations

from functools import lru_cache

import hypergrad as hg


@lru_cache(1)
def mnist_pieces(count: int) -> list:
    """So many consecutive pieces of 10,000 images and labels each."""
    return hg.data.load_mnist(*[10_000] * count)
