"""Training in exactly reversible fixed-point arithmetic: the same steps, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from types import ModuleType
from typing import NamedTuple

import numpy as np

from .arrays import empty_like, flat, pieces, reuse, zeros_like
from .compiled import loops
from .dynamics import Dynamics, State, norm, reported
from .errors import DivergedError, FixedPointOverflowError
from .exact import InformationBuffer, add, divide, from_fixed, multiply, numerator, to_fixed
from .nests import leaf_places
from .optimizers import SGD

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
        params, slots, square = [], [], 0.0
        for i, h in enumerate(self.hyperparameters(step)):
            s = state.slots[i]
            check = partial(self._check_size, index=i, step=step, before=state.norm)
            w_after = reuse(state.params, i) if spent_params else empty_like(state.params[i])
            s_after = tuple(reuse(s, k) if spent_slots else empty_like(s[k]) for k in range(len(s)))
            for part, g, to_w, *to_s in self._parts(gradient[i], w_after, *s_after):
                self._advance_part(state.fixed[i], part, g, to_w, to_s, h, step, check)
                square += check(to_w, bits=_PARAM_BITS, what="parameter")
            params.append(w_after)
            slots.append(s_after)
        return ExactState(params, slots, state.fixed, math.sqrt(square))

    def _advance_part(self, fixed: FixedArray, part: slice, g, to_w, to_s, h, step: int, check: Callable) -> None:
        """The step for a part of an array, its floats written to ``to_w`` and ``to_s``."""
        optimizer = self.optimizer
        if compiled := self._loops(g, to_w, *to_s):
            too_large = _sgd_advance(compiled, fixed, part, g, to_w, *to_s, h, *optimizer.fraction_bits)
            if not too_large:
                return  # otherwise the checks below, which are all that is left to do, say what and where
        increments = optimizer.increments(g, h)
        for k, (name, bits) in enumerate(zip(optimizer.decays, optimizer.fraction_bits)):
            check(increments[k], bits=bits, what="gradient for parameter")
            if not compiled:
                numbers = fixed.slots[k][part]
                multiply(numbers, numerator(getattr(h, name)), fixed.buffers[k], part)
                add(numbers, increments[k], bits)
                from_fixed(numbers, bits, to_s[k])
            check(to_s[k], bits=bits, what="state of parameter")
        displacement = optimizer.displacement(to_s, None, h, step)
        check(displacement, bits=_PARAM_BITS, what="displacement of parameter")
        if not compiled:
            add(fixed.w[part], displacement, _PARAM_BITS)
            from_fixed(fixed.w[part], _PARAM_BITS, to_w)

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
                if compiled := self._loops(to_w, *s):
                    compiled.sgd_retreat_w(numbers, *flat(*s, to_w), h.lr, 2.0**_PARAM_BITS)
                    continue
                add(numbers, optimizer.displacement(s, None, h, step), _PARAM_BITS, -1)
                from_fixed(numbers, _PARAM_BITS, to_w)
            params.append(w)
        gradient, hvp = self.oracle.gradient_with_hvp(params, step)
        for i, h in enumerate(hyperparameters):
            fixed, s = after.fixed[i], tuple(map(empty_like, after.slots[i]))
            for part, g, *to_s in reversed(self._parts(gradient[i], *s)):
                if compiled := self._loops(g, *to_s):
                    _sgd_retreat_v(compiled, fixed, part, g, *to_s, h, *optimizer.fraction_bits)
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

    @cached_property
    def _is_sgd(self) -> bool:
        """Whether the update is that of SGD, which is compiled as a whole."""
        kind = type(self.optimizer)
        own = (kind.increments, kind.displacement, kind.decays)
        return own == (SGD.increments, SGD.displacement, SGD.decays)

    def _loops(self, *arrays) -> ModuleType | None:
        """Compiled loops for the whole step of these arrays, if there are."""
        return loops(*arrays) if self._is_sgd else None

    def _check_size(self, array: np.ndarray, index: int, bits: int, what: str, step: int, before: float) -> float:
        """Raise where a number is not finite, or does not fit the format; the sum of squares, by which that is seen.

        A number and an increment that are both below the limit, 2⁶², add up to less than int64 holds, so nothing
        has wrapped around when it is checked.
        """
        limit, square = 2.0 ** (_LARGEST_INTEGER_BITS - bits), float(np.vdot(array, array))
        if not square < limit**2:
            largest = float(np.abs(array).max())
            place = leaf_places(self.oracle.params, "params")[index]
            if not np.isfinite(largest):
                raise DivergedError(step, before, place)
            if largest >= limit:
                raise FixedPointOverflowError(step, largest, limit, f"a {what} {place}")
        return square


def _sgd_advance(compiled: ModuleType, fixed: FixedArray, part: slice, g, to_w, to_v, h, bits: int) -> int:
    """The step of SGD for a part of an array; how many of its numbers were too large on the way."""
    (numbers,), (buffer,) = fixed.slots, fixed.buffers
    arrays = fixed.w[part], numbers[part], buffer.words[part], buffer.room(part), *flat(g, to_w, to_v)
    rule = numerator(h.momentum), h.lr, h.momentum, 2.0**_PARAM_BITS, 2.0**bits, 2.0**_LARGEST_INTEGER_BITS
    spilled, too_large = compiled.sgd_advance(*arrays, *rule)
    buffer.keep(spilled)
    return too_large


def _sgd_retreat_v(compiled: ModuleType, fixed: FixedArray, part: slice, g, to_v, h, bits: int) -> None:
    """The velocity before the step, from the gradient there."""
    (numbers,), (buffer,) = fixed.slots, fixed.buffers
    arrays = numbers[part], buffer.words[part], *flat(g, to_v), buffer.stack.held
    buffer.stack.pop(compiled.sgd_retreat_v(*arrays, numerator(h.momentum), h.momentum, 2.0**bits))
