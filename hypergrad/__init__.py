"""Differentiate through training: a whole training run as one differentiable function."""

from . import data, errors, init, nn, probe, testing
from .adjoints import Stored
from .errors import DivergedError
from .optimizers import SGD
from .train import train

__version__ = "0.1.0"
__all__ = ["SGD", "DivergedError", "Stored", "data", "errors", "init", "nn", "probe", "testing", "train"]
