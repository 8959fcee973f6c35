"""Differentiate through training: a whole training run as one differentiable function."""

from . import chaos, data, errors, init, nn, probe, testing
from .adjoints import Checkpointed, Reversible, Stored, Truncated
from .errors import DivergedError
from .optimizers import SGD, Adam, Optimizer, RMSProp
from .planner import Plan, plan
from .schedules import Range
from .train import train

__version__ = "0.1.0"
__all__ = [
    "SGD",
    "Adam",
    "Checkpointed",
    "DivergedError",
    "Optimizer",
    "Plan",
    "RMSProp",
    "Range",
    "Reversible",
    "Stored",
    "Truncated",
    "chaos",
    "data",
    "errors",
    "init",
    "nn",
    "plan",
    "probe",
    "testing",
    "train",
]
