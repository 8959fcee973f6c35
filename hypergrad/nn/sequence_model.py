"""What models of sequences have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bridge import getval
from ..errors import ArgumentError
from ..nests import flatten, leaf_places, leaves_like
from .arrays import shape_of
from .classifier import Classifier
from .cross_entropy import softmax_cross_entropy
from .labels import labels_for


class SequenceModel(Classifier):
    """A model with ``logits(params, X)`` for every position of a sequence, shape (n, T, classes).

    Attributes:
      shapes: the shapes of the parameters, a nest like them, for :func:`hypergrad.init.scaled_normal`.
    """

    shapes: Any

    def loss(self, params, X, T=None, weights=None):
        """Mean over all positions of the cross-entropy with T, a scalar, in nats; see :func:`softmax_cross_entropy`.

        Args:
          T: integer classes of shape (n, T), or distributions of shape (n, T, classes). If None, X are integers of
            shape (n, T + 1), and each is to be predicted from those before it.
          weights: None, or one for each sequence, or for each position.

        Raises:
          ArgumentError: parameters or data that don't fit.
        """
        X, T = self._pairs(X, T)
        return softmax_cross_entropy(self.logits(params, X), T, weights)

    def accuracy(self, params, X, T=None) -> float:
        """Share of the positions whose most probable class is that of T, in [0, 1]; T as in :meth:`loss`."""
        return super().accuracy(params, *self._pairs(X, T))

    def error_rate(self, params, X, T=None) -> float:
        """Share of the positions whose most probable class is not that of T, in [0, 1]; T as in :meth:`loss`."""
        return super().error_rate(params, *self._pairs(X, T))

    def check_data(self, X: np.ndarray, T: np.ndarray) -> np.ndarray:
        X = self._inputs(X, T.dtype)
        return labels_for(T, (*shape_of(X)[:2], self._classes()), T.dtype, "T")

    def _classes(self) -> int:
        raise NotImplementedError

    def _inputs(self, X, dtype) -> Any:
        """X as the model takes it, real numbers in this dtype.

        Raises:
          ArgumentError: it doesn't fit.
        """
        raise NotImplementedError

    def _pairs(self, X, T) -> tuple:
        """Inputs and targets; the next characters if no targets are given."""
        if T is not None:
            return X, T
        X = np.asarray(getval(X))
        if X.dtype.kind not in "iu" or X.ndim != 2 or X.shape[1] < 2:
            raise ArgumentError(
                f"without T each of X is predicted from those before it, so X must be integers of shape (n, T + 1), "
                f"T ≥ 1; it has shape {X.shape} and dtype {X.dtype}"
            )
        return X[:, :-1], X[:, 1:]

    def _check_params(self, params) -> None:
        """Raise unless the parameters have the shapes of this model."""
        wanted, structure = flatten(self.shapes, is_leaf=lambda value: isinstance(value, tuple))
        leaves = leaves_like(params, structure)
        if leaves is None:
            raise ArgumentError(f"params of {self!r} must be a nest like its shapes, {self.shapes}")
        for leaf, shape, place in zip(leaves, wanted, leaf_places(structure, "params")):
            if shape_of(leaf) != shape:
                raise ArgumentError(f"{place} has shape {shape_of(leaf)}, but {self!r} needs {shape}")


def check_characters(X, classes: int, model: Any) -> np.ndarray:
    """X as integers of shape (n, T); what lies outside of the classes is found where it is looked up.

    Raises:
      ArgumentError: it is something else.
    """
    X = np.asarray(getval(X))
    if X.dtype.kind not in "iu" or X.ndim != 2 or 0 in X.shape:
        hint = "; make them so with X.astype(int)" if X.ndim == 2 and X.dtype.kind in "fb" else ""
        raise ArgumentError(
            f"X has shape {X.shape} and dtype {X.dtype}, but {model!r} needs integers of shape (n, T), in 0 … "
            f"{classes - 1}{hint}"
        )
    return X


def factors(scales: Any, names: tuple) -> dict:
    """The factor for each of these names, 1 where none is given; they may be boxes.

    Raises:
      ArgumentError: another name, or no finite number.
    """
    given = {} if scales is None else scales
    if not isinstance(getval(given), dict):
        raise ArgumentError(f"scales must be a dict with some of the keys {', '.join(names)}, got {scales!r}")
    for name in getval(given):
        if name not in names:
            raise ArgumentError(f"scales has the key {name!r}, but there are {', '.join(names)} only")
        value = getval(given[name])
        if not isinstance(value, int | float | np.number | np.ndarray) or isinstance(value, bool) or np.ndim(value):
            raise ArgumentError(f"scales[{name!r}] must be a number, got {value!r}")
        if not np.isfinite(value):
            raise ArgumentError(f"scales[{name!r}] must be finite, got {value!r}")
    return {name: given[name] if name in getval(given) else 1.0 for name in names}
