"""Rotary position embedding, for use in any loss."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..bridge import defjvp, defvjp, isbox, primitive
from ..errors import ArgumentError
from .arrays import check_floats, shape_of


def rotary(x, base: float = 10_000.0):
    """Each pair of features turned by an angle that grows with the position.

        (x_{2i} + i x_{2i+1}) at position t  →  times e^{i t base^{−2i/D}},   t = 0 … T − 1, i = 0 … D/2 − 1

    Pairs are neighbours, (0, 1), (2, 3), …, as in the paper; where others pair i with i + D/2, take
    ``x.reshape(…, 2, D/2)`` with the last two axes swapped. The product of two turned vectors depends on the
    difference of their positions alone. Linear in x, its adjoint turns back; differentiable to any order and in
    both modes.

    Args:
      x: floats of shape (…, T, D), D even.
      base: a number > 0, not to be differentiated.

    Raises:
      ArgumentError: an argument that is none of these.

    Source: Su et al. (2021).

    >>> rotary(np.array([[1.0, 0.0], [1.0, 0.0]])).round(4)
    array([[1.    , 0.    ],
           [0.5403, 0.8415]])
    """
    x = check_floats(x, "x", ("T", "D"))
    if shape_of(x)[-1] % 2:
        raise ArgumentError(f"x has shape {shape_of(x)}, but rotary turns pairs: its last axis must be even")
    if isbox(base) or not isinstance(base, int | float | np.number) or not (np.isfinite(base) and base > 0):
        raise ArgumentError(f"base of rotary must be a finite number > 0, got {base!r}")
    return _turned(x, float(base), False)


@primitive
def _turned(x, base, back):
    length, width = x.shape[-2:]
    turns = _turns(length, width, base, back, np.dtype(f"c{2 * x.dtype.itemsize}"))
    x = x if x.strides[-1] == x.itemsize else np.ascontiguousarray(x)
    return (x.view(turns.dtype) * turns).view(x.dtype)


@lru_cache(maxsize=16)
def _turns(length: int, width: int, base: float, back: bool, dtype: np.dtype) -> np.ndarray:
    """e^{i t base^{−2i/D}}, or its conjugate, shape (T, D/2)."""
    angles = np.arange(length)[:, None] * base ** (-np.arange(0, width, 2) / width)
    turns = np.exp((-1j if back else 1j) * angles).astype(dtype)
    turns.flags.writeable = False
    return turns


defvjp(_turned, lambda ans, x, base, back: lambda g: _turned(g, base, not back), argnums=(0,))
defjvp(_turned, lambda g, ans, x, base, back: _turned(g, base, back), argnums=(0,))
