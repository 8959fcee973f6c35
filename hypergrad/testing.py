"""Check a hypergradient: reverse mode against forward mode against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from autograd import make_jvp, value_and_grad
from autograd.tracer import isbox

from .errors import ArgumentError, DivergedError, ScheduleError
from .nests import check_leaf, flatten, leaf_places, unflatten

STEP_SIZES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


class HypergradientError(AssertionError):
    """Two ways to compute a derivative disagree."""


class LeafCheck(NamedTuple):
    """Derivatives along one random direction within one leaf.

    Attributes:
      place: the leaf.
      reverse: ⟨gradient, direction⟩ in reverse mode.
      forward: the same in forward mode.
      difference: the same by central differences, at the step size that agrees best.
      step_size: that step size.
      forward_error: |reverse − forward|, relative to the norm.
      difference_error: |reverse − difference|, relative to the norm.
    """

    place: str
    reverse: float
    forward: float
    difference: float
    step_size: float
    forward_error: float
    difference_error: float


def check_hypergradient(
    f: Callable, hypers: Any, *, rtol: float | None = None, rtol_differences: float | None = None, seed: int = 0
) -> list[LeafCheck]:
    """Check the derivative of ``f(hypers)`` three ways, along a random direction in every leaf.

    Errors are relative to the norm of the leaf's gradient, so a tiny hypergradient is checked as
    strictly as a large one. Differences are taken at several step sizes and the best one counts:
    too small a step drowns in rounding, too large a one in curvature, and at the edge of chaos no step
    size fits at all, which then shows here. What rounding does to the largest step is allowed for.

    Args:
      f: returns a scalar.
      hypers: nest of float arrays.
      rtol: for reverse against forward mode; 1e-9 if None, 1e-4 where float32 is involved.
      rtol_differences: for reverse mode against differences; 1e-5 if None, 1e-2 where float32 is involved.
      seed: of the directions.

    Returns:
      One :class:`LeafCheck` for each leaf.

    Raises:
      HypergradientError: shows the worst leaf and both numbers.
      ArgumentError: ``f`` is not a scalar, or does not depend on ``hypers``.

    Cost: a reverse pass, and for every leaf a forward-mode run and 10 runs of ``f``.

    >>> checks = check_hypergradient(lambda h: h["a"] ** 2 * h["b"], {"a": 3.0, "b": 2.0})
    >>> [check.place for check in checks]
    ["hypers['a']", "hypers['b']"]
    """
    leaves, structure = flatten(hypers)
    places = leaf_places(structure, "hypers")
    for leaf, place in zip(leaves, places):
        check_leaf(leaf, place)

    def checked(nest):
        result = f(nest)
        if np.shape(result) != ():
            raise ArgumentError(f"f returned something of shape {np.shape(result)}; it must return a scalar")
        if not isbox(result):
            raise ArgumentError("f(hypers) does not depend on hypers")
        return result

    value, gradient = value_and_grad(checked)(hypers)
    single = any(np.asarray(x).dtype == np.float32 for x in (value, *leaves))
    rtol = rtol or (1e-4 if single else 1e-9)
    rtol_differences = rtol_differences or (1e-2 if single else 1e-5)
    rng = np.random.default_rng(seed)
    checks = []
    for index, (leaf, bar, place) in enumerate(zip(leaves, flatten(gradient)[0], places)):
        if np.size(leaf) == 0:
            continue
        direction = np.asarray(rng.standard_normal(np.shape(leaf)))
        tangent = [np.zeros(np.shape(x)) for x in leaves]
        tangent[index] = direction
        forward = float(make_jvp(checked)(hypers)(unflatten(structure, tangent))[1])

        def shifted(size, index=index, direction=direction):
            moved = list(leaves)
            moved[index] = moved[index] + size * direction
            try:
                return float(f(unflatten(structure, moved)))
            except (DivergedError, ScheduleError):  # the shift led outside of what can be trained
                return np.nan

        checks.append(_compare(place, leaf, np.asarray(bar), direction, forward, value, shifted))
    for error, tolerance, other in (
        ("forward_error", rtol, "forward"),
        ("difference_error", rtol_differences, "difference"),
    ):
        worst = max(checks, key=lambda check: np.nan_to_num(getattr(check, error), nan=np.inf))
        if not getattr(worst, error) <= tolerance:
            name = "forward mode" if other == "forward" else f"central differences (step {worst.step_size:.0e})"
            if np.isnan(worst.difference):
                raise HypergradientError(
                    f"worst leaf {worst.place}: no difference could be taken, because every shift diverges or leaves "
                    "the allowed range; give a smaller learning rate, or differentiate by its logarithm"
                )
            raise HypergradientError(
                f"worst leaf {worst.place}: reverse mode gives {worst.reverse!r} along a random direction, "
                f"{name} gives {getattr(worst, other)!r}: "
                f"relative error {getattr(worst, error):.1e}, allowed {tolerance:.0e}"
            )
    return checks


def _compare(place: str, leaf, bar, direction, forward: float, value, shifted: Callable) -> LeafCheck:
    reverse = float(np.vdot(bar, direction))
    norm = float(np.linalg.norm(bar))
    unit = max(1.0, float(np.sqrt(np.mean(np.square(leaf)))))
    # What rounding does to a difference over the largest step: more would let tiny gradients pass unseen.
    eps = max(np.finfo(np.asarray(x).dtype).eps for x in (leaf, value))
    rounding = 10 * eps * abs(float(value)) / (max(STEP_SIZES) * unit)

    def against(step_size):
        difference = (shifted(step_size * unit) - shifted(-step_size * unit)) / (2 * step_size * unit)
        error = _relative(abs(reverse - difference) - rounding, norm, difference)
        return (np.inf if np.isnan(error) else error), difference, step_size

    error, difference, step_size = min(against(step_size) for step_size in STEP_SIZES)
    forward_error = _relative(abs(reverse - forward), norm, forward)
    return LeafCheck(place, reverse, forward, difference, step_size, forward_error, error)


def _relative(error: float, norm: float, other: float) -> float:
    """The error relative to the norm of the gradient, or to the other number if that is larger."""
    return 0.0 if error <= 0.0 else error / max(norm, abs(other))
