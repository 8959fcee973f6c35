"""Checks of single arguments."""

from __future__ import annotations

import operator

from .errors import ArgumentError


def check_integer(value, name: str, least: int) -> int:
    """The value as an int.

    Raises:
      ArgumentError: it is no integer (True is none), or below ``least``.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < least:
        raise ArgumentError(f"{name} must be an integer ≥ {least}, got {value!r}")
    return operator.index(value)
