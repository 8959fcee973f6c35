"""Checks of the arrays that building blocks are given."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..bridge import getval, is_object_of_boxes, isbox
from ..errors import ArgumentError


def check_floats(x: Any, name: str, axes: tuple, *, kinds: str = "f", what: str = "floats") -> Any:
    """The array, or the box of one, if it has floats and the last axes that are named.

    Args:
      x: a box, or what NumPy makes an array of.
      name: of the argument, for messages.
      axes: what the last axes are called, for messages; the array has at least so many.
      kinds: of dtypes that will do.
      what: these are called, for messages.

    Raises:
      ArgumentError: it has not, or it has no entries along the last axes.
    """
    x = x if isbox(x) else np.asarray(x)
    value = getval(x)
    if is_object_of_boxes(value):
        raise ArgumentError(f"{name} is an object array of values being differentiated; build it with autograd.numpy")
    if value.dtype.kind not in kinds or value.ndim < len(axes) or 0 in value.shape[value.ndim - len(axes) :]:
        raise ArgumentError(
            f"{name} has shape {value.shape} and dtype {value.dtype}, but must be {what} of shape "
            f"(…, {', '.join(axes)})"
        )
    return x


def shape_of(x: Any) -> tuple:
    """The shape of an array or of a box of one."""
    return np.shape(getval(x))
