"""Losses: what one is to a run, and where its derivatives come from."""

from .autograd import AutogradLoss as _AutogradLoss
from .base import Inputs as _Inputs
from .base import Loss as _Loss
from .base import adapted as _adapted
from .jax import from_jax, jax_function
from .torch import from_torch, from_torch_function, torch_function
from .written import WrittenLoss

__all__ = ["WrittenLoss", "from_jax", "from_torch", "from_torch_function", "jax_function", "torch_function"]


def __dir__():
    return __all__


def loss_of(function, inputs: _Inputs) -> _Loss:
    """The loss of a run: by the derivatives that belong to the object, or by autograd."""
    return _adapted(function, inputs) or _AutogradLoss(function, inputs)
