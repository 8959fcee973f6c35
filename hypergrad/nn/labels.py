"""What rows are to be classified as: integer classes, or distributions over them (one-hot among those)."""

from __future__ import annotations

from typing import Any

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
