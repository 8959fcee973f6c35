"""Meta-descent: descent on hyperparameters, with history, best so far, and resume."""

from . import estimators, maps
from .descent import descend
from .evaluation import Evaluation, TakeBack
from .minimize import Losses, Result, best, minimize
from .problem import Problem

__all__ = [
    "Evaluation",
    "Losses",
    "Problem",
    "Result",
    "TakeBack",
    "best",
    "descend",
    "estimators",
    "maps",
    "minimize",
]


def __dir__():
    return __all__
