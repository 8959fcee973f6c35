"""Meta-descent: descent on hyperparameters, with history, best so far, and resume."""

from .descent import descend
from .evaluation import Evaluation, TakeBack
from .minimize import Result, best, minimize

__all__ = ["Evaluation", "Result", "TakeBack", "best", "descend", "minimize"]


def __dir__():
    return __all__
