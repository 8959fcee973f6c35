"""Loops compiled by numba, where it is installed, unless told otherwise."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

SWITCH = "HYPERGRAD_NUMBA"  # environment variable; "0" leaves numba alone
_LONG = 2**16  # entries; with shorter arrays another thread takes longer to wake than it saves
_suspended = 0


def compiled(signature, **options) -> Callable:
    """Compile a function by numba, for these types, when its module is imported.

    It runs without the GIL. Its machine code is kept for later processes if there is a place for it.
    """
    import numba

    options = {"nogil": True, "error_model": "numpy", **options}

    def decorated(function: Callable) -> Callable:
        try:
            return numba.njit(signature, cache=True, **options)(function)
        except Exception:  # no place for it, a full one, a damaged file: numba raises various errors
            return numba.njit(signature, **options)(function)

    return decorated


@lru_cache
def _loaded(load: Callable[[], ModuleType]) -> ModuleType | None:
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        import numba

        kernels = load()
    except ImportError:  # not installed, or not for this NumPy
        return None
    except Exception as error:  # whatever a broken installation raises: NumPy does as well
        warnings.warn(
            f"numba is installed but cannot compile ({type(error).__name__}: {error}), so NumPy computes alone; "
            f"{SWITCH}=0 in the environment leaves it alone",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return None if numba.config.DISABLE_JIT else kernels


def loops(load: Callable[[], ModuleType], *arrays: np.ndarray) -> ModuleType | None:
    """The module of compiled loops that ``load`` imports, if it can serve these arrays, that is if all are float64;
    otherwise None.
    """
    if _suspended or any(array.dtype != np.float64 for array in arrays):
        return None
    return _loaded(load)


def in_halves(loop: Callable, arrays: tuple, *numbers: float) -> list:
    """What a compiled loop returns for each half of the arrays, on two threads at once if the process may use two.

    They are threads of our own: one of numba's thread pools ends the process if two threads call it at the same time.
    """
    size = len(arrays[0])
    if size < _LONG or _threads() < 2:
        return [loop(*arrays, *numbers)]
    middle = size // 2 // 8 * 8  # on a cache line, if the arrays begin on one
    first, second = ([a[half] for a in arrays] for half in (slice(middle), slice(middle, None)))
    waiting = _helper(os.getpid()).submit(loop, *second, *numbers)
    found = loop(*first, *numbers)
    return [found, loop(*second, *numbers) if waiting.cancel() else waiting.result()]


def _threads() -> int:
    """The threads that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = (os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"))
    return min([cores, *(int(limit) for limit in limits if limit.isdigit())])


@lru_cache
def _helper(process: int) -> Any:
    """A thread of this process: one that was forked has none of its parent's."""
    return ThreadPoolExecutor(1, thread_name_prefix="hypergrad")


@contextlib.contextmanager
def plain_numpy():
    """Within it NumPy alone computes, in all threads: for comparisons."""
    global _suspended
    _suspended += 1
    try:
        yield
    finally:
        _suspended -= 1
