"""Optimizers: the update equation of each, once."""

from .adaptive import Adam, RMSProp
from .base import Decaying, Optimizer
from .sgd import SGD

__all__ = ["SGD", "Adam", "Decaying", "Optimizer", "RMSProp"]


def __dir__():
    return __all__
