"""Multilayer perceptrons: plain functions of a nest of parameters."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

from ..bridge import getval, isbox
from ..checks import check_integer
from ..errors import ArgumentError
from . import activations, backprop
from .classifier import Classifier
from .labels import one_hot, weights_for


class MLP(Classifier):
    """A multilayer perceptron with softmax cross-entropy: ``MLP([784, 200, 50, 10])``.

    The parameters are a list of ``(W, b)``, one for each layer: W of shape (inputs, outputs), b of
    shape (outputs,). The last layer is linear.

    Args:
      sizes: the widths, from the input to the classes.
      activation: of the hidden layers: "tanh", "relu", "gelu" (exact, with erf), "sigmoid", "silu" or "identity", or an
        object such as ``hg.nn.leaky_relu(0.1)``.

    Attributes:
      shapes: the shapes of the parameters, for :func:`hypergrad.init.scaled_normal`.

    Raises:
      ArgumentError: fewer than two sizes, or no activation of that name.
    """

    def __init__(self, sizes: list[int], activation: Any = "tanh"):
        sizes = list(sizes) if isinstance(sizes, list | tuple | np.ndarray) else [sizes]
        self.sizes = [check_integer(size, f"sizes[{i}]", 1) for i, size in enumerate(sizes)]
        if len(self.sizes) < 2:
            raise ArgumentError(f"sizes must name at least the input and the output width, got {sizes!r}")
        activations.get(activation)
        self.activation = activation
        self.shapes = [((m, n), (n,)) for m, n in zip(self.sizes, self.sizes[1:])]

    def __repr__(self):
        return f"MLP({self.sizes}, activation={self.activation!r})"

    def logits(self, params, X):
        """Log-probabilities of the classes up to a constant a row, shape (n, classes)."""
        self._check_params(params)
        phi = activations.get(self.activation).value
        a = self._data_like(params, X, "X")
        for layer, (W, b) in enumerate(params):
            a = anp.dot(a, W) + b
            if layer < len(self.sizes) - 2:
                a = phi(a)
        return a

    def loss(self, params, X, T, weights=None):
        """Mean over the rows of the cross-entropy −Σ T log softmax(logits), a scalar, in nats.

        T has shape (n, classes), one-hot or other distributions, or (n,), integer classes, as for all methods.
        ``weights``, one for each row, multiply its cross-entropy: with 1 for all the loss is the same to the last bit.
        """
        z = self.logits(params, X)
        # Any constant may be taken off a row, so the largest entry is, without differentiating it.
        z = z - np.max(getval(z), axis=1, keepdims=True)
        log_normaliser = anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True))
        T = self._data_like(params, T, "T", len(z))
        if weights is not None:
            T = T * weights_for(weights, (len(z),), getval(T).dtype)[:, None]
        return -anp.sum(T * (z - log_normaliser)) / len(z)

    def _misses(self, params, X, T) -> np.ndarray:
        classes = self.predict(params, X)
        return classes != np.argmax(self._data_like(params, T, "T", len(classes)), axis=1)

    def check_data(self, X: np.ndarray, T: np.ndarray) -> np.ndarray:
        """T one-hot where it is integer classes, after checking that all the data fit."""
        if _are_classes(T):
            T = one_hot(T, self.sizes[-1], "T")
        for name, data, width in (("X", X, self.sizes[0]), ("T", T, self.sizes[-1])):
            if data.shape[1:] != (width,) or data.dtype.kind != "f":
                labels = f", or integer classes of shape ({len(data)},)" if name == "T" else ""
                raise ArgumentError(
                    f"{name} has shape {data.shape} and dtype {data.dtype}, "
                    f"but {self!r} needs floats of shape ({len(data)}, {width}){labels}"
                )
        return T

    def gradient(self, params, X, T):
        """Gradient of :meth:`loss`, written out (hypergrad/nn/backprop.py)."""
        to = _like(params)
        backprop.gradient(params, *self._checked(params, X, T), activations.get(self.activation), to)
        return to

    def gradient_with_hvp(self, params, X, T):
        """The gradient, and ``hvp(direction)``, the product of the Hessian with a nest like ``params``."""
        to = _like(params)
        phi = activations.get(self.activation)
        write_product = backprop.gradient_with_hvp(params, *self._checked(params, X, T), phi, to)

        def hvp(direction):
            product = _like(params)
            write_product(direction, product)
            return product

        return to, hvp

    def _checked(self, params, X, T):
        """The data as the written-out derivatives take them."""
        self._check_params(params)
        X = self._data_like(params, X, "X")
        return X, self._data_like(params, T, "T", len(X))

    def _data_like(self, params, data, name: str, rows: int | None = None):
        """X or T in the dtype of the parameters, so that float32 parameters are computed in float32."""
        data = data if isbox(data) else np.asarray(data)
        width = self.sizes[0 if name == "X" else -1]
        dtype = getval(params[0][0]).dtype
        if name == "T" and _are_classes(data):
            data = one_hot(data, width, name, dtype)
        if data.ndim != 2 or data.shape[1] != width or (rows is not None and len(data) != rows):
            wanted = f"({'n' if rows is None else rows}, {width})"
            hint = "; labels may also be integer classes, one for each row" if name == "T" else ""
            raise ArgumentError(f"{name} has shape {data.shape}, but {self!r} needs {wanted}{hint}")
        return data if isbox(data) or data.dtype == dtype else data.astype(dtype)


def _are_classes(T) -> bool:
    return not isbox(T) and T.ndim == 1 and T.dtype.kind in "iu"


def _like(params) -> list:
    return [(np.empty_like(W), np.empty_like(b)) for W, b in params]
