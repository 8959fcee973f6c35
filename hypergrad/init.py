"""Initial weights, differentiable in the parameters of their distribution."""

from __future__ import annotations

from typing import Any

import numpy as onp
from autograd.tracer import getval

from .errors import ArgumentError, NestError
from .nests import broadcast_prefix, check_leaf, flatten, leaf_places, unflatten

_WEIGHTS = 0  # the purpose of these random numbers, in seeds (seed, purpose)


def scaled_normal(shapes: Any, scale: Any, seed: int, dtype=onp.float64):
    """Normal weights: w = scale · ε, ε ~ N(0, 1), with ε fixed by ``seed``.

    Weights and biases alike. Differentiable in ``scale``: the draw ε does not depend on it.

    Args:
      shapes: a nest of shapes (tuples of ints), such as ``MLP.shapes``.
      scale: standard deviation: one for all, or a nest that is a prefix of ``shapes``: one for each
        layer, or one for each array.
      seed: integer ≥ 0.
      dtype: float64 or float32.

    Returns:
      A nest of arrays with these shapes.

    Raises:
      NestError: ``scale`` is no prefix of ``shapes``, or not finite.
      ArgumentError: a bad ``seed`` or ``dtype``.

    >>> params = scaled_normal([((2, 3), (3,)), ((3, 1), (1,))], scale=[0.1, 0.2], seed=0)
    >>> [(W.shape, b.shape) for W, b in params]
    [((2, 3), (3,)), ((3, 1), (1,))]
    """
    if onp.dtype(dtype) not in (onp.float64, onp.float32):
        raise ArgumentError(f"dtype must be float64 or float32, got {onp.dtype(dtype)}")
    if not isinstance(seed, int | onp.integer) or isinstance(seed, bool) or seed < 0:
        raise ArgumentError(f"seed must be an integer ≥ 0, got {seed!r}")
    leaves, structure = flatten(shapes, is_leaf=_is_shape)
    for shape, place in zip(leaves, leaf_places(structure, "shapes")):
        if not _is_shape(shape):
            raise ArgumentError(f"{place} must be a tuple of integers, got {shape!r}")
    scales, cover, places = broadcast_prefix(scale, structure, name="scale", target="shapes")
    for value, place in zip(scales, places):
        check_leaf(value, place, allow_int=True)
        if onp.shape(getval(value)) != () or not onp.isfinite(getval(value)):
            raise NestError(f"{place} must be a finite number, got {getval(value)!r}")
    rng = onp.random.default_rng([int(seed), _WEIGHTS])
    draws = [rng.standard_normal(shape).astype(dtype, copy=False) for shape in leaves]
    return unflatten(structure, [_scaled(scales[i], draw) for i, draw in zip(cover, draws)])


def _is_shape(value) -> bool:
    return isinstance(value, tuple) and all(isinstance(n, int | onp.integer) for n in value)


def _scaled(scale, draw):
    """scale · draw in the dtype of the draw, also for a float64 scale."""
    product = scale * draw
    return product if getval(product).dtype == draw.dtype else product.astype(draw.dtype)
