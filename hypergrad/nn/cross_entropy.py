"""Softmax cross-entropy, with derivatives that are primitives of their own, for use in any loss.

For a row of logits z with softmax p = exp(z − log Σ exp z), and the class y or a distribution t over the classes whose
sum is s:

    L = log Σ exp z − z_y    or  −⟨t, log p⟩
    ∂L/∂z = p − e_y          or  s p − t
    ∂p/∂z u = p ⊙ (u − ⟨p, u⟩)

The last map is symmetric, so it serves both modes of differentiation; e_y, which is one-hot, is never made.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import autograd.numpy as anp
import numpy as np

from ..bridge import defjvp, defvjp, getval, isbox, primitive
from ..errors import ArgumentError
from .labels import labels_for, weights_for


def softmax_cross_entropy(logits, labels, weights=None):
    """Mean cross-entropy of softmax(logits) with labels, a scalar, in nats.

        L = mean over all rows of −Σ_c t_c log softmax(z)_c;   with t one-hot for a class

    The mean is over all axes of ``logits`` but the last, and also where the rows of a distribution do not sum to 1.
    With weights ω each row of the mean is multiplied by its own; the mean stays one over all rows, also where the
    weights do not sum to their number. So the loss is linear in them, and with 1 for all the same to the last bit.
    Differentiable in ``logits`` and ``weights``, to any order and in both modes, and in a distribution.

    Args:
      logits: log-probabilities up to a constant for each row, floats of shape (…, classes).
      labels: integer classes of shape (…), from 0; or a distribution, floats of shape (…, classes).
      weights: None, or floats of shape (…), also negative ones, or of the first axes of that: one for each sequence,
        say, and all its positions.

    Raises:
      ArgumentError: logits that are no floats or have no rows; labels or weights that don't fit them; weights that are
        not finite.

    Costs one pass of exp over the logits for the value and one for its gradient, which products then use.

    >>> float(softmax_cross_entropy(np.zeros((2, 4)), np.array([0, 3])) / np.log(4))
    1.0
    """
    logits = _checked(logits)
    shape = np.shape(getval(logits))
    rows = int(np.prod(shape[:-1]))
    if rows == 0:
        raise ArgumentError(f"logits have shape {shape}: there are no rows to take the mean of")
    labels = labels_for(labels, shape, getval(logits).dtype)
    if weights is not None:
        weights = weights_for(weights, shape[:-1], getval(logits).dtype)
    if getval(labels).dtype.kind == "f":
        labels = labels if weights is None else labels * weights[..., None]
        return -anp.sum(labels * log_softmax(logits)) / rows
    if weights is not None:
        return anp.sum(weights * _cross_entropies(logits, labels)) / rows
    return _mean_cross_entropy(logits, labels)


def log_softmax(logits):
    """Logarithms of the probabilities: z − log Σ exp z over the last axis.

    Differentiable to any order and in both modes.

    Args:
      logits: floats of shape (…, classes).

    Raises:
      ArgumentError: no floats, or no classes.

    >>> log_softmax(np.zeros((1, 4))) / np.log(4)
    array([[-1., -1., -1., -1.]])
    """
    return _log_softmax(_checked(logits))


def _checked(logits) -> Any:
    logits = logits if isbox(logits) else np.asarray(logits)
    value = getval(logits)
    if value.dtype.kind != "f" or value.ndim == 0 or value.shape[-1] == 0:
        raise ArgumentError(
            f"logits have shape {value.shape} and dtype {value.dtype}: they must be floats of shape (…, classes), "
            "made with autograd.numpy if they are being differentiated"
        )
    return logits


def softmax_of_rows(z: np.ndarray) -> np.ndarray:
    """softmax(z) along the rows of a matrix, in plain NumPy."""
    p = z - _row_maxima(z)
    np.exp(p, out=p)
    p /= row_sums(p)
    return p


def row_sums(a: np.ndarray) -> np.ndarray:
    """Sums along the rows, shape (rows, 1): as a matrix product, which is faster for few columns."""
    return np.dot(a, ones(a.shape[1], a.dtype))[:, None]


@lru_cache
def ones(length: int, dtype: np.dtype) -> np.ndarray:
    """A vector of ones, always the same."""
    return np.ones(length, dtype)


def _row_maxima(z: np.ndarray) -> np.ndarray:
    if z.shape[1] > 32:
        return np.max(z, axis=1)[:, None]
    return np.max(z.T.copy(), axis=0)[:, None]  # NumPy takes the maxima of long rows faster than of short ones


def _rows(a: np.ndarray) -> np.ndarray:
    return a.reshape(-1, a.shape[-1])


def _class_entries(rows: np.ndarray, labels: np.ndarray) -> tuple:
    return np.arange(len(rows)), labels.reshape(-1)


@primitive
def _mean_cross_entropy(logits, labels):
    return np.mean(_losses_of_rows(logits, labels))


@primitive
def _cross_entropies(logits, labels):
    return _losses_of_rows(logits, labels).reshape(labels.shape)


def _losses_of_rows(logits, labels) -> np.ndarray:
    z = _rows(logits)
    largest = _row_maxima(z)
    log_normaliser = np.log(row_sums(np.exp(z - largest)))
    return log_normaliser[:, 0] + (largest[:, 0] - z[_class_entries(z, labels)])


@primitive
def _errors(probabilities, labels, weight):
    """weight · (p − e_y)."""
    return _weighted_errors(probabilities, labels, weight)


@primitive
def _errors_of_rows(probabilities, labels, weights):
    """The same with a weight for each row."""
    return _weighted_errors(probabilities, labels, weights.reshape(-1, 1))


def _weighted_errors(probabilities, labels, weights) -> np.ndarray:
    errors = _rows(probabilities).copy()
    errors[_class_entries(errors, labels)] -= 1.0
    errors *= weights
    return errors.reshape(probabilities.shape)


@primitive
def _softmax(logits):
    return softmax_of_rows(_rows(logits)).reshape(logits.shape)


@primitive
def _softmax_product(p, u):
    """∂ softmax/∂z u, from p = softmax(z)."""
    rows = _rows(p)
    product = rows * _rows(u)
    product -= rows * row_sums(product)
    return product.reshape(p.shape)


@primitive
def _log_softmax(logits):
    z = _rows(logits)
    z = z - _row_maxima(z)
    z -= np.log(row_sums(np.exp(z)))
    return z.reshape(logits.shape)


def _sums(a):
    return anp.sum(a, axis=-1, keepdims=True)


defvjp(
    _mean_cross_entropy,
    lambda ans, z, labels: lambda g: _errors(_softmax(z), labels, g / labels.size),
    argnums=(0,),
)
defjvp(
    _mean_cross_entropy,
    lambda g, ans, z, labels: anp.sum(_errors(_softmax(z), labels, 1.0 / labels.size) * g),
    argnums=(0,),
)
defvjp(
    _errors,
    lambda ans, p, labels, weight: lambda g: g * weight,
    lambda ans, p, labels, weight: lambda g: anp.sum(g * _errors(p, labels, 1.0)),
    argnums=(0, 2),
)
defjvp(
    _errors,
    lambda g, ans, p, labels, weight: g * weight,
    lambda g, ans, p, labels, weight: _errors(p, labels, g),
    argnums=(0, 2),
)
defvjp(
    _cross_entropies,
    lambda ans, z, labels: lambda g: _errors_of_rows(_softmax(z), labels, g),
    argnums=(0,),
)
defjvp(
    _cross_entropies,
    lambda g, ans, z, labels: anp.sum(_errors(_softmax(z), labels, 1.0) * g, axis=-1),
    argnums=(0,),
)
defvjp(
    _errors_of_rows,
    lambda ans, p, labels, weights: lambda g: g * weights[..., None],
    lambda ans, p, labels, weights: lambda g: anp.sum(g * _errors(p, labels, 1.0), axis=-1),
    argnums=(0, 2),
)
defjvp(
    _errors_of_rows,
    lambda g, ans, p, labels, weights: g * weights[..., None],
    lambda g, ans, p, labels, weights: _errors_of_rows(p, labels, g),
    argnums=(0, 2),
)
defvjp(_softmax, lambda ans, z: lambda g: _softmax_product(ans, g))
defjvp(_softmax, lambda g, ans, z: _softmax_product(ans, g))
defvjp(
    _softmax_product,
    lambda ans, p, u: lambda g: g * (u - _sums(p * u)) - u * _sums(p * g),
    lambda ans, p, u: lambda g: _softmax_product(p, g),
)
defjvp(
    _softmax_product,
    lambda g, ans, p, u: g * (u - _sums(p * u)) - p * _sums(g * u),
    lambda g, ans, p, u: _softmax_product(p, g),
)
defvjp(_log_softmax, lambda ans, z: lambda g: g - _softmax(z) * _sums(g))
defjvp(_log_softmax, lambda g, ans, z: g - _sums(_softmax(z) * g))
