"""Optimizers whose steps adapt to the size of the gradients: RMSProp and Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import autograd.numpy as anp
import numpy as np

from ..bridge import defjvp, defvjp, primitive
from ..ranges import Range
from .base import Decaying, Written, step_into, written_for


@primitive
def root(x):
    """√x whose derivative at 0 is taken as 0 instead of infinity.

    A second moment is 0 where every gradient so far was 0. There the update is a smooth function of the
    gradient, α ĝ / (|ĝ| + ε), to which the second moment adds nothing at first order; with 0 for the
    slope of its root, the derivative of the update is the right one, α / ε.

    Args:
      x: an array of any shape, or a number, ≥ 0.
    """
    return np.sqrt(x)


def _root_slope(ans):
    positive = ans > 0.0
    return anp.where(positive, 0.5 / anp.where(positive, ans, 1.0), 0.0)


defvjp(root, lambda ans, x: lambda g: g * _root_slope(ans))
defjvp(root, lambda g, ans, x: g * _root_slope(ans))


class RMSPropState(NamedTuple):
    """State of :class:`RMSProp`: the running mean s of squared gradients."""

    second_moment: Any


@dataclass(frozen=True)
class RMSProp(Decaying):
    """RMSProp without momentum.

        s ← γ s + (1 − γ) g²,    w ← (1 − α λ) w − α g / (√s + ε),    s₀ = 0

    Args:
      lr: learning rate α ≥ 0, in any form of a schedule (see :class:`SGD`).
      decay: γ in [0, 1).
      eps: ε > 0.
      weight_decay: λ ≥ 0, decoupled: each step takes α λ w off.

    Where s is 0 the slope of its root is taken as 0 (see :func:`root`), so that derivatives are finite.
    It cannot be run backwards: w depends on the gradient at the w before.

    Source: Tieleman & Hinton (2012), lecture 6.5; ε outside the root as in PyTorch.
    """

    lr: Any
    decay: Any = 0.99
    eps: Any = 1e-8
    weight_decay: Any = 0.0

    State: ClassVar = RMSPropState
    ranges: ClassVar = {
        "lr": Range(0.0),
        "decay": Range(0.0, 1.0),
        "eps": Range(0.0, low_included=False),
        "weight_decay": Range(0.0),
    }
    decays: ClassVar = ("decay",)

    def increments(self, g, h) -> tuple:
        return ((1.0 - h.decay) * g**2,)

    def displacement(self, s, g, h, step: int):
        return -h.lr * g / (root(s[0]) + h.eps)


class AdamState(NamedTuple):
    """State of :class:`Adam`: running means m of gradients and s of their squares."""

    first_moment: Any
    second_moment: Any


@dataclass(frozen=True)
class Adam(Decaying):
    """Adam, and with ``weight_decay`` AdamW.

        m ← β₁ m + (1 − β₁) g,    s ← β₂ s + (1 − β₂) g²,    m₀ = s₀ = 0
        w ← (1 − α λ) w − α m̂ / (√ŝ + ε),   m̂ = m / (1 − β₁ᵗ),   ŝ = s / (1 − β₂ᵗ),   t = 1, 2, …

    Args:
      lr: learning rate α ≥ 0, in any form of a schedule (see :class:`SGD`).
      b1: β₁ in [0, 1). A schedule's current value also counts in the bias correction.
      b2: β₂ in [0, 1).
      eps: ε > 0.
      weight_decay: λ ≥ 0, decoupled: each step takes α λ w off, as PyTorch's AdamW does.
      exact: compute in exactly reversible fixed-point arithmetic, for :class:`hypergrad.Reversible`;
        then β₁ and β₂ must lie in [2⁻¹⁶, 1) and are rounded to multiples of 2⁻³², as 1 − α λ is where
        λ > 0. The second moment is a multiple of 2⁻⁵⁶ below 64: gradients below 3e-9 / √(1 − β₂), 8e-8 for the
        default, add nothing to it, and where it is 0 the step is α m̂ / ε, larger than in floats. Scale the
        loss so that the gradients that matter lie between.

    Where s is 0 the slope of its root is taken as 0 (see :func:`root`), so that derivatives are finite.

    Source: Kingma & Ba (2015), algorithm 1; Loshchilov & Hutter (2019), algorithm 2, for the decay.
    """

    lr: Any
    b1: Any = 0.9
    b2: Any = 0.999
    eps: Any = 1e-8
    weight_decay: Any = 0.0
    exact: bool = False

    State: ClassVar = AdamState
    ranges: ClassVar = {
        "lr": Range(0.0),
        "b1": Range(0.0, 1.0),
        "b2": Range(0.0, 1.0),
        "eps": Range(0.0, low_included=False),
        "weight_decay": Range(0.0),
    }
    decays: ClassVar = ("b1", "b2")
    fraction_bits: ClassVar = (52, 56)

    @property
    def reversible(self) -> bool:
        return True

    def increments(self, g, h) -> tuple:
        return (1.0 - h.b1) * g, (1.0 - h.b2) * g**2

    def displacement(self, s, g, h, step: int):
        m, second = s
        t = step + 1
        return -h.lr / (1.0 - h.b1**t) * m / (root(second / (1.0 - h.b2**t)) + h.eps)


for _kind in (RMSProp, Adam):
    written_for(_kind, lambda optimizer: Written(step_into))
