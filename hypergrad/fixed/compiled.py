"""Whether compiled loops do exact arithmetic: where numba is installed, unless told otherwise."""

from __future__ import annotations

import contextlib
import os
import warnings
from functools import lru_cache
from types import ModuleType

import numpy as np

SWITCH = "HYPERGRAD_NUMBA"  # environment variable; "0" leaves numba alone
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
    except Exception as error:  # whatever a broken installation raises: NumPy does as well
        warnings.warn(
            f"numba is installed but cannot compile ({type(error).__name__}: {error}), so exact arithmetic is done in "
            f"NumPy; {SWITCH}=0 in the environment leaves it alone",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return None if numba.config.DISABLE_JIT else kernels


def loops(*arrays: np.ndarray) -> ModuleType | None:
    """:mod:`hypergrad.fixed.kernels` if it can serve these arrays, that is if all are float64; otherwise None."""
    if _suspended or any(array.dtype != np.float64 for array in arrays):
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
