"""One point of a probe: the losses at a value, and their derivatives in forward mode."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import autograd.numpy as np
import numpy as onp
from autograd import make_jvp
from autograd.tracer import getval, isbox

from .errors import ArgumentError, NonFiniteGradientWarning
from .tangents import divergence_tolerated


class Point(NamedTuple):
    """One finished value; loss and gradient are NaN from where training diverged."""

    loss: onp.ndarray
    gradient: onp.ndarray
    diverged_at: int


def evaluate(f: Callable, value: float) -> Point:
    """The losses ``f(value)`` and their derivatives; divergence is recorded, not raised.

    Raises:
      ArgumentError: ``f`` does not depend on its argument, or returns no losses.
    """
    from threadpoolctl import threadpool_limits

    def losses(x):
        result = f(x)
        result = np.array(result) if isinstance(result, list | tuple) else result
        if not isbox(result):
            raise ArgumentError(f"f({value!r}) does not depend on its argument, or returned it outside an array")
        if not isinstance(getval(result), float | onp.floating | onp.ndarray) or onp.ndim(getval(result)) > 1:
            raise ArgumentError(f"f({value!r}) must return a loss or a list of losses, not {type(getval(result))}")
        return result

    # What is not finite shows in the loss and the gradient recorded; NumPy's warnings would say it again.
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings(), onp.errstate(all="ignore"):
        warnings.simplefilter("ignore", NonFiniteGradientWarning)
        with divergence_tolerated() as diverged:
            loss, gradient = make_jvp(losses)(value)(1.0)
    return Point(onp.asarray(loss), onp.asarray(gradient), diverged[0].step if diverged else -1)
