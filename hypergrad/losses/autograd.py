"""Losses that are functions written with autograd.numpy: all their derivatives come from autograd."""

from __future__ import annotations

import linecache
import traceback
import warnings
from collections.abc import Callable

import numpy as np

from ..bridge import getval, isbox, vjp, where_not_finite
from ..errors import DifferentiationError, HypergradError, LossError, UnusedHyperWarning
from ..workspace import Arena, row
from .base import Inputs, Linearized, Loss
from .footprint import footprint


class AutogradLoss(Loss):
    """The loss of a run, reverse over reverse: the gradient is itself traced and pulled back for products.

    It is traced as deeply for the gradient alone: NumPy rounds ``x ** 2`` and some others differently for arrays and
    for boxes, and every adjoint must see the same bits.
    """

    def __init__(self, function: Callable, inputs: Inputs):
        self.function, self.inputs = function, inputs

    def value(self, params: list, step: int) -> float:
        return float(getval(self._call(params, self.inputs.hyper_leaves, step)))

    def gradient(self, params: list, step: int, to: list, arena: Arena) -> float | None:
        return self.linearize(params, step, to, arena).value

    def linearize(self, params: list, step: int, to: list, arena: Arena) -> Linearized:
        hyper_leaves = self.inputs.hyper_leaves
        inputs = params + hyper_leaves if self.inputs.wants_hyper else params
        values: list = []

        def gradient_of(leaves):
            hyper = leaves[len(params) :] if self.inputs.wants_hyper else hyper_leaves
            return self._traced_gradient(leaves[: len(params)], hyper, step, values)

        gradient, pull = vjp(gradient_of, inputs)
        write(gradient, to)
        sizes = [(h.shape, h.dtype) for h in hyper_leaves]

        def product(direction: list, to: list, add: bool = False) -> list:
            products = pull(direction)
            write(products[: len(to)], to, add)
            mixed = products[len(to) :]
            if step == 0 and self.inputs.wants_hyper:
                warn_if_unused(mixed)
            reject_boxes(mixed)
            return [np.zeros(*form) if m is None else np.asarray(m, dtype=form[1]) for m, form in zip(mixed, sizes)]

        return Linearized(values[0], product, lambda: footprint(pull, [self.function, params, hyper_leaves]))

    def tangents(self, params, step, to, params_dots, hyper_dots, to_dots, arena):
        """By the symmetry of second derivatives a tangent is the pullback of (dw, dh) through ∂L/∂(w, h).

        So it needs no forward-mode rule of any primitive in the loss.
        """
        if not self.inputs.wants_hyper:
            return super().tangents(params, step, to, params_dots, hyper_dots, to_dots, arena)
        values: list = []

        def joint_gradient_of(leaves):
            return self._traced_gradient(leaves, self.inputs.hyper_leaves, step, values, with_hyper=True)

        gradient, pull = vjp(joint_gradient_of, params)
        write(gradient[: len(to)], to)
        for k in range(len(to_dots[0])):
            write(pull(row([*params_dots, *hyper_dots], k)), row(to_dots, k))
        return values[0]

    def why_not_finite(self, params: list, step: int) -> str:
        name = where_not_finite(lambda leaves: self._call(leaves, self.inputs.hyper_leaves, step), params)
        return f" (the derivative of `{name}` is the first that is not finite)" if name else ""

    def _traced_gradient(
        self, params: list, hyper_leaves: list, step: int, values: list, with_hyper: bool = False
    ) -> list:
        """The gradient by autograd, itself differentiable: with respect to params, and hyper if asked.

        Adds the loss to ``values``.
        """

        def loss_of(leaves):
            hyper = leaves[len(params) :] if with_hyper else hyper_leaves
            return [self._call(leaves[: len(params)], hyper, step)]

        inputs = params + hyper_leaves if with_hyper else params
        (value,), pull = vjp(loss_of, inputs)
        plain = getval(value)
        if np.shape(plain) != ():
            raise LossError(
                f"the loss has shape {np.shape(plain)} at step {step}; it must be a scalar: return a sum or a mean"
            )
        if np.iscomplexobj(plain):
            raise LossError(f"the loss is complex at step {step}: {value}; take its real part or magnitude")
        if not pull.depends:  # type: ignore[attr-defined]
            raise LossError(
                f"the loss does not depend on params at step {step} (it returned {value!r}); "
                "compute it from the params it is given, with autograd.numpy"
            )
        values.append(float(plain))
        gradient = pull([np.ones((), np.asarray(plain).dtype)])
        if with_hyper and step == 0:
            warn_if_unused(gradient[len(params) :])
        return [np.zeros(np.shape(getval(x))) if g is None else g for g, x in zip(gradient, inputs)]

    def _call(self, params: list, hyper_leaves: list, step: int):
        """The user's function, with the errors of what is not written with autograd.numpy in our words."""
        try:
            return self.function(*self.inputs.nests(params, hyper_leaves), step)
        except HypergradError:
            raise
        except Exception as error:
            reason = _not_autograd(error)
            if reason is None:
                raise
            raise LossError(f"{place_of(error)}: {reason}") from error


_FROM_JAX = "a loss in jax.numpy comes to train as hypergrad.losses.from_jax(loss)"
_FROM_TORCH = "a loss in torch comes to train as hypergrad.losses.from_torch(…) or from_torch_function(loss)"
_HINTS = (
    ("item assignment", "an array cannot be changed in place where it is being differentiated; build a new one"),
    ("valid JAX type", _FROM_JAX),
    ("jaxlib", _FROM_JAX),
    ("must be Tensor", _FROM_TORCH),
    ("torch.Tensor", _FROM_TORCH),
    ("must be real number", "`math` takes plain numbers only; use the function of that name in autograd.numpy"),
    ("__format__", "a value that is being differentiated cannot be formatted"),
    ("__round__", "a value that is being differentiated cannot be rounded by `round`"),
    ("'item'", "a value that is being differentiated has no .item()"),
    ("float() argument", "float(…) takes plain numbers only"),
    ("int() argument", "int(…) takes plain numbers only"),
    ("setting an array element", "plain NumPy, or an assignment to an entry of an array, cannot be differentiated"),
)
_LOGGING = (
    "; to look at values while training use train(…, callback=…), which gets the loss's value, parameters and gradient"
)


def _not_autograd(error: Exception) -> str | None:
    """What is wrong with a loss that raised this, if it is not written with autograd.numpy; else None."""
    text = str(error)
    of_boxes = any(
        part in text for part in ("Box", "setting an array element with a sequence", "torch.Tensor", "jaxlib")
    )
    if not of_boxes or not isinstance(error, TypeError | ValueError | AttributeError):
        return None
    hint = next((hint for part, hint in _HINTS if part in text), f"it raised {type(error).__name__}: {text}")
    logging = (
        _LOGGING if any(part in text for part in ("float()", "int()", "'item'", "__format__", "__round__")) else ""
    )
    return (
        "the loss must be written with autograd.numpy (import autograd.numpy as np), not with plain NumPy, math or "
        f"float: {hint}{logging}"
    )


_NOT_THE_USERS = ("/autograd/", "/numpy/", "/hypergrad/losses/", "/jax/", "/jaxlib/", "/equinox/", "/torch/")


def place_of(error: Exception) -> str:
    """The innermost line of the user's code that an error came through."""
    outside = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in "/" + frame.filename.replace("\\", "/") for part in _NOT_THE_USERS)
        and not frame.filename.replace("\\", "/").endswith("/hypergrad/bridge.py")
        and not frame.filename.startswith("<__array")
    ]
    if not outside:
        return "in the loss"
    frame = outside[-1]
    line = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
    return f"{frame.filename}:{frame.lineno}: `{line}`" if line else f"{frame.filename}:{frame.lineno}"


def write(values: list, to: list, add: bool = False) -> None:
    """Write gradients over arrays, or add them; zeros where there is no dependence."""
    reject_boxes(values)
    for value, array in zip(values, to):
        if add and value is not None:
            array += value
        elif not add:
            array[...] = 0.0 if value is None else value


CAPTURED = (
    "the loss uses a value that is being differentiated but did not come in through its arguments "
    "(it closes over it, or a global holds it), so the derivative would miss it; "
    "pass it as train(..., hyper=value) and take it from the loss's argument `hyper`"
)


def reject_boxes(values: list) -> None:
    """Raise where a box from outside came in through the loss.

    The loss then uses a value that is being differentiated without being told of it, and its derivative would be lost.

    Raises:
      DifferentiationError: saying how to hand it over.
    """
    if any(isbox(value) for value in values):
        raise DifferentiationError(CAPTURED)


def warn_if_unused(hyper_products: list) -> None:
    if all(product is None for product in hyper_products):
        warnings.warn(
            "hyper is being differentiated, but the gradient of the loss at step 0 does not depend on it "
            "(MinibatchLoss ignores hyper: wrap it in a loss of your own that uses it)",
            UnusedHyperWarning,
            stacklevel=2,
        )
