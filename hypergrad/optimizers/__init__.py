"""Optimizers: the update equation of each, once."""

from .adaptive import Adam, RMSProp, root
from .base import Decaying, Optimizer, WholeNest
from .hyperparameters import PerWeight
from .sgd import SGD
from .wrappers import Accumulated, Clipped

__all__ = [
    "SGD",
    "Accumulated",
    "Adam",
    "Clipped",
    "Decaying",
    "Optimizer",
    "PerWeight",
    "RMSProp",
    "WholeNest",
    "root",
]


def __dir__():
    return __all__
