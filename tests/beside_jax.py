"""What comparisons with JAX in float64 share."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax: pip install -e '.[jax]'")


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)
