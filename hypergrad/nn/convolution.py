"""Convolution of images (n, height, width, channels), to all orders of derivatives and in both modes.

Convolution is bilinear: y = C(x, w). With the two maps that are its adjoints in x and in w,

    ⟨ȳ, C(x, w)⟩ = ⟨X(ȳ, w), x⟩ = ⟨W(x, ȳ), w⟩

the derivatives of all three are again these three, so that no order of differentiation needs another.

Each is a matrix product for every row of the kernel, over blocks of images that fit the cache: of a row of pixels
the windows of kernel width × channels, which overlap, are copied side by side; the windows of the next row of
the kernel are then the same ones a row further on, without another copy where the stride is 1. Channels come last, so
that a window of a row is contiguous.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..bridge import defjvp, defvjp, getval, primitive
from ..checks import check_integer
from ..errors import ArgumentError
from .arrays import as_floats, check_images

_BLOCK = 2**19  # bytes that are worked on at a time; twice or half as many make little difference


def conv2d(x, w, *, stride: int = 1, padding: Any = "same"):
    """Convolution of images with a kernel (cross-correlation, as in networks).

        y[n, i, j, o] = Σ x[n, i·stride + a − top, j·stride + b − left, c] w[a, b, c, o]   over a, b, c

    with zeros around the image. Differentiable in ``x`` and ``w``, to any order and in both modes.

    Args:
      x: images, floats of shape (n, height, width, channels). PyTorch's NCHW is ``x.transpose(0, 2, 3, 1)``.
      w: kernel, floats of shape (kernel height, kernel width, channels, outputs). PyTorch's OIHW is
        ``w.transpose(2, 3, 1, 0)``.
      stride: ≥ 1, in both directions.
      padding: rows and columns of zeros on each side; or "valid" for none; or "same" for an output of height
        ⌈height / stride⌉, with the larger half of an odd number at the bottom and right, as in JAX.

    Returns:
      Images of shape (n, height', width', outputs), height' = ⌊(height + padding − kernel height) / stride⌋ + 1.

    Raises:
      ArgumentError: shapes or numbers that don't fit, or no floats.

    Costs one matrix product of (n · height' · width') × (kernel) × outputs, and its gradient two. Keeps x and w.

    >>> conv2d(np.ones((1, 3, 3, 1)), np.ones((3, 3, 1, 2)))[0, :, :, 0]
    array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]])
    """
    x, w = as_floats(x, "x"), as_floats(w, "w")
    shape, kernel = getval(x).shape, getval(w).shape
    check_images(shape)
    if len(kernel) != 4 or 0 in kernel:
        raise ArgumentError(f"w has shape {kernel}, but a kernel has (height, width, channels, outputs)")
    if kernel[2] != shape[3]:
        hint = "; for PyTorch's layout use w.transpose(2, 3, 1, 0)" if kernel[1] == shape[3] else ""
        raise ArgumentError(
            f"x has {shape[3]} channels (shape {shape}), but w is for {kernel[2]} (shape {kernel}){hint}"
        )
    stride = check_integer(stride, "stride", 1)
    rows = _padded(shape[1], kernel[0], stride, padding)
    columns = _padded(shape[2], kernel[1], stride, padding)
    if rows.outputs < 1 or columns.outputs < 1:
        raise ArgumentError(
            f"a kernel of {kernel[0]} × {kernel[1]} does not fit images of {shape[1]} × {shape[2]} with "
            f"padding={padding!r}; use a smaller kernel or padding='same'"
        )
    return _conv(x, w, _Geometry(rows, columns, stride))


class _Axis(NamedTuple):
    """One of the two axes of an image under a kernel: its length, the zeros before and after it, how long the kernel
    and the output are.
    """

    length: int
    before: int
    after: int
    kernel: int
    outputs: int

    @property
    def padded(self) -> int:
        return self.before + self.length + self.after

    @property
    def inside(self) -> slice:
        return slice(self.before, self.before + self.length)

    @property
    def is_covered(self) -> bool:
        """Whether the kernel meets the image everywhere."""
        return max(self.before, self.after) < self.kernel

    def backwards(self) -> _Axis:
        """From the output to the image, at stride 1."""
        most = self.kernel - 1
        return _Axis(self.outputs, most - self.before, most - self.after, self.kernel, self.length)


class _Geometry(NamedTuple):
    rows: _Axis
    columns: _Axis
    stride: int


def _padded(length: int, kernel: int, stride: int, padding: Any) -> _Axis:
    if padding == "same":
        around = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        before, after = around // 2, around - around // 2
    elif padding == "valid":
        before = after = 0
    elif isinstance(padding, str):
        raise ArgumentError(f"padding must be 'same', 'valid' or an integer ≥ 0, got {padding!r}")
    else:
        before = after = check_integer(padding, "padding", 0)
    return _Axis(length, before, after, kernel, (before + length + after - kernel) // stride + 1)


class _Work:
    """Memory for blocks of images: padded images, and their windows of kernel width by row.

    Attributes:
      blocks: slices of the images that are worked on at a time.
      windows: (rows of the padded images, images of a block, outputs along a row, kernel width · channels), so that
        what belongs to one row of the kernel is one matrix.
    """

    def __init__(self, images: int, channels: int, outputs: int, geometry: _Geometry, dtype):
        rows, columns, self.stride = geometry
        self.rows, self.columns, self.channels = rows, columns, channels
        entries = columns.outputs * (rows.padded * columns.kernel * channels + 2 * rows.outputs * outputs)
        self.size = max(1, min(images, _BLOCK // (entries * np.dtype(dtype).itemsize)))
        self.images = images
        self.windows = np.empty((rows.padded, self.size, columns.outputs, columns.kernel * channels), dtype)
        self.padded = np.zeros((self.size, rows.padded, columns.padded, channels), dtype)

    def blocks(self) -> Iterator[slice]:
        for start in range(0, self.images, self.size):
            yield slice(start, min(start + self.size, self.images))

    def gather(self, x: np.ndarray) -> np.ndarray:
        """The windows of a block of images."""
        images = len(x)
        if (self.rows.length, self.columns.length) != self.padded.shape[1:3]:
            padded = self.padded[:images]
            padded[:, self.rows.inside, self.columns.inside] = x
        else:
            padded = x
        by_image, by_row, by_column, by_channel = padded.strides
        length = self.columns.kernel * self.channels
        if by_channel * self.channels == by_column:  # what is next to each other in a row is so in memory
            overlapping = as_strided(
                padded,
                (self.rows.padded, images, self.columns.outputs, length),
                (by_row, by_image, by_column * self.stride, by_channel),
            )
            self.windows[:, :images] = overlapping
        else:
            for column, part in self._parts(images):
                part[...] = padded[:, :, column].transpose(1, 0, 2, 3)
        return self.windows[:, :images]

    def scatter(self, windows: np.ndarray, to: np.ndarray) -> None:
        """The adjoint: add the entries of the windows up where they come from, and write that."""
        images = len(to)
        padded = self.padded[:images]
        padded[...] = 0.0
        for column, part in self._parts(images):
            padded[:, :, column] += part.transpose(1, 0, 2, 3)
        to[...] = padded[:, self.rows.inside, self.columns.inside]

    def _parts(self, images: int) -> Iterator[tuple[slice, np.ndarray]]:
        """For each column of the kernel: the columns of the images it meets, and its part of the windows."""
        last = self.stride * (self.columns.outputs - 1) + 1
        for b in range(self.columns.kernel):
            part = self.windows[:, :images, :, b * self.channels : (b + 1) * self.channels]
            yield slice(b, b + last, self.stride), part

    def row(self, windows: np.ndarray, a: int) -> np.ndarray:
        """Of these windows those that row ``a`` of the kernel meets."""
        return windows[a : a + self.stride * (self.rows.outputs - 1) + 1 : self.stride]


def _matrix(a: np.ndarray) -> np.ndarray:
    return a.reshape(-1, a.shape[-1])


def _by_rows(a: np.ndarray) -> np.ndarray:
    """Images with the rows first, as a matrix with one row for each pixel."""
    return _matrix(a.transpose(1, 0, 2, 3))


def _kernel_rows(w: np.ndarray) -> np.ndarray:
    return w.reshape(w.shape[0], -1, w.shape[-1])


@primitive
def _conv(x, w, geometry):
    """C(x, w), shape (n, height', width', outputs)."""
    rows, columns, _ = geometry
    dtype, outputs = np.result_type(x, w), w.shape[-1]
    y = np.empty((len(x), rows.outputs, columns.outputs, outputs), dtype)
    work, kernel = _Work(len(x), x.shape[-1], outputs, geometry, dtype), _kernel_rows(w)
    for block in work.blocks():
        windows = work.gather(x[block])
        total = _matrix(work.row(windows, 0)) @ kernel[0]
        for a in range(1, len(kernel)):
            total += _matrix(work.row(windows, a)) @ kernel[a]
        y[block] = total.reshape(rows.outputs, -1, columns.outputs, outputs).transpose(1, 0, 2, 3)
    return y


@primitive
def _to_images(g, w, geometry):
    """X(g, w), shape (n, height, width, channels)."""
    rows, columns, stride = geometry
    if stride == 1 and rows.is_covered and columns.is_covered:
        return _conv(g, w[::-1, ::-1].swapaxes(2, 3), _Geometry(rows.backwards(), columns.backwards(), 1))  # is faster
    dtype, channels = np.result_type(g, w), w.shape[2]
    x = np.empty((len(g), rows.length, columns.length, channels), dtype)
    work, kernel = _Work(len(g), channels, w.shape[-1], geometry, dtype), _kernel_rows(w)
    for block in work.blocks():
        windows, pixels = work.windows[:, : block.stop - block.start], _by_rows(g[block])
        windows[...] = 0.0
        for a in range(len(kernel)):
            met = work.row(windows, a)
            met += (pixels @ kernel[a].T).reshape(met.shape)
        work.scatter(windows, x[block])
    return x


@primitive
def _to_kernel(x, g, geometry):
    """W(x, g), shape (kernel height, kernel width, channels, outputs)."""
    rows, columns, _ = geometry
    dtype, channels, outputs = np.result_type(x, g), x.shape[-1], g.shape[-1]
    w = np.zeros((rows.kernel, columns.kernel, channels, outputs), dtype)
    work, kernel = _Work(len(x), channels, outputs, geometry, dtype), _kernel_rows(w)
    for block in work.blocks():
        windows, pixels = work.gather(x[block]), _by_rows(g[block])
        for a in range(len(kernel)):
            kernel[a] += _matrix(work.row(windows, a)).T @ pixels
    return w


defvjp(
    _conv,
    lambda ans, x, w, geometry: lambda g: _to_images(g, w, geometry),
    lambda ans, x, w, geometry: lambda g: _to_kernel(x, g, geometry),
)
defvjp(
    _to_images,
    lambda ans, g, w, geometry: lambda u: _conv(u, w, geometry),
    lambda ans, g, w, geometry: lambda u: _to_kernel(u, g, geometry),
)
defvjp(
    _to_kernel,
    lambda ans, x, g, geometry: lambda v: _to_images(g, v, geometry),
    lambda ans, x, g, geometry: lambda v: _conv(x, v, geometry),
)
for _bilinear in (_conv, _to_images, _to_kernel):
    defjvp(
        _bilinear,
        lambda d, ans, a, b, geometry, f=_bilinear: f(d, b, geometry),
        lambda d, ans, a, b, geometry, f=_bilinear: f(a, d, geometry),
    )
