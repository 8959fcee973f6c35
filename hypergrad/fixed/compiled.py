"""Whether compiled loops do exact arithmetic."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from .. import compiled


def _load() -> ModuleType:
    from . import kernels

    return kernels


def loops(*arrays: np.ndarray) -> ModuleType | None:
    """:mod:`hypergrad.fixed.kernels` if it can serve these arrays, that is if all are float64; otherwise None."""
    return compiled.loops(_load, *arrays)
