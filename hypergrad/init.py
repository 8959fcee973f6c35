"""Initial weights, differentiable in the parameters of their distribution."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

from .bridge import getval
from .checks import check_integer
from .errors import ArgumentError, NestError
from .nests import Structure, broadcast_prefix, check_leaf, check_leaves, flatten, leaf_places, unflatten

__all__ = ["knot_values", "quantile", "quantile_density", "scaled_normal", "uniform_quantile"]


def __dir__():
    return __all__


_WEIGHTS, _UNIFORM = 0, 1  # the purpose of these random numbers, in seeds (seed, purpose)


def scaled_normal(shapes: Any, scale: Any, seed: int, dtype=np.float64):
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
    leaves, structure = _check(shapes, seed, dtype)
    scales, cover, places = broadcast_prefix(scale, structure, name="scale", target="shapes")
    scales = check_leaves(scales, places, allow_int=True)
    for value, place in zip(scales, places):
        if np.shape(getval(value)) != () or not np.isfinite(getval(value)):
            raise NestError(f"{place} must be a finite number, got {getval(value)!r}")
    rng = np.random.default_rng([int(seed), _WEIGHTS])
    draws = [rng.standard_normal(shape).astype(dtype, copy=False) for shape in leaves]
    return unflatten(structure, [_scaled(scales[i], draw) for i, draw in zip(cover, draws)])


def quantile(shapes: Any, free: Any, seed: int, dtype=np.float64):
    """Weights from a piecewise-linear quantile function: w = Q(u), u ~ U(0, 1), with u fixed by ``seed``.

    Q joins its values at K equally spaced knots, 0, 1/(K−1), …, 1, by straight lines. Its free parameters
    are one array: the mean m of the distribution, and the logs θ of the K − 1 increments between knots,

        Q(k/(K−1)) = m + Σ_{j≤k} exp θⱼ − c,   c such that the mean is m,

    so Q increases whatever the values are. Differentiable in ``free``: the draws u do not depend on it.

    Args:
      shapes: a nest of shapes (tuples of ints), such as ``MLP.shapes``.
      free: m and θ, shape (K,), K ≥ 2; one for all, or a nest that is a prefix of ``shapes``: one for
        each layer, or one for each array. Start from :func:`uniform_quantile`.
      seed: integer ≥ 0.
      dtype: float64 or float32.

    Returns:
      A nest of arrays with these shapes.

    Raises:
      NestError: ``free`` is no prefix of ``shapes``, a leaf of it has another shape, or is not finite.
      ArgumentError: a bad ``seed``, ``dtype`` or shape.

    Source of the family: the log of January 2015 behind Maclaurin, Duvenaud & Adams (2015), where the
    values at the knots were free and could cross.

    >>> params = quantile([((2, 3), (3,))], [(uniform_quantile(0.1), uniform_quantile(0.2))], seed=0)
    >>> [(W.shape, b.shape) for W, b in params]
    [((2, 3), (3,))]
    """
    leaves, structure = _check(shapes, seed, dtype)
    frees, cover, places = broadcast_prefix(free, structure, name="free", target="shapes")
    frees = [_check_free(value, place) for value, place in zip(frees, places)]
    rng = np.random.default_rng([int(seed), _UNIFORM])
    knots = [knot_values(value) for value in frees]
    draws = [rng.random(shape) for shape in leaves]
    return unflatten(structure, [_as_dtype(_interpolated(knots[i], u), dtype) for i, u in zip(cover, draws)])


def uniform_quantile(half_width: Any, knots: int = 20) -> np.ndarray:
    """Free parameters of :func:`quantile` for the uniform distribution on ±half_width.

    Args:
      half_width: > 0, in units of the weights.
      knots: K ≥ 2.

    Returns:
      The mean 0 and the logs of K − 1 equal increments, shape (K,).

    Raises:
      ArgumentError: ``half_width`` is not finite and positive, or ``knots`` no integer ≥ 2.

    >>> knot_values(uniform_quantile(0.3, knots=4)).round(12).tolist()
    [-0.3, -0.1, 0.1, 0.3]
    """
    knots = check_integer(knots, "knots", 2)
    if not (isinstance(half_width, int | float | np.number) and np.isfinite(half_width) and half_width > 0):
        raise ArgumentError(f"half_width must be a finite number > 0, got {half_width!r}")
    return np.concatenate([[0.0], np.full(knots - 1, np.log(2.0 * half_width / (knots - 1)))])


def knot_values(free):
    """The values of the quantile function at its knots 0, 1/(K−1), …, 1; shape (K,), increasing.

    Differentiable. ``free``: the mean and the log increments, as in :func:`quantile`.

    Raises:
      NestError: ``free`` of another shape or type, or not finite.
    """
    free = _check_free(free, "free")
    above_lowest = anp.concatenate([anp.zeros(1), anp.cumsum(anp.exp(free[1:]))])
    mean = anp.mean(0.5 * (above_lowest[1:] + above_lowest[:-1]))
    return free[0] + above_lowest - mean


def quantile_density(free):
    """The density of the distribution of :func:`quantile`, which is constant between knots.

    Returns:
      The edges Q(k/(K−1)), shape (K,), and the density between them, shape (K−1,), in 1 / unit of the
      weights: 1 / (K−1) over the increment. Its integral is 1.

    Raises:
      NestError: ``free`` of another shape or type, or not finite.
    """
    free = _check_free(free, "free")
    edges = knot_values(free)
    return edges, anp.exp(-free[1:]) / len(getval(free[1:]))


def _interpolated(values, u: np.ndarray):
    """The line through ``values`` at equally spaced knots, at u in [0, 1)."""
    place = u * (len(getval(values)) - 1)
    knot = place.astype(int)
    share = place - knot
    return values[knot] * (1.0 - share) + values[knot + 1] * share


def _check_free(free, place: str):
    free = check_leaf(free, place)
    shape = np.shape(getval(free))
    if len(shape) != 1 or shape[0] < 2:
        raise NestError(
            f"{place} has shape {shape}, but a distribution is an array of shape (K,), K ≥ 2: its mean and the logs of "
            "K − 1 increments; start from hypergrad.init.uniform_quantile(half_width)"
        )
    if not np.isfinite(getval(free)).all():
        raise NestError(f"{place} is not finite: {getval(free)!r}")
    return free


def _check(shapes, seed, dtype) -> tuple[list, Structure]:
    """The shapes in order and their structure, after checking everything but the distribution."""
    if np.dtype(dtype) not in (np.float64, np.float32):
        raise ArgumentError(f"dtype must be float64 or float32, got {np.dtype(dtype)}")
    check_integer(seed, "seed", 0)
    leaves, structure = flatten(shapes, is_leaf=_is_shape)
    for shape, place in zip(leaves, leaf_places(structure, "shapes")):
        if not _is_shape(shape):
            raise ArgumentError(f"{place} must be a tuple of integers, got {shape!r}")
    return leaves, structure


def _is_shape(value) -> bool:
    return isinstance(value, tuple) and all(isinstance(n, int | np.integer) for n in value)


def _scaled(scale, draw):
    """scale · draw in the dtype of the draw, also for a float64 scale."""
    return _as_dtype(scale * draw, draw.dtype)


def _as_dtype(array, dtype):
    return array if getval(array).dtype == dtype else array.astype(dtype)
