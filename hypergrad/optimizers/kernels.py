"""Loops of updates in floats, compiled by numba.

NumPy goes over the arrays once for every operation of an update; here all operations on an entry follow each other.
What is written to arrays has the same bits as NumPy's. Sums over entries are taken in another order, which differs in
the last digits.

Arrays are one-dimensional and contiguous. Everything is compiled when this module is imported, or read from disk where
it has been compiled before.
"""

from __future__ import annotations

import numba
from numba import float64

from ..compiled import compiled

FLOATS = float64[::1]
READ = numba.types.Array(float64, 1, "C", readonly=True)  # an array that is not written to, and may be read-only


SUMS = {"reassoc"}  # what the compiler may change: the order of sums, so that several entries are added at once


@compiled(float64(FLOATS, FLOATS, READ, READ, READ, float64, float64), fastmath=SUMS)
def sgd_step(to_w, to_v, w, v, g, lr, momentum):
    """A step of SGD without decay of the weights, which may write over what it reads; Σ w² after it."""
    square = 0.0
    for i in range(len(w)):
        v_after = momentum * v[i] + (momentum - 1.0) * g[i]
        w_after = w[i] + lr * v_after
        to_v[i], to_w[i] = v_after, w_after
        square += w_after * w_after
    return square


@compiled(numba.void(FLOATS, FLOATS, FLOATS, float64, float64))
def sgd_pull_back(w_bar, v_bar, g_bar, lr, momentum):
    """The pullback of :func:`sgd_step`: of w̄ and v̄ after the step to v̄ before it, in place, and ḡ."""
    for i in range(len(w_bar)):
        v_after_bar = v_bar[i] + w_bar[i] * lr
        g_bar[i] = v_after_bar * (momentum - 1.0)
        v_bar[i] = v_after_bar * momentum


@compiled(numba.types.UniTuple(float64, 2)(FLOATS, FLOATS, FLOATS, READ, READ, float64, float64), fastmath=SUMS)
def sgd_pull_back_to_schedules(w_bar, v_bar, g_bar, v, v_after, lr, momentum):
    """The same, and ⟨w̄, v⁺⟩ and ⟨v̄⁺, v − v⁺⟩, with v̄⁺ the whole cotangent of the velocity after the step."""
    along_lr = along_momentum = 0.0
    for i in range(len(w_bar)):
        v_after_bar = v_bar[i] + w_bar[i] * lr
        along_lr += w_bar[i] * v_after[i]
        along_momentum += v_after_bar * (v[i] - v_after[i])
        g_bar[i] = v_after_bar * (momentum - 1.0)
        v_bar[i] = v_after_bar * momentum
    return along_lr, along_momentum
