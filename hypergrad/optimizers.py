"""Optimizers: the update equation of each, its derivative forwards and backwards, in one place.

An optimizer works array by array. For one array, with parameters ``w``, state ``s`` (a tuple of
arrays of the shape of ``w``), gradient ``g`` and hyperparameters ``h`` (a tuple of floats),

- ``step`` computes (w, s) after the update,
- ``push_forward`` the tangents of (w, s) after from the tangents before, of g and of h,
- ``pull_back`` the cotangents of (w, s) before, of g and of h from the cotangents after.

How g itself depends on w is the business of the oracle, not of the optimizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .schedules import Range


class SGDState(NamedTuple):
    """State of :class:`SGD`: the velocity v, a nest in the shape of the parameters."""

    velocity: Any


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, in the form of Maclaurin et al. (2015).

        v ← β v − (1 − β) g,    w ← w + α v,    v₀ = 0

    Args:
      lr: learning rate α ≥ 0. A scalar, an array ``(steps,)``, or a nest that is a prefix of the
        parameters with such leaves (one schedule for each layer or array).
      momentum: β in [0, 1), in the same forms.

    The learning rate of PyTorch's SGD is α (1 − β). Bad values are reported by :func:`hypergrad.train`
    before it starts, as :class:`~hypergrad.errors.ScheduleError`.

    Source: Maclaurin, Duvenaud & Adams (2015), algorithm 1.
    """

    lr: Any
    momentum: Any = 0.9

    State: ClassVar = SGDState
    ranges: ClassVar = {"lr": Range(0.0), "momentum": Range(0.0, 1.0)}

    @staticmethod
    def step(w, s, g, h, out):
        """(w, s) after the update, written into ``out = (w, s)``, which may be the arrays given."""
        (v,), (lr, momentum) = s, h
        w_out, (v_out,) = out
        np.multiply(v, momentum, out=v_out)
        v_out -= np.multiply(g, 1.0 - momentum)
        np.add(w, np.multiply(v_out, lr), out=w_out)

    @staticmethod
    def push_forward(dw, ds, dg, dh, s, g, s_after, h):
        """Move the tangents ``dw``, ``ds`` over the step, in place.

        dv⁺ = β dv − (1 − β) dg + dβ (v + g),    dw⁺ = dw + α dv⁺ + dα v⁺
        """
        (dv,), (v,), (v_after,) = ds, s, s_after
        (lr, momentum), (d_lr, d_momentum) = h, dh
        dv *= momentum
        dv -= np.multiply(dg, 1.0 - momentum)
        if d_momentum:
            dv += np.multiply(np.add(v, g), d_momentum)
        dw += np.multiply(dv, lr)
        if d_lr:
            dw += np.multiply(v_after, d_lr)

    @staticmethod
    def pull_back(w_bar, s_bar, s, s_after, h, wanted):
        """Move the cotangents ``w_bar``, ``s_bar`` back over the step, in place.

        v̄ += α w̄,    ᾱ = ⟨w̄, v⁺⟩,    ḡ = −(1 − β) v̄,    β̄ = ⟨v̄, v + g⟩,    v̄ ← β v̄

        where v + g = (v − v⁺) / (1 − β) needs no gradient kept. Returns ḡ and, where ``wanted``
        says so, (ᾱ, β̄).
        """
        (v_bar,), (v,), (v_after,), (lr, momentum) = s_bar, s, s_after, h
        wants_lr, wants_momentum = wanted
        lr_bar = _inner(w_bar, v_after) if wants_lr else 0.0
        v_bar += np.multiply(w_bar, lr)
        momentum_bar = _inner(v_bar, np.subtract(v, v_after)) / (1.0 - momentum) if wants_momentum else 0.0
        g_bar = np.multiply(v_bar, momentum - 1.0)
        v_bar *= momentum
        return g_bar, (lr_bar, momentum_bar)


def _inner(x, y) -> float:
    return float(np.vdot(x, y))
