"""What comparisons with JAX in float64 share."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax: pip install -e '.[jax]'")


@pytest.fixture(autouse=True)
def double():
    """JAX in float64, for the tests of the module that imports this."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


__all__ = ["double", "drawn", "jax"]
