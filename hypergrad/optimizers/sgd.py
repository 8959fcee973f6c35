"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..compiled import in_halves, loops
from ..ranges import Range
from ..workspace import inner
from .base import Decaying, Written, step_into, written_for


class SGDState(NamedTuple):
    """State of :class:`SGD`: the velocity v, a nest in the shape of the parameters."""

    velocity: Any


@dataclass(frozen=True)
class SGD(Decaying):
    """Stochastic gradient descent with momentum, in the form of Maclaurin et al. (2015).

        v ← β v − (1 − β) g,    w ← (1 − α λ) w + α v,    v₀ = 0

    Nesterov's momentum looks ahead: w ← (1 − α λ) w + α (β v − (1 − β) g), with the v after the step.

    Args:
      lr: learning rate α ≥ 0. A scalar, an array ``(steps,)``, a nest that is a prefix of the
        parameters with such leaves (one schedule for each layer or array), or :class:`hypergrad.PerWeight`.
      momentum: β in [0, 1), in the same forms.
      weight_decay: λ ≥ 0, decoupled from the gradient: each step takes α λ w off, in the same forms.
      nesterov: whether to look ahead.
      exact: compute in exactly reversible fixed-point arithmetic, for :class:`hypergrad.Reversible`;
        then β must lie in [2⁻¹⁶, 1) and is rounded to a multiple of 2⁻³², and so is 1 − α λ where λ > 0. Not with
        ``nesterov``, whose step depends on the gradient at the w before.

    The learning rate of PyTorch's SGD is α (1 − β), and its ``weight_decay`` is another one: coupled, a part of the
    gradient that goes through the velocity (:func:`hypergrad.optimizers.from_torch`). Bad values are reported by
    :func:`hypergrad.train` before it starts, as :class:`~hypergrad.errors.ScheduleError`.

    Source: Maclaurin, Duvenaud & Adams (2015), algorithm 1; Loshchilov & Hutter (2019) for the decay; Sutskever et
    al. (2013) for the form of Nesterov's momentum.
    """

    lr: Any
    momentum: Any = 0.9
    weight_decay: Any = 0.0
    nesterov: bool = False
    exact: bool = False

    State: ClassVar = SGDState
    ranges: ClassVar = {"lr": Range(0.0), "momentum": Range(0.0, 1.0), "weight_decay": Range(0.0)}
    decays: ClassVar = ("momentum",)
    fraction_bits: ClassVar = (52,)

    @property
    def reversible(self) -> bool:
        return not self.nesterov

    def increments(self, g, h) -> tuple:
        return ((h.momentum - 1.0) * g,)

    def displacement(self, s, g, h, step: int):
        if self.nesterov:
            return h.lr * (h.momentum * s[0] + (h.momentum - 1.0) * g)
        return h.lr * s[0]


_LONG = 2**14  # entries; for shorter arrays the gain is not worth importing numba


def _kernels() -> ModuleType:
    from . import kernels

    return kernels


def _loops(nesterov: bool, h, *arrays) -> ModuleType | None:
    """Compiled loops where they have this form of the rule, for these arrays."""
    return None if nesterov or h.weight_decay or arrays[0].size < _LONG else loops(_kernels, *arrays)


def _step_into(optimizer: SGD, to_w, to_s, w, s, g, h, step: int) -> float:
    if compiled := _loops(optimizer.nesterov, h, to_w, *to_s, w, *s, g):
        return sum(in_halves(compiled.sgd_step, (to_w, *to_s, w, *s, g), h.lr, h.momentum))
    step_into(optimizer, to_w, to_s, w, s, g, h, step)
    return inner(to_w, to_w)


def _push_forward(nesterov: bool, dw, ds, dg, dh, w, s, g, s_after, h) -> None:
    """dv⁺ = β dv − (1 − β) dg + dβ (v + g),    dw⁺ = (1 − α λ) dw − (α dλ + λ dα) w + α dv⁺ + dα v⁺

    With Nesterov's momentum β dv⁺ − (1 − β) dg + dβ (v⁺ + g) for dv⁺ in dw⁺, and β v⁺ − (1 − β) g for v⁺.
    """
    (dv,), (v,), (v_after,) = ds, s, s_after
    if h.weight_decay:
        dw *= 1.0 - h.lr * h.weight_decay
    shrink = h.lr * dh.weight_decay + h.weight_decay * dh.lr
    if np.any(shrink):
        dw -= shrink * w
    dv *= h.momentum
    dg *= h.momentum - 1.0
    dv += dg
    if np.any(dh.momentum):
        dv += dh.momentum * (v + g)
    if nesterov:
        dg += h.momentum * dv
        if np.any(dh.momentum):
            dg += dh.momentum * (v_after + g)
        dg *= h.lr
        dw += dg
        if np.any(dh.lr):
            dw += dh.lr * (h.momentum * v_after + (h.momentum - 1.0) * g)
        return
    dw += np.multiply(dv, h.lr, out=dg)
    if np.any(dh.lr):
        dw += dh.lr * v_after


def _pull_back(nesterov: bool, w_bar, s_bar, g_bar, w, s, s_after, h, wanted) -> tuple:
    """v̄ += α w̄,  ᾱ = ⟨w̄, v⁺⟩ − λ ⟨w̄, w⟩,  ḡ = −(1 − β) v̄,  β̄ = ⟨v̄, v + g⟩,  λ̄ = −α ⟨w̄, w⟩,  v̄ ← β v̄,
    w̄ ← (1 − α λ) w̄

    where v + g = (v − v⁺) / (1 − β) needs no gradient kept. By this difference β̄ loses a factor of about
    1 / (1 − β) in relative accuracy: no matter up to β = 0.999, but 1e-7 is left at 1 − β = 1e-9.

    With Nesterov's momentum β α w̄ for α w̄ in v̄; the displacement is α ((1 + β) v⁺ − β v), and since
    v⁺ + g = β (v + g), β̄ = ⟨v̄ + β α w̄, v + g⟩ and ḡ = −(1 − β) (v̄ + α w̄).
    """
    (v_bar,), (v,), (v_after,) = s_bar, s, s_after
    if not wanted.weight_decay and (compiled := _loops(nesterov, h, w_bar, v_bar, g_bar, v, v_after)):
        if not (wanted.lr or wanted.momentum):
            compiled.sgd_pull_back(w_bar, v_bar, g_bar, h.lr, h.momentum)
            return 0.0, 0.0, 0.0
        along_lr, along = compiled.sgd_pull_back_to_schedules(w_bar, v_bar, g_bar, v, v_after, h.lr, h.momentum)
        return along_lr if wanted.lr else 0.0, along / (1.0 - h.momentum) if wanted.momentum else 0.0, 0.0
    lr_bar = momentum_bar = decay_bar = 0.0
    if wanted.weight_decay or (wanted.lr and h.weight_decay):
        decay_bar = -inner(w_bar, w)
        lr_bar = decay_bar * h.weight_decay
        decay_bar *= h.lr
    np.multiply(w_bar, h.lr, out=g_bar)
    if nesterov:
        v_bar += h.momentum * g_bar
        if wanted.lr:
            along_after, along_before = inner(w_bar, v_after), inner(w_bar, v)
            lr_bar += (1.0 + h.momentum) * along_after - h.momentum * along_before
        if wanted.momentum:
            difference = v - v_after
            momentum_bar = inner(v_bar, difference) + h.momentum * inner(g_bar, difference)
        g_bar += v_bar
        g_bar *= h.momentum - 1.0
    else:
        v_bar += g_bar
        if wanted.lr:
            lr_bar += inner(w_bar, v_after)
        if wanted.momentum:
            momentum_bar = inner(v_bar, np.subtract(v, v_after, out=g_bar))
        np.multiply(v_bar, h.momentum - 1.0, out=g_bar)
    v_bar *= h.momentum
    if h.weight_decay:
        w_bar *= 1.0 - h.lr * h.weight_decay
    return lr_bar, momentum_bar / (1.0 - h.momentum), decay_bar


written_for(
    SGD,
    lambda optimizer: Written(
        _step_into,
        partial(_push_forward, optimizer.nesterov),
        partial(_pull_back, optimizer.nesterov),
        lambda w, h: _loops(optimizer.nesterov, h, w) is not None,
    ),
)
