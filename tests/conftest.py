"""Fixtures for several test files."""

import pytest


@pytest.fixture
def double():
    """JAX in float64."""
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)
