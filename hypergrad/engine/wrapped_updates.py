"""Updates by wrappers, which work on the gradients of all arrays before the rule inside sees them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ScheduleError
from ..nests import Structure
from ..optimizers.hyperparameters import Schedule
from ..optimizers.wrappers import Accumulated, Clipped, Wrapper
from ..workspace import Arena, Layout, Vector, inner
from .dynamics import State, Transition
from .updates import Updates


class WrappedUpdates(Updates):
    """Those of the rule inside, whose schedules come first; the state is that of the rule inside."""

    def __init__(self, optimizer: Wrapper, inside: Updates, own: list[Schedule]):
        super().__init__(optimizer, inside.layout, [*inside.schedules, *own])
        self.inside, self.inner_count = inside, len(inside.schedules)
        self.needs_params, self.needs_gradient = inside.needs_params, inside.needs_gradient

    @property
    def innermost(self) -> Updates:
        return self.inside.innermost

    def wanted_inside(self, wanted) -> Any:
        """Which hyperparameters of the rule inside are wanted."""
        return self.inside.kind(*wanted[: self.inner_count])

    def start(self, params: Vector):
        return self.inside.start(params)

    def fresh(self, slots, arena: Arena | None = None):
        return self.inside.fresh(slots, arena)

    def zeros(self, slots, arena: Arena | None = None):
        return self.inside.zeros(slots, arena)

    def zero_tangents(self, slots, count: int):
        return self.inside.zero_tangents(slots, count)

    def arrays(self, slots) -> list:
        return self.inside.arrays(slots)

    def write(self, arrays: list, slots) -> Any:
        return self.inside.write(arrays, slots)

    def taken(self, slots, to) -> Any:
        return self.inside.taken(slots, to)

    def set_count(self, count) -> None:
        self.inside.set_count(count)

    def nbytes(self) -> int:
        return self.inside.nbytes()

    def working(self) -> int:
        return self.inside.working() + 2 * self.layout.nbytes

    def as_nests(self, slots, structure: Structure) -> Any:
        return self.inside.as_nests(slots, structure)


class ClippedUpdates(WrappedUpdates):
    """Updates with gradients clipped by their global norm; see :class:`~hypergrad.optimizers.Clipped`."""

    optimizer: Clipped

    def __init__(self, optimizer: Clipped, inside: Updates, own: list[Schedule]):
        super().__init__(optimizer, inside, own)
        (self.limit,) = own
        if len(self.limit.leaves) > 1 or any(self.limit.timeless):
            raise ScheduleError(
                "Clipped.max_norm bounds the norm over all arrays: give a scalar or an array (steps,), not a nest"
            )
        self.needs_gradient = True
        self._clipped = self.layout.vector()

    def _scale(self, gradient: Vector, step: int) -> tuple[float, float]:
        """(c/‖g‖, ‖g‖) where the gradient is clipped; the first is 1 where it is not."""
        limit, norm = self.limit.entry(self.limit.leaves, 0, step), _norm(gradient)
        return (limit / norm, norm) if limit < norm < math.inf else (1.0, norm)

    def _clip(self, gradient: Vector, scale: float) -> Vector:
        """The gradient times the scale, in memory that is used again; itself if that is 1."""
        if scale == 1.0:
            return gradient
        for to, buffer in zip(self._clipped.buffers, gradient.buffers):
            np.multiply(buffer, scale, out=to)
        return self._clipped

    def transformed(self, gradient: Vector, step: int) -> Vector:
        return self.inside.transformed(self._clip(gradient, self._scale(gradient, step)[0]), step)

    def advance(self, w, s, g, step: int, to_w, to_s) -> tuple[Any, float | None]:
        return self.inside.advance(w, s, self._clip(g, self._scale(g, step)[0]), step, to_w, to_s)

    def push_forward(self, dw, ds, dg, transition, dots, step: int) -> Any:
        g, (scale, norm) = transition.gradient, self._scale(transition.gradient, step)
        if scale < 1.0:
            limit_dots = self.limit.entries(dots[self.inner_count], 0, step)
            parts, stacks = _side_by_side(self.layout, g, dg, len(limit_dots))
            for k, limit_dot in enumerate(limit_dots):
                _project([stack[k] for stack in stacks], parts, scale, norm, along=float(limit_dot))
        within = transition._replace(gradient=self._clip(g, scale))
        return self.inside.push_forward(dw, ds, dg, within, dots[: self.inner_count], step)

    def pull_back(self, w_bar, s_bar, g_bar, transition, bars, step: int, wanted) -> Any:
        g, (scale, norm) = transition.gradient, self._scale(transition.gradient, step)
        within = transition._replace(gradient=self._clip(g, scale))
        slots = self.inside.pull_back(
            w_bar, s_bar, g_bar, within, bars[: self.inner_count], step, self.wanted_inside(wanted)
        )
        if scale < 1.0:
            along = _project(g_bar.buffers, g.buffers, scale, norm)
            if wanted[self.inner_count]:
                self.limit.add(bars[self.inner_count], 0, step, along)
        return slots


def _norm(vector: Vector) -> float:
    """The Euclidean norm, also where its square overflows."""
    norm = vector.norm()
    if not math.isinf(norm):
        return norm
    largest = max(float(np.abs(buffer).max()) for buffer in vector.buffers)
    if not math.isfinite(largest):
        return largest
    return largest * math.sqrt(sum(float(np.sum((buffer / largest) ** 2)) for buffer in vector.buffers))


def _project(to: list, g: list, scale: float, norm: float, along: float = 0.0) -> float:
    """x ← s (x − ĝ ⟨ĝ, x⟩) + a ĝ in place, the derivative of clipping and its own transpose; ⟨ĝ, x⟩ before."""
    along_g = sum(inner(part, x) for part, x in zip(g, to)) / norm
    for part, x in zip(g, to):
        x *= scale
        x += ((along - scale * along_g) / norm) * part
    return along_g


def _side_by_side(layout: Layout, vector: Vector, stacked: Vector, count: int) -> tuple[list, list]:
    """The parts of a vector, and those of a stack of vectors, (count, entries), that go with them."""
    places = layout.blocks(count)
    parts = [vector.buffers[number][place] for number, place in places]
    stacks = [
        stacked.buffers[number][count * place.start : count * place.stop].reshape(count, -1) for number, place in places
    ]
    return parts, stacks


class AccumulatedUpdates(WrappedUpdates):
    """Updates with gradients averaged over several steps; see :class:`~hypergrad.optimizers.Accumulated`.

    A state is the rule's, and the vector of what is accumulated.
    """

    optimizer: Accumulated

    def __init__(self, optimizer: Accumulated, inside: Updates, own: list[Schedule]):
        super().__init__(optimizer, inside, own)
        self.every = optimizer.every
        inside.set_count(lambda step: step // self.every)
        self.needs_gradient = inside.needs_gradient
        self._mean = self.layout.vector()

    def _updates_at(self, step: int) -> bool:
        return (step + 1) % self.every == 0

    def start(self, params: Vector):
        return self.inside.start(params), self.layout.zeros()

    def fresh(self, slots, arena: Arena | None = None):
        return self.inside.fresh(slots[0], arena), self.layout.vector(arena)

    def zeros(self, slots, arena: Arena | None = None):
        return self.inside.zeros(slots[0], arena), self.layout.zeros(arena)

    def zero_tangents(self, slots, count: int):
        return self.inside.zero_tangents(slots[0], count), self.layout.stacked(count).zeros()

    def arrays(self, slots) -> list:
        return [*slots[1].arrays, *self.inside.arrays(slots[0])]

    def write(self, arrays: list, slots) -> Any:
        count = len(slots[1].arrays)
        slots[1].write(arrays[:count])
        return self.inside.write(arrays[count:], slots[0]), slots[1]

    def taken(self, slots, to) -> Any:
        to[1].take(slots[1])
        return self.inside.taken(slots[0], to[0]), to[1]

    def nbytes(self) -> int:
        return self.inside.nbytes() + self.layout.nbytes

    def as_nests(self, slots, structure: Structure) -> Any:
        return self.inside.as_nests(slots[0], structure)

    def _mean_with(self, before: Vector, gradient: Vector) -> Vector:
        """What is accumulated with this gradient, in memory that is used again."""
        for to, a, g in zip(self._mean.buffers, before.buffers, gradient.buffers):
            np.multiply(g, 1.0 / self.every, out=to)
            to += a
        return self._mean

    def advance(self, w, s, g, step: int, to_w, to_s) -> tuple[Any, float | None]:
        (rule, accumulated), (to_rule, to_accumulated) = s, to_s
        mean = self._mean_with(accumulated, g)
        if self._updates_at(step):
            after, square = self.inside.advance(w, rule, mean, step, to_w, to_rule)
            to_accumulated.fill(0.0)
            return (after, to_accumulated), square
        to_accumulated.take(mean)
        to_w.take(w)
        return (self.inside.taken(rule, to_rule), to_accumulated), None

    def _inside(self, transition: Transition) -> Transition:
        """The transition as the rule inside sees it."""
        before, after, mean = transition.before, transition.after, None
        if transition.gradient is not None:
            mean = self._mean_with(before.slots[1], transition.gradient)
        cut = lambda state: State(state.params, state.slots[0], state.norm)
        return Transition(cut(before), mean, transition.linear, cut(after))

    def push_forward(self, dw, ds, dg, transition, dots, step: int) -> Any:
        rule_dot, accumulated_dot = ds
        for a, g in zip(accumulated_dot.buffers, dg.buffers):
            a += (1.0 / self.every) * g
        if not self._updates_at(step):
            return ds
        dg.take(accumulated_dot)
        rule_dot = self.inside.push_forward(dw, rule_dot, dg, self._inside(transition), dots, step)
        accumulated_dot.fill(0.0)
        return rule_dot, accumulated_dot

    def pull_back(self, w_bar, s_bar, g_bar, transition, bars, step: int, wanted) -> Any:
        rule_bar, accumulated_bar = s_bar
        if self._updates_at(step):
            wanted = self.wanted_inside(wanted)
            rule_bar = self.inside.pull_back(w_bar, rule_bar, g_bar, self._inside(transition), bars, step, wanted)
            accumulated_bar.take(g_bar)
        for to, a in zip(g_bar.buffers, accumulated_bar.buffers):
            np.multiply(a, 1.0 / self.every, out=to)
        return rule_bar, accumulated_bar
