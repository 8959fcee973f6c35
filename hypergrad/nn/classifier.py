"""What models that tell classes apart have in common."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

from ..bridge import getval
from ..errors import ArgumentError
from ..init import scaled_normal
from ..losses.base import Frozen
from . import activations
from .labels import classes_of


class Classifier(Frozen):
    """A model with ``logits(params, X)``, log-probabilities of the classes up to a constant, shape (…, classes).

    Attributes:
      shapes: the shapes of the parameters, a list of those of (W, b) for each layer.
      activation: of the hidden layers, a name or an object.
    """

    shapes: list
    activation: Any

    def logits(self, params, X):
        raise NotImplementedError

    def init(self, seed: int, scale: Any = None, dtype=np.float64):
        """Initial parameters, by :func:`hypergrad.init.scaled_normal`; differentiable in ``scale``.

        Args:
          seed: integer ≥ 0.
          scale: standard deviations: one for all, or a nest that is a prefix of ``shapes``. If None those of W are
            √(gain / fan-in), where the gain is 2 for relu (He et al. 2015), gelu and silu, 2/(1 + slope²) for
            leaky_relu, and 1 for others; and b is 0.
          dtype: float64 or float32.

        Raises:
          NestError, ArgumentError: as ``scaled_normal``.
        """
        if scale is None:
            gain = activations.get(self.activation).gain
            scale = [(float(np.sqrt(gain / np.prod(W[:-1]))), 0.0) for W, _ in self.shapes]
        return scaled_normal(self.shapes, scale, seed, dtype)

    def predict(self, params, X):
        """The most probable class of each row, integers of shape (n,)."""
        return np.argmax(getval(self.logits(params, X)), axis=-1)

    def error_rate(self, params, X, T) -> float:
        """Share of the rows whose most probable class is not that of T, in [0, 1]."""
        return float(np.mean(self._misses(params, X, T)))

    def accuracy(self, params, X, T) -> float:
        """Share of the rows whose most probable class is that of T, in [0, 1]."""
        return float(np.mean(~self._misses(params, X, T)))

    def _misses(self, params, X, T) -> np.ndarray:
        logits = getval(self.logits(params, X))
        return np.argmax(logits, axis=-1) != classes_of(T, logits.shape, "T")

    def check_data(self, X: np.ndarray, T: np.ndarray) -> np.ndarray:
        """T as :meth:`loss` takes it at every step, after checking that all the data fit.

        Raises:
          ArgumentError: they don't.
        """
        raise NotImplementedError

    def _check_params(self, params) -> None:
        """Raise unless the parameters have the shapes of this model."""
        try:
            shapes = [(anp.shape(W), anp.shape(b)) for W, b in params]
        except (TypeError, ValueError):
            shapes = None
        if shapes != self.shapes:
            raise ArgumentError(f"params of {self!r} must be a list of (W, b) of shapes {self.shapes}, got {shapes}")
