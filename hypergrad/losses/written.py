"""Losses whose derivatives a user has written out, as one object with the function they belong to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..bridge import isbox
from ..errors import ArgumentError, LossError, NestError
from ..nests import broadcast_prefix, leaf_places, leaves_like, unflatten
from ..workspace import Arena, read_only
from .autograd import AutogradLoss, reject_boxes
from .base import Inputs, Linearized, Loss, register
from .footprint import footprint


class WrittenLoss:
    """A loss together with its derivatives, written out by hand: they are used in place of autograd's.

        loss = hg.losses.WrittenLoss(value, gradient=…, gradient_with_hvp=…)

    Args:
      value: ``value(params, hyper, step)``, the scalar loss, written with autograd.numpy.
      gradient: ``gradient(params, hyper, step)``, ∂L/∂w, a nest like ``params``.
      gradient_with_hvp: the same arguments; returns the same gradient, to the last bit, and a function
        ``hvp(direction)``: the Hessian there times a nest like ``params``, from what it keeps. It may be called
        later, and more than once, so what it keeps must not be overwritten.
      gradient_with_products: None, or like ``gradient_with_hvp`` with ``products(direction)``, which returns the
        product with the Hessian and that of ∂²L/∂h∂w with the same direction, a nest like ``hyper``. Without
        it derivatives come from autograd where ``hyper`` is being differentiated.

    The functions get read-only arrays. The object is called like ``value`` and cannot be changed; a function that
    calls it, a wrapper or an object derived from it has autograd's derivatives. Nothing tells whether the derivatives
    are right but :func:`hypergrad.testing.check_loss`.

    Raises:
      ArgumentError: something that is no function.
    """

    __slots__ = ("gradient", "gradient_with_hvp", "gradient_with_products", "value")

    value: Callable
    gradient: Callable
    gradient_with_hvp: Callable
    gradient_with_products: Callable | None

    def __init__(
        self,
        value: Callable,
        *,
        gradient: Callable,
        gradient_with_hvp: Callable,
        gradient_with_products: Callable | None = None,
    ):
        given = {"value": value, "gradient": gradient, "gradient_with_hvp": gradient_with_hvp}
        if gradient_with_products is not None:
            given["gradient_with_products"] = gradient_with_products
        for name, function in given.items():
            if not callable(function):
                raise ArgumentError(f"WrittenLoss needs a function for {name}, got {function!r}")
        for name in self.__slots__:
            object.__setattr__(self, name, given.get(name))

    def __init_subclass__(cls):
        raise TypeError(
            "WrittenLoss cannot be derived from, since its derivatives belong to its value; make another WrittenLoss"
        )

    def __setattr__(self, name: str, value):
        raise AttributeError(f"{name} of a WrittenLoss cannot be changed; make another WrittenLoss")

    def __reduce__(self):
        return _made_again, tuple(getattr(self, name) for name in ("value", *WrittenLoss.__slots__[:3]))

    def __call__(self, params, hyper, step):
        return self.value(params, hyper, step)


def _made_again(value, gradient, gradient_with_hvp, gradient_with_products) -> WrittenLoss:
    return WrittenLoss(
        value,
        gradient=gradient,
        gradient_with_hvp=gradient_with_hvp,
        gradient_with_products=gradient_with_products,
    )


class LossOfWritten(Loss):
    """The loss of a run with a :class:`WrittenLoss`; its functions keep what they like of what they are given."""

    def __init__(self, written: WrittenLoss, inputs: Inputs):
        self.written, self.inputs = written, inputs

    def value(self, params: list, step: int) -> float:
        return float(self.written.value(*self._given(params), step))

    def _given(self, params: list) -> tuple:
        """Copies, so that it does not matter for how long they are kept."""
        return self.inputs.nests(read_only([w.copy() for w in params]), read_only(self.inputs.hyper_leaves))

    def gradient(self, params: list, step: int, to: list, arena: Arena) -> float | None:
        self._write(self.written.gradient(*self._given(params), step), to, step)
        return None

    def linearize(self, params: list, step: int, to: list, arena: Arena) -> Linearized:
        given = self._given(params)
        with_hyper = self.inputs.wants_hyper
        function = self.written.gradient_with_products if with_hyper else self.written.gradient_with_hvp
        gradient, product_of = function(*given, step)  # type: ignore[misc]
        self._write(gradient, to, step)

        def product(direction: list, to: list, add: bool = False) -> list:
            result = product_of(unflatten(self.inputs.params, read_only([d.copy() for d in direction])))
            own, mixed = result if with_hyper else (result, None)
            self._write(own, to, step, add)
            if not with_hyper:
                return []
            leaves = leaves_like(mixed, self.inputs.hyper)  # type: ignore[arg-type]
            if leaves is None:
                raise LossError(f"the loss's written-out mixed product at step {step} is not a nest like hyper")
            for leaf, h, place in zip(leaves, self.inputs.hyper_leaves, leaf_places(self.inputs.hyper, "hyper")):  # type: ignore[arg-type]
                if np.shape(leaf) != h.shape:
                    raise LossError(
                        f"the loss's written-out mixed product for {place} has shape {np.shape(leaf)} at step {step}, "
                        f"but {place} has {h.shape}"
                    )
            return [np.asarray(m, dtype=h.dtype) for m, h in zip(leaves, self.inputs.hyper_leaves)]

        functions = [getattr(self.written, name) for name in WrittenLoss.__slots__]
        return Linearized(None, product, lambda: footprint(product_of, [functions, self.inputs.hyper_leaves]))

    def tangents(self, params, step, to, params_dots, hyper_dots, to_dots, arena):
        given = params, step, to, params_dots, hyper_dots, to_dots, arena
        if not self.inputs.wants_hyper:
            return super().tangents(*given)
        value = AutogradLoss(self.written.value, self.inputs).tangents(*given)  # by hyper no product is written out
        self.gradient(params, step, to, arena)
        return value

    def _write(self, nest: Any, to: list, step: int, add: bool = False) -> None:
        """Write the leaves of a gradient, or of a product, that the loss computed."""
        leaves = leaves_like(nest, self.inputs.params)
        if leaves is None:
            try:
                broadcast_prefix(nest, self.inputs.params, name="gradient", target="params")
            except NestError as error:
                raise LossError(f"the loss's own gradient at step {step} is not a nest like params: {error}") from None
            raise LossError(f"the loss's own gradient at step {step} is not a nest like params: it has fewer arrays")
        if any(map(isbox, leaves)):
            reject_boxes(leaves)
        for index, (leaf, array) in enumerate(zip(leaves, to)):
            if np.shape(leaf) != array.shape:
                place = leaf_places(self.inputs.params, "gradient")[index]
                raise LossError(
                    f"the loss's own {place} has shape {np.shape(leaf)} at step {step}, its parameter {array.shape}"
                )
            if add:
                array += leaf
            else:
                array[...] = leaf


def _adapt(written: WrittenLoss, inputs: Inputs) -> Loss | None:
    if inputs.wants_hyper and written.gradient_with_products is None:
        return None
    return LossOfWritten(written, inputs)


register(WrittenLoss, _adapt)
