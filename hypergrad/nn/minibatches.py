"""The training loss of a model on minibatches."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bridge import isbox
from ..checks import check_integer
from ..errors import ArgumentError, DifferentiationError
from ..losses.base import Frozen, Inputs, Linearized, Loss, register
from ..nests import as_numpy
from ..workspace import Arena
from . import activations, backprop
from .classifier import Classifier
from .directions import products
from .mlp import MLP


class MinibatchLoss(Frozen):
    """The training loss of a model on consecutive minibatches: ``loss(params, hyper, step)``.

    Step t sees the rows t·batch_size … (t+1)·batch_size − 1, in order, from the start again after the
    last; ``hyper`` is ignored. With an :class:`MLP` its derivatives are written out; with a model of another class, a
    derived one too, they come from autograd.

    Args:
      model: has ``loss(params, X, T)``.
      X: inputs, shape (n, …).
      T: targets, shape (n, …); for models of classes distributions of shape (n, classes), or integer classes of
        shape (n,), which an :class:`MLP` gets one-hot.
      batch_size: rows in a minibatch, 1..n; all of them if None. If it does not divide n, the last
        minibatch of an epoch is smaller.

    Raises:
      ArgumentError: X and T of different lengths, data that don't fit the model (all of them are looked at here), or a
        bad batch size.
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
        X, T = np.asarray(as_numpy(X, "X")), np.asarray(as_numpy(T, "T"))
        if X.ndim == 0 or T.ndim == 0 or len(X) != len(T):
            raise ArgumentError(f"X has shape {X.shape} and T {T.shape}: they must have the same number of rows")
        if len(X) == 0:
            raise ArgumentError("X has no rows")
        if isinstance(model, Classifier):
            T = model.check_data(X, T)
        batch_size = len(X) if batch_size is None else check_integer(batch_size, "batch_size", 1)
        if batch_size > len(X):
            raise ArgumentError(f"batch_size is {batch_size}, but there are only {len(X)} rows")
        self.model, self.X, self.T, self.batch_size = model, X, T, batch_size
        self.batches = -(-len(X) // batch_size)

    def batch(self, step: int) -> Any:
        """The (X, T) that ``step`` sees."""
        start = step % self.batches * self.batch_size
        rows = slice(start, start + self.batch_size)
        return self.X[rows], self.T[rows]

    def __call__(self, params, hyper, step):
        return self.model.loss(params, *self.batch(step))


class _LossOfMLP(Loss):
    """The loss of a run of an :class:`MLP` on minibatches, with derivatives written into the run's own memory."""

    keeps_params = False  # copies of the weights that its products need, all but the first, are kept
    kept_in_arena = True
    transposed = (0,)  # OpenBLAS multiplies δᵀ X faster than Xᵀ δ, which is tall: by 12 % on an Intel Xeon

    def __init__(self, loss: MinibatchLoss, inputs: Inputs):
        self.loss, self.inputs = loss, inputs
        self.phi = activations.get(loss.model.activation)
        self.scratch = Arena()

    def working(self, kept: int) -> int:
        return 4 * kept  # twice as many arrays as are kept, and their products, for the layers; and a gradient's

    def value(self, params: list, step: int) -> float:
        nest, hyper = self.inputs.nests(params)
        return float(self.loss(nest, hyper, step))

    def _at(self, params: list, step: int) -> Any:
        """Layers, data and activation, as the written-out derivatives take them."""
        nest, _ = self.inputs.nests(params)
        X, T = self.loss.batch(step)
        return nest, *self.loss.model._checked(nest, X, T), self.phi

    def gradient(self, params: list, step: int, to: list, arena: Arena) -> float | None:
        mark = arena.mark()
        layers, X, T, phi = self._at(params, step)
        backprop.gradient(layers, X, T, phi, _layers(to), arena.empty)
        arena.release(mark)
        return None

    def linearize(self, params: list, step: int, to: list, arena: Arena) -> Linearized:
        given = arena.given
        layers, X, T, phi = self._at(params, step)
        hvp = backprop.gradient_with_hvp(layers, X, T, phi, _layers(to), arena.empty)
        kept = arena.given - given + 3 * to[-1].itemsize * to[-1].size * self.loss.batch_size

        def product(direction: list, to: list, add: bool = False) -> list:
            mark = self.scratch.mark()
            hvp(_layers(direction), _layers(to), self.scratch.empty, add)
            self.scratch.release(mark)
            return []

        return Linearized(None, product, lambda: kept)

    def tangents(self, params, step, to, params_dots, hyper_dots, to_dots, arena):
        mark = arena.mark()
        if len(to_dots[0]) == 1:
            super().tangents(params, step, to, params_dots, hyper_dots, to_dots, arena)
        else:
            layers, X, T, phi = self._at(params, step)
            kept = backprop.linearize(layers, X, T, phi, _layers(to), arena.empty)
            products(kept, _layers(params_dots), _layers(to_dots), arena.empty)
        arena.release(mark)
        return None


def _layers(arrays: list) -> list:
    return list(zip(arrays[::2], arrays[1::2]))


def _adapt(loss: MinibatchLoss, inputs: Inputs) -> Loss | None:
    return _LossOfMLP(loss, inputs) if type(loss.model) is MLP and not inputs.wants_hyper else None


register(MinibatchLoss, _adapt)
register(MLP, lambda model, inputs: None)  # no loss of a run, but frozen like one
