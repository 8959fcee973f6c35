"""One training run as a dynamical system: what a step is, said once for every adjoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .errors import DivergedError
from .nests import leaf_places, unflatten
from .oracles import Oracle
from .schedules import Schedule


class State(NamedTuple):
    """Parameters and optimizer state at one step count.

    Attributes:
      params: one array for each leaf of the parameters.
      slots: for each of those, the tuple of its state arrays (the velocity, for SGD).
    """

    params: list
    slots: list

    def copy(self) -> State:
        return State([w.copy() for w in self.params], [tuple(a.copy() for a in s) for s in self.slots])

    def zeros_like(self) -> State:
        return State([np.zeros_like(w) for w in self.params], [tuple(map(np.zeros_like, s)) for s in self.slots])

    def empty_like(self) -> State:
        return State([np.empty_like(w) for w in self.params], [tuple(map(np.empty_like, s)) for s in self.slots])


class Wanted(NamedTuple):
    """Which inputs of a run are being differentiated."""

    params: bool
    hyper: bool
    schedules: tuple[bool, ...]


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
      schedules: one for each hyperparameter of the optimizer, in the order of its ``ranges``.
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
        """The state before step 0, in fresh arrays."""
        slots = len(self.optimizer.State._fields)
        return State(
            [w.copy() for w in self.params], [tuple(np.zeros_like(w) for _ in range(slots)) for w in self.params]
        )

    def hyperparameters(self, step: int) -> list[tuple[float, ...]]:
        """The optimizer's hyperparameters for every array of the parameters."""
        return list(zip(*(schedule.at(step) for schedule in self.schedules)))

    def advance(self, state: State, gradient: list, step: int, out: State) -> State:
        """Take the step into ``out``, whose arrays are not those of ``state``, and return it.

        Raises:
          DivergedError: a parameter is not finite after it.
        """
        if self.callback is not None:
            self._report(state, gradient, step)
        for w, s, g, h, w_out, s_out in zip(
            state.params, state.slots, gradient, self.hyperparameters(step), out.params, out.slots
        ):
            self.optimizer.step(w, s, g, h, (w_out, s_out))
        index = first_non_finite(out.params)
        if index is not None:
            norm = float(np.sqrt(sum(float(np.vdot(w, w)) for w in state.params)))
            raise DivergedError(step, norm, leaf_places(self.oracle.params, "params")[index])
        return out

    def _report(self, state: State, gradient: list, step: int) -> None:
        """Call the callback with copies: what it keeps or changes cannot touch the run."""
        copy, structure = state.copy(), self.oracle.params
        slots = self.optimizer.State(*(unflatten(structure, slot) for slot in zip(*copy.slots)))
        self.callback(
            step, unflatten(structure, copy.params), slots, unflatten(structure, [g.copy() for g in gradient])
        )


def first_non_finite(arrays: list) -> int | None:
    """Index of the first array that holds a NaN or an infinity.

    The squared norm tells in one pass at the speed of memory; it overflows before the array
    does, so only where it is not finite are the entries looked at.
    """
    for index, array in enumerate(arrays):
        if not np.isfinite(np.vdot(array, array)) and not np.isfinite(array).all():
            return index
    return None
