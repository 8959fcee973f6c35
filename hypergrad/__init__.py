"""Differentiate through training: a whole training run as one differentiable function."""

from . import chaos, data, errors, fit, init, losses, meta, nn, optimizers, probe, runs, schedules, testing
from .adjoints import Adjoint, Checkpointed, Cost, Reversible, Stored, Truncated
from .errors import DivergedError
from .forward_mode import ForwardTangents, forward_tangents
from .meta import track
from .optimizers import SGD, Accumulated, Adam, Clipped, Constant, Optimizer, PerWeight, RMSProp
from .planner import Plan, plan
from .ranges import Range
from .train import train

__version__ = "0.1.0"
__all__ = [
    "SGD",
    "Accumulated",
    "Adam",
    "Adjoint",
    "Checkpointed",
    "Clipped",
    "Constant",
    "Cost",
    "DivergedError",
    "ForwardTangents",
    "Optimizer",
    "PerWeight",
    "Plan",
    "RMSProp",
    "Range",
    "Reversible",
    "Stored",
    "Truncated",
    "chaos",
    "data",
    "errors",
    "fit",
    "forward_tangents",
    "init",
    "losses",
    "meta",
    "nn",
    "optimizers",
    "plan",
    "probe",
    "runs",
    "schedules",
    "testing",
    "track",
    "train",
]


def __dir__():
    return [*__all__, "__version__"]
