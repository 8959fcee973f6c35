"""Probes: how a loss after training, and its derivative, depend on one number; and on each training example."""

from ..errors import CacheWarning
from .advice import Advice, advise
from .attribution import Attribution, attribution
from .edge import Edge, locate_edge
from .smoothness import Metasmoothness, metasmoothness
from .sweep import Sweep, sweep

__all__ = [
    "Advice",
    "Attribution",
    "CacheWarning",
    "Edge",
    "Metasmoothness",
    "Sweep",
    "advise",
    "attribution",
    "locate_edge",
    "metasmoothness",
    "sweep",
]


def __dir__():
    return __all__
