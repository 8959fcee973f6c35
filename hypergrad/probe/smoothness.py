"""How smoothly the trained parameters, not only their loss, follow a hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bridge import getval, isbox
from ..errors import ArgumentError, DifferentiationError, NestError
from ..nests import check_leaves, flatten, leaf_places, unflatten
from .evaluation import check_finite_leaves, direction_like


@dataclass(frozen=True, repr=False)
class Metasmoothness:
    """The trained parameters θ at z, z + hv and z + 2hv, and their loss, compared.

    Attributes:
      value: Ŝ in [−1, 1]; 1 where every parameter goes on in the direction in which it set out, NaN where none moves.
      curvature: |F(z+2hv) − 2F(z+hv) + F(z)| / h² of the outer loss F; NaN without one.
      h: the step.
      losses: F at z, z + hv, z + 2hv, shape (3,); NaN without an outer loss.
      first, second: θ(z+hv) − θ(z) and θ(z+2hv) − θ(z+hv), all leaves in one vector, shape (P,).
    """

    value: float
    curvature: float
    h: float
    losses: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def __repr__(self):
        """A line; the arrays are in the attributes."""
        return f"Metasmoothness: {self.value:.4g} over 2 × {self.h:g}, curvature of the loss {self.curvature:.4g}"

    def plot(self, *, xlabel: str = "distance along the direction", ylabel: str = "loss"):
        """A figure of what both halves of the step do to each parameter, and of the loss."""
        from .figures import plot_metasmoothness

        return plot_metasmoothness(self, xlabel=xlabel, ylabel=ylabel)


def metasmoothness(
    f: Callable, hypers: Any, direction: Any, h: float, *, outer: Callable | None = None
) -> Metasmoothness:
    """Whether trained parameters go on as they set out when a hyperparameter moves: a sign that gradients will help.

        Ŝ = sign(θ_h − θ_0)ᵀ diag(d / ‖d‖₁) sign(θ_2h − θ_h),    d = |θ_2h − θ_0|

    with θ_a the parameters trained at z + av. A straight line gives 1, parameters that turn round at random about 0.
    Beside it the curvature of the loss F of the trained parameters, |F(z+2hv) − 2F(z+hv) + F(z)| / h².

    Args:
      f: takes hypers and returns the trained parameters, a nest of arrays; deterministic.
      hypers: z, a number or a nest of float arrays.
      direction: v, a nest like ``hypers``; taken as it is, not made a unit vector.
      h: the step, in units of ``direction``.
      outer: the loss of trained parameters, a scalar.

    Returns:
      A :class:`Metasmoothness`.

    Raises:
      ArgumentError: h ≤ 0; a direction of other shapes or zero; an ``f`` that returns no nest of float arrays, or nests
        that differ; an ``outer`` that returns no scalar.
      NestError: bad ``hypers``, a direction of another structure.
      DifferentiationError: something that is being differentiated.
      DivergedError: training diverged at one of the three.

    Cost: three trainings without derivatives.

    Source: Engstrom et al. (2025), Optimizing ML training with metagradient descent, arXiv:2503.13751.

    >>> import numpy as np
    >>> metasmoothness(lambda z: {"w": z * np.array([1.0, -2.0])}, 0.5, 1.0, 0.1, outer=lambda p: p["w"][0] ** 2)
    Metasmoothness: 1 over 2 × 0.1, curvature of the loss 2
    """
    leaves, structure = check_finite_leaves(hypers)
    parts = direction_like(direction, leaves, structure)
    if any(isbox(x) for x in [*leaves, *parts]):
        raise DifferentiationError("metasmoothness cannot be differentiated: give it plain numbers")
    if not any(np.any(part) for part in parts):
        raise ArgumentError("the direction is zero")
    if not all(np.isfinite(part).all() for part in parts):
        raise ArgumentError("the direction is not finite")
    if isinstance(h, bool) or not (isinstance(h, int | float | np.number) and 0.0 < h < math.inf):
        raise ArgumentError(f"h must be a finite number above 0, got {h!r}")
    h = float(h)
    trained, losses, first = [], [], None
    for distance in (0.0, h, 2.0 * h):
        nest = f(unflatten(structure, [leaf + distance * part for leaf, part in zip(leaves, parts)]))
        vector, shapes = _vector(nest)
        if first is not None and shapes != first:
            raise ArgumentError("f returned nests of different structures or shapes at z and beyond")
        first = shapes
        trained.append(vector)
        losses.append(math.nan if outer is None else _scalar(outer(nest)))
    here, middle, far = trained
    with np.errstate(all="ignore"):
        distance = np.abs(far - here)
        total = float(distance.sum())
        same = float(distance @ (np.sign(middle - here) * np.sign(far - middle)))
        # rounding of the two sums may take the quotient past 1
        value = float(np.clip(same / total, -1.0, 1.0)) if total > 0.0 else math.nan
        curvature = abs(losses[2] - 2.0 * losses[1] + losses[0]) / h**2
    return Metasmoothness(value, float(curvature), h, np.array(losses), middle - here, far - middle)


def _vector(nest) -> tuple[np.ndarray, tuple]:
    """All leaves of the trained parameters in one float64 vector, and what it was made of."""
    try:
        leaves, structure = flatten(nest)
        leaves = check_leaves(leaves, leaf_places(structure, "f(hypers)"))
    except NestError as error:
        raise ArgumentError(f"f must return the trained parameters, a nest of float arrays: {error}") from error
    if not leaves:
        raise ArgumentError(f"f must return the trained parameters, a nest of float arrays, got {nest!r}")
    shapes = tuple(np.shape(leaf) for leaf in leaves)
    return np.concatenate([np.ravel(np.asarray(leaf, dtype=float)) for leaf in leaves]), (structure, shapes)


def _scalar(loss) -> float:
    loss = getval(loss)
    if np.ndim(loss) != 0 or not isinstance(loss, float | np.floating | np.ndarray):
        raise ArgumentError(f"outer must return a scalar, the loss of the trained parameters, got {loss!r}")
    return float(loss)
