"""Exactly reversible arithmetic: fixed-point numbers, and a buffer for the digits that a decay loses.

Numbers are int64 multiples of 2^-f. Adding is exact and undone by subtracting. Multiplying by a
rational β = n / 2³² < 1 loses log2(1/β) bits a time; they are kept, so that it can be undone too:

    pop a digit m in [0, n) from the buffer;    C = c·n + m
    c ← floor(C / 2³²);                         push the digit r = C mod 2³² to the buffer

C tells c and m (by division by n), and (c, r) tell C, so every step has an inverse. The result is
c·β to within one unit in the last place. The buffer is one integer x ≥ 0 for each number; popping
base n is (x, m) ← divmod(x, n), pushing base 2³² is x ← x·2³² + r, so that x grows by the factor 1/β.

x is kept in one 64-bit word by asymmetric numeral systems: between multiplications it lies in
[2⁴⁸, 2⁶⁴). Before a multiplication after which it would not, that is where x ≥ n·2³², its low 16 bits
move to a stack. What is then left is below 2⁴⁸, and without a spill it is not, so on the way back x
itself tells whether to take 16 bits from the stack. Which numbers spill follows from their x; nothing
else is stored. A factor below 2⁻¹⁶ would need more than one spill at a time and is not allowed.

With 2³² the rounding of β is at most 1.2e-10. A larger base would not fit a word: c mod 2³² times n
takes all 64 bits. With x ≥ 2⁴⁸ the digit m is uniform to within 2⁻¹⁶, so that what is held is what is
lost (measured: to 3e-9 bits a time).

Sources: Maclaurin, Duvenaud & Adams (2015), section 2.2, for reversing with a buffer (there: one
Python integer, push before pop, an error up to the base); Duda (2009), arXiv:0902.0271, for the word.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ReversalError
from .compiled import loops

DENOMINATOR_BITS = 32
DENOMINATOR = 1 << DENOMINATOR_BITS
SPILL_BITS = 16
SMALLEST_FACTOR = 2.0**-SPILL_BITS
_BOTTOM = np.uint64(1 << 48)
_LOW_DIGIT = np.uint64(DENOMINATOR - 1)
_LOW_SPILL = np.uint64((1 << SPILL_BITS) - 1)
_NO_DIGITS = np.empty(0, np.uint16)
_SHIFT, _SPILL_SHIFT = np.uint64(DENOMINATOR_BITS), np.uint64(SPILL_BITS)


def numerator(factor: float) -> int:
    """n of the rational n / 2³² nearest to a factor."""
    return round(factor * DENOMINATOR)


def to_fixed(values: np.ndarray, fraction_bits: int) -> np.ndarray:
    """The nearest multiples of 2^-f, as int64. The values must be below 2^(62 - f)."""
    scaled = np.asarray(values * 2.0**fraction_bits)
    return np.rint(scaled, out=scaled).astype(np.int64)


def from_fixed(numbers: np.ndarray, fraction_bits: int, to: np.ndarray) -> None:
    """Write the float64 nearest to each number into an array in C order."""
    if compiled := loops(to):
        compiled.read(numbers, 2.0**-fraction_bits, to.reshape(-1))
    else:
        np.multiply(numbers, 2.0**-fraction_bits, out=to.reshape(-1))


def add(numbers: np.ndarray, values: np.ndarray, fraction_bits: int, sign: int = 1) -> None:
    """numbers ← numbers ± the nearest multiples of 2^-f to the values, in place; the numbers in one dimension."""
    values = np.asarray(values)
    if values.size == numbers.size and (compiled := loops(values)):
        compiled.add(numbers, values.ravel(), sign * 2.0**fraction_bits)
    elif sign > 0:
        numbers += to_fixed(values, fraction_bits).reshape(-1)
    else:
        numbers -= to_fixed(values, fraction_bits).reshape(-1)


class _Stack:
    """A stack of 16-bit digits in one array, which grows by a part of itself."""

    def __init__(self):
        self.digits, self.size = np.empty(16, np.uint16), 0

    def room(self, count: int) -> np.ndarray:
        """Where the next digits go, an array of so many; they count once ``size`` is larger by them."""
        end = self.size + count
        if end > len(self.digits):
            self.digits.resize(end + end // 32, refcheck=False)
        return self.digits[self.size : end]

    def push(self, digits: np.ndarray) -> None:
        self.room(len(digits))[...] = digits
        self.size += len(digits)

    @property
    def held(self) -> np.ndarray:
        """The digits, the last one on top."""
        return self.digits[: self.size]

    def pop(self, count: int) -> np.ndarray:
        if count > self.size:
            raise ReversalError("the information buffer is empty: what is being undone is not what was done")
        self.size -= count
        return self.digits[self.size : self.size + count]


class InformationBuffer:
    """The digits that multiplications of an array of numbers have lost.

    Args:
      size: how many numbers.
      record: whether to keep what spills. Without it the arithmetic is the same (going forwards never
        reads the stack) in constant memory, but cannot be undone.
    """

    def __init__(self, size: int, record: bool = True):
        self.words = np.full(size, _BOTTOM)
        self.stack: Any = _Stack() if record else None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.words.nbytes + (self.stack.digits.nbytes if self.stack is not None else 0)

    def is_initial(self) -> bool:
        """Whether all that was pushed has been popped."""
        return bool((self.words == _BOTTOM).all()) and (self.stack is None or self.stack.size == 0)

    def room(self, part: slice) -> np.ndarray:
        """Where a compiled loop puts the digits that this part of the words spills; empty if they are not kept."""
        return _NO_DIGITS if self.stack is None else self.stack.room(len(self.words[part]))

    def keep(self, count: int) -> None:
        """Count as many of the digits put into :meth:`room` as held."""
        if self.stack is not None:
            self.stack.size += count

    def copy(self) -> InformationBuffer:
        """A copy without the stack: enough to go forwards from here."""
        copy = InformationBuffer(0, record=False)
        copy.words = self.words.copy()
        return copy


def multiply(numbers: np.ndarray, n: int, buffer: InformationBuffer, part: slice = slice(None)) -> None:
    """numbers ← numbers · n / 2³², in place and undone by :func:`divide`.

    Args:
      numbers: int64, one-dimensional, contiguous.
      n: in [2¹⁶, 2³²).
      buffer: what keeps the digits of these numbers; they fill its ``part`` alone, if they are only some of its own.
    """
    c, x = numbers, buffer.words[part]
    if compiled := loops():
        buffer.keep(compiled.multiply(c, n, x, buffer.room(part)))
        return
    divisor, limit = np.uint64(n), np.uint64(n << DENOMINATOR_BITS)
    spilling = np.flatnonzero(x >= limit)
    if len(spilling):
        spilled = x[spilling]
        if buffer.stack is not None:
            buffer.stack.push((spilled & _LOW_SPILL).astype(np.uint16))
        x[spilling] = spilled >> _SPILL_SHIFT
    quotient = x // divisor
    x -= quotient * divisor  # the digit m
    low = (c & (DENOMINATOR - 1)).view(np.uint64)
    low *= divisor
    low += x
    c >>= DENOMINATOR_BITS
    c *= n
    c += (low >> _SHIFT).view(np.int64)
    quotient <<= _SHIFT
    low &= _LOW_DIGIT
    np.bitwise_or(quotient, low, out=x)


def divide(numbers: np.ndarray, n: int, buffer: InformationBuffer, part: slice = slice(None)) -> None:
    """Undo :func:`multiply` with the same n, in place. What was multiplied in parts is divided from the last one on."""
    c, x = numbers, buffer.words[part]
    if compiled := loops():
        buffer.stack.pop(compiled.divide(c, n, x, buffer.stack.held))
        return
    divisor = np.uint64(n)
    high = c // n
    low = (c - high * n).view(np.uint64)
    low <<= _SHIFT
    low |= x & _LOW_DIGIT  # C less the multiple of n · 2³² that is in it
    quotient = low // divisor
    low -= quotient * divisor  # the digit m
    high <<= DENOMINATOR_BITS
    np.add(high, quotient.view(np.int64), out=c)
    x >>= _SHIFT
    x *= divisor
    x += low
    taking = np.flatnonzero(x < _BOTTOM)
    if len(taking):
        x[taking] = (x[taking] << _SPILL_SHIFT) | buffer.stack.pop(len(taking))
