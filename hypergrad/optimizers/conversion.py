"""Optimizers of PyTorch and optax as ours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..bridge import getval
from ..errors import ArgumentError
from ..heavy_ball import from_heavy_ball
from .adaptive import Adam, RMSProp
from .base import Optimizer
from .sgd import SGD


def from_torch(name: str, **settings) -> Optimizer:
    """The optimizer that makes the steps of ``torch.optim``'s of that name, with its settings and their defaults.

    Args:
      name: "SGD", "RMSprop", "Adam" or "AdamW".
      settings: as PyTorch calls them, numbers or arrays ``(steps,)``, differentiable: ``lr``, ``momentum``,
        ``nesterov``, ``alpha``, ``betas``, ``eps``, ``weight_decay``.

    Raises:
      ArgumentError: something that has no counterpart; says what to do instead.
    """
    return _converted("torch.optim", _TORCH, name, settings)


def from_optax(name: str, **settings) -> Optimizer:
    """The optimizer that makes the steps of optax's of that name, with its settings and their defaults.

    ``optax.clip_by_global_norm`` before it is :class:`Clipped` around it; ``optax.MultiSteps`` is :class:`Accumulated`.

    Args:
      name: "sgd", "rmsprop", "adam" or "adamw".
      settings: as optax calls them, numbers or arrays ``(steps,)``, differentiable: ``learning_rate``, ``momentum``,
        ``nesterov``, ``decay``, ``b1``, ``b2``, ``eps``, ``weight_decay``. A schedule that is a function of the step is
        given as the array of its values.

    Raises:
      ArgumentError: something that has no counterpart; says what to do instead.
    """
    return _converted("optax", _OPTAX, name, settings)


_COUPLED = (
    "its weight_decay is coupled, a part of the gradient: add hyper / 2 · ‖w‖² to the loss, which is differentiable in "
    "it; weight_decay here is decoupled"
)


def _sgd(lr, momentum, nesterov) -> SGD:
    if nesterov and np.ndim(getval(momentum)):
        raise ArgumentError(
            "Nesterov's momentum with a schedule of momentum looks ahead by another factor here: give one number, or "
            "write it as an optimizer of your own"
        )
    lr, momentum = from_heavy_ball(lr, momentum)
    return SGD(lr, momentum, nesterov=bool(nesterov))


def _torch_sgd(lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False) -> SGD:
    _refuse("SGD", dampening=(dampening, "scale the learning rate"), weight_decay=(weight_decay, _COUPLED))
    return _sgd(lr, momentum, nesterov)


def _torch_rmsprop(lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False) -> RMSProp:
    own = "write it as an optimizer of your own"
    _refuse("RMSprop", momentum=(momentum, own), centered=(centered, own), weight_decay=(weight_decay, _COUPLED))
    return RMSProp(lr, alpha, eps)


def _torch_adam(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False) -> Adam:
    own = "the guide to optimizers has it as one of your own"
    _refuse("Adam", amsgrad=(amsgrad, own), weight_decay=(weight_decay, f"{_COUPLED}, as in AdamW"))
    b1, b2 = betas
    return Adam(lr, b1, b2, eps)


def _torch_adamw(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False) -> Adam:
    _refuse("AdamW", amsgrad=(amsgrad, "the guide to optimizers has it as one of your own"))
    b1, b2 = betas
    return Adam(lr, b1, b2, eps, weight_decay)


def _optax_sgd(learning_rate, momentum=None, nesterov=False) -> SGD:
    return _sgd(learning_rate, 0.0 if momentum is None else momentum, nesterov)


def _optax_rmsprop(
    learning_rate, decay=0.9, eps=1e-8, initial_scale=0.0, eps_in_sqrt=True, centered=False, momentum=None
) -> RMSProp:
    own = "write it as an optimizer of your own"
    inside = "ε lies outside of the root here: give eps_in_sqrt=False, or write it as an optimizer of your own"
    _refuse("rmsprop", eps_in_sqrt=(eps_in_sqrt, inside), initial_scale=(initial_scale, own), centered=(centered, own))
    _refuse("rmsprop", momentum=(momentum or 0.0, own))
    return RMSProp(learning_rate, decay, eps)


def _optax_adam(learning_rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, nesterov=False) -> Adam:
    own = "write it as an optimizer of your own"
    _refuse("adam", eps_root=(eps_root, own), nesterov=(nesterov, own))
    return Adam(learning_rate, b1, b2, eps)


def _optax_adamw(
    learning_rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, weight_decay=1e-4, mask=None, nesterov=False
) -> Adam:
    prefix = "give weight_decay as a nest that is a prefix of the parameters"
    _refuse("adamw", mask=(mask is not None, prefix), eps_root=(eps_root, "write it as an optimizer of your own"))
    _refuse("adamw", nesterov=(nesterov, "write it as an optimizer of your own"))
    return Adam(learning_rate, b1, b2, eps, weight_decay)


_TORCH: dict[str, Callable] = {
    "SGD": _torch_sgd,
    "RMSprop": _torch_rmsprop,
    "Adam": _torch_adam,
    "AdamW": _torch_adamw,
}
_OPTAX: dict[str, Callable] = {"sgd": _optax_sgd, "rmsprop": _optax_rmsprop, "adam": _optax_adam, "adamw": _optax_adamw}


def _converted(library: str, known: dict[str, Callable], name: str, settings: dict) -> Optimizer:
    if not isinstance(name, str):
        raise ArgumentError(
            f"{library} name is a {type(name).__name__}; give its name and settings: from_{library.split('.')[0]}"
            f'("{list(known)[-1]}", …)'
        )
    if name not in known:
        raise ArgumentError(f"{library} name must be one of {', '.join(known)}, got {name!r}")
    try:
        return known[name](**settings)
    except TypeError as error:
        raise ArgumentError(f"{library} {name}: {str(error).partition('() ')[2]}") from None


def _refuse(name: str, **settings) -> None:
    """Raise for the first of (value, what to do instead) that is not 0 or False."""
    for setting, (value, instead) in settings.items():
        if np.any(getval(value)):
            raise ArgumentError(f"{name}({setting}={getval(value)!r:.40}) has no counterpart here: {instead}")
