"""One point of a probe: the losses at a value, and their derivatives in forward mode."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np

from ..bridge import Probe, getval, isbox, probed
from ..errors import ArgumentError, LossGradientWarning, NonFiniteLossGradientError
from ..nests import Structure, broadcast_prefix, check_leaves, flatten, leaf_places


class Point(NamedTuple):
    """One finished value; loss and gradient are NaN from where training diverged."""

    loss: np.ndarray
    gradient: np.ndarray
    diverged_at: int


def check_finite_leaves(hypers: Any) -> tuple[list, Structure]:
    """The leaves of hyperparameters and their structure.

    Raises:
      NestError, ArgumentError: they are no nest of float arrays, or not finite.
    """
    leaves, structure = flatten(hypers)
    places = leaf_places(structure, "hypers")
    leaves = check_leaves(leaves, places)
    for leaf, place in zip(leaves, places):
        if not np.isfinite(getval(leaf)).all():
            raise ArgumentError(f"{place} is not finite")
    return leaves, structure


def direction_like(direction: Any, leaves: list, structure: Structure) -> list:
    """The leaves of a direction that has the structure and shapes of hyperparameters.

    Raises:
      NestError, ArgumentError: it has not.
    """
    parts, cover, places = broadcast_prefix(direction, structure, name="direction", target="hypers")
    parts = check_leaves(parts, places)
    if cover != list(range(len(leaves))) or any(np.shape(p) != np.shape(w) for p, w in zip(parts, leaves)):
        raise ArgumentError("direction must have the structure and the shapes of hypers")
    return parts


def evaluate(f: Callable, value: float, probe: Probe | None = None) -> Point:
    """The losses ``f(value)`` and their derivatives; divergence is recorded, not raised.

    Args:
      probe: what the runs in ``f`` tell of themselves is added to it.

    Raises:
      ArgumentError: ``f`` does not depend on its argument, or returns no losses.
      DifferentiationError: a function in ``f`` has no derivative in forward mode.
    """
    probe = Probe() if probe is None else probe

    def losses(values: list) -> Any:
        result = f(values[0])
        result = anp.array(result) if isinstance(result, list | tuple) else result
        if not isbox(result):
            raise ArgumentError(f"f({value!r}) does not depend on its argument, or returned it outside an array")
        if not isinstance(getval(result), float | np.floating | np.ndarray) or np.ndim(getval(result)) > 1:
            raise ArgumentError(f"f({value!r}) must return a loss or a list of losses, not {type(getval(result))}")
        return result

    # What is not finite shows in the loss and the gradient recorded; NumPy's warnings would say it again.
    with np.errstate(all="ignore"):
        loss, gradient = probed(losses, [value], [1.0], probe)
    if gradient is None:
        raise ArgumentError(f"f({value!r}) does not depend on its argument")
    failure = probe.failures[0] if probe.failures else None
    if isinstance(failure, NonFiniteLossGradientError):
        warnings.warn(f"at {value!r} there is no derivative: {failure}", LossGradientWarning, stacklevel=3)
    return Point(np.asarray(loss), np.asarray(gradient), -1 if failure is None else failure.step)  # type: ignore[attr-defined]
