"""Checks of single arguments."""

from __future__ import annotations

import contextlib
import importlib
import operator
from types import ModuleType
from typing import Any

import numpy as np

from .errors import ArgumentError, MissingExtraError


def check_integer(value, name: str, least: int) -> int:
    """The value as an int.

    Raises:
      ArgumentError: it is no integer (True is none), or below ``least``.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < least:
        raise ArgumentError(f"{name} must be an integer ≥ {least}, got {value!r}")
    return operator.index(value)


def import_extra(module: str, what: str) -> ModuleType:
    """The module of an optional library, whose extra has its name.

    Raises:
      MissingExtraError: it is not installed; ``what`` is what needs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # it is there, and broken
            raise
        raise MissingExtraError(
            f"{what} needs {module}, which is not installed: pip install -e '.[{module}]' in the clone of hypergrad"
        ) from None


def check_dtype(dtype: Any, name: str) -> np.dtype | None:
    """The precision that a user asks for, by NumPy's name or PyTorch's; None if they don't.

    Raises:
      ArgumentError: it is neither float64 nor float32.
    """
    if dtype is None:
        return None
    given = str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else dtype
    with contextlib.suppress(TypeError):
        if np.dtype(given) in (np.dtype(np.float64), np.dtype(np.float32)):
            return np.dtype(given)
    raise ArgumentError(f"{name} must be float64 or float32, got {dtype!r}")
