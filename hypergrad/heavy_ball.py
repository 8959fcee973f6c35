"""Momentum in the form of PyTorch and optax, as ours and back: the conversions, once.

PyTorch and optax write momentum as u ← μ u + g, w ← w − η u, ours is v ← β v − (1 − β) g, w ← w + α v. The steps are
the same with v = −(1 − β) u, which for schedules means

    η_t = α_t (1 − β_t),    μ_t = β_t (1 − β_{t−1}) / (1 − β_t);    for constants  μ = β,  η = α (1 − β)
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

from .bridge import getval
from .errors import ScheduleError
from .nests import check_leaves


def from_heavy_ball(lr: Any, momentum: Any) -> tuple:
    """Our (lr, momentum) from those of u ← μ u + g, w ← w − η u, differentiably.

        1/c_t = 1 + μ_t / c_{t−1},    β_t = 1 − c_t,    α_t = η_t / c_t,    c_{−1} = 1 − μ_0

    so that constants stay constants: β = μ, α = η / (1 − μ).

    Args:
      lr: η, a number or an array ``(steps,)``.
      momentum: μ in [0, 1), the same.

    Returns:
      (α, β), arrays ``(steps,)`` if the momentum is one.

    Raises:
      ScheduleError, NestError: another shape or type, or a momentum outside its range.
    """
    lr, momentum = _rates(lr, momentum)
    if np.ndim(getval(momentum)) == 0:
        return lr / (1.0 - momentum), momentum
    kept, inverses = 1.0 / (1.0 - momentum[0]), []
    for mu in momentum:
        kept = 1.0 + mu * kept
        inverses.append(kept)
    inverse = anp.array(inverses)
    return lr * inverse, 1.0 - 1.0 / inverse


def to_heavy_ball(lr: Any, momentum: Any) -> tuple:
    """The (η, μ) of u ← μ u + g, w ← w − η u that make the steps of our (lr, momentum), differentiably.

    The velocity starts at 0, so that the first μ has no influence; it is that of a momentum that was the same before.

    Args:
      lr: α, a number or an array ``(steps,)``.
      momentum: β in [0, 1), the same.

    Returns:
      (η, μ), arrays ``(steps,)`` if the momentum is one.

    Raises:
      ScheduleError, NestError: another shape or type, or a momentum outside its range.
    """
    lr, momentum = _rates(lr, momentum)
    if np.ndim(getval(momentum)) == 0:
        return lr * (1.0 - momentum), momentum
    before = anp.concatenate([momentum[:1], momentum[:-1]])
    return lr * (1.0 - momentum), momentum * (1.0 - before) / (1.0 - momentum)


def _rates(lr, momentum) -> list:
    """The rates to go on with."""
    lr, momentum = check_leaves([lr, momentum], ["lr", "momentum"], allow_int=True)
    for name, value in (("lr", lr), ("momentum", momentum)):
        if np.ndim(getval(value)) > 1:
            raise ScheduleError(f"{name} must be a number or an array (steps,), got shape {np.shape(getval(value))}")
    values = np.asarray(getval(momentum), dtype=float)
    outside = ~((values >= 0.0) & (values < 1.0))
    if outside.any():
        raise ScheduleError(f"momentum must lie in [0, 1), got {float(values[outside][0])!r}")
    sizes = {np.shape(getval(value)) for value in (lr, momentum)} - {()}
    if len(sizes) > 1 or (0,) in sizes:
        raise ScheduleError(f"lr and momentum must be schedules of one length, got {sorted(sizes)}")
    return [lr, momentum]
