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
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .activations import Activation

# What overflows here shows in the parameters, where training looks for it and reports the step.
_reported = np.errstate(over="ignore", invalid="ignore")


@_reported
def gradient(params: list, X: np.ndarray, T: np.ndarray, activation: Activation) -> list:
    """Gradient of the mean cross-entropy, a list of (∂W, ∂b) like ``params``."""
    inputs, preactivations = _forward(params, X, activation)
    delta = _softmax(preactivations[-1])
    delta *= _row_weights(T)
    delta -= T / len(T)
    result = []
    for layer in reversed(range(len(params))):
        result.append((inputs[layer].T @ delta, delta.sum(axis=0)))
        if layer > 0:
            delta = delta @ params[layer][0].T
            delta *= activation.slope(preactivations[layer - 1], inputs[layer])
    return result[::-1]


@_reported
def gradient_with_hvp(
    params: list, X: np.ndarray, T: np.ndarray, activation: Activation
) -> tuple[list, Callable[[list], list]]:
    """The gradient, and ``hvp(direction)`` from the intermediates kept.

    Keeps four arrays of (rows, width) for each hidden layer. It refers to ``params``, which must not
    be changed in place while ``hvp`` is in use.
    """
    inputs, preactivations = _forward(params, X, activation)
    last = len(params) - 1
    probabilities = _softmax(preactivations[last])
    row_weights = _row_weights(T)
    deltas, slopes, curvatures = [None] * len(params), [None] * last, [None] * last
    deltas[last] = probabilities * row_weights
    deltas[last] -= T / len(T)
    for layer in reversed(range(last)):
        z, a = preactivations[layer], inputs[layer + 1]
        error = deltas[layer + 1] @ params[layer + 1][0].T
        slopes[layer] = activation.slope(z, a)
        deltas[layer] = error * slopes[layer]
        if activation.bend is not None:
            curvatures[layer] = error
            curvatures[layer] *= activation.bend(z, a, slopes[layer])
    result = [(a.T @ delta, delta.sum(axis=0)) for a, delta in zip(inputs, deltas)]

    @_reported
    def hvp(direction: list) -> list:
        r_zs, r_inputs = [], [None]
        for layer, (U, u) in enumerate(direction):
            r_z = inputs[layer] @ U
            r_z += u
            if layer > 0:
                r_z += r_inputs[layer] @ params[layer][0]
            r_zs.append(r_z)
            if layer < last:
                r_inputs.append(slopes[layer] * r_z)
        r_delta = probabilities * r_zs[last]
        r_delta -= probabilities * r_delta.sum(axis=1, keepdims=True)
        r_delta *= row_weights
        products = []
        for layer in reversed(range(len(params))):
            r_W = inputs[layer].T @ r_delta
            if layer > 0:
                r_W += r_inputs[layer].T @ deltas[layer]
            products.append((r_W, r_delta.sum(axis=0)))
            if layer > 0:
                r_delta = r_delta @ params[layer][0].T
                r_delta += deltas[layer] @ direction[layer][0].T
                r_delta *= slopes[layer - 1]
                if activation.bend is not None:
                    r_delta += curvatures[layer - 1] * r_zs[layer - 1]
        return products[::-1]

    return result, hvp


def _forward(params: list, X: np.ndarray, activation: Activation) -> tuple[list, list]:
    """The input and the preactivation z of every layer."""
    inputs, preactivations = [X], []
    for layer, (W, b) in enumerate(params):
        z = inputs[layer] @ W
        z += b
        preactivations.append(z)
        if layer < len(params) - 1:
            inputs.append(activation.value(z))
    return inputs, preactivations


def _softmax(z: np.ndarray) -> np.ndarray:
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p


def _row_weights(T: np.ndarray) -> np.ndarray:
    """s / n: what each row of the softmax weighs in the mean, shape (rows, 1)."""
    return T.sum(axis=1, keepdims=True) / len(T)
