"""Probes: how a loss after training, and its derivative, depend on one number."""

from ..errors import CacheWarning
from .edge import Edge, locate_edge
from .smoothness import Metasmoothness, metasmoothness
from .sweep import Sweep, sweep

__all__ = ["CacheWarning", "Edge", "Metasmoothness", "Sweep", "locate_edge", "metasmoothness", "sweep"]


def __dir__():
    return __all__
