"""The loss of a run whose derivatives are PyTorch's."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from ..errors import LossError
from ..workspace import Arena, row
from ._torch_modes import Drew, forwards, forwards_without_draws, recorded
from ._torch_tensors import Place, array, check_differentiable, edges, in_words, may_be_marked, pulled_back
from .autograd import warn_if_unused, write
from .base import Inputs, Linearized, Loss


class _Seen:
    """What earlier runs showed of a loss. Should it be otherwise now, an error comes later than at the first step.

    Attributes:
      tried: the forms of inputs for which a gradient was pulled back.
      draws: whether it needed random numbers.
      confirmed: for the nests it was given, the steps of the longest run in which one was computed again and came out
        the same.
    """

    def __init__(self):
        self.tried: set = set()
        self.confirmed: dict[tuple, int] = {}
        self.draws = True  # until a first forward pass has shown that there are none


_SEEN: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def checked_scalar(value, step: int, place: Place):
    """What the loss returned, if it is one.

    Raises:
      LossError: it is not.
    """
    import torch

    if not isinstance(value, torch.Tensor):
        raise LossError(
            f"the loss returned a {type(value).__module__}.{type(value).__qualname__} at step {step}; it must return a "
            "scalar tensor, computed with torch and without .item(), float(…) or NumPy"
        )
    if value.shape != ():
        raise LossError(
            f"the loss has shape {tuple(value.shape)} at step {step}; it must be a scalar: return a sum or a mean"
        )
    if value.is_complex():
        raise LossError(f"the loss is complex at step {step}; take its real part or magnitude")
    if value.requires_grad and torch.finfo(value.dtype).eps > torch.finfo(place.dtype).eps:
        raise LossError(
            f"the loss was computed in {value.dtype} at step {step}, but the run is in {place.dtype}: leave out "
            ".float(), .half() and torch.autocast, or choose dtype="
        )
    return value


class LossOfTorch(Loss):
    """The loss of a run with a loss from PyTorch, on tensors made for each step.

    The gradient is always made so that it can be pulled back: PyTorch rounds some of them differently otherwise.
    """

    keeps_params = False

    def __init__(self, loss: Any, inputs: Inputs):
        self.loss, self.inputs = loss, inputs
        self.place: Place | None = None
        self.call: Any = None
        self.hyper: list = []
        self.counting = False
        self.seen = _SEEN.setdefault(loss, _Seen())

    def is_closed(self, steps: int) -> bool:
        return steps <= self.seen.confirmed.get(self._nests, 0)

    def confirm(self, steps: int) -> None:
        self.seen.confirmed[self._nests] = max(self.seen.confirmed.get(self._nests, 0), steps)

    @property
    def _nests(self) -> tuple:
        return self.inputs.params, self.inputs.hyper

    def value(self, params: list, step: int) -> float:
        with recorded():
            return self._scalar(self._leaves(params), step).item()

    def gradient(self, params: list, step: int, to: list, arena: Arena) -> float | None:
        with recorded():
            value, gradient, _ = self._gradient(params, step, len(params))
        write(_arrays(gradient), to)
        return value.item()

    def linearize(self, params: list, step: int, to: list, arena: Arena) -> Linearized:
        with recorded():
            value, gradient, inputs = self._gradient(params, step, len(params))
            self._check(value, gradient, inputs)
        write(_arrays(gradient), to)
        graph = edges(gradient)  # not the numbers, which the run has now
        place: Any = self.place
        hyper_leaves = self.inputs.hyper_leaves

        def product(direction: list, to: list, add: bool = False) -> list:
            with recorded():
                bars = pulled_back(graph, inputs, [place.cast(d) for d in direction])
            own, mixed = _arrays(bars[: len(to)]), _arrays(bars[len(to) :])
            write(own, to, add)
            if step == 0 and self.inputs.wants_hyper:
                warn_if_unused(mixed)
            return [np.zeros_like(h) if m is None else np.asarray(m, h.dtype) for m, h in zip(mixed, hyper_leaves)]

        return Linearized(value.item(), product, lambda: self._bytes([array(w) for w in inputs[: len(to)]], step))

    def tangents(self, params, step, to, params_dots, hyper_dots, to_dots, arena):
        """By the symmetry of second derivatives: pullbacks of (dw, dh) through ∂L/∂(w, h)."""
        with recorded():
            value, joint, inputs = self._gradient(params, step, None)
            self._check(value, joint, inputs[: len(params)])
            directions = [*params_dots, *(hyper_dots if self.inputs.wants_hyper else [])]
            for k in range(len(to_dots[0])):
                along = [self.place.tensor(d) for d in row(directions, k)]
                write(_arrays(pulled_back(joint, inputs[: len(params)], along)), row(to_dots, k))
        write(_arrays(joint[: len(params)]), to)
        if step == 0 and self.inputs.wants_hyper:
            warn_if_unused(joint[len(params) :])
        return value.item()

    def _leaves(self, params: list) -> list:
        """The parameters as tensors of their own."""
        if self.place is None:
            self.place = self.loss.place(params)
            self.call = self.loss.opened(self.place)
            self.hyper = [self.place.tensor(h, self.inputs.wants_hyper) for h in self.inputs.hyper_leaves]
        return [self.place.tensor(w, differentiated=True) for w in params]

    def _scalar(self, leaves: list, step: int) -> Any:
        nests = self.inputs.nests(leaves, self.hyper)
        evaluate = lambda: checked_scalar(self.call(*nests, step), step, self.place)  # type: ignore[arg-type]
        with in_words():
            value = None if self.seen.draws else self._without_draws(evaluate)
            if value is None:
                with forwards([self.loss.seed, step], hooks=self.counting) as drawn:
                    value = evaluate()
                self.seen.draws = drawn.has_drawn or self.place.device.type != "cpu"  # type: ignore[union-attr]
                if not self.seen.draws:  # this step too, whose bits may be compared with those of later ones
                    value = self._without_draws(evaluate)
        if any(h._version for h in self.hyper):
            raise LossError(f"hyper was changed in place at step {step}: make a new tensor")
        return value

    def _without_draws(self, evaluate) -> Any:
        """What it evaluates to if it needs no random numbers, else None."""
        try:
            with forwards_without_draws(hooks=self.counting):
                return evaluate()
        except Drew:
            return None

    def _gradient(self, params: list, step: int, size: int | None) -> tuple[Any, list, list]:
        """Value, gradient by the first ``size`` of the inputs (by all if None), and the inputs."""
        import torch

        inputs = self._leaves(params)
        value = self._scalar(inputs, step)
        inputs = inputs + self.hyper if self.inputs.wants_hyper else inputs
        # With a cotangent that is differentiated, what has no second derivative leaves a mark on every path.
        gradient = pulled_back([value], inputs[:size], [torch.ones_like(value).requires_grad_()], create_graph=True)
        if all(g is None for g in gradient[: len(params)]):
            raise LossError(
                f"the loss does not depend on params at step {step} (it returned {value.item()!r}); compute it from "
                "the params it is given, with torch (a module by torch.func.functional_call(module, params, x))"
            )
        return value, gradient, inputs

    def _check(self, value, gradient: list, inputs: list) -> None:
        """Whether the gradient can be pulled back: tried in the first run of a loss, before training goes on."""
        if may_be_marked([value]):
            check_differentiable(gradient)
        form = self.place, self.inputs.params, self.inputs.hyper, *(w.shape for w in inputs)
        if form not in self.seen.tried:
            pulled_back(gradient, inputs, gradient)
            self.seen.tried.add(form)

    def _bytes(self, params: list, step: int) -> int:
        """Bytes that the graph of a step keeps: it is made twice more, and what both save was there before."""
        first, second = self._saved(params, step), self._saved(params, step)
        return sum(nbytes for pointer, nbytes in first[0].items() if pointer not in second[0])

    def _saved(self, params: list, step: int) -> tuple[dict, list]:
        """The memory that the graph of a step saves, bytes by their place; and the gradient, which keeps it."""
        import torch

        saved: dict[int, int] = {}

        def note(tensor):
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        self.counting = True
        try:
            with recorded(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                _, gradient, inputs = self._gradient(params, step, len(params))
        finally:
            self.counting = False
        for tensor in (*edges(gradient), *inputs[: len(params)]):
            if isinstance(tensor, torch.Tensor):
                note(tensor)
        return saved, gradient


def _arrays(tensors: list) -> list:
    return [None if t is None else array(t) for t in tensors]
