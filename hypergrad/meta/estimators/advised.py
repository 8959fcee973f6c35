"""The estimator that an advice names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import ArgumentError
from ...probe.advice import Advice
from .implicit import implicit
from .persistent import persistent
from .smoothed import mixed, smoothed
from .unrolled import exact, forward, greedy, truncated

_BY_NAME: dict[str, Callable] = {
    one.__name__: one for one in (exact, forward, truncated, greedy, implicit, smoothed, mixed, persistent)
}


def build(advice: Advice, of: Any) -> Any:
    """The estimator that :func:`hypergrad.probe.advise` names, with the arguments that it suggests.

    Args:
      advice: what it returned.
      of: the :class:`~hypergrad.meta.Problem`, or ``f(hypers, seed)``.

    Raises:
      ArgumentError: it is no advice; what the estimator itself refuses.

    >>> import autograd.numpy as np
    >>> import hypergrad as hg
    >>> f = lambda h, seed: np.sin(h)
    >>> build(hg.probe.advise(f, 0.0), f)(0.0).gradient
    np.float64(1.0)
    """
    if not isinstance(advice, Advice):
        raise ArgumentError(f"build needs what hypergrad.probe.advise returns, got {advice!r:.100}")
    return _BY_NAME[advice.estimator](of, **advice.arguments)
