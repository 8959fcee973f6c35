"""Chaos in training: how fast perturbations grow, what curvature allows, and whether to trust a derivative."""

from .probe.lyapunov import Lyapunov, lyapunov
from .probe.sharpness import max_lr, sharpness
from .probe.trust import Trust, trust

__all__ = ["Lyapunov", "Trust", "lyapunov", "max_lr", "sharpness", "trust"]


def __dir__():
    return __all__
