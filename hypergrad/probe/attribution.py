"""What each training example does to a measurement, by one reverse pass through the training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from autograd import value_and_grad

from ..bridge import isbox
from ..checks import check_integer
from ..errors import ArgumentError, DifferentiationError
from ..nests import as_numpy
from ..train import train


@dataclass(frozen=True)
class Attribution:
    """What :func:`attribution` found.

    Attributes:
      value: the measurement after training with these weights.
      gradient: its derivative by the weight of each example, shape (n,).
      weights: those trained with, shape (n,).
    """

    value: float
    gradient: np.ndarray
    weights: np.ndarray

    def most_helpful(self, n: int) -> np.ndarray:
        """The n examples whose weight lowers the measurement most, the first most of all: their numbers."""
        return self._order(n)

    def most_harmful(self, n: int) -> np.ndarray:
        """The n examples whose weight raises the measurement most, the first most of all: their numbers."""
        return self._order(n, sign=-1.0)

    def predict(self, weights: Any) -> np.ndarray:
        """The measurement after training with other weights, to first order: value + ⟨gradient, weights − these⟩.

        Args:
          weights: shape (n,), or (…, n) for several trainings. A weight of 0 leaves an example out.

        Raises:
          ArgumentError: another length.
        """
        weights = np.asarray(as_numpy(weights, "weights"))
        if weights.ndim == 0 or weights.shape[-1] != len(self.weights):
            raise ArgumentError(
                f"weights have shape {weights.shape}, but there are {len(self.weights)} examples: give (…, n)"
            )
        return self.value + np.dot(weights - self.weights, self.gradient)

    def _order(self, n: int, sign: float = 1.0) -> np.ndarray:
        if check_integer(n, "n", 1) > len(self.gradient):
            raise ArgumentError(f"n is {n}, but there are only {len(self.gradient)} examples")
        return np.argsort(sign * self.gradient, kind="stable")[:n]


def attribution(
    loss: Callable,
    params: Any,
    optimizer: Any,
    weights: Any = None,
    *,
    steps: int,
    measure: Callable,
    adjoint: Any = None,
    memory_budget: int | str | None = None,
) -> Attribution:
    """The derivative of a measurement after training by the weight of every training example, through the whole run.

        loss = hg.nn.MinibatchLoss(model, X, T, 100, weights="hyper")
        found = hg.probe.attribution(loss, params, optimizer, steps=200, measure=lambda p: model.loss(p, x, t))

    It is exact for small changes of the weights, for this initialisation and this order of minibatches. To leave
    an example out is a change by its whole weight, which :meth:`Attribution.predict` has to first order.

    Args:
      loss: ``loss(params, weights, step)``; a :class:`hypergrad.nn.MinibatchLoss` with ``weights="hyper"``, or one of
        your own.
      params, optimizer, steps, adjoint, memory_budget: as for :func:`hypergrad.train`.
      weights: one for each example, shape (n,); 1 for all if None, where the loss is a MinibatchLoss.
      measure: ``measure(trained)``, a scalar written with autograd.numpy, such as the loss on one test example.

    Raises:
      ArgumentError: no weights where their number is not known, weights of several axes, or a measurement that is no
        scalar or does not depend on the weights.
      DifferentiationError: weights that are being differentiated.
      HypergradError: what :func:`hypergrad.train` raises.

    Cost: one training and one reverse pass, whatever the number of examples.

    >>> import autograd.numpy as np
    >>> import hypergrad as hg
    >>> y = np.array([1.0, 2.0, 6.0])
    >>> loss = lambda w, weights, step: 0.5 * np.mean(weights * (w - y) ** 2)
    >>> found = attribution(loss, np.array(0.0), hg.SGD(1.0, 0.0), np.ones(3), steps=1, measure=lambda w: w)
    >>> found.gradient * 3
    array([1., 2., 6.])
    >>> found.most_harmful(1), round(float(found.predict([1.0, 1.0, 0.0])), 6)
    (array([2]), 1.0)
    """
    if not callable(measure):
        raise ArgumentError(f"measure must be a function measure(trained) -> scalar, got {measure!r}")
    if isbox(weights):
        raise DifferentiationError("an attribution cannot be differentiated: give it plain weights")
    if weights is None:
        data = getattr(loss, "X", None)
        if data is None or getattr(loss, "weights", None) != "hyper":
            raise ArgumentError(
                'attribution needs a loss that takes weights: MinibatchLoss(…, weights="hyper"), or one of your own, '
                "loss(params, weights, step), together with weights=numpy.ones(n)"
            )
        weights = np.ones(len(data))
    weights = np.array(as_numpy(weights, "weights"))
    if weights.ndim != 1 or weights.dtype.kind != "f":
        raise ArgumentError(
            f"weights must be floats of shape (n,), one for each example, got shape {weights.shape} and dtype "
            f"{weights.dtype}"
        )

    def measured(weights):
        trained = train(loss, params, optimizer, weights, steps=steps, adjoint=adjoint, memory_budget=memory_budget)
        result = measure(trained)
        if np.shape(result) != ():
            raise ArgumentError(f"measure returned something of shape {np.shape(result)}; it must return a scalar")
        if not isbox(result):
            raise ArgumentError("measure(trained) does not depend on what it is given, or returned a plain number")
        return result

    value, gradient = value_and_grad(measured)(weights)
    weights.flags.writeable = gradient.flags.writeable = False
    return Attribution(float(value), gradient, weights)
