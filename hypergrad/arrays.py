"""Large arrays: in memory that earlier arrays have given back, written over once nobody looks, worked on in pieces.

A training step makes a few arrays as large as the parameters and drops them again. The system's allocator
may return such memory to the operating system each time, and touching it anew costs several times what
computing on it does (0.2 to 0.6 ms for 1.3 MB on the machine of docs/benchmarks.md, where writing it costs
0.03 ms). So it is kept here when its last array dies, up to a limit.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import defaultdict

import numpy as np

LIMIT = 256 * 2**20  # bytes that stay with a thread at most
SMALLEST = 2**17  # bytes; below it the system's allocator is faster
PIECE = 2**15  # entries; from 2**14 to 2**16 an update takes about the same


class _Pool(threading.local):
    """Blocks of memory not in use, by their size; one for each thread, so that none waits for another."""

    def __init__(self):
        self.blocks: dict[int, list] = defaultdict(list)
        self.held, self.limit, self.suspended = 0, LIMIT, 0

    def take(self, size: int) -> np.ndarray:
        if self.suspended or not self.blocks.get(size):
            return np.empty(size, np.uint8)
        self.held -= size
        return self.blocks[size].pop()

    def give(self, block: np.ndarray) -> None:
        size = block.nbytes
        if self.suspended or size > self.limit:
            return
        for other in list(self.blocks):  # sizes of earlier runs make room
            if self.held + size <= self.limit:
                break
            if other != size:
                self.held -= other * len(self.blocks.pop(other, ()))
        if self.held + size <= self.limit:
            self.blocks[size].append(block)
            self.held += size


_pool = _Pool()


@contextlib.contextmanager
def nothing_kept():
    """Within it memory comes from NumPy and goes back at once, so that what is in use can be measured."""
    _pool.suspended += 1
    try:
        yield
    finally:
        _pool.suspended -= 1


class _Lease:
    """What an array's memory belongs to: gives it back when the last view of it is gone."""

    def __init__(self, block: np.ndarray, shape: tuple, dtype: np.dtype, give=_pool.give):
        self.block, self.give = block, give
        data = block.__array_interface__["data"]
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": data}

    def __del__(self):
        self.give(self.block)


def empty(shape: tuple, dtype=np.float64) -> np.ndarray:
    """Like :func:`numpy.empty`."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize
    for length in shape:
        size *= length
    if size < SMALLEST:
        return np.empty(shape, dtype)
    return np.asarray(_Lease(_pool.take(size), shape, dtype))


def empty_like(array: np.ndarray) -> np.ndarray:
    """An array in the shape and dtype of another, in C order."""
    return empty(array.shape, array.dtype)


def copy(array: np.ndarray) -> np.ndarray:
    """A copy in C order."""
    new = empty_like(array)
    new[...] = array
    return new


def zeros_like(array: np.ndarray) -> np.ndarray:
    """Zeros in the shape and dtype of an array, in C order."""
    new = empty_like(array)
    new[...] = 0.0
    return new


def _references(arrays: list, index: int) -> int:
    return sys.getrefcount(arrays[index]) if hasattr(sys, "getrefcount") else 0


_LIST_ALONE = _references([np.empty(1)], 0)


def is_sole(arrays: list, index: int) -> bool:
    """Whether a list is all that refers to one of its arrays and to its memory, so that it may be written over.

    Views count, as each refers to the array that it was made from. Where Python does not count references the
    answer is no. Whoever holds the list itself is not seen.
    """
    if _references(arrays, index) != _LIST_ALONE or _LIST_ALONE == 0:
        return False
    flags = arrays[index].flags
    return flags.c_contiguous and flags.writeable and (flags.owndata or type(arrays[index].base) is _Lease)


def reuse(arrays: list, index: int) -> np.ndarray:
    """One of the arrays if it :func:`is_sole`, or else a new one like it: memory for its next value."""
    return arrays[index] if is_sole(arrays, index) else empty_like(arrays[index])


def own(arrays: list) -> list:
    """The arrays, each copied unless it :func:`is_sole`: nobody else can change them."""
    return [arrays[i] if is_sole(arrays, i) else copy(arrays[i]) for i in range(len(arrays))]


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The matrix product a @ b."""
    return np.matmul(a, b, out=empty((len(a), b.shape[1]), np.result_type(a, b)))


def flat(*arrays: np.ndarray) -> list[np.ndarray]:
    """The arrays in one dimension, contiguous: views of those in C order."""
    return [array.ravel() for array in arrays]


def pieces(*arrays: np.ndarray):
    """The arrays, all of one shape, as tuples of pieces that fit the cache.

    Those that fit as they are come in their own shape, pieces of others are one-dimensional.
    Pieces of arrays in C order, such as those of :func:`empty`, are views and can be written to; those of
    others are copies.
    """
    if arrays[0].size <= PIECE:
        yield arrays
        return
    whole = flat(*arrays)
    for start in range(0, whole[0].size, PIECE):
        yield tuple(array[start : start + PIECE] for array in whole)
