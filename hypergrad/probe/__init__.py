"""Probes: how a loss after training, and its derivative, depend on one number."""

from ..errors import CacheWarning
from .edge import Edge, locate_edge
from .sweep import Sweep, sweep

__all__ = ["CacheWarning", "Edge", "Sweep", "locate_edge", "sweep"]


def __dir__():
    return __all__
