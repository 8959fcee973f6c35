"""One training run as a dynamical system: what a step is, said once for every adjoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..errors import DivergedError, NonFiniteLossGradientError
from ..losses.base import Linearized, Loss
from ..nests import Structure, leaf_places, unflatten
from ..workspace import Arena, Layout, Vector
from .purity import Replay
from .updates import Updates

# Overflow in the engine's own arithmetic is looked for and reported with its step; NumPy's warnings
# would only come before that.
reported = np.errstate(over="ignore", invalid="ignore")

_HUGE = 1e100  # a norm of the parameters past which overflow explains everything


class State(NamedTuple):
    """Parameters and optimizer state at one step count.

    Attributes:
      params: a vector.
      slots: the optimizer's state, in the form of the run's :class:`~hypergrad.engine.updates.Updates`.
      norm: Euclidean norm of the parameters, where it is known.
      fixed: the fixed-point numbers that an exact run goes on with.
    """

    params: Vector
    slots: Any
    norm: float = math.nan
    fixed: Any = None


class Transition(NamedTuple):
    """What going back over a step needs.

    Attributes:
      before, after: the states around it; of ``before`` the parameters only if the optimizer or the loss needs them.
      gradient: a vector; None if the optimizer does not need it.
      linear: what the loss keeps; None where a tangent only is moved.
    """

    before: State
    gradient: Vector | None
    linear: Any
    after: State


class Wanted(NamedTuple):
    """Which inputs of a run are being differentiated; ``schedules`` is a named tuple like ``h``."""

    params: bool
    hyper: bool
    schedules: tuple


class Directions(NamedTuple):
    """Tangents or cotangents of everything a run depends on, as flat lists.

    Attributes:
      params: one array for each leaf of the parameters.
      hyper: one for each leaf of ``hyper``.
      schedules: for each hyperparameter of the optimizer, one array ``(steps,)`` for each of its leaves.
    """

    params: list
    hyper: list
    schedules: list[list]


@dataclass(frozen=True)
class Dynamics:
    """A run of ``steps`` steps: w, s ← step(w, s, ∇L(w, h, t), schedules at t).

    It works in memory of its own, so it makes one run at a time.

    Attributes:
      loss: on flat lists of arrays.
      updates: the optimizer's part.
      structure: of the parameters.
      params: the initial parameters, a list of arrays.
      steps: number of steps T.
      wanted: what is being differentiated.
      callback: the user's telemetry, or None.
      replay: what checks that the loss is a pure function, or None.
      first: step 0 as it was linearized for the planner, in a list; the run takes it out.
    """

    loss: Loss
    updates: Updates
    structure: Structure
    params: list
    steps: int
    wanted: Wanted
    callback: Callable | None = None
    replay: Replay | None = None
    first: list = field(default_factory=list)
    scratch: Arena = field(default_factory=Arena)

    @cached_property
    def _gradient(self) -> Vector:
        """Memory for a gradient that is not kept."""
        return self.layout.vector()

    @property
    def layout(self) -> Layout:
        """Of vectors like the parameters."""
        return self.updates.layout

    @property
    def keeps_params(self) -> bool:
        """Whether the parameters before a step are needed on the way back."""
        return self.loss.keeps_params or self.updates.needs_params

    def start(self) -> State:
        """The state before step 0, in memory of its own."""
        params = self.layout.of(self.params)
        return State(params, self.updates.start(params), params.norm())

    def fresh(self, like: State, arena: Arena | None, params: Vector) -> State:
        """Memory for a state after ``like``; its parameters are these if nobody needs what is there."""
        params = self.layout.vector(arena) if self.keeps_params else params
        return like._replace(params=params, slots=self.updates.fresh(like.slots, arena))

    def room(self, like: State) -> State:
        """Memory for a state like this one, parameters too."""
        return like._replace(params=self.layout.vector(), slots=self.updates.fresh(like.slots))

    def unshared(self, state: State) -> State:
        """The state with what every step changes in place apart from that of others: nothing, in floats."""
        return state

    def gradient(self, state: State, step: int, to: Vector) -> float | None:
        """Write ∂L/∂w; returns the loss if it is known."""
        if self.first and step == 0:
            return self._prepared(state, to).value
        value = self.loss.gradient(state.params.arrays, step, to.arrays, self.scratch)
        if self.replay is not None:
            self.replay.see(step, state.params, to, value)
        return value

    def linearize(self, state: State, step: int, to: Vector, arena: Arena) -> Linearized:
        """Write ∂L/∂w, and keep what the products of the Hessian need."""
        if self.first and step == 0:
            return self._prepared(state, to)
        linear = self.loss.linearize(state.params.arrays, step, to.arrays, arena)
        if self.replay is not None:
            self.replay.see(step, state.params, to, linear.value)
        return linear

    def tangents(
        self, state: State, step: int, to: Vector, params_dots: Vector, hyper_dots: list, to_dots: Vector
    ) -> float | None:
        """Write ∂L/∂w and its tangents, stacked over the directions; returns the loss if it is known."""
        given = state.params.arrays, step, to.arrays, params_dots.arrays, hyper_dots, to_dots.arrays
        return self.loss.tangents(*given, self.scratch)

    def prepare(self) -> Linearized:
        """Linearize step 0 now; the run that follows does not do it again."""
        params, gradient = self.start().params, self.layout.vector()  # exact arithmetic rounds the parameters
        linear = self.loss.linearize(params.arrays, 0, gradient.arrays, Arena())
        self.first.append((linear, gradient))
        return linear

    def _prepared(self, state: State, to: Vector) -> Linearized:
        linear, gradient = self.first.pop()
        to.take(gradient)
        if self.replay is not None:
            self.replay.see(0, state.params, to, linear.value)
        return linear

    @reported
    def advance(self, state: State, gradient: Vector, step: int, to: State, value: float | None = None) -> State:
        """The state after the step, in the memory of ``to``, which may be ``state``.

        Args:
          value: of the loss before the step, if it is known; for a message.

        Raises:
          DivergedError: a parameter is not finite after it.
          NonFiniteLossGradientError: the gradient was not, although the loss was.
        """
        slots, square = self.updates.advance(state.params, state.slots, gradient, step, to.params, to.slots)
        after = State(to.params, slots, to.params.norm() if square is None else math.sqrt(square))
        if not math.isfinite(after.norm):
            index = after.params.first_non_finite()
            if index is not None:
                raise self.failure(state.norm, gradient, step, index, value)
        return after

    def failure(self, norm: float, gradient: Vector, step: int, index: int, value: float | None) -> Exception:
        """Why parameter ``index`` is not finite after the step: divergence, or a loss without a gradient there.

        Args:
          norm: of the parameters before it.
          value: of the loss there, if it is known.
        """
        places, culprit = leaf_places(self.structure, "params"), gradient.first_non_finite()
        if culprit is None or not norm < _HUGE:
            return DivergedError(step, norm, places[index])
        params = self._params_before(step)
        if value is None and params is not None:
            value = self.loss.value(params, step)
        if value is None or math.isinf(value):
            return DivergedError(step, norm, places[index])
        what = "NaN" if np.isnan(gradient.arrays[culprit]).any() else "infinite"
        why = "" if params is None else self.loss.why_not_finite(params, step)
        return NonFiniteLossGradientError(step, what, places[culprit], value, norm, why)

    def _params_before(self, step: int) -> list | None:
        """The parameters before a step that failed, found by running up to it again: for a message only."""
        if step == 0:
            return self.params
        again = replace(self, steps=step, callback=None, replay=None, first=[], scratch=Arena())
        try:
            return again.run_plainly().params.arrays
        except Exception:  # it is only for a message
            return None

    def run_plainly(self) -> State:
        """The state after all steps."""
        state = self.start()
        for step in range(self.steps):
            state = self.step(state, step, report=False)
        return state

    def report(self, state: State, gradient: Vector, step: int, value: float | None) -> None:
        """Call the callback with copies: what it keeps or changes cannot touch the run."""
        if self.callback is None:
            return
        params, gradients = (unflatten(self.structure, [a.copy() for a in v.arrays]) for v in (state.params, gradient))
        slots = self.updates.as_nests(state.slots, self.structure)
        value = self.loss.value(state.params.arrays, step) if value is None else value
        self.callback(step, params, slots, gradients, value)

    def step(self, state: State, step: int, to: State | None = None, report: bool = True) -> State:
        """One step of the run, seen by the callback: the state after it, in this memory, or else over that before."""
        gradient = self._gradient
        value = self.gradient(state, step, gradient)
        if report:
            self.report(state, gradient, step, value)
        return self.advance(state, gradient, step, state if to is None else to, value)

    def record(
        self, state: State, step: int, arena: Arena, params: Vector | None = None, report: bool = True
    ) -> tuple[Transition, State]:
        """One step of the run, with what going back over it needs, and the state after it.

        Both in memory from the arena, but for parameters whose values before are not needed: those are written to
        ``params``, or else over those before.
        """
        keeps_gradient = self.updates.needs_gradient
        gradient = self.layout.vector(arena) if keeps_gradient else self._gradient
        linear = self.linearize(state, step, gradient, arena)
        if self.replay is not None:
            self.replay.keep_product(step, linear)
        if report:
            self.report(state, gradient, step, linear.value)
        to = self.fresh(state, arena, state.params if params is None else params)
        after = self.advance(state, gradient, step, to, linear.value)
        return Transition(state, gradient if keeps_gradient else None, linear, after), after

    @reported
    def pull_back(self, transition: Transition, w_bar: Vector, s_bar, g_bar: Vector, bars: list, step: int):
        """The optimizer's part of one step backwards; see :meth:`Updates.pull_back`."""
        return self.updates.pull_back(w_bar, s_bar, g_bar, transition, bars, step, self.wanted.schedules)


def zeros_like_schedules(dynamics: Dynamics, count: int | None = None) -> list[list]:
    """Zero cotangents of all schedules; or ``count`` zero tangents of them, stacked."""
    stack = () if count is None else (count,)
    return [
        [np.zeros((*stack, *np.shape(leaf)), leaf.dtype) for leaf in schedule.leaves]
        for schedule in dynamics.updates.schedules
    ]
