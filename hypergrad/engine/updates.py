"""The optimizer's part of a step, for all arrays of a run: forwards, its tangent, and back."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ..bridge import isbox, vjp
from ..errors import DifferentiationError
from ..nests import Structure
from ..optimizers.base import Optimizer
from ..optimizers.hyperparameters import Schedule
from ..workspace import Arena, Layout, Vector, same_bits


@lru_cache
def hyperparameter_type(names: tuple[str, ...]) -> type:
    """The named tuple that holds the hyperparameters of one step, or something for each of them."""
    return namedtuple("Hyperparameters", names)  # type: ignore[misc]


class Updates:
    """The updates of a run, whatever the rule.

    Attributes:
      optimizer, layout, schedules: of the run; one schedule for each hyperparameter.
      needs_params, needs_gradient: whether going back over a step needs the parameters, or the gradient, there.
      count: the number that the rule takes for that of a step; it counts its updates.
      innermost: the updates of the rule itself, inside of those that wrap it.
    """

    def __init__(self, optimizer: Optimizer, layout: Layout, schedules: list[Schedule]):
        self.optimizer, self.layout, self.schedules = optimizer, layout, schedules
        self.needs_params = self.needs_gradient = True
        self.kind = hyperparameter_type(optimizer.names)
        self.count: Callable[[int], int] = lambda step: step

    @property
    def innermost(self) -> Updates:
        return self

    def transformed(self, gradient: Vector, step: int) -> Vector:
        """The gradient as the rule itself sees it."""
        return gradient

    def hyperparameters(self, step: int) -> list[tuple]:
        """The optimizer's hyperparameters for every array of the parameters."""
        columns = [schedule.at(step) for schedule in self.schedules]
        return [self.kind(*row) for row in zip(*columns)] or [self.kind()] * len(self.layout.shapes)

    def tangents(self, schedule_dots: list, step: int, index: int) -> tuple:
        """The tangents of the hyperparameters of one array, each stacked over the directions."""
        return self.kind(*(s.entries(dots, index, step) for s, dots in zip(self.schedules, schedule_dots)))

    def add(self, schedule_bars: list, h_bar, index: int, step: int) -> None:
        """Add the cotangents of the hyperparameters of one array to those of the schedules."""
        for schedule, leaf_bars, value in zip(self.schedules, schedule_bars, h_bar):
            schedule.add(leaf_bars, index, step, value)

    def start(self, params: Vector):
        """The state before step 0."""
        raise NotImplementedError

    def fresh(self, slots, arena: Arena | None = None):
        """Memory for a state like this one."""
        raise NotImplementedError

    def advance(self, w: Vector, s, g: Vector, step: int, to_w: Vector, to_s) -> tuple[Any, float | None]:
        """Write the parameters after the step to ``to_w``, which may be ``w``.

        The state may be written to ``to_s``, which may be ``s``.

        Returns:
          The state after the step, and the sum of the squares of the parameters if it is known.
        """
        raise NotImplementedError

    def push_forward(self, dw: Vector, ds, dg: Vector, transition, dots: list, step: int) -> Any:
        """Turn the tangents of the parameters before the step into those after it, in place; those of the state.

        All tangents are stacked, along a first axis of every array, over one direction or more.
        ``transition`` has ``before``, ``gradient`` and ``after``; ``dots`` are the tangents of the schedules.
        """
        raise NotImplementedError

    def pull_back(self, w_bar: Vector, s_bar, g_bar: Vector, transition, bars: list, step: int, wanted) -> Any:
        """Turn the cotangent of the parameters after the step into that before, in place; that of the state.

        But for what comes through the gradient, whose cotangent is written to ``g_bar``. Adds those of the schedules
        to ``bars``. ``transition`` has ``before``, ``gradient`` and ``after``.
        """
        raise NotImplementedError

    def taken(self, slots, to) -> Any:
        """The same state, in the memory of ``to`` unless states are never changed."""
        raise NotImplementedError

    def set_count(self, count: Callable[[int], int]) -> None:
        """Let the rule count otherwise than steps."""
        self.count = count

    def zeros(self, slots, arena: Arena | None = None):
        """The zero cotangent of a state."""
        raise NotImplementedError

    def zero_tangents(self, slots, count: int):
        """So many zero tangents of a state, stacked along a first axis of every array."""
        raise NotImplementedError

    def arrays(self, slots) -> list:
        """All arrays of a state, or of its tangent, that can be differentiated."""
        raise NotImplementedError

    def write(self, arrays: list, slots) -> Any:
        """The tangent of a state with these arrays in place of its own."""
        raise NotImplementedError

    def same_bits(self, one, other) -> bool:
        """Whether two states are the same, bit for bit."""
        return all(map(same_bits, self.arrays(one), self.arrays(other)))

    def nbytes(self) -> int:
        """Bytes of a state."""
        raise NotImplementedError

    def working(self) -> int:
        """About how many bytes the derivative of a step works with."""
        return 4 * max(np.prod(shape, dtype=int) * 8 for shape in self.layout.shapes)

    def as_nests(self, slots, structure: Structure) -> Any:
        """The state as a callback sees it, in copies."""
        raise NotImplementedError


def pulled(function: Callable[[list], list], inputs: list, cotangents: list) -> list:
    """The cotangents of the inputs of a step, zeros for those without influence."""
    _, pull = vjp(function, inputs)
    return [np.zeros(np.shape(x)) if bar is None else bar for bar, x in zip(pull(cotangents), inputs)]


def indices_of(moved) -> list[int]:
    """Which hyperparameters move: whose tangents are not 0, or which are wanted."""
    return [i for i, is_moved in enumerate(moved) if np.any(is_moved)]


def at_moved(bars: list, moved: list[int], count: int) -> list:
    """The cotangents of all hyperparameters, of those that moved."""
    h_bar: list = [0.0] * count
    for i, bar in zip(moved, bars):
        h_bar[i] = bar if np.ndim(bar) else float(bar)
    return h_bar


def write(to: list, values: list) -> None:
    """Write values over arrays, of which they may be views: autograd passes on what it is given where it can."""
    values = [np.asarray(value) for value in values]
    values = [v.copy() if any(np.may_share_memory(v, array) for array in to) else v for v in values]
    for array, value in zip(to, values):
        array[...] = value


def reject_boxes(name: str, values: list) -> None:
    """Raise where a value that is being differentiated came into a step from outside."""
    if any(map(isbox, values)):
        raise DifferentiationError(
            f"{name}.step uses a value that is being differentiated but is not one of its hyperparameters (it closes "
            "over it, or a global holds it), so the derivative would miss it; make each such number a field of the "
            "optimizer and read it as h.name"
        )
