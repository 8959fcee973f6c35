"""Laws fitted to the results of many trainings: power laws with a floor, and which trainings lie outside one."""

from .irregular import Irregular, irregular
from .power_law import PowerLaw, power_law

__all__ = ["Irregular", "PowerLaw", "irregular", "power_law"]


def __dir__():
    return __all__
