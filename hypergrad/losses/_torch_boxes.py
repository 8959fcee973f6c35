"""Functions of tensors as functions of autograd's boxes, in both modes and to any order.

The derivative of such a function is again one: autograd's rules are written with what PyTorch differentiates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..bridge import defjvp_argnums, defvjp_argnums, getval, primitive
from ..errors import LossError
from ._torch_modes import forwards, recorded
from ._torch_tensors import Place, array, check_differentiable, in_words, pulled_back


class Function:
    """A function of a list of tensors to one tensor, as one to a list.

    Args:
      call: the function.
      place: where it computes.
      seeds: (seed, step), for what it draws.
    """

    def __init__(self, call: Callable, place: Place, seeds: list[int]):
        self.call, self.place, self.seeds = call, place, seeds

    def __call__(self, tensors: list) -> list:
        import torch

        with in_words(), forwards(self.seeds):
            result = self.call(tensors)
        if not isinstance(result, torch.Tensor) or not result.is_floating_point():
            what = f"{result.dtype} tensor" if isinstance(result, torch.Tensor) else type(result).__qualname__
            raise LossError(f"a function from PyTorch must return one tensor of floats, got a {what}")
        return [result]


class Pullback:
    """(cotangents of the outputs, inputs) ↦ cotangents of the inputs."""

    def __init__(self, function: Any, outputs: int):
        self.function, self.place, self.outputs = function, function.place, outputs

    def __call__(self, tensors: list) -> list:
        import torch

        cotangents, inputs = tensors[: self.outputs], tensors[self.outputs :]
        outputs = self.function(inputs)
        check_differentiable(outputs)
        bars = pulled_back(outputs, inputs, cotangents, create_graph=True)
        return [torch.zeros_like(x) if bar is None else bar for bar, x in zip(bars, inputs)]


class Pushforward:
    """(inputs, their tangents) ↦ tangents of the outputs: the pullback is linear, and its own pullback is this."""

    def __init__(self, function: Any):
        self.function, self.place = function, function.place

    def __call__(self, tensors: list) -> list:
        import torch

        inputs, dots = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        outputs = self.function(inputs)
        if len(outputs) == 1 and outputs[0].shape == ():  # then the gradient is enough
            gradient = pulled_back(outputs, inputs, [None], create_graph=True)
            terms = [(g * dot).sum() for g, dot in zip(gradient, dots) if g is not None]
            return [sum(terms, torch.zeros_like(outputs[0]))]
        cotangents = [torch.zeros_like(y).requires_grad_() for y in outputs]
        bars = pulled_back(outputs, inputs, cotangents, create_graph=True)
        tangents = pulled_back(bars, cotangents, dots, create_graph=True)
        return [torch.zeros_like(y) if t is None else t for t, y in zip(tangents, outputs)]


def applied(function: Function, leaves: list) -> Any:
    """The value of a function of tensors at arrays, numbers or boxes of them: an array, or a box of one."""
    return _values(function, *leaves)[0]


@primitive
def _values(function, *leaves) -> tuple:
    with recorded():
        tensors = [function.place.tensor(leaf, differentiated=True) for leaf in leaves]
        return tuple(np.array(array(y)) for y in function(tensors))


def _pull(argnums, ans, args, kwargs):
    function, *leaves = args
    count, dtypes = len(ans), [np.asarray(getval(leaf)).dtype for leaf in leaves]

    def pull(cotangents):
        bars = _values(Pullback(function, count), *[cotangents[i] for i in range(count)], *leaves)
        return tuple(_as(bars[i - 1], dtypes[i - 1]) for i in argnums)

    return pull


def _push(argnums, dots, ans, args, kwargs):
    function, *leaves = args
    given = dict(zip(argnums, dots))
    filled = [given[i] if i in given else np.zeros(np.shape(getval(x))) for i, x in enumerate(leaves, start=1)]
    return _values(Pushforward(function), *leaves, *filled)


def _as(bar, dtype):
    """A cotangent in the precision of what it belongs to."""
    return bar if getval(bar).dtype == dtype else bar.astype(dtype)


defvjp_argnums(_values, _pull)
defjvp_argnums(_values, _push)
