"""With compiled loops and with NumPy alone."""

import numpy as np

from hypergrad.compiled import plain_numpy
from hypergrad.fixed import compiled


def both(compute):
    """The result with compiled loops and that with NumPy alone."""
    assert compiled.loops() is not None
    fast = compute()
    with plain_numpy():
        assert compiled.loops() is None
        return fast, compute()


def assert_same_bits(fast: list, plain: list):
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
