"""Models and their losses, and the building blocks for one's own: functions whose derivatives are primitives too."""

from .activations import gelu, identity, leaky_relu, relu, sigmoid, silu, tanh, tanhshrink
from .cross_entropy import log_softmax, softmax_cross_entropy
from .minibatches import MinibatchLoss
from .mlp import MLP

__all__ = [
    "MLP",
    "MinibatchLoss",
    "gelu",
    "identity",
    "leaky_relu",
    "log_softmax",
    "relu",
    "sigmoid",
    "silu",
    "softmax_cross_entropy",
    "tanh",
    "tanhshrink",
]


def __dir__():
    return __all__
