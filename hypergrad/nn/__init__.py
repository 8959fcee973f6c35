"""Models and their losses, and the building blocks for one's own: functions whose derivatives are primitives too."""

from .activations import gelu, identity, leaky_relu, relu, sigmoid, silu, tanh, tanhshrink
from .attention import attention
from .convnet import ConvNet
from .convolution import conv2d
from .cross_entropy import log_softmax, softmax_cross_entropy
from .diagonal import DiagonalRecurrence
from .dropout import dropout
from .lookup import embedding
from .minibatches import MinibatchLoss
from .mlp import MLP
from .normalisation import layer_norm
from .pooling import max_pool, mean_pool
from .recurrence import diagonal_recurrence
from .rotary import rotary
from .transformer import Transformer

__all__ = [
    "MLP",
    "ConvNet",
    "DiagonalRecurrence",
    "MinibatchLoss",
    "Transformer",
    "attention",
    "conv2d",
    "diagonal_recurrence",
    "dropout",
    "embedding",
    "gelu",
    "identity",
    "layer_norm",
    "leaky_relu",
    "log_softmax",
    "max_pool",
    "mean_pool",
    "relu",
    "rotary",
    "sigmoid",
    "silu",
    "softmax_cross_entropy",
    "tanh",
    "tanhshrink",
]


def __dir__():
    return __all__
