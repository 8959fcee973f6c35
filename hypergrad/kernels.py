"""The loops of exact arithmetic, compiled by numba: each entry is read and written once.

NumPy goes over an array once for every operation, and exact arithmetic has some twenty of them. Here all operations
on an entry follow each other, which takes a third of the time. The mathematics is that of :mod:`hypergrad.exact`,
whose functions call these loops where they can and are their plain form; all that is stored has the same bits.

Arrays are one-dimensional and contiguous: fixed-point numbers int64, words uint64, digits uint16, others float64.
"""

from __future__ import annotations

import numba
import numpy as np

ONE, HALF, SPILL = np.uint64(1), np.uint64(32), np.uint64(16)
LOW_HALF, LOW_SPILL = np.uint64((1 << 32) - 1), np.uint64((1 << 16) - 1)
BOTTOM = np.uint64(1 << 48)


def _compiled(**options):
    """Compile at the first call; the machine code is kept for later processes where there is a place for it."""

    def compiled(function):
        try:
            return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        except RuntimeError:  # neither the package nor the home directory can be written to
            return numba.njit(nogil=True, error_model="numpy", **options)(function)

    return compiled


@_compiled()
def _divided(dividend, estimate, n):
    """Quotient and remainder of an integer by n, from the quotient in floats.

    With n ≥ 2¹⁶ the quotient is below 2⁴⁸, so the estimate is at most one off, which the remainder shows. Unlike
    a division of integers the processor does this for several entries at once.
    """
    quotient = np.int64(np.floor(estimate))
    rest = np.int64(dividend - np.uint64(quotient) * np.uint64(n))
    below, above = np.int64(rest < 0), np.int64(rest >= n)
    return quotient - below + above, rest + n * (below - above)


@_compiled()
def _multiplied(c, x, n, inverse):
    """The number and its word after a multiplication by n / 2³², where the word has spilled already."""
    quotient, digit = _divided(x, np.float64(np.int64(x >> ONE)) * (2.0 * inverse), n)
    low = (np.uint64(c) & LOW_HALF) * np.uint64(n) + np.uint64(digit)
    return (c >> np.int64(32)) * n + np.int64(low >> HALF), (np.uint64(quotient) << HALF) | (low & LOW_HALF)


@_compiled()
def _restored(c, x, n, inverse):
    """The number and its word before a multiplication, which may still lack 16 bits from the stack."""
    high, rest = _divided(np.uint64(c), np.float64(c) * inverse, n)
    low = (np.uint64(rest) << HALF) | (x & LOW_HALF)
    quotient, digit = _divided(low, np.float64(np.int64(low >> ONE)) * (2.0 * inverse), n)
    return (high << np.int64(32)) + quotient, (x >> HALF) * np.uint64(n) + np.uint64(digit)


@_compiled()
def _rounded(value, scale):
    return np.int64(np.rint(value * scale))


@_compiled()
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


@_compiled()
def _take_back(words, count, held):
    """Give their 16 bits back to the words that lack them, from the last of the digits held, if there are enough."""
    if 0 < count <= len(held):
        place = len(held) - count
        for i in range(len(words)):
            if words[i] < BOTTOM:
                words[i] = (words[i] << SPILL) | np.uint64(held[place])
                place += 1


@_compiled()
def multiply(numbers, n, words, spilled):
    """:func:`hypergrad.exact.multiply`; returns how many digits it put into ``spilled``, unless that is empty."""
    count, inverse = _spill(words, n, spilled), 1.0 / n
    for i in range(len(words)):
        numbers[i], words[i] = _multiplied(numbers[i], words[i], n, inverse)
    return count


@_compiled()
def divide(numbers, n, words, held):
    """:func:`hypergrad.exact.divide`; returns how many of the digits ``held`` it took, or would have taken."""
    count, inverse = 0, 1.0 / n
    for i in range(len(words)):
        numbers[i], words[i] = _restored(numbers[i], words[i], n, inverse)
        count += np.int64(words[i] < BOTTOM)
    _take_back(words, count, held)
    return count


@_compiled()
def add(numbers, values, scale):
    """numbers ← numbers + round(scale · values)"""
    for i in range(len(numbers)):
        numbers[i] += _rounded(values[i], scale)


@_compiled()
def read(numbers, scale, to):
    """to ← scale · numbers"""
    for i in range(len(numbers)):
        to[i] = np.float64(numbers[i]) * scale


@_compiled(fastmath={"reassoc"})
def sgd_advance(fixed_w, fixed_v, words, spilled, g, to_w, to_v, n, lr, momentum, w_scale, v_scale):
    """A step of SGD in fixed point, multiples of 1 / ``…_scale``; the floats after it go to ``to_w`` and ``to_v``.

    Returns how many digits it put into ``spilled``, and the sums of squares of the increment of v, of v, of the
    displacement of w, and of w. Only these may be added in any order: the other products that this allows to
    be regrouped have a power of two among their factors, and keep their bits.
    """
    count, inverse = _spill(words, n, spilled), 1.0 / n
    increments = states = displacements = params = 0.0
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
        increments += increment * increment
        states += v * v
        displacements += displacement * displacement
        params += w * w
    return count, increments, states, displacements, params


@_compiled()
def sgd_retreat_w(fixed_w, v, to_w, lr, scale):
    """The parameters before the step, from the velocity after it."""
    for i in range(len(v)):
        number = fixed_w[i] - _rounded(lr * v[i], scale)
        fixed_w[i] = number
        to_w[i] = np.float64(number) * (1.0 / scale)


@_compiled()
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
