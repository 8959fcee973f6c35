"""Meta-descent: descent on hyperparameters, with history, best so far, and resume."""

from . import maps
from .descent import descend
from .evaluation import Evaluation, TakeBack
from .minimize import Losses, Result, best, minimize

__all__ = ["Evaluation", "Losses", "Result", "TakeBack", "best", "descend", "maps", "minimize"]


def __dir__():
    return __all__
