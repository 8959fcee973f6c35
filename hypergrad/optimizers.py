"""Optimizers: the update equation of each in one place, and its derivatives.

An optimizer works array by array. For one array, with parameters ``w``, state ``s`` (a tuple of
arrays like ``w``), gradient ``g`` and hyperparameters ``h`` at that step (a named tuple of floats),

- ``step`` computes (w, s) after the update,
- ``push_forward`` the tangents of (w, s) after, from those of w, s, g and h,
- ``pull_back`` the cotangents of w, s, g and h, from those of (w, s) after.

The last two come from autograd unless an optimizer has its own. How g itself depends on w is the
business of the oracle, not of the optimizer. In exact arithmetic there are compiled loops for SGD's
update (:mod:`hypergrad.kernels`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np
from autograd.extend import defjvp, defvjp, primitive

from .arrays import empty_like, pieces, zeros_like
from .hyperparameters import Range
from .inheritance import depth
from .tracing import linearize, push


class Optimizer:
    """Base of every optimizer: a frozen dataclass whose fields are its hyperparameters.

    A new one has two pure functions written with autograd.numpy; the rest follows from them.

        @dataclass(frozen=True)
        class Descent(Optimizer):
            lr: Any

            def init(self, w):
                return ()

            def step(self, w, s, g, h, step):
                return w - h.lr * g, ()

    Each hyperparameter is given as a scalar, an array ``(steps,)``, or a nest of those that is a prefix
    of the parameters; ``h`` holds its value for this array at this step.

    Attributes:
      ranges: the interval each hyperparameter must lie in, by name; any finite number if not there.
      keeps_gradient: whether ``pull_back`` needs the gradient of the step.
      keeps_params: whether it needs the parameters before the step (if not, it may be given None).
      elementwise: whether each entry's update depends on that entry alone, so that an array can be updated
        in pieces.
      step_into: None, or a method ``(to_w, to_s, w, s, g, h, step)`` that writes ``step`` into arrays, to the
        same bits; used if ``elementwise``.
    """

    ranges: ClassVar[dict[str, Range]] = {}
    keeps_gradient: ClassVar[bool] = True
    keeps_params: ClassVar[bool] = True
    elementwise: ClassVar[bool] = False
    step_into: ClassVar[Callable | None] = None
    exact: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs):
        """Take away what was written for another update than that of the class, be it its own or from a mixin."""
        super().__init_subclass__(**kwargs)

        def nearest(*names: str) -> int:
            return min(depth(cls, name, nowhere=len(cls.__mro__)) for name in names)

        update = ("step", "state_after", "increments", "displacement", "decays")
        written_for = dict.fromkeys(("elementwise", "push_forward", "pull_back"), update)
        written_for |= dict.fromkeys(("keeps_gradient", "keeps_params"), (*update, "pull_back"))
        written_for |= {"step_into": ("step", "state_after")}
        outdated = [name for name, those in written_for.items() if nearest(*those) < nearest(name)]
        for name in outdated:
            setattr(cls, name, getattr(Optimizer, name))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the hyperparameters, in order."""
        return tuple(field.name for field in fields(self) if field.name != "exact")

    def init(self, w) -> tuple:
        """The state before the first step: a tuple of arrays in the shape of ``w``."""
        raise NotImplementedError(f"{type(self).__name__} needs init(w) -> state")

    def step(self, w, s, g, h, step: int) -> tuple:
        """(w, s) after the update."""
        raise NotImplementedError(f"{type(self).__name__} needs step(w, s, g, h, step) -> (w, s)")

    def state_after(self, w, s, g, h, step: int) -> tuple:
        """The state alone after the update."""
        return self.step(w, s, g, h, step)[1]

    def push_forward(self, dw, ds, dg, dh, w, s, g, s_after, h, step: int) -> tuple:
        """The tangents of (w, s) after the update; those of ``h`` are floats in ``dh``."""
        moved = [i for i, d in enumerate(dh) if d]
        fun = self._function_of(s, h, step, moved)
        _, tangents = push(fun, [w, *s, g, *(h[i] for i in moved)], [dw, *ds, dg, *(dh[i] for i in moved)])
        return tangents[0], tuple(tangents[1:])

    def pull_back(self, w_bar, s_bar, w, s, g, s_after, h, step: int, wanted) -> tuple:
        """The cotangents of w, s, g, and of every hyperparameter that is ``wanted`` (0 for the others)."""
        moved = [i for i, is_wanted in enumerate(wanted) if is_wanted]
        inputs = [w, *s, g, *(h[i] for i in moved)]
        _, pull = linearize(self._function_of(s, h, step, moved), inputs)
        bars = [np.zeros(np.shape(x)) if b is None else b for b, x in zip(pull([w_bar, *s_bar]), inputs)]
        h_bar = [0.0] * len(h)
        for i, bar in zip(moved, bars[len(s) + 2 :]):
            h_bar[i] = float(bar)
        return bars[0], tuple(bars[1 : len(s) + 1]), bars[len(s) + 1], h_bar

    def _function_of(self, s, h, step: int, moved: list[int]):
        """The step as a function of the list [w, *s, g, *(hyperparameters that move)]."""

        def function(inputs: list) -> list:
            w, *rest = inputs
            state, g, values = tuple(rest[: len(s)]), rest[len(s)], list(h)
            for i, value in zip(moved, rest[len(s) + 1 :]):
                values[i] = value
            w, state = self.step(w, state, g, type(h)(*values), step)
            return [w, *state]

        return function


class Decaying(Optimizer):
    """An optimizer whose state decays: s ← d s + increment(g), w ← w + displacement(s, g).

    Attributes:
      decays: for each state array, the name of the hyperparameter d that multiplies it.
      reversible: whether the displacement depends on the state after the update alone, and not on g:
        then the update can be undone.
      fraction_bits: for each state array, the bits after the point of its fixed-point numbers in exact
        arithmetic.
    """

    decays: ClassVar[tuple[str, ...]]
    reversible: ClassVar[bool]
    fraction_bits: ClassVar[tuple[int, ...]]

    def init(self, w) -> tuple:
        return tuple(zeros_like(w) for _ in self.decays)

    def increments(self, g, h) -> tuple:
        """What the gradient adds to each state array."""
        raise NotImplementedError

    def displacement(self, s, g, h, step: int):
        """What is added to w, from the state after the update."""
        raise NotImplementedError

    def state_after(self, w, s, g, h, step: int) -> tuple:
        increments = self.increments(g, h)
        return tuple(getattr(h, name) * a + increment for name, a, increment in zip(self.decays, s, increments))

    def step(self, w, s, g, h, step: int) -> tuple:
        s = self.state_after(w, s, g, h, step)
        return w + self.displacement(s, g, h, step), s

    def step_into(self, to_w, to_s, w, s, g, h, step: int) -> None:
        """:meth:`step`, written into ``to_w`` and ``to_s``, which may be ``w`` and ``s`` themselves."""
        for to, name, a, increment in zip(to_s, self.decays, s, self.increments(g, h)):
            np.multiply(getattr(h, name), a, out=to)
            to += increment
        np.add(w, self.displacement(to_s, g, h, step), out=to_w)


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
    keeps_gradient: ClassVar = False
    keeps_params: ClassVar = False
    elementwise: ClassVar = True

    def increments(self, g, h) -> tuple:
        return ((h.momentum - 1.0) * g,)

    def displacement(self, s, g, h, step: int):
        return h.lr * s[0]

    def push_forward(self, dw, ds, dg, dh, w, s, g, s_after, h, step: int) -> tuple:
        """dv⁺ = β dv − (1 − β) dg + dβ (v + g),    dw⁺ = dw + α dv⁺ + dα v⁺"""
        dw_after, dv_after = empty_like(dw), empty_like(dw)
        parts = pieces(dw_after, dv_after, dw, *ds, dg, *s, g, *s_after)
        for to_dw, to_dv, dw_part, dv_part, dg_part, v_part, g_part, v_after_part in parts:
            np.multiply(dv_part, h.momentum, out=to_dv)
            to_dv += np.multiply(dg_part, h.momentum - 1.0, out=to_dw)
            if dh.momentum:
                to_dv += dh.momentum * (v_part + g_part)
            np.multiply(to_dv, h.lr, out=to_dw)
            to_dw += dw_part
            if dh.lr:
                to_dw += dh.lr * v_after_part
        return dw_after, (dv_after,)

    def pull_back(self, w_bar, s_bar, w, s, g, s_after, h, step: int, wanted) -> tuple:
        """v̄ += α w̄,  ᾱ = ⟨w̄, v⁺⟩,  ḡ = −(1 − β) v̄,  β̄ = ⟨v̄, v + g⟩,  v̄ ← β v̄

        where v + g = (v − v⁺) / (1 − β) needs no gradient kept. By this difference β̄ loses a factor of about
        1 / (1 − β) in relative accuracy: no matter up to β = 0.999, but 1e-7 is left at 1 − β = 1e-9.
        """
        v_bar_before, g_bar = empty_like(w_bar), empty_like(w_bar)
        lr_bar = momentum_bar = 0.0
        parts = pieces(v_bar_before, g_bar, w_bar, *s_bar, *s, *s_after)
        for to_v_bar, to_g_bar, w_bar_part, v_bar_part, v_part, v_after_part in parts:
            total = np.multiply(w_bar_part, h.lr, out=to_g_bar)
            total += v_bar_part
            if wanted.lr:
                lr_bar += float(np.vdot(w_bar_part, v_after_part))
            if wanted.momentum:
                momentum_bar += float(np.vdot(total, v_part - v_after_part))
            np.multiply(total, h.momentum, out=to_v_bar)
            total *= h.momentum - 1.0
        return w_bar, (v_bar_before,), g_bar, (lr_bar, momentum_bar / (1.0 - h.momentum))


@primitive
def root(x):
    """√x whose derivative at 0 is taken as 0 instead of infinity.

    A second moment is 0 where every gradient so far was 0. There the update is a smooth function of the
    gradient, α ĝ / (|ĝ| + ε), to which the second moment adds nothing at first order; with 0 for the
    slope of its root, the derivative of the update is the right one, α / ε.
    """
    return np.sqrt(x)


def _root_slope(ans):
    return np.divide(0.5, ans, out=np.zeros_like(ans), where=ans > 0)


defvjp(root, lambda ans, x: lambda g: g * _root_slope(ans))
defjvp(root, lambda g, ans, x: g * _root_slope(ans))


class RMSPropState(NamedTuple):
    """State of :class:`RMSProp`: the running mean s of squared gradients."""

    second_moment: Any


@dataclass(frozen=True)
class RMSProp(Decaying):
    """RMSProp without momentum.

        s ← γ s + (1 − γ) g²,    w ← w − α g / (√s + ε),    s₀ = 0

    Args:
      lr: learning rate α ≥ 0, in any form of a schedule (see :class:`SGD`).
      decay: γ in [0, 1).
      eps: ε > 0.

    Where s is 0 the slope of its root is taken as 0 (see :func:`root`), so that derivatives are finite.
    It cannot be run backwards: w depends on the gradient at the w before.

    Source: Tieleman & Hinton (2012), lecture 6.5; ε outside the root as in PyTorch.
    """

    lr: Any
    decay: Any = 0.99
    eps: Any = 1e-8

    State: ClassVar = RMSPropState
    ranges: ClassVar = {
        "lr": Range(0.0),
        "decay": Range(0.0, 1.0),
        "eps": Range(0.0, low_included=False),
    }
    decays: ClassVar = ("decay",)
    reversible: ClassVar = False
    elementwise: ClassVar = True

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
    """Adam.

        m ← β₁ m + (1 − β₁) g,    s ← β₂ s + (1 − β₂) g²,    m₀ = s₀ = 0
        w ← w − α m̂ / (√ŝ + ε),   m̂ = m / (1 − β₁ᵗ),   ŝ = s / (1 − β₂ᵗ),   t = 1, 2, …

    Args:
      lr: learning rate α ≥ 0, in any form of a schedule (see :class:`SGD`).
      b1: β₁ in [0, 1). A schedule's current value also counts in the bias correction.
      b2: β₂ in [0, 1).
      eps: ε > 0.
      exact: compute in exactly reversible fixed-point arithmetic, for :class:`hypergrad.Reversible`;
        then β₁ and β₂ must lie in [2⁻¹⁶, 1) and are rounded to multiples of 2⁻³². The second moment is a
        multiple of 2⁻⁵⁶ below 64: gradients below 3e-9 / √(1 − β₂), 8e-8 for the default, add nothing to
        it, and where it is 0 the step is α m̂ / ε, larger than in floats. Scale the loss so that the
        gradients that matter lie between.

    Where s is 0 the slope of its root is taken as 0 (see :func:`root`), so that derivatives are finite.

    Source: Kingma & Ba (2015), algorithm 1.
    """

    lr: Any
    b1: Any = 0.9
    b2: Any = 0.999
    eps: Any = 1e-8
    exact: bool = False

    State: ClassVar = AdamState
    ranges: ClassVar = {
        "lr": Range(0.0),
        "b1": Range(0.0, 1.0),
        "b2": Range(0.0, 1.0),
        "eps": Range(0.0, low_included=False),
    }
    decays: ClassVar = ("b1", "b2")
    reversible: ClassVar = True
    fraction_bits: ClassVar = (52, 56)
    elementwise: ClassVar = True

    def increments(self, g, h) -> tuple:
        return (1.0 - h.b1) * g, (1.0 - h.b2) * g**2

    def displacement(self, s, g, h, step: int):
        m, second = s
        t = step + 1
        return -h.lr / (1.0 - h.b1**t) * m / (root(second / (1.0 - h.b2**t)) + h.eps)
