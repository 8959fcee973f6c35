"""What a loss is to a run: value, gradient, products of its Hessian, and how many bytes it keeps for those.

A loss that a user gives is a function ``loss(params, hyper, step)``, and everything comes from autograd. Where
derivatives are written out, or come from elsewhere, they are one object together with the function they belong to:
its class is registered here, and only objects of just that class are taken for what it promises. A wrapper around
such an object, a class derived from it or a function that calls it is another function, with its own derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..nests import Structure, unflatten
from ..workspace import Arena, row


class Inputs(NamedTuple):
    """What the loss of a run is given, apart from the parameters and the step.

    Attributes:
      params: structure of the parameters.
      hyper: structure of ``hyper``, or None if there is none.
      hyper_leaves: the arrays of ``hyper``.
      wants_hyper: whether ``hyper`` is being differentiated.
    """

    params: Structure
    hyper: Structure | None
    hyper_leaves: list
    wants_hyper: bool

    def nests(self, params: list, hyper_leaves: list | None = None) -> tuple:
        """The nests of parameters and ``hyper``, as the user's function takes them."""
        hyper_leaves = self.hyper_leaves if hyper_leaves is None else hyper_leaves
        return unflatten(self.params, params), None if self.hyper is None else unflatten(self.hyper, hyper_leaves)


class Linearized(NamedTuple):
    """What a loss keeps of one step.

    Attributes:
      value: of the loss; None if it was not computed.
      product: ``product(direction, to, add=False)`` writes ∂²L/∂w∂w · d into the arrays ``to``, or adds it to them, and
        returns ∂²L/∂h∂w · d, the arrays of ``hyper`` ([] unless it is being differentiated). It may be called
        later, and more than once.
      nbytes: a function that counts the bytes kept for it.
    """

    value: float | None
    product: Callable[..., list]
    nbytes: Callable[[], int]


class Loss:
    """The loss of a run, on flat lists of arrays.

    Attributes:
      inputs: what else it is given.
      keeps_params: whether what it keeps of a step refers to the arrays of the parameters, which must then stay as
        they are.
      kept_in_arena: whether that lies in the arena, whose memory stays in use until the run is over.
      transposed: which matrices among the parameters, and so among gradients and directions, it is given column by
        column if the run can do with that, since it works faster on those.
    """

    inputs: Inputs
    keeps_params: bool = True
    kept_in_arena: bool = False
    transposed: tuple[int, ...] = ()

    def is_closed(self, steps: int) -> bool:
        """Whether a run of so many steps is known to see a function of what it is given, so that only what is computed
        twice needs to be compared.
        """
        return False

    def confirm(self, steps: int) -> None:
        """In a run of so many steps, one that was computed again came out the same."""

    def working(self, kept: int) -> int:
        """About how many bytes a product works with, if the loss keeps so many for it."""
        return kept

    def value(self, params: list, step: int) -> float:
        """The loss."""
        raise NotImplementedError

    def gradient(self, params: list, step: int, to: list, arena: Arena) -> float | None:
        """Write ∂L/∂w into the arrays ``to``; returns the value if it is known.

        What it works with may come from the arena, and is taken back afterwards.
        """
        raise NotImplementedError

    def linearize(self, params: list, step: int, to: list, arena: Arena) -> Linearized:
        """Write the same gradient, to the last bit, and keep what its products need, in the arena if that serves."""
        raise NotImplementedError

    def tangents(
        self, params: list, step: int, to: list, params_dots: list, hyper_dots: list, to_dots: list, arena: Arena
    ) -> float | None:
        """Write the gradient, and its tangents ∂²L/∂w∂w · dw + ∂²L/∂w∂h · dh into the arrays ``to_dots``; the value.

        Tangents are stacked over one direction or more, along a first axis of every array. This is for losses whose
        ``hyper`` is not being differentiated: the step is linearized once, with a product for each direction.
        """
        linear = self.linearize(params, step, to, arena)
        for k in range(len(to_dots[0])):
            linear.product(row(params_dots, k), row(to_dots, k))
        return linear.value

    def why_not_finite(self, params: list, step: int) -> str:
        """Which operation makes the gradient other than finite, in brackets, for a message; empty if not known."""
        return ""


_KINDS: dict[type, Callable[[Any, Inputs], Loss | None]] = {}


def register(kind: type, adapt: Callable[[Any, Inputs], Loss | None]) -> None:
    """Let ``adapt(loss, inputs)`` make the loss of a run of objects of just this class.

    It returns None where the object has no derivatives to offer for these inputs.
    """
    _KINDS[kind] = adapt


def adapted(loss: Callable, inputs: Inputs) -> Loss | None:
    """The loss of a run, for an object of a registered class."""
    adapt = _KINDS.get(type(loss))
    return None if adapt is None else adapt(loss, inputs)


def is_registered(loss: Any) -> bool:
    """Whether the derivatives of an object may come from elsewhere than from autograd."""
    return type(loss) in _KINDS


class Frozen:
    """Objects of a registered class keep what they were made with: their derivatives belong to it.

    Derived classes may change what they like, since their derivatives come from autograd.
    """

    def __setattr__(self, name: str, value) -> None:
        if type(self) in _KINDS and name in vars(self):
            raise AttributeError(
                f"{name} of {type(self).__name__} cannot be set anew, since its derivatives are written out for what "
                "it was made with; make a new one, or derive a class, whose derivatives then come from autograd"
            )
        if type(self) in _KINDS and hasattr(type(self), name):
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be replaced, since its derivatives are written out for it; write "
                "a function that calls it, or derive a class, whose derivatives then come from autograd"
            )
        super().__setattr__(name, value)
