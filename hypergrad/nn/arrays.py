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


def as_floats(a: Any, name: str) -> Any:
    """The array, or the box of one, if it has floats; of any shape.

    Raises:
      ArgumentError: it has not.
    """
    a = a if isbox(a) else np.asarray(a)
    dtype = getval(a).dtype
    if dtype.kind != "f":
        hint = "; build it with autograd.numpy" if dtype.kind == "O" else f"; use {name}.astype(float)"
        raise ArgumentError(f"{name} has dtype {dtype}, but must be floats{hint}")
    return a


def check_images(shape: tuple) -> None:
    """Raise unless it is the shape of images."""
    if len(shape) != 4 or 0 in shape:
        raise ArgumentError(
            f"x has shape {shape}, but images have (n, height, width, channels), none of them 0; "
            "use x[..., None] for a single channel, x[None] for a single image"
        )
