"""The R-operator of :mod:`~hypergrad.nn.backprop` in several directions at once, by products of stacked matrices.

For directions U_k, k = 1 … K, arrays of rows have shape (rows, K, width) here. Where one factor has no direction, K
products are one:

    X [U_1 … U_K]         [R a_1; …; R a_K] W       [R δ_1; …; R δ_K] Wᵀ
    δ [U_1ᵀ … U_Kᵀ]       [R δ_1 … R δ_K]ᵀ X        [R a_1 … R a_K]ᵀ δ

The directions of a matrix lie side by side, (K, inputs, outputs), those of a first layer column by column. So the
stacked matrices are views, but in a_l U_k and a_lᵀ R δ_k of hidden layers, the small ones, which are K products each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .backprop import Kept, Reused, reported, sum_of_rows
from .cross_entropy import row_sums


@reported
def products(kept: Kept, directions: list, to: list, empty=np.empty, weights_dots=None) -> None:
    """Write the products of the Hessian with several directions.

    Args:
      kept: from :func:`hypergrad.nn.backprop.linearize`.
      directions, to: a list of (W, b) for the layers, each stacked along a first axis.
      weights_dots: tangents of the weights of the examples, shape (K, rows), if they have some.
      empty: like :func:`numpy.empty`; where what it works with comes from, O(K) times what a gradient does.
    """
    activation, inputs, preactivations, weights, errors, probabilities, row_weights, delta, unweighted = kept
    count, last = len(directions[0][0]), len(weights) - 1
    of_rows, of_weights = Reused(empty), Reused(empty)
    slopes: list[Any] = []
    r_zs: list[Any] = []
    r_inputs: list[Any] = [None]
    for layer, (U, u) in enumerate(directions):
        r_z = _side_by_side(inputs[layer], U, empty)
        r_z += u
        if layer > 0:
            r_z += _below_each_other(r_inputs[layer], weights[layer], of_rows)
        r_zs.append(r_z)
        if layer < last:
            slopes.append(activation.slope(preactivations[layer], inputs[layer + 1])[:, None])
            r_inputs.append(np.multiply(slopes[layer], r_z, out=_rows(r_z.shape, r_z.dtype, empty)))
    r_delta = r_zs[last]
    r_delta *= probabilities[:, None]
    sums = row_sums(r_delta.reshape(-1, r_delta.shape[2])).reshape(-1, count, 1)
    r_delta -= probabilities[:, None] * sums
    r_delta *= row_weights[:, None]
    if weights_dots is not None:
        r_delta += unweighted[:, None] * weights_dots.T[:, :, None]  # type: ignore[index]
    for layer in reversed(range(len(weights))):
        a, (to_W, to_b) = inputs[layer], to[layer]
        _write_outer(a, r_delta, to_W)
        to_b[...] = sum_of_rows(r_delta.reshape(len(a), -1)).reshape(to_b.shape)
        if layer > 0:
            r_a = r_inputs[layer].reshape(len(a), -1)
            more = of_weights((r_a.shape[1], delta.shape[1]), r_a.dtype)
            to_W += np.matmul(r_a.T, delta, out=more).reshape(to_W.shape)
            z, slope, error = preactivations[layer - 1], slopes[layer - 1], errors[layer - 1]
            r_delta = _below_each_other(r_delta, weights[layer].T, empty)
            U = directions[layer][0]
            along = of_rows((len(a), r_a.shape[1]), r_a.dtype)
            r_delta += np.matmul(delta, U.reshape(-1, U.shape[2]).T, out=along).reshape(r_delta.shape)
            r_delta *= slope
            if activation.bend is not None:
                bend = activation.bend(z, a, slope[:, 0])
                bend *= error
                r_z = r_zs[layer - 1]
                r_z *= bend[:, None]
                r_delta += r_z
            delta = error * slope[:, 0]


def _rows(shape: tuple, dtype, empty) -> np.ndarray:
    rows, count, width = shape
    return empty((rows, count * width), dtype).reshape(shape)


def _side_by_side(a: np.ndarray, Us: np.ndarray, empty) -> np.ndarray:
    """a U_k, (rows, K, outputs)."""
    count, width, outputs = Us.shape
    result = _rows((len(a), count, outputs), np.result_type(a, Us), empty)
    columns = Us.swapaxes(1, 2)
    if columns.flags.c_contiguous:
        np.matmul(a, columns.reshape(-1, width).T, out=result.reshape(len(a), -1))
    else:
        np.matmul(a, Us, out=result.swapaxes(0, 1))
    return result


def _below_each_other(rows: np.ndarray, W: np.ndarray, empty) -> np.ndarray:
    """R_k W, (rows, K, outputs)."""
    length, count, width = rows.shape
    result = empty((length * count, W.shape[1]), rows.dtype)
    return np.matmul(rows.reshape(-1, width), W, out=result).reshape(length, count, -1)


def _write_outer(a: np.ndarray, rows: np.ndarray, to: np.ndarray) -> None:
    """aᵀ R_k, written to stacked matrices that may lie column by column."""
    columns = to.swapaxes(1, 2)
    if columns.flags.c_contiguous:
        np.matmul(rows.reshape(len(a), -1).T, a, out=columns.reshape(-1, a.shape[1]))
    else:
        np.matmul(a.T, rows.swapaxes(0, 1), out=to)
