"""Training in exactly reversible fixed-point arithmetic: the same steps, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .dynamics import Dynamics, State, norm, reported
from .errors import DivergedError, FixedPointOverflowError
from .exact import InformationBuffer, divide, from_fixed, multiply, numerator, to_fixed
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
        self._check_sizes(self.params, _PARAM_BITS, "parameter", 0, self.params)
        bits = self.optimizer.fraction_bits
        fixed = [
            FixedArray(
                to_fixed(w, _PARAM_BITS).ravel(),
                tuple(np.zeros(w.size, np.int64) for _ in bits),
                tuple(InformationBuffer(w.size, record) for _ in bits),
            )
            for w in self.params
        ]
        slots = [self._read_slots(f, w.shape) for f, w in zip(fixed, self.params)]
        return ExactState(self._read_params(fixed), slots, fixed)

    def snapshot(self, state: ExactState) -> ExactState:
        """A copy to go forwards from later; the information lost so far is not needed for that."""
        fixed = [
            FixedArray(f.w.copy(), tuple(a.copy() for a in f.slots), tuple(b.copy() for b in f.buffers))
            for f in state.fixed
        ]
        return ExactState(state.params, state.slots, fixed)

    @reported
    def advance(self, state: ExactState, gradient: list, step: int) -> ExactState:
        """The state after the step; that of ``state`` in fixed point is used up.

        Raises:
          DivergedError, FixedPointOverflowError: with the step.
        """
        opt, before = self.optimizer, state.params
        hyperparameters = self.hyperparameters(step)
        increments = [opt.increments(g, h) for g, h in zip(gradient, hyperparameters)]
        for slot, bits in enumerate(opt.fraction_bits):
            self._check_sizes([i[slot] for i in increments], bits, "gradient for parameter", step, before)
        for fixed, increment, h in zip(state.fixed, increments, hyperparameters):
            for numbers, term, name, bits, buffer in zip(
                fixed.slots, increment, opt.decays, opt.fraction_bits, fixed.buffers
            ):
                multiply(numbers, numerator(getattr(h, name)), buffer)
                numbers += to_fixed(term, bits).ravel()
        slots = [self._read_slots(fixed, w.shape) for fixed, w in zip(state.fixed, before)]
        for slot, bits in enumerate(opt.fraction_bits):
            self._check_sizes([s[slot] for s in slots], bits, "state of parameter", step, before)
        displacements = [opt.displacement(s, None, h, step) for s, h in zip(slots, hyperparameters)]
        self._check_sizes(displacements, _PARAM_BITS, "displacement of parameter", step, before)
        for fixed, displacement in zip(state.fixed, displacements):
            numbers = fixed.w
            numbers += to_fixed(displacement, _PARAM_BITS).ravel()
        params = self._read_params(state.fixed)
        self._check_sizes(params, _PARAM_BITS, "parameter", step, before)
        return ExactState(params, slots, state.fixed)

    def slots_after(self, state: ExactState, gradient: list, step: int) -> ExactState:
        """The whole state after the step: in exact arithmetic its parts come together."""
        return self.advance(state, gradient, step)

    def retreat(self, after: ExactState, step: int):
        """Undo the step: the state before it, and its gradient and Hessian-vector product.

        ``after`` in fixed point is used up.
        """
        opt = self.optimizer
        hyperparameters = self.hyperparameters(step)
        for fixed, s, h in zip(after.fixed, after.slots, hyperparameters):
            numbers = fixed.w
            numbers -= to_fixed(opt.displacement(s, None, h, step), _PARAM_BITS).ravel()
        params = self._read_params(after.fixed)
        gradient, hvp = self.oracle.gradient_with_hvp(params, step)
        for fixed, g, h in zip(after.fixed, gradient, hyperparameters):
            for numbers, name, increment, bits, buffer in zip(
                fixed.slots, opt.decays, opt.increments(g, h), opt.fraction_bits, fixed.buffers
            ):
                numbers -= to_fixed(increment, bits).ravel()
                divide(numbers, numerator(getattr(h, name)), buffer)
        slots = [self._read_slots(fixed, w.shape) for fixed, w in zip(after.fixed, params)]
        return ExactState(params, slots, after.fixed), gradient, hvp

    def is_start(self, state: ExactState) -> bool:
        """Whether a state is that before step 0, bit for bit, with nothing left in the buffers."""
        return all(
            np.array_equal(f.w, to_fixed(w, _PARAM_BITS).ravel())
            and not any(a.any() for a in f.slots)
            and all(b.is_initial() for b in f.buffers)
            for f, w in zip(state.fixed, self.params)
        )

    def _read_params(self, fixed: list[FixedArray]) -> list:
        return [from_fixed(f.w, _PARAM_BITS).reshape(w.shape) for f, w in zip(fixed, self.params)]

    def _read_slots(self, fixed: FixedArray, shape: tuple) -> tuple:
        return tuple(from_fixed(a, bits).reshape(shape) for a, bits in zip(fixed.slots, self.optimizer.fraction_bits))

    def _check_sizes(self, arrays: list, fraction_bits: int, what: str, step: int, before: list) -> None:
        """Raise where a number is not finite, or does not fit the format (the norm tells quickly that all do).

        A number and an increment that are both below the limit, 2⁶², add up to less than int64 holds, so nothing
        has wrapped around when it is checked.
        """
        limit = 2.0 ** (_LARGEST_INTEGER_BITS - fraction_bits)
        for index, array in enumerate(arrays):
            if np.vdot(array, array) < limit**2:
                continue
            largest = float(np.abs(array).max())
            place = leaf_places(self.oracle.params, "params")[index]
            if not np.isfinite(largest):
                raise DivergedError(step, norm(before), place)
            if largest >= limit:
                raise FixedPointOverflowError(step, largest, limit, f"a {what} {place}")
