"""Embedding: rows of a table, looked up by their numbers, for use in any loss."""

from __future__ import annotations

import numpy as np

from ..bridge import defjvp, defvjp, primitive
from ..errors import ArgumentError
from .arrays import check_floats, shape_of
from .labels import check_classes


def embedding(table, indices):
    """Rows of a table: ``table[indices]``.

    Linear in the table: its adjoint adds up, for every row, what belongs to it. Differentiable to any order and in
    both modes.

    Args:
      table: floats of shape (rows, D).
      indices: integers of any shape (…), in 0 … rows − 1.

    Returns:
      An array of shape (…, D).

    Raises:
      ArgumentError: an argument that is none of these; negative indices are not taken from the end.

    Costs a copy of the rows each way; one-hot rows are never made.

    >>> embedding(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 1, 0]))
    array([[3., 4.],
           [3., 4.],
           [1., 2.]])
    """
    table = check_floats(table, "table", ("rows", "D"))
    if len(shape_of(table)) != 2:
        raise ArgumentError(f"table has shape {shape_of(table)}, but must have shape (rows, D)")
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise ArgumentError(
            f"indices have dtype {indices.dtype}, but must be integers; make them so with indices.astype(int)"
        )
    check_classes(indices, len(table), "indices", "rows")
    return _rows_of(table, indices)


@primitive
def _rows_of(table, indices):
    return np.take(table, indices, axis=0)


@primitive
def _sums_by_row(g, indices, rows):
    """What is given for each index, added up for each row: the product with a sparse matrix that has a 1 for each.

    For thousands of indices faster than np.add.at, than sorting with np.add.reduceat, and than a product with one-hot
    rows; for a few hundred the last may be faster, by microseconds.
    """
    from scipy.sparse import csc_matrix

    count = indices.size
    ones = np.ones(count, g.dtype)
    matrix = csc_matrix((ones, indices.reshape(-1).astype(np.int64), np.arange(count + 1)), shape=(rows, count))
    return np.asarray(matrix @ g.reshape(count, g.shape[-1]))


defvjp(_rows_of, lambda ans, table, indices: lambda g: _sums_by_row(g, indices, len(table)), argnums=(0,))
defjvp(_rows_of, lambda g, ans, table, indices: _rows_of(g, indices), argnums=(0,))
defvjp(_sums_by_row, lambda ans, g, indices, rows: lambda c: _rows_of(c, indices), argnums=(0,))
defjvp(_sums_by_row, lambda c, ans, g, indices, rows: _sums_by_row(c, indices, rows), argnums=(0,))
