"""Networks and their losses: plain functions of a nest of parameters."""

from __future__ import annotations

from typing import Any

import autograd.numpy as np
import numpy as onp
from autograd.tracer import getval, isbox

from . import activations, backprop
from .errors import ArgumentError, DifferentiationError, check_integer
from .oracles import has_own_derivatives


class MLP:
    """A multilayer perceptron with softmax cross-entropy: ``MLP([784, 200, 50, 10])``.

    The parameters are a list of ``(W, b)``, one for each layer: W of shape (inputs, outputs), b of
    shape (outputs,). The last layer is linear.

    Args:
      sizes: the widths, from the input to the classes.
      activation: of the hidden layers: "tanh", "relu", "gelu" (exact, with erf) or "identity".

    Attributes:
      shapes: the shapes of the parameters, for :func:`hypergrad.init.scaled_normal`.
    """

    def __init__(self, sizes: list[int], activation: str = "tanh"):
        sizes = list(sizes) if isinstance(sizes, list | tuple | onp.ndarray) else [sizes]
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
            a = np.dot(a, W) + b
            if layer < len(self.sizes) - 2:
                a = phi(a)
        return a

    def loss(self, params, X, T):
        """Mean over the rows of the cross-entropy −Σ T log softmax(logits), a scalar, in nats."""
        z = self.logits(params, X)
        # Any constant may be taken off a row, so the largest entry is, without differentiating it.
        z = z - onp.max(getval(z), axis=1, keepdims=True)
        log_normaliser = np.log(np.sum(np.exp(z), axis=1, keepdims=True))
        T = self._data_like(params, T, "T", len(z))
        return -np.sum(T * (z - log_normaliser)) / len(z)

    def predict(self, params, X):
        """The most probable class of each row, integers of shape (n,)."""
        return onp.argmax(getval(self.logits(params, X)), axis=1)

    def error_rate(self, params, X, T) -> float:
        """Share of the rows whose most probable class is not that of T, in [0, 1]."""
        classes = self.predict(params, X)
        return float(onp.mean(classes != onp.argmax(self._data_like(params, T, "T", len(classes)), axis=1)))

    def gradient(self, params, X, T):
        """Gradient of :meth:`loss`, written out (see :mod:`hypergrad.backprop`)."""
        return backprop.gradient(params, *self._checked(params, X, T), activations.get(self.activation))

    def gradient_with_hvp(self, params, X, T):
        """The gradient, and ``hvp(direction)``, the product of the Hessian with a nest like ``params``."""
        return backprop.gradient_with_hvp(params, *self._checked(params, X, T), activations.get(self.activation))

    def _checked(self, params, X, T):
        self._check_params(params)
        X = self._data_like(params, X, "X")
        return X, self._data_like(params, T, "T", len(X))

    def _check_params(self, params) -> None:
        """Raise unless the parameters have the shapes of this model."""
        try:
            shapes = [(np.shape(W), np.shape(b)) for W, b in params]
        except (TypeError, ValueError):
            shapes = None
        if shapes != self.shapes:
            raise ArgumentError(f"params of {self!r} must be a list of (W, b) of shapes {self.shapes}, got {shapes}")

    def _data_like(self, params, data, name: str, rows: int | None = None):
        """X or T in the dtype of the parameters, so that float32 parameters are computed in float32."""
        data = data if isbox(data) else onp.asarray(data)
        width = self.sizes[0 if name == "X" else -1]
        if data.ndim != 2 or data.shape[1] != width or (rows is not None and len(data) != rows):
            wanted = f"({'n' if rows is None else rows}, {width})"
            hint = "; one-hot encode labels with np.eye(classes)[labels]" if name == "T" else ""
            raise ArgumentError(f"{name} has shape {data.shape}, but {self!r} needs {wanted}{hint}")
        dtype = getval(params[0][0]).dtype
        return data if isbox(data) or data.dtype == dtype else data.astype(dtype)


class MinibatchLoss:
    """The training loss of a model on consecutive minibatches: ``loss(params, hyper, step)``.

    Step t sees the rows t·batch_size … (t+1)·batch_size − 1, in order, from the start again after the
    last; ``hyper`` is ignored. Where the model has ``gradient`` and ``gradient_with_hvp``, so has this.

    Args:
      model: has ``loss(params, X, T)``.
      X: inputs, shape (n, …).
      T: targets, shape (n, …).
      batch_size: rows in a minibatch, 1..n; all of them if None. If it does not divide n, the last
        minibatch of an epoch is smaller.

    Raises:
      ArgumentError: X and T of different lengths, data that don't fit the model, or a bad batch size.
      DifferentiationError: X or T is being differentiated; it must then come in through ``hyper``.
    """

    def __init__(self, model: Any, X, T, batch_size: int | None = None):
        for name, data in (("X", X), ("T", T)):
            if isbox(data):
                raise DifferentiationError(
                    f"{name} is being differentiated, but MinibatchLoss keeps its data fixed; pass the data as "
                    "train(..., hyper=data) to a loss of your own: "
                    "lambda params, data, step: model.loss(params, data, T)"
                )
        X, T = onp.asarray(X), onp.asarray(T)
        if X.ndim == 0 or T.ndim == 0 or len(X) != len(T):
            raise ArgumentError(f"X has shape {X.shape} and T {T.shape}: they must have the same number of rows")
        if len(X) == 0:
            raise ArgumentError("X has no rows")
        if isinstance(model, MLP):
            for name, data, width in (("X", X, model.sizes[0]), ("T", T, model.sizes[-1])):
                if data.shape[1:] != (width,) or data.dtype.kind != "f":
                    raise ArgumentError(
                        f"{name} has shape {data.shape} and dtype {data.dtype}, "
                        f"but {model!r} needs floats of shape ({len(data)}, {width})"
                    )
        batch_size = len(X) if batch_size is None else check_integer(batch_size, "batch_size", 1)
        if batch_size > len(X):
            raise ArgumentError(f"batch_size is {batch_size}, but there are only {len(X)} rows")
        self.model, self.X, self.T, self.batch_size = model, X, T, batch_size
        self.batches = -(-len(X) // batch_size)

    def batch(self, step: int):
        """The (X, T) that ``step`` sees."""
        start = step % self.batches * self.batch_size
        rows = slice(start, start + self.batch_size)
        return self.X[rows], self.T[rows]

    def __call__(self, params, hyper, step):
        return self.model.loss(params, *self.batch(step))

    @property
    def gradient(self):
        """``gradient(params, hyper, step)``, if the model has one."""
        model_gradient = self._derivative("gradient")
        return lambda params, hyper, step: model_gradient(params, *self.batch(step))

    @property
    def gradient_with_hvp(self):
        """``gradient_with_hvp(params, hyper, step)``, if the model has one."""
        model_gradient_with_hvp = self._derivative("gradient_with_hvp")
        return lambda params, hyper, step: model_gradient_with_hvp(params, *self.batch(step))

    def _derivative(self, name: str):
        values = ("loss", "logits") if isinstance(self.model, MLP) else ("loss",)
        if not has_own_derivatives(self.model, *values):
            raise AttributeError(f"{type(self.model).__name__} has no {name} that belongs to its loss")
        return getattr(self.model, name)
