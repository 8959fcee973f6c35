"""Optimizers: the update equation of each, once."""

from ..heavy_ball import from_heavy_ball, to_heavy_ball
from .adaptive import Adam, RMSProp, root
from .base import Decaying, Optimizer, WholeNest
from .conversion import from_optax, from_torch
from .hyperparameters import Constant, PerWeight
from .sgd import SGD
from .wrappers import Accumulated, Clipped

__all__ = [
    "SGD",
    "Accumulated",
    "Adam",
    "Clipped",
    "Constant",
    "Decaying",
    "Optimizer",
    "PerWeight",
    "RMSProp",
    "WholeNest",
    "from_heavy_ball",
    "from_optax",
    "from_torch",
    "root",
    "to_heavy_ball",
]


def __dir__():
    return __all__
