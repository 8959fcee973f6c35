"""Training in exactly reversible fixed-point arithmetic: the same steps, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..engine.dynamics import Dynamics, State, Transition, reported
from ..engine.vector_updates import Run, VectorUpdates
from ..errors import FixedPointOverflowError
from ..nests import leaf_places
from ..optimizers import SGD
from ..workspace import Arena, Vector, inner
from .arithmetic import DENOMINATOR, InformationBuffer, add, divide, from_fixed, multiply, numerator, to_fixed
from .compiled import loops

_PARAM_BITS = 52
_LARGEST_INTEGER_BITS = 62  # one less than int64 has, so that the sum of two numbers fits


class FixedRun(NamedTuple):
    """Arrays that are updated in one pass, with their state, as fixed-point numbers in one dimension.

    Attributes:
      w: int64, multiples of 2⁻⁵².
      slots: int64, one array for each state array of the optimizer.
      buffers: the information each of those has lost.
      decayed: that which ``w`` has lost where the weights decay, otherwise None.
    """

    w: np.ndarray
    slots: tuple
    buffers: tuple
    decayed: InformationBuffer | None

    def copy(self) -> FixedRun:
        """To go forwards from later; the information lost so far is not needed for that."""
        buffers = tuple(b.copy() for b in self.buffers)
        decayed = None if self.decayed is None else self.decayed.copy()
        return FixedRun(self.w.copy(), tuple(a.copy() for a in self.slots), buffers, decayed)

    def is_start(self, w: np.ndarray) -> bool:
        """Whether it is the state before step 0 at these parameters, with nothing left in the buffers."""
        buffers = self.buffers if self.decayed is None else (*self.buffers, self.decayed)
        at_rest = not any(a.any() for a in self.slots)
        return np.array_equal(self.w, w) and at_rest and all(b.is_initial() for b in buffers)


class _Check(NamedTuple):
    """What is known where numbers are checked, for the message."""

    dynamics: ExactDynamics
    run: Run
    step: int
    norm: float
    gradient: Vector | None
    value: float | None

    def __call__(self, array, bits: int, what: str, part=...) -> float:
        """Raise where a number is not finite, or does not fit the format; the sum of squares, by which that is seen.

        A number and an increment that are both below the limit, 2⁶², add up to less than int64 holds, so nothing
        has wrapped around when it is checked.
        """
        limit, square = 2.0 ** (_LARGEST_INTEGER_BITS - bits), inner(array, array)
        if not square < limit**2:
            magnitudes = np.abs(np.ravel(array))
            largest = float(magnitudes.max())
            if not largest < limit:
                start = part.start if isinstance(part, slice) else 0
                index = self.run.array_at(start + int(np.argmax(magnitudes)))
                if not np.isfinite(largest):
                    gradient = self.gradient or self.dynamics.layout.zeros()
                    raise self.dynamics.failure(self.norm, gradient, self.step, index, self.value)
                place = leaf_places(self.dynamics.structure, "params")[index]
                raise FixedPointOverflowError(self.step, largest, limit, f"a {what} {place}")
        return square


@dataclass(frozen=True)
class ExactDynamics(Dynamics):
    """Dynamics whose every step can be undone bit for bit.

    Decays are multiples of 2⁻³² (the schedules must hold the rounded ones). Increments and displacements
    are computed in floats and rounded to fixed point: the same floats come out on the way back, because
    they depend only on what is known there. A state holds the floats, and the numbers they are read off, which
    the next step changes in place.
    """

    updates: Any  # VectorUpdates, since their rules decay, or clipped ones

    @property
    def rule(self) -> VectorUpdates:
        """The updates without what clips the gradients."""
        return self.updates.innermost

    def bits_lost(self) -> float:
        """The bits that the decays of a whole run lose: log₂(1/d) for each number and multiplication."""
        schedules, lost = dict(zip(self.rule.optimizer.names, self.rule.schedules)), 0.0
        for name in self.rule.optimizer.decays:
            bits = [-np.log2(leaf).sum() for leaf in schedules[name].leaves]
            lost += sum(bits[i] * w.size for i, w in zip(schedules[name].cover, self.params))
        if self.rule.decays_weights:
            lr, decay = schedules["lr"], schedules["weight_decay"]
            for rate, off, w in zip(lr.cover, decay.cover, self.params):
                lost -= w.size * float(np.log2(1.0 - lr.leaves[rate] * decay.leaves[off]).sum())
        return lost

    def start(self, record: bool = False) -> State:
        """The state before step 0; ``record`` what is needed to come back to it.

        Raises:
          FixedPointOverflowError: the parameters are too large to begin with.
        """
        params, bits, fixed = self.layout.of(self.params), self.rule.optimizer.fraction_bits, []
        norm = params.norm()
        for run in self.rule.runs:
            w = run.views(params)
            _Check(self, run, 0, norm, None, None)(w, _PARAM_BITS, "parameter")
            numbers = to_fixed(w, _PARAM_BITS).ravel()
            slots = tuple(np.zeros(run.size, np.int64) for _ in bits)
            buffers = tuple(InformationBuffer(run.size, record) for _ in bits)
            decayed = InformationBuffer(run.size, record) if self.rule.decays_weights else None
            fixed.append(FixedRun(numbers, slots, buffers, decayed))
            from_fixed(numbers, _PARAM_BITS, w)
        return State(params, self.updates.start(params), params.norm(), fixed)

    def unshared(self, state: State) -> State:
        """The state with numbers of its own."""
        return state._replace(fixed=[run.copy() for run in state.fixed])

    def room(self, like: State) -> State:
        """Memory for the floats of a state like this one."""
        return super().room(like)._replace(fixed=None)

    @reported
    def advance(self, state: State, gradient: Vector, step: int, to: State, value: float | None = None) -> State:
        """The state after the step; the numbers of ``state`` are used up in any case.

        Raises:
          DivergedError, NonFiniteLossGradientError, FixedPointOverflowError: with the step.
        """
        hyperparameters, square = self.rule.hyperparameters(step), 0.0
        seen = self.updates.transformed(gradient, step)
        for run, fixed in zip(self.rule.runs, state.fixed):
            check = _Check(self, run, step, state.norm, gradient, value)
            g, to_w, to_s = run.views(seen), run.views(to.params), [run.views(s) for s in to.slots]
            for part in run.pieces:
                floats = g[part], to_w[part], [s[part] for s in to_s]
                self._advance_part(fixed, part, *floats, hyperparameters[run.first], step, check)
                square += check(to_w[part], _PARAM_BITS, "parameter", part)
        return State(to.params, to.slots, math.sqrt(square), state.fixed)

    def _advance_part(self, fixed: FixedRun, part, g, to_w, to_s: list, h, step: int, check: _Check) -> None:
        """The step for a part of a run, its floats written to ``to_w`` and ``to_s``."""
        optimizer, numbers = self.rule.optimizer, _numbers(part)
        if compiled := self._loops(g):
            too_large = _sgd_advance(compiled, fixed, numbers, g, to_w, to_s[0], h, optimizer.fraction_bits[0])
            if not too_large:
                return  # otherwise the checks below, which are all that is left to do, say what and where
        increments = optimizer.increments(g, h)
        for k, (name, bits) in enumerate(zip(optimizer.decays, optimizer.fraction_bits)):
            check(increments[k], bits, "gradient for parameter", part)
            if not compiled:
                slot = fixed.slots[k][numbers]
                multiply(slot, numerator(getattr(h, name)), fixed.buffers[k], numbers)
                add(slot, increments[k], bits)
                from_fixed(slot, bits, to_s[k])
            check(to_s[k], bits, "state of parameter", part)
        displacement = optimizer.displacement(to_s, None, h, step)
        check(displacement, _PARAM_BITS, "displacement of parameter", part)
        if not compiled:
            w, n = fixed.w[numbers], _share(h)
            if fixed.decayed is not None and n < DENOMINATOR:
                multiply(w, n, fixed.decayed, numbers)
            add(w, displacement, _PARAM_BITS)
            from_fixed(fixed.w[numbers], _PARAM_BITS, to_w)

    def retreat_from(self, state: State) -> Callable[[State, int], Transition]:
        """What undoes the steps, one after the other from this state on, in memory of its own.

        It returns the transition of a step; that of the step after it, and its state in fixed point, are used up.
        """
        arena, gradient = Arena(), self.layout.vector()
        rooms = [self.room(state), state._replace(fixed=None)]

        def retreat(after: State, step: int) -> Transition:
            arena.release((0, 0))
            rooms.reverse()
            before = rooms[1]  # the last state's memory is in use for as long as it is the state after
            return self._retreat(after, step, before, gradient, arena)

        return retreat

    def _retreat(self, after: State, step: int, to: State, gradient: Vector, arena: Arena) -> Transition:
        optimizer, hyperparameters = self.rule.optimizer, self.rule.hyperparameters(step)
        for run, fixed in zip(self.rule.runs, after.fixed):
            h: Any
            h, to_w, s = hyperparameters[run.first], run.views(to.params), [run.views(slot) for slot in after.slots]
            for part in reversed(run.pieces):
                numbers, slots = fixed.w[_numbers(part)], [slot[part] for slot in s]
                if compiled := self._loops(to_w):
                    compiled.sgd_retreat_w(numbers, *slots, to_w[part], h.lr, 2.0**_PARAM_BITS)
                    continue
                add(numbers, optimizer.displacement(slots, None, h, step), _PARAM_BITS, -1)
                if fixed.decayed is not None and _share(h) < DENOMINATOR:
                    divide(numbers, _share(h), fixed.decayed, _numbers(part))
                from_fixed(numbers, _PARAM_BITS, to_w[part])
        before = State(to.params, to.slots, math.nan, after.fixed)
        linear = self.linearize(before, step, gradient, arena)
        seen = self.updates.transformed(gradient, step)
        for run, fixed in zip(self.rule.runs, after.fixed):
            h, g, to_s = hyperparameters[run.first], run.views(seen), [run.views(slot) for slot in to.slots]
            for part in reversed(run.pieces):
                if compiled := self._loops(g):
                    (slot,) = to_s
                    _sgd_retreat_v(compiled, fixed, _numbers(part), g[part], slot[part], h, *optimizer.fraction_bits)
                    continue
                increments = optimizer.increments(g[part], h)
                for k, (name, bits) in enumerate(zip(optimizer.decays, optimizer.fraction_bits)):
                    numbers = fixed.slots[k][_numbers(part)]
                    add(numbers, increments[k], bits, -1)
                    divide(numbers, numerator(getattr(h, name)), fixed.buffers[k], _numbers(part))
                    from_fixed(numbers, bits, to_s[k][part])
        return Transition(before, gradient if self.updates.needs_gradient else None, linear, after)

    def is_start(self, state: State) -> bool:
        """Whether a state is that before step 0, bit for bit, with nothing left in the buffers."""
        start = self.layout.of(self.params)
        return all(
            fixed.is_start(to_fixed(run.views(start), _PARAM_BITS).ravel())
            for run, fixed in zip(self.rule.runs, state.fixed)
        )

    def _loops(self, array: np.ndarray) -> ModuleType | None:
        """Compiled loops for the whole step, if there are: they are written for SGD's own update."""
        plain = type(self.rule.optimizer) is SGD and not self.rule.decays_weights and not self.rule.per_weight
        return loops(array) if plain else None


def _share(h) -> int:
    """n of the n / 2³² of the weights that a step keeps."""
    decay = getattr(h, "weight_decay", 0.0)
    return numerator(1.0 - h.lr * decay) if decay else DENOMINATOR


def with_rounded_share(h) -> Any:
    """The hyperparameters with the decay by which the share of the weights that is kept is a multiple of 2⁻³²."""
    if not getattr(h, "weight_decay", 0.0) or h.lr == 0.0:
        return h
    return h._replace(weight_decay=(1.0 - _share(h) / DENOMINATOR) / h.lr)


def _numbers(part) -> slice:
    """The slice of the numbers in one dimension that is this part of the floats."""
    return slice(None) if part is ... else part


def _sgd_advance(compiled: Any, fixed: FixedRun, part: slice, g, to_w, to_v, h, bits: int) -> int:
    """The step of SGD for a part of a run; how many of its numbers were too large on the way."""
    (numbers,), (buffer,) = fixed.slots, fixed.buffers
    arrays = fixed.w[part], numbers[part], buffer.words[part], buffer.room(part), g, to_w, to_v
    rule = numerator(h.momentum), h.lr, h.momentum, 2.0**_PARAM_BITS, 2.0**bits, 2.0**_LARGEST_INTEGER_BITS
    spilled, too_large = compiled.sgd_advance(*arrays, *rule)
    buffer.keep(spilled)
    return too_large


def _sgd_retreat_v(compiled: ModuleType, fixed: FixedRun, part: slice, g, to_v, h, bits: int) -> None:
    """The velocity before the step, from the gradient there."""
    (numbers,), (buffer,) = fixed.slots, fixed.buffers
    arrays = numbers[part], buffer.words[part], g, to_v, buffer.stack.held
    buffer.stack.pop(compiled.sgd_retreat_v(*arrays, numerator(h.momentum), h.momentum, 2.0**bits))
