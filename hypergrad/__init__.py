"""Differentiate through training: a whole training run as one differentiable function."""

from . import chaos, data, errors, init, meta, nn, probe, schedules, testing
from .adjoints import Checkpointed, Reversible, Stored, Truncated
from .errors import DivergedError
from .hyperparameters import Range
from .optimizers import SGD, Adam, Optimizer, RMSProp
from .planner import Plan, plan
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
    "meta",
    "nn",
    "plan",
    "probe",
    "schedules",
    "testing",
    "train",
]
