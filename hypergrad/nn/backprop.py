"""Gradient and Hessian-vector product of a softmax classifier of dense layers, written out.

For layers z_l = a_{l-1} W_l + b_l, a_l = φ(z_l), a_0 = X, with the last one linear, and the mean
over n rows of the cross-entropy of softmax(z_L) = p against targets T whose rows sum to s:

    δ_L = (s p − T) / n        e_l = δ_{l+1} W_{l+1}ᵀ        δ_l = e_l φ'(z_l)
    ∂/∂W_l = a_{l-1}ᵀ δ_l      ∂/∂b_l = Σ_rows δ_l

The R-operator (derivative in the direction (U, u), Pearlmutter 1994) turns these into

    R z_l = a_{l-1} U_l + R a_{l-1} W_l + u_l              R a_l = φ'(z_l) R z_l
    R δ_L = s (p R z − p ⟨p, R z⟩) / n
    R δ_l = (R δ_{l+1} W_{l+1}ᵀ + δ_{l+1} U_{l+1}ᵀ) φ'(z_l) + e_l φ''(z_l) R z_l
    R ∂/∂W_l = a_{l-1}ᵀ R δ_l + R a_{l-1}ᵀ δ_l

With a weight ω for each row, in the mean of ω times the cross-entropy, δ_L is ω times that above, R δ_L also, and has
ω̇ (s p − T) / n beside it where the weights have a tangent ω̇. The product of ∂²/∂ω∂(W, b) with the direction is for
each row ⟨s p − T, R z_L⟩ / n.

X has no tangent, so the first layer, the large one, costs one product forwards and one backwards,
for the gradient and for the R-operator alike. :mod:`~hypergrad.nn.directions` has the R-operator in several directions.

Kept for the R-operator are a_l and e_l (and z_l where φ' is no function of a_l). What follows from them by
a pass over (rows, width) is computed again: in the cache that is faster than memory that is touched once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .activations import Activation
from .cross_entropy import ones, row_sums, softmax_of_rows

# What overflows here shows in the parameters, where training looks for it and reports the step.
reported = np.errstate(over="ignore", invalid="ignore")


@reported
def gradient(
    params: list, X: np.ndarray, T: np.ndarray, activation: Activation, to: list, empty=np.empty, example_weights=None
) -> None:
    """Gradient of the mean cross-entropy, written into ``to``, a list of (∂W, ∂b) like ``params``.

    What it works with comes from ``empty``, which is like :func:`numpy.empty`. ``example_weights`` are
    those of the rows, of shape (rows, 1), or None.
    """
    inputs, preactivations = _forward(params, X, activation, empty)
    delta = softmax_of_rows(preactivations.pop())
    delta *= _row_weights(T)
    delta -= T / len(T)
    if example_weights is not None:
        delta *= example_weights
    for layer in reversed(range(len(params))):
        a, (to_W, to_b) = inputs[layer], to[layer]
        _write_outer(a, delta, to_W)
        to_b[...] = sum_of_rows(delta)
        if layer > 0:
            delta = _product(delta, params[layer][0].T, empty)
            delta *= activation.slope(preactivations[layer - 1], a)


class Kept(NamedTuple):
    """What the R-operator needs of a gradient.

    Attributes:
      activation: φ.
      inputs: a of every layer, the first of which is X.
      preactivations: z of hidden layers, where φ' is no function of a.
      weights: W of every layer but the first.
      errors: e of hidden layers.
      probabilities, row_weights, delta: p, s / n and δ of the last layer, both times ω where examples have weights.
      unweighted: δ of the last layer without them; None if there are none.
    """

    activation: Activation
    inputs: list
    preactivations: list
    weights: list
    errors: list
    probabilities: np.ndarray
    row_weights: np.ndarray
    delta: np.ndarray
    unweighted: np.ndarray | None


def gradient_with_hvp(
    params: list, X: np.ndarray, T: np.ndarray, activation: Activation, to: list, empty=np.empty, example_weights=None
) -> Callable:
    """The same gradient, and ``hvp(direction, to, empty, add)``, which writes the product, or adds it, from
    the intermediates kept (:func:`linearize`). With weights of the examples ω it returns the product of ∂²/∂ω∂(W, b)
    with the direction, of shape (rows,).
    """
    return partial(_hvp, linearize(params, X, T, activation, to, empty, example_weights))


@reported
def linearize(
    params: list, X: np.ndarray, T: np.ndarray, activation: Activation, to: list, empty=np.empty, example_weights=None
) -> Kept:
    """The same gradient, and what the R-operator needs of it.

    Keeps, in memory from ``empty``, two arrays of (rows, width) for each hidden layer, three for gelu, and copies of
    the weights of ``params`` but for the first.
    """
    inputs, preactivations = _forward(params, X, activation, empty)
    last = len(params) - 1
    weights: list[Any] = [None, *(_copy(W, empty) for W, _ in params[1:])]
    probabilities = softmax_of_rows(preactivations.pop())
    row_weights = _row_weights(T)
    errors: list[Any] = [None] * last
    delta = probabilities * row_weights
    delta -= T / len(T)
    unweighted = None
    if example_weights is not None:
        unweighted, delta = delta, delta * example_weights
        row_weights = row_weights * example_weights
    delta_of_last = delta
    for layer in reversed(range(len(params))):
        a, (to_W, to_b) = inputs[layer], to[layer]
        _write_outer(a, delta, to_W)
        to_b[...] = sum_of_rows(delta)
        if layer > 0:
            errors[layer - 1] = _product(delta, weights[layer].T, empty)
            delta = errors[layer - 1] * activation.slope(preactivations[layer - 1], a)
    kept = inputs, preactivations, weights, errors, probabilities, row_weights, delta_of_last
    return Kept(activation, *kept, unweighted)


@reported
def _hvp(kept: Kept, direction: list, to: list, empty=np.empty, add: bool = False) -> np.ndarray | None:
    activation, inputs, preactivations, weights, errors, probabilities, row_weights, delta, unweighted = kept
    last = len(weights) - 1
    of_rows, of_weights, of_more = (Reused(empty) for _ in range(3))
    r_zs: list[Any] = []
    r_inputs: list[Any] = [None]
    slopes: list[Any] = []
    for layer, (U, u) in enumerate(direction):
        a = inputs[layer]
        r_z = _product(a, U, empty)
        r_z += u
        if layer > 0:
            r_z += _product(r_inputs[layer], weights[layer], of_rows)
        r_zs.append(r_z)
        if layer < last:
            slopes.append(activation.slope(preactivations[layer], inputs[layer + 1]))
            r_inputs.append(np.multiply(slopes[layer], r_z, out=empty(r_z.shape, r_z.dtype)))
    by_weight = None if unweighted is None else row_sums(unweighted * r_zs[last])[:, 0]
    r_delta = probabilities * r_zs[last]
    r_delta -= probabilities * row_sums(r_delta)
    r_delta *= row_weights
    for layer in reversed(range(len(weights))):
        a, (to_W, to_b) = inputs[layer], to[layer]
        r_W = _outer_like(to_W, of_weights) if add else to_W
        _write_outer(a, r_delta, r_W)
        r_b = sum_of_rows(r_delta)
        if layer > 0:
            more = _outer_like(to_W, of_more)
            _write_outer(r_inputs[layer], delta, more)
            r_W += more
        if add:  # all at once: rounding must not depend on whether the product is added
            to_W += r_W
            to_b += r_b
        else:
            to_b[...] = r_b
        if layer > 0:
            z, slope, error = preactivations[layer - 1], slopes[layer - 1], errors[layer - 1]
            r_delta = _product(r_delta, weights[layer].T, empty)
            r_delta += _product(delta, direction[layer][0].T, of_rows)
            r_delta *= slope
            if activation.bend is not None:
                bend = activation.bend(z, a, slope)
                bend *= r_zs[layer - 1]
                bend *= error
                r_delta += bend
            delta = error * slope
    return by_weight


def _product(a: np.ndarray, b: np.ndarray, empty) -> np.ndarray:
    return np.matmul(a, b, out=empty((len(a), b.shape[1]), np.result_type(a, b)))


def _write_outer(a: np.ndarray, b: np.ndarray, to: np.ndarray) -> None:
    """aᵀ b, written to a matrix that may lie column by column."""
    if to.flags.c_contiguous:
        np.matmul(a.T, b, out=to)
    else:
        np.matmul(b.T, a, out=to.T)


def _outer_like(to: np.ndarray, empty) -> np.ndarray:
    """Memory for a matrix that lies like this one."""
    return empty(to.shape, to.dtype) if to.flags.c_contiguous else empty(to.shape[::-1], to.dtype).T


class Reused:
    """An ``empty`` whose arrays all lie in the same memory, as large as the largest: each is used up before the
    next.
    """

    def __init__(self, empty):
        self.empty, self.memory = empty, np.empty(0, np.uint8)

    def __call__(self, shape, dtype) -> np.ndarray:
        size = np.dtype(dtype).itemsize * shape[0] * shape[1]
        if size > len(self.memory):
            self.memory = self.empty(size, np.uint8)
        return self.memory[:size].view(dtype).reshape(shape)


def _copy(a: np.ndarray, empty) -> np.ndarray:
    copy = empty(a.shape, a.dtype)
    copy[...] = a
    return copy


def _forward(params: list, X: np.ndarray, activation: Activation, empty) -> tuple[list, list]:
    """The input of every layer; and its preactivation z, where derivatives need it and at the end."""
    inputs: list[Any] = [X]
    preactivations: list[Any] = []
    for layer, (W, b) in enumerate(params):
        z = _product(inputs[layer], W, empty)
        z += b
        if layer == len(params) - 1:
            preactivations.append(z)
        else:
            a = empty(z.shape, z.dtype) if activation.needs_preactivation else z
            activation.write(z, a)
            preactivations.append(z if activation.needs_preactivation else None)
            inputs.append(a)
    return inputs, preactivations


def _row_weights(T: np.ndarray) -> np.ndarray:
    """s / n: what each row of the softmax weighs in the mean, shape (rows, 1)."""
    return row_sums(T) / len(T)


def sum_of_rows(a: np.ndarray) -> np.ndarray:
    """The sum of all rows, shape (columns,)."""
    return np.dot(ones(len(a), a.dtype), a)
