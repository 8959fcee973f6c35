"""Training in exactly reversible fixed-point arithmetic: the same steps, and back."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import NamedTuple

import numpy as np

from .arrays import empty_like, flat, pieces, reuse, zeros_like
from .compiled import kernels
from .dynamics import Dynamics, State, norm, reported
from .errors import DivergedError, FixedPointOverflowError
from .exact import InformationBuffer, add, divide, from_fixed, multiply, numerator, to_fixed
from .nests import leaf_places

_PARAM_BITS = 52
_LARGEST_INTEGER_BITS = 62  # one less than int64 has, so that the sum of two numbers fits


class FixedArray(NamedTuple):
    """One array of the parameters with its state, as fixed-point numbers in one dimension.

    Attributes:
      w: int64, multiples of 2⁻⁵².
      slots: int64, one array for each state array of the optimizer.
      buffers: the information each of those has lost.
    """

    w: np.ndarray
    slots: tuple
    buffers: tuple


class ExactState(NamedTuple):
    """A :class:`State` in floats, and the fixed-point numbers it is read off.

    The next step changes ``fixed`` in place.
    """

    params: list
    slots: list
    fixed: list[FixedArray]
    norm: float

    def zeros_like(self) -> State:
        """Zeros in the shape of the floats."""
        return State(self.params, self.slots).zeros_like()


@dataclass(frozen=True)
class ExactDynamics(Dynamics):
    """Dynamics whose every step can be undone bit for bit.

    Decays are multiples of 2⁻³² (the schedules must hold the rounded ones). Increments and displacements
    are computed in floats and rounded to fixed point: the same floats come out on the way back, because
    they depend only on what is known there.
    """

    def start(self, record: bool = False) -> ExactState:
        """The state before step 0; ``record`` what is needed to come back to it.

        Raises:
          FixedPointOverflowError: the parameters are too large to begin with.
        """
        for i, w in enumerate(self.params):
            self._check_size(w, i, _PARAM_BITS, "parameter", 0, norm(self.params))
        bits = self.optimizer.fraction_bits
        fixed = [
            FixedArray(
                to_fixed(w, _PARAM_BITS).ravel(),
                tuple(np.zeros(w.size, np.int64) for _ in bits),
                tuple(InformationBuffer(w.size, record) for _ in bits),
            )
            for w in self.params
        ]
        params = list(map(empty_like, self.params))
        slots = [tuple(zeros_like(w) for _ in bits) for w in params]
        for f, w in zip(fixed, params):
            from_fixed(f.w, _PARAM_BITS, w)
        return ExactState(params, slots, fixed, norm(params))

    def snapshot(self, state: ExactState) -> ExactState:
        """A copy to go forwards from later; the information lost so far is not needed for that."""
        fixed = [
            FixedArray(f.w.copy(), tuple(a.copy() for a in f.slots), tuple(b.copy() for b in f.buffers))
            for f in state.fixed
        ]
        return ExactState(state.params, state.slots, fixed, state.norm)

    @reported
    def advance(
        self, state: ExactState, gradient: list, step: int, *, spent_params: bool = False, spent_slots: bool = False
    ) -> ExactState:
        """The state after the step; that of ``state`` in fixed point is used up in any case.

        Raises:
          DivergedError, FixedPointOverflowError: with the step.
        """
        params, slots, square, kinds = [], [], 0.0, self._kinds
        for i, h in enumerate(self.hyperparameters(step)):
            s = state.slots[i]
            w_after = reuse(state.params, i) if spent_params else empty_like(state.params[i])
            s_after = tuple(reuse(s, k) if spent_slots else empty_like(s[k]) for k in range(len(s)))
            for part, g, to_w, *to_s in self._parts(gradient[i], w_after, *s_after):
                squares = self._advance_part(state.fixed[i], part, g, to_w, to_s, h, step)
                if not all(found < 4.0 ** (_LARGEST_INTEGER_BITS - bits) for found, (_, bits) in zip(squares, kinds)):
                    self._check_sizes(g, to_w, to_s, h, i, step, state.norm)
                square += squares[-1]
            params.append(w_after)
            slots.append(s_after)
        return ExactState(params, slots, state.fixed, math.sqrt(square))

    def _advance_part(self, fixed: FixedArray, part: slice, g, to_w, to_s, h, step: int) -> list[float]:
        """The step for a part of an array, its floats written to ``to_w`` and ``to_s``.

        Returns the sums of squares of all ``_kinds`` of numbers.
        """
        optimizer = self.optimizer
        if loops := self._loops(g, to_w, *to_s):
            return _sgd_advance(loops, fixed, part, g, to_w, *to_s, h, *optimizer.fraction_bits)
        increments, squares = optimizer.increments(g, h), []
        for k, (name, bits) in enumerate(zip(optimizer.decays, optimizer.fraction_bits)):
            numbers = fixed.slots[k][part]
            multiply(numbers, numerator(getattr(h, name)), fixed.buffers[k], part)
            add(numbers, increments[k], bits)
            from_fixed(numbers, bits, to_s[k])
            squares += [np.vdot(increments[k], increments[k]), np.vdot(to_s[k], to_s[k])]
        displacement = optimizer.displacement(to_s, None, h, step)
        add(fixed.w[part], displacement, _PARAM_BITS)
        from_fixed(fixed.w[part], _PARAM_BITS, to_w)
        return [*squares, np.vdot(displacement, displacement), np.vdot(to_w, to_w)]

    def slots_after(self, state: ExactState, gradient: list, step: int) -> ExactState:
        """The whole state after the step: in exact arithmetic its parts come together."""
        return self.advance(state, gradient, step)

    def retreat(self, after: ExactState, step: int):
        """Undo the step: the state before it, and its gradient and Hessian-vector product.

        ``after`` in fixed point is used up.
        """
        optimizer, hyperparameters, params, slots = self.optimizer, self.hyperparameters(step), [], []
        for i, h in enumerate(hyperparameters):
            w = reuse(after.params, i)
            for part, to_w, *s in self._parts(w, *after.slots[i]):
                numbers = after.fixed[i].w[part]
                if loops := self._loops(to_w, *s):
                    loops.sgd_retreat_w(numbers, *flat(*s, to_w), h.lr, 2.0**_PARAM_BITS)
                    continue
                add(numbers, optimizer.displacement(s, None, h, step), _PARAM_BITS, -1)
                from_fixed(numbers, _PARAM_BITS, to_w)
            params.append(w)
        gradient, hvp = self.oracle.gradient_with_hvp(params, step)
        for i, h in enumerate(hyperparameters):
            fixed, s = after.fixed[i], tuple(map(empty_like, after.slots[i]))
            for part, g, *to_s in reversed(self._parts(gradient[i], *s)):
                if loops := self._loops(g, *to_s):
                    _sgd_retreat_v(loops, fixed, part, g, *to_s, h, *optimizer.fraction_bits)
                    continue
                increments = optimizer.increments(g, h)
                for k, (name, bits) in enumerate(zip(optimizer.decays, optimizer.fraction_bits)):
                    numbers = fixed.slots[k][part]
                    add(numbers, increments[k], bits, -1)
                    divide(numbers, numerator(getattr(h, name)), fixed.buffers[k], part)
                    from_fixed(numbers, bits, to_s[k])
            slots.append(s)
        return ExactState(params, slots, after.fixed, math.nan), gradient, hvp

    def is_start(self, state: ExactState) -> bool:
        """Whether a state is that before step 0, bit for bit, with nothing left in the buffers."""
        return all(
            np.array_equal(f.w, to_fixed(w, _PARAM_BITS).ravel())
            and not any(a.any() for a in f.slots)
            and all(b.is_initial() for b in f.buffers)
            for f, w in zip(state.fixed, self.params)
        )

    def _parts(self, *arrays: np.ndarray) -> list[tuple]:
        """The arrays in pieces that fit the cache, each with the slice of the numbers that it is.

        In one piece if the optimizer sees the entries of an array together.
        """
        if not self.optimizer.elementwise:
            return [(slice(0, arrays[0].size), *arrays)]
        parts, end = [], 0
        for piece in pieces(*arrays):
            start, end = end, end + piece[0].size
            parts.append((slice(start, end), *piece))
        return parts

    def _loops(self, *arrays) -> ModuleType | None:
        """Compiled loops for these arrays, if there are some for a whole step."""
        return kernels(*arrays) if self.optimizer.is_sgd else None

    @cached_property
    def _kinds(self) -> list[tuple[str, int]]:
        """What is held in fixed point on the way through a step, and the bits after its point."""
        of_slots = [(what, bits) for bits in self.optimizer.fraction_bits for what in ("gradient for", "state of")]
        kinds = [*of_slots, ("displacement of", _PARAM_BITS)]
        return [*((f"{what} parameter", bits) for what, bits in kinds), ("parameter", _PARAM_BITS)]

    def _check_sizes(self, g, w, s, h, index: int, step: int, before: float) -> None:
        """Raise at the first number of a step that is too large, from what the step read and wrote.

        A number and an increment that are both below the limit add up to less than int64 holds, so nothing has
        wrapped around before that.
        """
        increments, displacement = self.optimizer.increments(g, h), self.optimizer.displacement(s, None, h, step)
        arrays = [*itertools.chain(*zip(increments, s)), displacement, w]
        for array, (what, bits) in zip(arrays, self._kinds):
            self._check_size(array, index, bits, what, step, before)

    def _check_size(self, array: np.ndarray, index: int, bits: int, what: str, step: int, before: float) -> None:
        """Raise where a number is not finite, or does not fit the format."""
        limit, largest = 2.0 ** (_LARGEST_INTEGER_BITS - bits), float(np.abs(array).max(initial=0.0))
        place = leaf_places(self.oracle.params, "params")[index]
        if not np.isfinite(largest):
            raise DivergedError(step, before, place)
        if largest >= limit:
            raise FixedPointOverflowError(step, largest, limit, f"a {what} {place}")


def _sgd_advance(loops: ModuleType, fixed: FixedArray, part: slice, g, to_w, to_v, h, bits: int) -> list[float]:
    """A step of SGD for a part of an array; the sums of squares as :meth:`ExactDynamics._advance_part` returns them."""
    (numbers,), (buffer,) = fixed.slots, fixed.buffers
    rule = numerator(h.momentum), *h, 2.0**_PARAM_BITS, 2.0**bits
    words, room = buffer.words[part], buffer.room(part)
    taken, *squares = loops.sgd_advance(fixed.w[part], numbers[part], words, room, *flat(g, to_w, to_v), *rule)
    buffer.took(taken)
    return squares


def _sgd_retreat_v(loops: ModuleType, fixed: FixedArray, part: slice, g, to_v, h, bits: int) -> None:
    """The velocity before the step, from the gradient there."""
    (numbers,), (buffer,) = fixed.slots, fixed.buffers
    held, rule = buffer.stack.held, (numerator(h.momentum), h.momentum, 2.0**bits)
    buffer.stack.pop(loops.sgd_retreat_v(numbers[part], buffer.words[part], *flat(g, to_v), held, *rule))
