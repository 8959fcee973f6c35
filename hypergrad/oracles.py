"""Oracles: gradients and Hessian-vector products of a loss.

The products come from autograd, reverse over reverse, or from the loss itself where it has

- ``gradient(params, hyper, step) -> gradient`` and
- ``gradient_with_hvp(params, hyper, step) -> (gradient, hvp)``, where ``hvp(direction)`` is the
  product of the Hessian with a nest in the shape of the parameters, computed from kept
  intermediates; it may be called later and more than once, so what it keeps must not be reused.

Both must give the same gradient to the last bit, or trajectories would depend on the adjoint, and
exact ones could not be reversed.

A loss's own methods are used unless ``hyper`` is being differentiated (they know nothing of it), or a
subclass has changed the loss but not them. The arrays they are given are read-only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from autograd.core import vspace
from autograd.tracer import getval, isbox

from .arrays import own
from .errors import DifferentiationError, LossError, NestError, UnusedHyperWarning
from .inheritance import depth
from .nests import Structure, broadcast_prefix, leaf_places, leaves_like, unflatten
from .tracing import linearize


def _as_arrays(grads: list, forms: list) -> list:
    """Gradients as arrays of the shapes and dtypes of the inputs; zeros where there is no dependence.

    Raises:
      DifferentiationError: a box from outside came in through the loss. The loss then uses a value
        that is being differentiated without being told of it, and its derivative would be lost.
    """
    if any(isbox(g) for g in grads):
        raise DifferentiationError(
            "the loss uses a value that is being differentiated but did not come in through its arguments "
            "(it closes over it, or a global holds it), so the derivative would miss it; "
            "pass it as train(..., hyper=value) and take it from the loss's argument `hyper`"
        )
    return [np.zeros(*form) if g is None else np.asarray(g, dtype=form[1]) for g, form in zip(grads, forms)]


def _forms(arrays: list) -> list[tuple]:
    """Shape and dtype of each array."""
    return [(x.shape, x.dtype) for x in arrays]


@dataclass(frozen=True)
class Oracle:
    """Derivatives of ``loss(params, hyper, step)`` on flat lists of arrays.

    Attributes:
      loss: the user's loss.
      params: structure of the parameters.
      hyper: structure of ``hyper``, or None if there is none.
      hyper_leaves: the arrays of ``hyper``.
      wants_hyper: whether ``hyper`` is being differentiated.
    """

    loss: Callable
    params: Structure
    hyper: Structure | None
    hyper_leaves: list
    wants_hyper: bool

    @cached_property
    def _own(self) -> bool:
        """Whether the loss's own derivatives are used."""
        return not self.wants_hyper and has_own_derivatives(self.loss, "__call__")

    def gradient(self, params: list, step: int) -> list:
        """∂L/∂w, one array for each of ``params``."""
        if self._own:
            nests = self._nests(read_only(params), self.hyper_leaves)
            return self._leaves_of(self.loss.gradient(*nests, step), _forms(params), step)
        # Traced as deeply as for the product, although that is not wanted: NumPy rounds x ** 2 and some others
        # differently for arrays and for boxes, and every adjoint must see the same bits.
        return self.gradient_with_hvp(params, step)[0]

    def gradient_with_hvp(self, params: list, step: int):
        """The gradient, and ``hvp(d) -> (∂²L/∂w∂w · d, ∂²L/∂h∂w · d)`` to pull a cotangent of it back.

        The second part is [] unless ``hyper`` is being differentiated. What a loss computed itself may lie in
        a buffer of its own: the gradient holds until the next product or step, and is copied to keep it.
        """
        if self._own:
            nests = self._nests(read_only(params), self.hyper_leaves)
            gradient, own_hvp = self.loss.gradient_with_hvp(*nests, step)
            forms = _forms(params)  # not the arrays, which the loss may not have kept
            gradient = self._leaves_of(gradient, forms, step)

            def hvp_of_loss(direction):
                product = own_hvp(unflatten(self.params, read_only(direction)))
                return self._leaves_of(product, forms, step), []

            return gradient, hvp_of_loss

        inputs = params + self.hyper_leaves if self.wants_hyper else params

        def gradient_of(leaves):
            hyper_leaves = leaves[len(params) :] if self.wants_hyper else self.hyper_leaves
            return self._traced_gradient(leaves[: len(params)], hyper_leaves, step)

        gradient, pull = linearize(gradient_of, inputs)
        forms = _forms(inputs)

        def hvp(direction):
            products = pull(direction)
            if step == 0 and self.wants_hyper:
                _warn_if_unused(products[len(params) :])
            products = _as_arrays(products, forms)
            return products[: len(params)], products[len(params) :]

        return _as_arrays(gradient, forms[: len(params)]), hvp

    def gradient_with_tangent(self, params: list, params_tangent: list, hyper_tangent: list, step: int):
        """The gradient and its tangent ∂²L/∂w∂w · dw + ∂²L/∂w∂h · dh.

        By the symmetry of second derivatives the tangent is the pullback of (dw, dh) through
        ∂L/∂(w, h), so it needs no forward-mode rule of any primitive in the loss.
        """
        if not self.wants_hyper:
            gradient, hvp = self.gradient_with_hvp(params, step)
            gradient = own(gradient) if self._own else gradient
            return gradient, hvp(params_tangent)[0]

        def joint_gradient_of(leaves):
            return self._traced_gradient(leaves, self.hyper_leaves, step, with_hyper=True)

        gradient, pull = linearize(joint_gradient_of, params)
        tangent = pull(params_tangent + hyper_tangent)
        return _as_arrays(gradient[: len(params)], _forms(params)), _as_arrays(tangent, _forms(params))

    def _nests(self, params: list, hyper_leaves: list):
        return unflatten(self.params, params), None if self.hyper is None else unflatten(self.hyper, hyper_leaves)

    def _traced_gradient(self, params: list, hyper_leaves: list, step: int, with_hyper: bool = False) -> list:
        """The gradient by autograd, itself differentiable: with respect to params, and hyper if asked."""

        def loss_of(leaves):
            nests = self._nests(leaves[: len(params)], leaves[len(params) :] if with_hyper else hyper_leaves)
            return [self.loss(*nests, step)]

        inputs = params + hyper_leaves if with_hyper else params
        (value,), pull = linearize(loss_of, inputs)
        if np.shape(value) != ():
            raise LossError(
                f"the loss has shape {np.shape(value)} at step {step}; it must be a scalar: return a sum or a mean"
            )
        if np.iscomplexobj(getval(value)):
            raise LossError(f"the loss is complex at step {step}: {value}; take its real part or magnitude")
        if not pull.depends:
            raise LossError(
                f"the loss does not depend on params at step {step} (it returned {value!r}); "
                "compute it from the params it is given, with autograd.numpy"
            )
        gradient = pull([vspace(getval(value)).ones()])
        if with_hyper and step == 0:
            _warn_if_unused(gradient[len(params) :])
        return [np.zeros(np.shape(x)) if g is None else g for g, x in zip(gradient, inputs)]

    def _leaves_of(self, nest, forms: list, step: int) -> list:
        """The leaves of a gradient that the loss computed itself, as arrays like the parameters."""
        leaves = leaves_like(nest, self.params)
        if leaves is None:
            try:
                broadcast_prefix(nest, self.params, name="gradient", target="params")
            except NestError as error:
                raise LossError(f"the loss's own gradient at step {step} is not a nest like params: {error}") from None
            raise LossError(f"the loss's own gradient at step {step} is not a nest like params: it has fewer arrays")
        for index, (leaf, (shape, _)) in enumerate(zip(leaves, forms)):
            if np.shape(leaf) != shape:
                place = leaf_places(self.params, "gradient")[index]
                raise LossError(
                    f"the loss's own {place} has shape {np.shape(leaf)} at step {step}, its parameter {shape}"
                )
        return _as_arrays(leaves, forms)


def has_own_derivatives(function: Any, *value_methods: str) -> bool:
    """Whether an object has ``gradient`` and ``gradient_with_hvp`` that belong to its value.

    They don't where a subclass overrides a method that makes the value, but not them.
    """

    derivatives = ("gradient", "gradient_with_hvp")
    if not all(hasattr(function, name) for name in derivatives):
        return False

    def depth_of(name: str) -> int:
        return depth(type(function), name, nowhere=-1)  # then it is the object's own

    return max(map(depth_of, derivatives)) <= min(map(depth_of, value_methods))


def read_only(arrays: list) -> list:
    """Views through which the arrays cannot be changed."""
    views = [np.asarray(array).view() for array in arrays]
    for view in views:
        view.flags.writeable = False
    return views


def _warn_if_unused(hyper_products: list) -> None:
    if all(product is None for product in hyper_products):
        warnings.warn(
            "hyper is being differentiated, but the gradient of the loss at step 0 does not depend on it "
            "(MinibatchLoss ignores hyper: wrap it in a loss of your own that uses it)",
            UnusedHyperWarning,
            stacklevel=2,
        )
