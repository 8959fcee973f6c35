"""The training loss of a model on minibatches."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ..bridge import getval, isbox
from ..checks import check_integer
from ..errors import ArgumentError, DifferentiationError
from ..losses.base import Frozen, Inputs, Linearized, Loss, register
from ..nests import as_numpy, unflatten
from ..workspace import Arena
from . import activations, backprop
from .classifier import Classifier
from .directions import products
from .labels import check_weights
from .mlp import MLP


class MinibatchLoss(Frozen):
    """The training loss of a model on consecutive minibatches: ``loss(params, hyper, step)``.

    Step t sees the rows t·batch_size … (t+1)·batch_size − 1, in order, from the start again after the
    last. ``hyper`` is ignored; or, with ``weights="hyper"``, it is a weight for each example, an array ω of shape (n,):

        L(w, ω, t) = 1/b Σ_{i in the minibatch} ω_i ℓ_i(w)    for the b rows of the minibatch

    The mean is over the rows, not over the weights, so the loss is linear in them and ω_i = 0 leaves an example out.
    With 1 for all it is the unweighted loss, to the last bit. Negative weights push examples away, and are allowed.
    With an :class:`MLP` the derivatives are written out, those by the weights too; with a model of another class, a
    derived one too, they come from autograd.

    Args:
      model: has ``loss(params, X, T)``.
      X: inputs, shape (n, …).
      T: targets, shape (n, …); for models of classes distributions of shape (n, classes), or integer classes of
        shape (n,), which an :class:`MLP` gets one-hot.
      batch_size: rows in a minibatch, 1..n; all of them if None. If it does not divide n, the last
        minibatch of an epoch is smaller.
      weights: None, or "hyper"; then ``model.loss`` takes a fourth argument, the weights of the rows.

    Raises:
      ArgumentError: X and T of different lengths, data that don't fit the model (all of them are looked at here), a bad
        batch size, or a model whose loss takes no weights; when it is called or trained on, weights of another shape
        than (n,), or that are not finite.
      DifferentiationError: X or T is being differentiated; it must then come in through ``hyper``.
    """

    def __init__(self, model: Any, X, T, batch_size: int | None = None, *, weights: str | None = None):
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
        if weights is not None and not (isinstance(weights, str) and weights == "hyper"):
            raise ArgumentError(
                f'weights must be None or "hyper", got {weights!r:.100}: the weights of the examples are given to '
                'train(loss, params, optimizer, weights, …) as its hyper, for MinibatchLoss(…, weights="hyper")'
            )
        if weights == "hyper" and not _takes_weights(model):
            raise ArgumentError(
                f'weights="hyper" needs a model with loss(params, X, T, weights), which {model!r} has not'
            )
        self.model, self.X, self.T, self.batch_size, self.weights = model, X, T, batch_size, weights
        self.batches = -(-len(X) // batch_size)

    def batch(self, step: int) -> Any:
        """The (X, T) that ``step`` sees."""
        rows = self.rows(step)
        return self.X[rows], self.T[rows]

    def rows(self, step: int) -> slice:
        """Which rows those are."""
        start = step % self.batches * self.batch_size
        return slice(start, start + self.batch_size)

    def __call__(self, params, hyper, step):
        if self.weights is None:
            return self.model.loss(params, *self.batch(step))
        check_hyper(self, hyper)
        return self.model.loss(params, *self.batch(step), hyper[self.rows(step)])


def check_hyper(loss: MinibatchLoss, hyper: Any) -> None:
    """Raise unless it is one finite weight for each example."""
    n, weights = len(loss.X), getval(hyper)
    if hyper is None:
        raise ArgumentError(
            f'MinibatchLoss(…, weights="hyper") takes the weights of its {n} examples as hyper, which is None: '
            f"train(loss, params, optimizer, numpy.ones({n}), …)"
        )
    if not isinstance(weights, np.ndarray) or weights.shape != (n,) or weights.dtype.kind != "f":
        found = f"an array of shape {weights.shape} and dtype {weights.dtype}" if hasattr(weights, "dtype") else weights
        raise ArgumentError(f"hyper must be the weights of {n} examples, floats of shape ({n},), got {found!s:.200}")
    check_weights(weights, "hyper")


def _takes_weights(model: Any) -> bool:
    try:
        inspect.signature(model.loss).bind(None, None, None, None)
    except TypeError:
        return False
    except ValueError:  # some callables have no signature
        return True
    return True


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
        """Layers, data, activation and weights, as the written-out derivatives take them."""
        nest, _ = self.inputs.nests(params)
        X, T = self.loss.batch(step)
        X, T = self.loss.model._checked(nest, X, T)
        weights = None if self.loss.weights is None else self._column(self.inputs.hyper_leaves[0], step, X.dtype)
        return nest, X, T, self.phi, weights

    def _column(self, weights: np.ndarray, step: int, dtype) -> np.ndarray:
        """Weights of the rows of a minibatch, or tangents of them, shape (rows, 1)."""
        return weights[self.loss.rows(step), None].astype(dtype, copy=False)

    def gradient(self, params: list, step: int, to: list, arena: Arena) -> float | None:
        mark = arena.mark()
        layers, X, T, phi, weights = self._at(params, step)
        backprop.gradient(layers, X, T, phi, _layers(to), arena.empty, weights)
        arena.release(mark)
        return None

    def linearize(self, params: list, step: int, to: list, arena: Arena) -> Linearized:
        given = arena.given
        layers, X, T, phi, weights = self._at(params, step)
        hvp = backprop.gradient_with_hvp(layers, X, T, phi, _layers(to), arena.empty, weights)
        columns = 3 if self.loss.weights is None else 4  # of the last layer, not from the arena
        kept = arena.given - given + columns * to[-1].itemsize * to[-1].size * self.loss.batch_size

        def product(direction: list, to: list, add: bool = False) -> list:
            mark = self.scratch.mark()
            by_weight = hvp(_layers(direction), _layers(to), self.scratch.empty, add)
            self.scratch.release(mark)
            if not self.inputs.wants_hyper:
                return []
            mixed = np.zeros_like(self.inputs.hyper_leaves[0])  # those of other minibatches are not in this loss
            mixed[self.loss.rows(step)] = by_weight
            return [mixed]

        return Linearized(None, product, lambda: kept)

    def tangents(self, params, step, to, params_dots, hyper_dots, to_dots, arena):
        mark, wants_weights = arena.mark(), self.loss.weights is not None and self.inputs.wants_hyper
        if len(to_dots[0]) == 1 and not wants_weights:
            super().tangents(params, step, to, params_dots, hyper_dots, to_dots, arena)
        else:
            layers, X, T, phi, weights = self._at(params, step)
            kept = backprop.linearize(layers, X, T, phi, _layers(to), arena.empty, weights)
            dots = hyper_dots[0][:, self.loss.rows(step)].astype(X.dtype, copy=False) if wants_weights else None
            products(kept, _layers(params_dots), _layers(to_dots), arena.empty, dots)
        arena.release(mark)
        return None


def _layers(arrays: list) -> list:
    return list(zip(arrays[::2], arrays[1::2]))


def _adapt(loss: MinibatchLoss, inputs: Inputs) -> Loss | None:
    if loss.weights is not None:
        check_hyper(loss, None if inputs.hyper is None else unflatten(inputs.hyper, inputs.hyper_leaves))
    elif inputs.wants_hyper:
        return None
    return _LossOfMLP(loss, inputs) if type(loss.model) is MLP else None


register(MinibatchLoss, _adapt)
register(MLP, lambda model, inputs: None)  # no loss of a run, but frozen like one
