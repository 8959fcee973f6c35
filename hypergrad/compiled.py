"""Whether compiled loops do the work on large arrays: where numba is installed, unless told otherwise."""

from __future__ import annotations

import contextlib
import os
from functools import lru_cache
from types import ModuleType

import numpy as np

SWITCH = "HYPERGRAD_NUMBA"  # environment variable; "0" leaves numba alone
_FLOAT64 = np.dtype(float)
_suspended = 0


@lru_cache
def _kernels() -> ModuleType | None:
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        import numba

        from . import kernels
    except ImportError:  # not installed, or not for this NumPy
        return None
    return None if numba.config.DISABLE_JIT else kernels


def kernels(*arrays: np.ndarray) -> ModuleType | None:
    """:mod:`hypergrad.kernels` if it can serve arrays of these types, all float64; otherwise None."""
    if _suspended or any(array.dtype is not _FLOAT64 for array in arrays):
        return None
    return _kernels()


@contextlib.contextmanager
def plain_numpy():
    """Within it NumPy alone computes, in all threads: for comparisons."""
    global _suspended
    _suspended += 1
    try:
        yield
    finally:
        _suspended -= 1
