"""Oracles: gradients and Hessian-vector products of a loss.

The products come from autograd, reverse over reverse, or from the loss itself where it has

- ``gradient(params, hyper, step) -> gradient`` and
- ``gradient_with_hvp(params, hyper, step) -> (gradient, hvp)``, where ``hvp(direction)`` is the
  product of the Hessian with a nest in the shape of the parameters, computed from kept
  intermediates; it may be called later and more than once.

A loss's own methods are used unless ``hyper`` is being differentiated: they know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from autograd.core import vspace
from autograd.tracer import getval, isbox

from .errors import DifferentiationError, LossError
from .nests import Structure, flatten, leaf_places, unflatten
from .tracing import linearize


def _as_arrays(grads: list, inputs: list) -> list:
    """Gradients as arrays in the dtype of the inputs; zeros where there is no dependence.

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
    return [np.zeros_like(x) if g is None else np.asarray(g, dtype=x.dtype) for g, x in zip(grads, inputs)]


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

    @property
    def _own(self) -> bool:
        return not self.wants_hyper and hasattr(self.loss, "gradient") and hasattr(self.loss, "gradient_with_hvp")

    def gradient(self, params: list, step: int) -> list:
        """∂L/∂w, one array for each of ``params``."""
        if self._own:
            return self._leaves_of(self.loss.gradient(*self._nests(params, self.hyper_leaves), step), params, step)
        return _as_arrays(self._traced_gradient(params, self.hyper_leaves, step), params)

    def gradient_with_hvp(self, params: list, step: int):
        """The gradient, and ``hvp(d) -> (∂²L/∂w∂w · d, ∂²L/∂h∂w · d)`` to pull a cotangent of it back.

        The second part is [] unless ``hyper`` is being differentiated.
        """
        if self._own:
            gradient, own_hvp = self.loss.gradient_with_hvp(*self._nests(params, self.hyper_leaves), step)
            gradient = self._leaves_of(gradient, params, step)
            return gradient, lambda d: (self._leaves_of(own_hvp(unflatten(self.params, d)), params, step), [])

        inputs = params + self.hyper_leaves if self.wants_hyper else params

        def gradient_of(leaves):
            hyper_leaves = leaves[len(params) :] if self.wants_hyper else self.hyper_leaves
            return self._traced_gradient(leaves[: len(params)], hyper_leaves, step)

        gradient, pull = linearize(gradient_of, inputs)

        def hvp(direction):
            products = _as_arrays(pull(direction), inputs)
            return products[: len(params)], products[len(params) :]

        return _as_arrays(gradient, params), hvp

    def gradient_with_tangent(self, params: list, params_tangent: list, hyper_tangent: list, step: int):
        """The gradient and its tangent ∂²L/∂w∂w · dw + ∂²L/∂w∂h · dh.

        By the symmetry of second derivatives the tangent is the pullback of (dw, dh) through
        ∂L/∂(w, h), so it needs no forward-mode rule of any primitive in the loss.
        """
        if not self.wants_hyper:
            gradient, hvp = self.gradient_with_hvp(params, step)
            return gradient, hvp(params_tangent)[0]

        def joint_gradient_of(leaves):
            return self._traced_gradient(leaves, self.hyper_leaves, step, with_hyper=True)

        gradient, pull = linearize(joint_gradient_of, params)
        tangent = pull(params_tangent + hyper_tangent)
        return _as_arrays(gradient[: len(params)], params), _as_arrays(tangent, params)

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
        if not pull.depends:
            raise LossError(
                f"the loss does not depend on params at step {step} (it returned {value!r}); "
                "compute it from the params it is given, with autograd.numpy"
            )
        gradient = pull([vspace(getval(value)).ones()])
        return [np.zeros(np.shape(x)) if g is None else g for g, x in zip(gradient, inputs)]

    def _leaves_of(self, nest, params: list, step: int) -> list:
        """The leaves of a gradient that the loss computed itself, checked against the parameters."""
        leaves, structure = flatten(nest)
        places = leaf_places(self.params, "gradient")
        if structure != self.params:
            raise LossError(f"the loss's own gradient at step {step} is not a nest in the shape of params")
        for leaf, param, place in zip(leaves, params, places):
            if np.shape(leaf) != param.shape:
                raise LossError(
                    f"the loss's own {place} has shape {np.shape(leaf)} at step {step}, its parameter {param.shape}"
                )
        return leaves
