"""Pooling of images (n, height, width, channels), in both modes of differentiation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from ..bridge import defjvp, defvjp, getval, isbox, primitive
from ..checks import check_integer
from ..errors import ArgumentError
from .arrays import as_floats, check_images


def max_pool(x, size: int, stride: int | None = None):
    """Largest value in each window of size × size, for each channel.

    Windows that would not be whole are left out. Differentiable in both modes; the derivative is that of the entry
    taken, of equal ones the first (by rows), and there is no second one.

    Args:
      x: images, floats of shape (n, height, width, channels).
      size: of the windows, ≥ 1.
      stride: from one window to the next; that is ``size`` if None.

    Returns:
      Images of shape (n, height', width', channels), height' = ⌊(height − size) / stride⌋ + 1. NaN where a window
      has one.

    Raises:
      ArgumentError: no images of floats, or windows that don't fit.

    >>> max_pool(np.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """
    x, windows = _windows(x, size, stride)
    if not isbox(x):
        return reduce(np.maximum, windows.entries(x))
    return _take(x, _places_of_largest(getval(x), windows), windows.overlap)


def mean_pool(x, size: int, stride: int | None = None):
    """Mean of each window of size × size, for each channel; linear in x.

    Windows that would not be whole are left out.

    Args:
      x: images, floats of shape (n, height, width, channels).
      size: of the windows, ≥ 1.
      stride: from one window to the next; that is ``size`` if None.

    Returns:
      Images of shape (n, height', width', channels), as those of :func:`max_pool`.

    Raises:
      ArgumentError: no images of floats, or windows that don't fit.

    >>> mean_pool(np.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    x, windows = _windows(x, size, stride)
    return _means(x, windows)


class _Windows(NamedTuple):
    """Where the windows of pooling lie: their size and stride, how many there are, and the shape of the images."""

    size: int
    stride: int
    rows: int
    columns: int
    shape: tuple

    @property
    def overlap(self) -> bool:
        return self.stride < self.size

    def entries(self, x: np.ndarray) -> Iterator[np.ndarray]:
        """For each place in a window, by rows: the entries of all windows there, as views of x."""
        for a in range(self.size):
            for b in range(self.size):
                yield x[
                    :,
                    a : a + self.stride * (self.rows - 1) + 1 : self.stride,
                    b : b + self.stride * (self.columns - 1) + 1 : self.stride,
                ]


def _windows(x: Any, size: int, stride: int | None) -> tuple[Any, _Windows]:
    x = as_floats(x, "x")
    shape = getval(x).shape
    check_images(shape)
    size = check_integer(size, "size", 1)
    stride = size if stride is None else check_integer(stride, "stride", 1)
    if size > min(shape[1:3]):
        raise ArgumentError(f"windows of {size} × {size} do not fit images of {shape[1]} × {shape[2]}")
    rows, columns = ((length - size) // stride + 1 for length in shape[1:3])
    return x, _Windows(size, stride, rows, columns, shape)


def _places_of_largest(x: np.ndarray, windows: _Windows) -> np.ndarray:
    """The places in ``x.ravel()`` of the largest entries of each window; of NaN where there is one."""
    _, _, width, channels = x.shape
    entries = windows.entries(x)
    largest = next(entries)
    which = np.zeros(largest.shape, np.min_scalar_type(windows.size**2))
    for number, entry in enumerate(entries, 1):
        larger = entry > largest
        largest = np.maximum(largest, entry)
        np.maximum(which, larger * which.dtype.type(number), out=which)
    if np.isnan(largest).any():
        for number, entry in enumerate(windows.entries(x)):
            which[np.isnan(entry)] = number
    row, column = np.divmod(np.arange(windows.size**2), windows.size)
    within = (row * width + column) * channels
    first = windows.entries(np.arange(x.size).reshape(x.shape))
    return within[which] + next(first)


@primitive
def _take(x, places, overlap):
    return x.reshape(-1)[places]


@primitive
def _put(g, places, overlap, shape):
    x = np.zeros(int(np.prod(shape)), g.dtype)
    if overlap:
        np.add.at(x, places.reshape(-1), g.reshape(-1))
    else:
        x[places.reshape(-1)] = g.reshape(-1)
    return x.reshape(shape)


@primitive
def _means(x, windows):
    total = 0.0
    for entry in windows.entries(x):
        total = entry + total
    return total * x.dtype.type(1.0 / windows.size**2)


@primitive
def _spread(g, windows):
    x = np.zeros(windows.shape, g.dtype)
    shares = g * g.dtype.type(1.0 / windows.size**2)
    for entry in windows.entries(x):
        entry += shares
    return x


defvjp(_take, lambda ans, x, places, overlap: lambda g: _put(g, places, overlap, np.shape(x)), argnums=(0,))
defvjp(_put, lambda ans, g, places, overlap, shape: lambda u: _take(u, places, overlap), argnums=(0,))
defvjp(_means, lambda ans, x, windows: lambda g: _spread(g, windows), argnums=(0,))
defvjp(_spread, lambda ans, g, windows: lambda u: _means(u, windows), argnums=(0,))
for _linear in (_take, _put, _means, _spread):
    defjvp(_linear, lambda d, ans, x, *where, f=_linear: f(d, *where), argnums=(0,))
