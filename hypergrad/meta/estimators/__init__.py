"""Estimators of the hypergradient: ``estimator(hypers, seed) -> Estimate(value, gradient, diagnostics)``."""

from .advised import build
from .base import Diagnostics, Estimate
from .implicit import implicit
from .persistent import persistent
from .smoothed import mixed, smoothed
from .unrolled import exact, forward, greedy, truncated

__all__ = [
    "Diagnostics",
    "Estimate",
    "build",
    "exact",
    "forward",
    "greedy",
    "implicit",
    "mixed",
    "persistent",
    "smoothed",
    "truncated",
]


def __dir__():
    return __all__
