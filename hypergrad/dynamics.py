"""One training run as a dynamical system: what a step is, said once for every adjoint."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .arrays import copy, empty_like, pieces, reuse, zeros_like
from .errors import ArgumentError, DivergedError
from .hyperparameters import Schedule
from .nests import leaf_places, unflatten
from .optimizers import Decaying
from .oracles import Oracle, read_only

# Overflow in the engine's own arithmetic is looked for and reported with its step; NumPy's warnings
# would only come before that.
reported = np.errstate(over="ignore", invalid="ignore")


@lru_cache
def hyperparameter_type(names: tuple[str, ...]) -> type:
    """The named tuple that holds the hyperparameters of one step, or something for each of them."""
    return namedtuple("Hyperparameters", names)


class State(NamedTuple):
    """Parameters and optimizer state at one step count.

    Attributes:
      params: one array for each leaf of the parameters.
      slots: for each of those, the tuple of its state arrays (the velocity, for SGD).
      norm: Euclidean norm of the parameters, where it is known.
    """

    params: list
    slots: list
    norm: float = math.nan

    def zeros_like(self) -> State:
        """Zeros in the shape of this state."""
        return State(list(map(zeros_like, self.params)), [tuple(map(zeros_like, s)) for s in self.slots])


class Wanted(NamedTuple):
    """Which inputs of a run are being differentiated; ``schedules`` is a named tuple like ``h``."""

    params: bool
    hyper: bool
    schedules: tuple


class Inputs(NamedTuple):
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

    Attributes:
      oracle: derivatives of the loss.
      optimizer: the update equation.
      params: the initial parameters.
      schedules: one for each hyperparameter of the optimizer, in the order of its ``names``.
      steps: number of steps T.
      wanted: what is being differentiated.
      callback: the user's telemetry, or None.
    """

    oracle: Oracle
    optimizer: Any
    params: list
    schedules: list[Schedule]
    steps: int
    wanted: Wanted
    callback: Callable | None = None

    def start(self) -> State:
        """The state before step 0, in arrays of its own."""
        slots = [self.optimizer.init(w) for w in self.params]
        if not all(isinstance(s, tuple) for s in slots):
            raise ArgumentError(
                f"{type(self.optimizer).__name__}.init must return a tuple of arrays, got {slots[0]!r:.60}"
            )
        return State(list(map(copy, self.params)), [tuple(map(np.asarray, s)) for s in slots], norm(self.params))

    def snapshot(self, state: State) -> State:
        """What must be kept of a state to go on from it later: itself, as long as no step spends it."""
        return state

    def hyperparameters(self, step: int) -> list[tuple]:
        """The optimizer's hyperparameters for every array of the parameters."""
        columns = [schedule.at(step) for schedule in self.schedules]
        kind = hyperparameter_type(self.optimizer.names)
        return [kind(*row) for row in zip(*columns)] or [kind()] * len(self.params)

    @reported
    def advance(
        self, state: State, gradient: list, step: int, *, spent_params: bool = False, spent_slots: bool = False
    ) -> State:
        """The state after the step.

        Args:
          spent_params, spent_slots: whether no one will look at those of ``state`` again, nor at a list or tuple
            that holds them. Then the arrays that nothing else refers to are written over.

        Raises:
          DivergedError: a parameter is not finite after it.
        """
        params, slots = [], []
        for i, (g, h) in enumerate(zip(gradient, self.hyperparameters(step))):
            w_after, s_after = self._step(state, i, g, h, step, spent_params, spent_slots)
            params.append(w_after)
            slots.append(s_after)
        after = State(params, slots, norm(params))
        if not math.isfinite(after.norm):
            index = first_non_finite(params)
            if index is not None:
                raise DivergedError(step, state.norm, leaf_places(self.oracle.params, "params")[index])
        return after

    def _step(self, state: State, i: int, g, h, step: int, spent_params: bool, spent_slots: bool) -> tuple:
        """The optimizer's step for one array; that of a user cannot change or keep what it is given."""
        optimizer, s = self.optimizer, state.slots[i]
        if optimizer.elementwise and optimizer.step_into is not None:
            ours = type(optimizer).step_into is Decaying.step_into  # which may write over what it reads
            w_after = reuse(state.params, i) if ours and spent_params else empty_like(state.params[i])
            s_after = tuple(reuse(s, k) if ours and spent_slots else empty_like(s[k]) for k in range(len(s)))
            for to_w, w, g_piece, *slots in pieces(w_after, state.params[i], g, *s_after, *s):
                optimizer.step_into(to_w, slots[: len(s)], w, slots[len(s) :], g_piece, h, step)
            return w_after, s_after
        w = state.params[i]
        if type(optimizer).step is Decaying.step:
            w, s = optimizer.step(w, s, g, h, step)
            return np.asarray(w, order="C"), tuple(np.asarray(a, order="C") for a in s)
        name, shape = type(optimizer).__name__, w.shape
        (w_given, g_given), s_given = read_only([w, g]), tuple(read_only(s))
        w_after, s_after = optimizer.step(w_given, s_given, g_given, h, step)
        if np.shape(w_after) != shape or not isinstance(s_after, tuple) or len(s_after) != len(s):
            raise ArgumentError(
                f"{name}.step must return (w, s), w of shape {shape} and s a tuple of {len(s)} arrays, got w of shape "
                f"{np.shape(w_after)} and s = {s_after!r:.60}"
            )
        return _own_array(w_after, w, g), tuple(_own_array(a, w, g) for a in s_after)

    @reported
    def slots_after(self, state: State, gradient: list, step: int) -> State:
        """What pulling back over the step needs of the state after it: the optimizer's, not the parameters."""
        decaying, slots = type(self.optimizer).step is Decaying.step, []
        for i, (g, h) in enumerate(zip(gradient, self.hyperparameters(step))):
            if decaying:
                slots.append(self.optimizer.state_after(state.params[i], state.slots[i], g, h, step))
            else:
                slots.append(self._step(state, i, g, h, step, False, False)[1])
        return State(state.params, slots)

    def kept(self, state: State) -> State:
        """What pulling back over a step needs of the state before it; None for parameters it does not."""
        params = state.params if self.optimizer.keeps_params else [None] * len(state.params)
        return State(params, state.slots)

    def report(self, state: State, gradient: list, step: int) -> None:
        """Call the callback with copies: what it keeps or changes cannot touch the run."""
        if self.callback is None:
            return
        params, *slots, gradients = (
            unflatten(self.oracle.params, [np.array(a) for a in arrays])
            for arrays in (state.params, *zip(*state.slots), gradient)
        )
        kind = getattr(self.optimizer, "State", None)
        self.callback(step, params, tuple(slots) if kind is None else kind(*slots), gradients)

    @reported
    def pull_back(self, before: State, gradient, after: State, bar: State, step: int, schedule_bars) -> tuple:
        """The optimizer's part of one step backwards.

        Returns the cotangents of the state before (but for what comes through the gradient) and of the
        gradient; adds those of the schedules to ``schedule_bars``. ``gradient`` may be None for an
        optimizer that does not keep it.
        """
        params, slots, g_bars = [], [], []
        for i, h in enumerate(self.hyperparameters(step)):
            w_bar, s_bar, g_bar, h_bar = self.optimizer.pull_back(
                bar.params[i],
                bar.slots[i],
                before.params[i],
                before.slots[i],
                None if gradient is None else gradient[i],
                after.slots[i],
                h,
                step,
                self.wanted.schedules,
            )
            params.append(w_bar)
            slots.append(s_bar)
            g_bars.append(g_bar)
            for schedule, leaf_bars, value in zip(self.schedules, schedule_bars, h_bar):
                leaf_bars[schedule.cover[i]][step] += value
        return State(params, slots), g_bars

    @reported
    def push_forward(self, before: State, gradient, after: State, dot: State, g_dot, schedule_dots, step: int) -> State:
        """The optimizer's part of one step for tangents: those of the state after."""
        params, slots = [], []
        for i, h in enumerate(self.hyperparameters(step)):
            h_dot = hyperparameter_type(self.optimizer.names)(
                *(float(dots[s.cover[i]][step]) for s, dots in zip(self.schedules, schedule_dots))
            )
            w_dot, s_dot = self.optimizer.push_forward(
                dot.params[i],
                dot.slots[i],
                g_dot[i],
                h_dot,
                before.params[i],
                before.slots[i],
                gradient[i],
                after.slots[i],
                h,
                step,
            )
            params.append(w_dot)
            slots.append(s_dot)
        return State(params, slots)


def _own_array(array, *given) -> np.ndarray:
    """The array in C order, copied if it shares memory with what was given: that may change later.

    In one order whatever the optimizer returns, since sums round differently in others.
    """
    array = np.asarray(array, order="C")
    return array.copy() if any(np.may_share_memory(array, other) for other in given) else array


def norm(arrays: list) -> float:
    """Euclidean norm of all entries."""
    return float(np.sqrt(sum(float(np.vdot(a, a)) for a in arrays)))


def first_non_finite(arrays: list) -> int | None:
    """Index of the first array that holds a NaN or an infinity.

    The squared norm tells in one pass at the speed of memory; it overflows before the array
    does, so only where it is not finite are the entries looked at.
    """
    for index, array in enumerate(arrays):
        if not np.isfinite(np.vdot(array, array)) and not np.isfinite(array).all():
            return index
    return None


def save(state, count: int, saved: dict[int, list | None]) -> None:
    """Keep a copy of the parameters if they are asked for at this count, which is then a key of ``saved``."""
    if count in saved:
        saved[count] = [w.copy() for w in state.params]


def forward_step(dynamics: Dynamics, state, step: int, saved: dict[int, list | None], spent: bool = True):
    """One step of plain training, seen by the callback; keeps a copy of the parameters before it if asked for.

    Unless told otherwise it uses up the state before it.
    """
    save(state, step, saved)
    gradient = dynamics.oracle.gradient(state.params, step)
    dynamics.report(state, gradient, step)
    return dynamics.advance(state, gradient, step, spent_params=spent, spent_slots=spent)
