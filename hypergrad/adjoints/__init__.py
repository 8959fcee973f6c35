"""Adjoints: how the reverse pass gets the trajectory back."""

from .base import Adjoint, Cost
from .checkpointed import Checkpointed
from .reversible import Reversible
from .stored import Stored
from .truncated import Truncated

__all__ = ["Adjoint", "Checkpointed", "Cost", "Reversible", "Stored", "Truncated"]

PLANNED = (Stored(), Reversible(), Checkpointed())  # the first whose cost fits is taken


def __dir__():
    return __all__
