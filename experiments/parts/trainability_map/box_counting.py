"""The box-counting dimension of the boundary of a region on a grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Dimension(NamedTuple):
    """Slope of log N against log 1/s for N boxes of side s cells that hold part of a set.

    Attributes:
      value: the slope fitted by least squares; NaN for an empty set.
      error: its standard error from the residuals. The counts of different sizes are not independent, so
        repetitions (other windows, other seeds) tell more of how certain the dimension is.
      sizes, counts: s and N.
    """

    value: float
    error: float
    sizes: np.ndarray
    counts: np.ndarray


def boundary(region: np.ndarray) -> np.ndarray:
    """Where four neighbouring cells of a boolean grid (n, n) are not all the same; marks the first of the four.

    The same for a curve and its mirror image, which "differs from the next cell" is not: there falling
    curves have gaps and rising ones none.
    """
    across, down = region[:, 1:] != region[:, :-1], region[1:] != region[:-1]
    edge = np.zeros_like(region)
    edge[:-1, :-1] = across[:-1] | across[1:] | down[:, :-1] | down[:, 1:]
    return edge


def dimension(cells: np.ndarray, largest: int = 8) -> Dimension:
    """The dimension of the set of True cells of a grid (n, n), from boxes of 1, 2, 4, … to n/largest cells.

    The counts are means over four positions of the boxes, shifted by half a box; cells outside are empty.

    >>> corner = np.logical_and.outer(np.arange(256) < 100, np.arange(256) < 200)
    >>> round(dimension(boundary(corner)).value, 1)
    1.0
    """
    n = len(cells)
    sizes = 2 ** np.arange(int(np.log2(n // largest)) + 1)
    counts = np.array([_mean_count(cells, size) for size in sizes])
    if not cells.any():
        return Dimension(np.nan, np.nan, sizes, counts)
    x, y = -np.log(sizes), np.log(counts)
    x = x - x.mean()
    slope = x @ y / (x @ x)
    residuals = y - y.mean() - slope * x
    return Dimension(float(slope), float(np.sqrt(residuals @ residuals / (len(x) - 2) / (x @ x))), sizes, counts)


def _mean_count(cells: np.ndarray, size: int) -> float:
    shifts = (0, size // 2) if size > 1 else (0,)
    return float(np.mean([_count(cells, size, down, right) for down in shifts for right in shifts]))


def _count(cells: np.ndarray, size: int, down: int, right: int) -> int:
    """Boxes of this size that hold a cell, with the first box starting so many cells before the grid."""
    padding = [(before, -(length + before) % size) for before, length in zip((down, right), cells.shape)]
    padded = np.pad(cells, padding)
    rows, columns = (length // size for length in padded.shape)
    return int(padded.reshape(rows, size, columns, size).any(axis=(1, 3)).sum())
