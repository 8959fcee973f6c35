"""Models with derivatives written out, and their losses."""

from .minibatches import MinibatchLoss
from .mlp import MLP

__all__ = ["MLP", "MinibatchLoss"]


def __dir__():
    return __all__
