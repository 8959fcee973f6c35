"""The memory of a run: vectors that hold all arrays of a nest side by side, and an arena for what steps keep.

Parameters, state, gradient and cotangents of a run are vectors, one contiguous buffer for each dtype, of which
the nest's arrays are views. An elementwise update then goes over neighbouring arrays with the same
hyperparameters in one pass. Each run makes its own, once, and writes over them from step to step; nothing
is shared between runs, so different threads may train at the same time. Large blocks that nothing refers to any more
are kept for the next run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import ClassVar, NamedTuple

import numpy as np

PIECE = 2**15  # entries; from 2**14 to 2**16 an update takes about the same
_SHORTEST = 2**10  # entries; a shorter piece costs more to call for than to compute
_ALIGNMENT = 64  # bytes, a cache line
_LARGE = 2**20  # bytes; smaller blocks the memory allocator keeps itself
_KEPT = 2**28  # bytes; so much is kept for the next run at most
_ALONE = 2**13  # entries; OpenBLAS takes several threads for more than 10,000


class Vector(NamedTuple):
    """The arrays of a nest.

    Attributes:
      buffers: one-dimensional and contiguous, one for each dtype.
      arrays: views of them in the shapes of the nest's leaves.
    """

    buffers: list[np.ndarray]
    arrays: list[np.ndarray]

    def write(self, values: Iterable) -> None:
        """Write these over the arrays."""
        for array, value in zip(self.arrays, values):
            array[...] = value

    def take(self, other: Vector) -> None:
        """Write those of a vector of the same layout over its own."""
        for to, buffer in zip(self.buffers, other.buffers):
            to[...] = buffer

    def fill(self, value: float) -> None:
        """Write one number everywhere."""
        for buffer in self.buffers:
            buffer.fill(value)

    def same_bits(self, other: Vector) -> bool:
        """Whether every number is the same, bit for bit."""
        return all(map(same_bits, self.buffers, other.buffers))

    def norm(self) -> float:
        """Euclidean norm of all entries."""
        return float(np.sqrt(sum(inner(buffer, buffer) for buffer in self.buffers)))

    def first_non_finite(self) -> int | None:
        """Index of the first array that holds a NaN or an infinity.

        The squared norm tells in one pass at the speed of memory; it overflows before the arrays do, so only
        where it is not finite are the entries looked at.
        """
        if all(np.isfinite(inner(buffer, buffer)) for buffer in self.buffers):
            return None
        return first_non_finite(self.arrays)


class Layout:
    """Where the arrays of a nest lie in the buffers of a vector.

    Args:
      arrays: some in the shapes and dtypes of the nest's leaves.
      arena: where vectors come from that last as long as the run.
      transposed: which of the arrays, matrices, lie column by column.

    Attributes:
      shapes: of the arrays.
      places: for each array, the number of its buffer and the slice of it.
      nbytes: of all of them.
    """

    def __init__(self, arrays: list, arena: Arena | None = None, transposed: Collection[int] = ()):
        self.arena = Arena() if arena is None else arena
        self.transposed = transposed
        self.shapes = [np.shape(array) for array in arrays]
        self.dtypes = list(dict.fromkeys(array.dtype for array in arrays))
        ends = [0] * len(self.dtypes)
        self.places: list[tuple[int, slice]] = []
        for array in arrays:
            number = self.dtypes.index(array.dtype)
            start, ends[number] = ends[number], ends[number] + array.size
            self.places.append((number, slice(start, ends[number])))
        self.sizes = ends
        self.nbytes = sum(size * dtype.itemsize for size, dtype in zip(ends, self.dtypes))

    def vector(self, arena: Arena | None = None) -> Vector:
        """A new vector with nothing written to it; in the arena given, or else in that of the run."""
        empty = (self.arena if arena is None else arena).empty
        buffers = [empty(size, dtype) for size, dtype in zip(self.sizes, self.dtypes)]
        arrays = [buffers[n][place].reshape(shape) for (n, place), shape in zip(self.places, self.shapes)]
        for index in self.transposed:
            *stack, rows, columns = self.shapes[index]
            arrays[index] = arrays[index].reshape(*stack, columns, rows).swapaxes(-1, -2)
        return Vector(buffers, arrays)

    def stacked(self, count: int) -> Layout:
        """That of vectors with ``count`` of each array, along a first axis: those of one array lie side by side."""
        like = [
            np.broadcast_to(np.empty((), self.dtypes[number]), (count, *shape))
            for (number, _), shape in zip(self.places, self.shapes)
        ]
        return Layout(like, self.arena, self.transposed)

    def blocks(self, count: int) -> list[tuple[int, slice]]:
        """Numbers of buffers and slices whose entries stay side by side when ``count`` of each array are stacked."""
        if count == 1:
            return [(number, slice(0, size)) for number, size in enumerate(self.sizes)]
        return self.places

    def zeros(self, arena: Arena | None = None) -> Vector:
        """A new vector of zeros."""
        vector = self.vector(arena)
        vector.fill(0.0)
        return vector

    def of(self, values: Iterable) -> Vector:
        """A new vector with copies of these arrays."""
        vector = self.vector()
        vector.write(values)
        return vector

    def copy(self, vector: Vector) -> Vector:
        """A new vector with the same numbers."""
        copy = self.vector()
        copy.take(vector)
        return copy


class Arena:
    """Memory that is handed out array by array, and taken back from a mark on.

    What a step works with lies where the last one's did, in the cache. What all steps of a run keep comes from
    one large block, since memory that is touched for the first time costs several times what computing on it
    does, and least in large blocks (docs/benchmarks.md).
    """

    def __init__(self):
        self._blocks: list[np.ndarray] = []
        self._block, self._used = 0, 0  # the block that is being handed out, and how much of it is
        self._next = 0  # bytes that the next block should have
        self.given = 0  # bytes handed out so far

    def empty(self, shape, dtype=np.float64) -> np.ndarray:
        """Like :func:`numpy.empty`; what is written there is lost after :meth:`release`."""
        dtype = np.dtype(dtype)
        size = dtype.itemsize
        for length in (shape,) if isinstance(shape, int) else shape:
            size *= length
        padded = -(-size // _ALIGNMENT) * _ALIGNMENT
        self.given += padded
        while self._block < len(self._blocks) and self._used + padded > len(self._blocks[self._block]):
            self._block, self._used = self._block + 1, 0
        if self._block == len(self._blocks):
            held = sum(map(len, self._blocks))
            self._blocks.append(_aligned(max(padded, self._next, held // 16)))
            self._next = 0
        array = np.ndarray(shape, dtype, self._blocks[self._block], self._used)
        self._used += padded
        return array

    def expect(self, nbytes: int) -> None:
        """Say how much is still to be handed out in all, so that it can come from one block."""
        left = len(self._blocks[self._block]) - self._used if self._block < len(self._blocks) else 0
        self._next = max(nbytes - left, 0)

    def mark(self) -> tuple[int, int]:
        """Where it stands."""
        return self._block, self._used

    def release(self, mark: tuple[int, int]) -> None:
        """Take back all that was handed out since the mark."""
        self._block, self._used = mark


class _Memory:
    """A block of memory. When no array refers to it any more, it is kept for the next run.

    The operating system gives memory page by page, each at the first touch, and takes large blocks back as soon as they
    are free: a run that is repeated would wait for the same pages again.
    """

    kept: ClassVar[deque[np.ndarray]] = deque()

    def __init__(self, nbytes: int):
        self.block = self._from_kept(nbytes)
        self.__array_interface__ = self.block.__array_interface__

    def _from_kept(self, nbytes: int) -> np.ndarray:
        for _ in range(len(self.kept)):
            try:
                block = self.kept.popleft()
            except IndexError:  # another thread took it
                break
            if nbytes <= block.nbytes <= 2 * nbytes:
                return block
            self.kept.append(block)
        return np.empty(nbytes, np.uint8)

    def __del__(self, kept=kept):
        if _LARGE <= self.block.nbytes <= _KEPT:
            kept.append(self.block)
            while sum(block.nbytes for block in list(kept)) > _KEPT:
                kept.popleft()


def release_kept() -> None:
    """Give back what is kept for the next run."""
    _Memory.kept.clear()


def _aligned(nbytes: int) -> np.ndarray:
    """A block of memory that begins on a cache line."""
    block = np.asarray(_Memory(nbytes + _ALIGNMENT))
    start = -block.ctypes.data % _ALIGNMENT
    return block[start : start + nbytes]


def pieces(size: int, count: int = 1) -> list[slice]:
    """Slices of a one-dimensional array that fit the cache, if there are ``count`` such arrays."""
    length = max(PIECE // count, _SHORTEST)
    return [slice(start, min(start + length, size)) for start in range(0, size, length)]


def row(arrays: list, k: int) -> list:
    """Views of the k-th of what is stacked along the first axis of arrays, writable where they are."""
    return [array[k, ...] for array in arrays]


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of one shape and dtype hold the same numbers; NaN is equal to itself."""
    a, b = np.ravel(a), np.ravel(b)
    nan_too = a.dtype.kind in "fc"
    return a.shape == b.shape and all(
        (a[part] == b[part]).all() or np.array_equal(a[part], b[part], equal_nan=nan_too) for part in pieces(a.size)
    )


def inner(a: np.ndarray, b: np.ndarray) -> float:
    """⟨a, b⟩, in pieces so short that OpenBLAS takes one thread for each.

    Its other threads would go on waiting for work at full speed, and the operations of a loss from PyTorch or JAX,
    which have threads of their own, take several times as long beside them. Nor does the sum depend on their number.
    """
    if a.size <= _ALONE:
        return float(np.vdot(a, b))
    a, b = a.reshape(-1), b.reshape(-1)
    return sum(float(np.vdot(a[i : i + _ALONE], b[i : i + _ALONE])) for i in range(0, a.size, _ALONE))


def norm(arrays: list) -> float:
    """Euclidean norm of all entries."""
    return float(np.sqrt(sum(inner(a, a) for a in arrays)))


def first_non_finite(arrays: list) -> int | None:
    """Index of the first array that holds a NaN or an infinity."""
    return next((index for index, array in enumerate(arrays) if not np.isfinite(array).all()), None)


def read_only(arrays: list) -> list:
    """Views through which the arrays cannot be changed."""
    views = [np.asarray(array).view() for array in arrays]
    for view in views:
        view.flags.writeable = False
    return views
