"""The loops of exact arithmetic, compiled by numba.

NumPy goes over an array once for every operation, and exact arithmetic has some twenty of them. Here all operations
on an entry follow each other; a step of SGD takes a fifth of the time. The mathematics is that of
:mod:`hypergrad.fixed.arithmetic` and :class:`hypergrad.SGD`, in NumPy; the results have the same bits.

Arrays are one-dimensional and contiguous. Everything is compiled when this module is imported, in some seconds, or
read from disk where it has been compiled before.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import float64, int64, uint16, uint64

from ..compiled import compiled

NUMBERS, WORDS, DIGITS, FLOATS = int64[::1], uint64[::1], uint16[::1], float64[::1]
READ = numba.types.Array(float64, 1, "C", readonly=True)  # an array that is not written to, and may be read-only
ONE, HALF, SPILL = np.uint64(1), np.uint64(32), np.uint64(16)
LOW_HALF, LOW_SPILL = np.uint64((1 << 32) - 1), np.uint64((1 << 16) - 1)
BOTTOM = np.uint64(1 << 48)


@compiled(numba.types.UniTuple(int64, 2)(uint64, float64, int64))
def _divided(dividend, estimate, n):
    """Quotient and remainder of an integer by n, from the quotient in floats.

    With n ≥ 2¹⁶ the quotient is below 2⁴⁸, so the estimate is at most one off, which the remainder shows. Unlike
    a division of integers the processor does this for several entries at once.
    """
    quotient = np.int64(np.floor(estimate))
    rest = np.int64(dividend - np.uint64(quotient) * np.uint64(n))
    below, above = np.int64(rest < 0), np.int64(rest >= n)
    return quotient - below + above, rest + n * (below - above)


@compiled(numba.types.Tuple((int64, uint64))(int64, uint64, int64, float64))
def _multiplied(c, x, n, inverse):
    """The number and its word after a multiplication by n / 2³², where the word has spilled already."""
    quotient, digit = _divided(x, np.float64(np.int64(x >> ONE)) * (2.0 * inverse), n)
    low = (np.uint64(c) & LOW_HALF) * np.uint64(n) + np.uint64(digit)
    return (c >> np.int64(32)) * n + np.int64(low >> HALF), (np.uint64(quotient) << HALF) | (low & LOW_HALF)


@compiled(numba.types.Tuple((int64, uint64))(int64, uint64, int64, float64))
def _restored(c, x, n, inverse):
    """The number and its word before a multiplication, which may still lack 16 bits from the stack."""
    high, rest = _divided(np.uint64(c), np.float64(c) * inverse, n)
    low = (np.uint64(rest) << HALF) | (x & LOW_HALF)
    quotient, digit = _divided(low, np.float64(np.int64(low >> ONE)) * (2.0 * inverse), n)
    return (high << np.int64(32)) + quotient, (x >> HALF) * np.uint64(n) + np.uint64(digit)


@compiled(int64(float64, float64))
def _rounded(value, scale):
    return np.int64(np.rint(value * scale))


@compiled(int64(WORDS, int64, DIGITS))
def _spill(words, n, spilled):
    """Take 16 bits off the words that are too large to be multiplied; the number of them."""
    limit, count = np.uint64(n) << HALF, 0
    for i in range(len(words)):
        if words[i] >= limit:
            if len(spilled):
                spilled[count] = words[i] & LOW_SPILL
            words[i] >>= SPILL
            count += 1
    return count


@compiled(numba.void(WORDS, int64, DIGITS))
def _take_back(words, count, held):
    """Give their 16 bits back to the words that lack them, from the last of the digits held, if there are enough."""
    if 0 < count <= len(held):
        place = len(held) - count
        for i in range(len(words)):
            if words[i] < BOTTOM:
                words[i] = (words[i] << SPILL) | np.uint64(held[place])
                place += 1


@compiled(int64(NUMBERS, int64, WORDS, DIGITS))
def multiply(numbers, n, words, spilled):
    """:func:`hypergrad.fixed.arithmetic.multiply`; returns how many digits it put into ``spilled``, unless that is
    empty.
    """
    count, inverse = _spill(words, n, spilled), 1.0 / n
    for i in range(len(words)):
        numbers[i], words[i] = _multiplied(numbers[i], words[i], n, inverse)
    return count


@compiled(int64(NUMBERS, int64, WORDS, DIGITS))
def divide(numbers, n, words, held):
    """:func:`hypergrad.fixed.arithmetic.divide`; returns how many of the digits ``held`` it took, or would have
    taken.
    """
    count, inverse = 0, 1.0 / n
    for i in range(len(words)):
        numbers[i], words[i] = _restored(numbers[i], words[i], n, inverse)
        count += np.int64(words[i] < BOTTOM)
    _take_back(words, count, held)
    return count


@compiled(numba.void(NUMBERS, READ, float64))
def add(numbers, values, scale):
    """numbers ← numbers + round(scale · values)"""
    for i in range(len(numbers)):
        numbers[i] += _rounded(values[i], scale)


@compiled(numba.void(NUMBERS, float64, FLOATS))
def read(numbers, scale, to):
    """to ← scale · numbers"""
    for i in range(len(numbers)):
        to[i] = np.float64(numbers[i]) * scale


@compiled(
    numba.types.UniTuple(int64, 2)(
        NUMBERS, NUMBERS, WORDS, DIGITS, READ, FLOATS, FLOATS, int64, float64, float64, float64, float64, float64
    )
)
def sgd_advance(fixed_w, fixed_v, words, spilled, g, to_w, to_v, n, lr, momentum, w_scale, v_scale, limit):
    """A step of SGD in fixed point, multiples of 1 / ``…_scale``; the floats after it go to ``to_w`` and ``to_v``.

    Returns how many digits it put into ``spilled``, and how many numbers on the way were not below the limit in
    fixed point: of the increments of v, of v, of the displacements of w, and of w.
    """
    count, too_large, inverse = _spill(words, n, spilled), 0, 1.0 / n
    for i in range(len(words)):
        increment = (momentum - 1.0) * g[i]
        number, words[i] = _multiplied(fixed_v[i], words[i], n, inverse)
        number += _rounded(increment, v_scale)
        fixed_v[i] = number
        v = np.float64(number) * (1.0 / v_scale)
        displacement = lr * v
        number = fixed_w[i] + _rounded(displacement, w_scale)
        fixed_w[i] = number
        w = np.float64(number) * (1.0 / w_scale)
        to_v[i], to_w[i] = v, w
        too_large += np.int64(not abs(increment) < limit / v_scale) + np.int64(not abs(v) < limit / v_scale)
        too_large += np.int64(not abs(displacement) < limit / w_scale) + np.int64(not abs(w) < limit / w_scale)
    return count, too_large


@compiled(numba.void(NUMBERS, READ, FLOATS, float64, float64))
def sgd_retreat_w(fixed_w, v, to_w, lr, scale):
    """The parameters before the step, from the velocity after it."""
    for i in range(len(v)):
        number = fixed_w[i] - _rounded(lr * v[i], scale)
        fixed_w[i] = number
        to_w[i] = np.float64(number) * (1.0 / scale)


@compiled(int64(NUMBERS, WORDS, READ, FLOATS, DIGITS, int64, float64, float64))
def sgd_retreat_v(fixed_v, words, g, to_v, held, n, momentum, scale):
    """The velocity before the step, from the gradient there; returns the digits it took, or would have taken."""
    count, inverse = 0, 1.0 / n
    for i in range(len(words)):
        number = fixed_v[i] - _rounded((momentum - 1.0) * g[i], scale)
        number, words[i] = _restored(number, words[i], n, inverse)
        fixed_v[i] = number
        to_v[i] = np.float64(number) * (1.0 / scale)
        count += np.int64(words[i] < BOTTOM)
    _take_back(words, count, held)
    return count
