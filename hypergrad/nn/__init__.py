"""Models and their losses, and the building blocks for one's own: functions whose derivatives are primitives too."""

from .activations import gelu, identity, leaky_relu, relu, sigmoid, silu, tanh, tanhshrink
from .convnet import ConvNet
from .cross_entropy import log_softmax, softmax_cross_entropy
from .dropout import dropout
from .images import conv2d, max_pool, mean_pool
from .minibatches import MinibatchLoss
from .mlp import MLP

__all__ = [
    "MLP",
    "ConvNet",
    "MinibatchLoss",
    "conv2d",
    "dropout",
    "gelu",
    "identity",
    "leaky_relu",
    "log_softmax",
    "max_pool",
    "mean_pool",
    "relu",
    "sigmoid",
    "silu",
    "softmax_cross_entropy",
    "tanh",
    "tanhshrink",
]


def __dir__():
    return __all__
