"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..ranges import Range
from .base import Decaying, Written, step_into, written_for


class SGDState(NamedTuple):
    """State of :class:`SGD`: the velocity v, a nest in the shape of the parameters."""

    velocity: Any


@dataclass(frozen=True)
class SGD(Decaying):
    """Stochastic gradient descent with momentum, in the form of Maclaurin et al. (2015).

        v ← β v − (1 − β) g,    w ← w + α v,    v₀ = 0

    Args:
      lr: learning rate α ≥ 0. A scalar, an array ``(steps,)``, or a nest that is a prefix of the
        parameters with such leaves (one schedule for each layer or array).
      momentum: β in [0, 1), in the same forms.
      exact: compute in exactly reversible fixed-point arithmetic, for :class:`hypergrad.Reversible`;
        then β must lie in [2⁻¹⁶, 1) and is rounded to a multiple of 2⁻³².

    The learning rate of PyTorch's SGD is α (1 − β). Bad values are reported by :func:`hypergrad.train`
    before it starts, as :class:`~hypergrad.errors.ScheduleError`.

    Source: Maclaurin, Duvenaud & Adams (2015), algorithm 1.
    """

    lr: Any
    momentum: Any = 0.9
    exact: bool = False

    State: ClassVar = SGDState
    ranges: ClassVar = {"lr": Range(0.0), "momentum": Range(0.0, 1.0)}
    decays: ClassVar = ("momentum",)
    reversible: ClassVar = True
    fraction_bits: ClassVar = (52,)

    def increments(self, g, h) -> tuple:
        return ((h.momentum - 1.0) * g,)

    def displacement(self, s, g, h, step: int):
        return h.lr * s[0]


def _push_forward(dw, ds, dg, dh, s, g, s_after, h) -> None:
    """dv⁺ = β dv − (1 − β) dg + dβ (v + g),    dw⁺ = dw + α dv⁺ + dα v⁺"""
    (dv,), (v,), (v_after,) = ds, s, s_after
    dv *= h.momentum
    dg *= h.momentum - 1.0
    dv += dg
    if dh.momentum:
        dv += dh.momentum * (v + g)
    dw += np.multiply(dv, h.lr, out=dg)
    if dh.lr:
        dw += dh.lr * v_after


def _pull_back(w_bar, s_bar, g_bar, s, s_after, h, wanted) -> tuple:
    """v̄ += α w̄,  ᾱ = ⟨w̄, v⁺⟩,  ḡ = −(1 − β) v̄,  β̄ = ⟨v̄, v + g⟩,  v̄ ← β v̄

    where v + g = (v − v⁺) / (1 − β) needs no gradient kept. By this difference β̄ loses a factor of about
    1 / (1 − β) in relative accuracy: no matter up to β = 0.999, but 1e-7 is left at 1 − β = 1e-9.
    """
    (v_bar,), (v,), (v_after,) = s_bar, s, s_after
    lr_bar = momentum_bar = 0.0
    np.multiply(w_bar, h.lr, out=g_bar)
    v_bar += g_bar
    if wanted.lr:
        lr_bar = float(np.vdot(w_bar, v_after))
    if wanted.momentum:
        momentum_bar = float(np.vdot(v_bar, np.subtract(v, v_after, out=g_bar)))
    np.multiply(v_bar, h.momentum - 1.0, out=g_bar)
    v_bar *= h.momentum
    return lr_bar, momentum_bar / (1.0 - h.momentum)


written_for(SGD, Written(step_into, _push_forward, _pull_back, needs_before=False))
