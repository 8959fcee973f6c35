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

X has no tangent, so the first layer, the large one, costs one product forwards and one backwards,
for the gradient and for the R-operator alike.

Kept for the R-operator are a_l and e_l (and z_l where φ' is no function of a_l). What follows from them by
a pass over (rows, width) is computed again: in the cache that is faster than memory that is touched once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .activations import Activation
from .arrays import empty_like, product

# What overflows here shows in the parameters, where training looks for it and reports the step.
_reported = np.errstate(over="ignore", invalid="ignore")


@_reported
def gradient(params: list, X: np.ndarray, T: np.ndarray, activation: Activation) -> list:
    """Gradient of the mean cross-entropy, a list of (∂W, ∂b) like ``params``."""
    inputs, preactivations = _forward(params, X, activation)
    delta = _softmax(preactivations.pop())
    delta *= _row_weights(T)
    delta -= T / len(T)
    result = []
    for layer in reversed(range(len(params))):
        a = inputs[layer]
        result.append((product(a.T, delta), _sum_of_rows(delta)))
        if layer > 0:
            delta = product(delta, params[layer][0].T)
            delta *= activation.slope(preactivations[layer - 1], a)
    return result[::-1]


@_reported
def gradient_with_hvp(
    params: list, X: np.ndarray, T: np.ndarray, activation: Activation
) -> tuple[list, Callable[[list], list]]:
    """The gradient, and ``hvp(direction)`` from the intermediates kept.

    Keeps two arrays of (rows, width) for each hidden layer, three for gelu. It refers to the weights of
    ``params`` but for the first, which must not be changed in place while ``hvp`` is in use.
    """
    inputs, preactivations = _forward(params, X, activation)
    last = len(params) - 1
    weights = [None, *(W for W, _ in params[1:])]
    probabilities = _softmax(preactivations.pop())
    row_weights = _row_weights(T)
    errors, result = [None] * last, [None] * len(params)
    delta = probabilities * row_weights
    delta -= T / len(T)
    delta_of_last = delta
    for layer in reversed(range(len(params))):
        a = inputs[layer]
        result[layer] = product(a.T, delta), _sum_of_rows(delta)
        if layer > 0:
            errors[layer - 1] = product(delta, weights[layer].T)
            delta = errors[layer - 1] * activation.slope(preactivations[layer - 1], a)

    @_reported
    def hvp(direction: list) -> list:
        r_zs, r_inputs, slopes = [], [None], []
        for layer, (U, u) in enumerate(direction):
            a = inputs[layer]
            r_z = product(a, U)
            r_z += u
            if layer > 0:
                r_z += product(r_inputs[layer], weights[layer])
            r_zs.append(r_z)
            if layer < last:
                slopes.append(activation.slope(preactivations[layer], inputs[layer + 1]))
                r_inputs.append(slopes[layer] * r_z)
        r_delta = probabilities * r_zs[last]
        r_delta -= probabilities * _row_sums(r_delta)
        r_delta *= row_weights
        products, delta = [None] * len(weights), delta_of_last
        for layer in reversed(range(len(weights))):
            a = inputs[layer]
            r_W = product(a.T, r_delta)
            if layer > 0:
                r_W += product(r_inputs[layer].T, delta)
            products[layer] = r_W, _sum_of_rows(r_delta)
            if layer > 0:
                z, slope, error = preactivations[layer - 1], slopes[layer - 1], errors[layer - 1]
                r_delta = product(r_delta, weights[layer].T)
                r_delta += product(delta, direction[layer][0].T)
                r_delta *= slope
                if activation.bend is not None:
                    bend = activation.bend(z, a, slope)
                    bend *= r_zs[layer - 1]
                    r_delta += bend * error
                delta = error * slope
        return products

    return result, hvp


def _forward(params: list, X: np.ndarray, activation: Activation) -> tuple[list, list]:
    """The input of every layer; and its preactivation z, where derivatives need it and at the end."""
    inputs, preactivations = [X], []
    for layer, (W, b) in enumerate(params):
        z = product(inputs[layer], W)
        z += b
        if layer == len(params) - 1:
            preactivations.append(z)
        else:
            a = empty_like(z) if activation.needs_preactivation else z
            a[...] = activation.value(z)
            preactivations.append(z if activation.needs_preactivation else None)
            inputs.append(a)
    return inputs, preactivations


def _softmax(z: np.ndarray) -> np.ndarray:
    p = z - np.max(z.T.copy(), axis=0)[:, None]  # NumPy takes the maxima of long rows faster than of short ones
    np.exp(p, out=p)
    p /= _row_sums(p)
    return p


def _row_weights(T: np.ndarray) -> np.ndarray:
    """s / n: what each row of the softmax weighs in the mean, shape (rows, 1)."""
    return _row_sums(T) / len(T)


def _row_sums(a: np.ndarray) -> np.ndarray:
    """Sums along the rows, shape (rows, 1): as a matrix product, which is faster for few columns."""
    return np.dot(a, _ones(a.shape[1], a.dtype))[:, None]


def _sum_of_rows(a: np.ndarray) -> np.ndarray:
    """The sum of all rows, shape (columns,)."""
    return np.dot(_ones(len(a), a.dtype), a)


@lru_cache
def _ones(length: int, dtype: np.dtype) -> np.ndarray:
    return np.ones(length, dtype)
