"""What rows are to be classified as: integer classes, or distributions over them (one-hot among those); and weights
of the rows.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

from ..bridge import getval, isbox
from ..errors import ArgumentError


def labels_for(labels: Any, shape: tuple, dtype, name: str = "labels") -> Any:
    """The labels of logits of this shape: integers (…), or a distribution (…, classes) in the dtype of the logits.

    Args:
      labels: a box if it is being differentiated, which only a distribution can be.
      shape: of the logits, (…, classes).
      dtype: of the logits.
      name: of the argument, for messages.

    Raises:
      ArgumentError: another shape or dtype, or integers that are no classes.
    """
    value = np.asarray(getval(labels))
    kind, leading, classes = value.dtype.kind, shape[:-1], shape[-1]
    if kind in "iu":
        if value.shape != leading:
            hint = "; a distribution has floats: use .astype(float)" if value.shape == shape else ""
            raise ArgumentError(
                f"{name} are integers of shape {value.shape}, but {classes} classes with logits of shape {shape} need "
                f"one class for each row, shape {leading}{hint}"
            )
        check_classes(value, classes, name)
        return value
    if kind != "f" or value.shape != shape:
        hint = f"; make them integers with {name}.astype(int)" if kind in "fb" and value.shape == leading else ""
        raise ArgumentError(
            f"{name} have shape {value.shape} and dtype {value.dtype}, but logits of shape {shape} need integer "
            f"classes of shape {leading} or a distribution of shape {shape}{hint}"
        )
    return labels if isbox(labels) or value.dtype == dtype else value.astype(dtype)


def weights_for(weights: Any, leading: tuple, dtype) -> Any:
    """The weights of rows, in this dtype: one for each, or for each entry of the first axes, shape (n, 1, …).

    They may be negative, as a loss is linear in them.

    Args:
      weights: floats whose shape is that of the first axes of the rows; a box if they are being differentiated.
      leading: shape of the rows, that of the logits without the classes.
      dtype: of the logits.

    Raises:
      ArgumentError: another shape or dtype, NaN or infinity.
    """
    weights = weights if isbox(weights) else np.asarray(weights)
    value = np.asarray(getval(weights))
    if value.dtype.kind != "f":
        raise ArgumentError(f"weights have dtype {value.dtype}, but must be floats; use weights.astype(float)")
    if value.ndim == 0 or value.shape != leading[: value.ndim]:
        raise ArgumentError(f"weights have shape {value.shape}, but rows of shape {leading} need one for each of them")
    check_weights(value, "weights")
    if value.dtype != dtype:
        weights = weights.astype(dtype)
    return anp.reshape(weights, (*value.shape, *[1] * (len(leading) - value.ndim)))


def check_weights(weights: np.ndarray, name: str) -> None:
    """Raise unless all of these are finite."""
    finite = np.isfinite(weights)
    if not finite.all():
        place = tuple(map(int, np.argwhere(~finite)[0]))
        raise ArgumentError(f"{name}[{', '.join(map(str, place))}] is {weights[place]}: weights must be finite")


def check_classes(labels: np.ndarray, classes: int, name: str, what: str = "classes") -> None:
    """Raise unless all these integers lie in 0 … classes − 1; ``what`` is what these are called."""
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        place = tuple(map(int, np.argwhere((labels < 0) | (labels >= classes))[0]))
        where = f"{name}[{', '.join(map(str, place))}]" if place else name
        raise ArgumentError(f"{where} is {labels[place]}, but there are {classes} {what}: 0 … {classes - 1}")


def one_hot(labels: np.ndarray, classes: int, name: str, dtype=np.float64) -> np.ndarray:
    """The rows of the identity matrix with these numbers, shape (n, classes).

    Raises:
      ArgumentError: integers that are no classes.
    """
    check_classes(labels, classes, name)
    rows = np.zeros((len(labels), classes), dtype)
    rows[np.arange(len(labels)), labels] = 1.0
    return rows


def classes_of(labels: Any, shape: tuple, name: str) -> np.ndarray:
    """The classes of labels of logits of this shape: the largest entry of a distribution.

    Raises:
      ArgumentError: labels that don't fit.
    """
    labels = np.asarray(labels_for(getval(labels), shape, np.float64, name))
    return labels if labels.dtype.kind in "iu" else np.argmax(labels, axis=-1)
