"""Functions of tensors as functions of autograd's boxes, in both modes and to any order.

The derivative of such a function is again one: autograd's rules are written with what PyTorch differentiates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..bridge import defjvp_argnums, defvjp_argnums, getval, isbox, levels, primitive
from ..errors import LossError
from ._torch_modes import forwards, recorded
from ._torch_tensors import Place, array, check_differentiable, in_words, pulled_back


class Graph(NamedTuple):
    """What PyTorch recorded of a function's value."""

    inputs: list
    outputs: list


class Function:
    """A function of a list of tensors to one tensor, as one to a list.

    Args:
      call: the function.
      place: where it computes.
      seeds: (seed, step), for what it draws.
      keeps: whether the graph of the value is kept, so that a first derivative need not compute it again.
    """

    def __init__(self, call: Callable, place: Place, seeds: list[int], keeps: bool):
        self.call, self.place, self.seeds, self.keeps = call, place, seeds, keeps
        self.graph: Graph | None = None

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

    keeps = False

    def __init__(self, function: Any, outputs: int):
        self.function, self.place, self.outputs = function, function.place, outputs

    def __call__(self, tensors: list) -> list:
        cotangents, inputs = tensors[: self.outputs], tensors[self.outputs :]
        return pullback_of(Graph(inputs, self.function(inputs)), cotangents, again=True)


def pullback_of(graph: Graph, cotangents: list, again: bool) -> list:
    """Cotangents of the inputs; differentiable if ``again``."""
    import torch

    check_differentiable(graph.outputs)
    bars = pulled_back(graph.outputs, graph.inputs, cotangents, create_graph=again, retain_graph=again)
    return [torch.zeros_like(x) if bar is None else bar for bar, x in zip(bars, graph.inputs)]


class Pushforward:
    """(inputs, their tangents) ↦ tangents of the outputs."""

    keeps = False

    def __init__(self, function: Any):
        self.function, self.place = function, function.place

    def __call__(self, tensors: list) -> list:
        inputs, dots = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        return pushforward_of(Graph(inputs, self.function(inputs)), dots)


def pushforward_of(graph: Graph, dots: list) -> list:
    """Tangents of the outputs: the pullback is linear, and its own pullback is this."""
    import torch

    inputs, outputs = graph
    if len(outputs) == 1 and outputs[0].shape == ():  # then the gradient is enough
        gradient = pulled_back(outputs, inputs, [None], create_graph=True)
        terms = [(g * dot).sum() for g, dot in zip(gradient, dots) if g is not None]
        return [sum(terms, torch.zeros_like(outputs[0]))]
    cotangents = [torch.zeros_like(y).requires_grad_() for y in outputs]
    bars = pulled_back(outputs, inputs, cotangents, create_graph=True)
    tangents = pulled_back(bars, cotangents, dots, create_graph=True)
    return [torch.zeros_like(y) if t is None else t for t, y in zip(tangents, outputs)]


def applied(call: Callable, place: Place, seeds: list[int], leaves: list) -> Any:
    """The value of a function of a list of tensors at arrays, numbers or boxes of them: an array, or a box of one."""
    return _values(Function(call, place, seeds, keeps=levels(leaves) == 1), *leaves)[0]


@primitive
def _values(function, *leaves) -> tuple:
    with recorded():
        inputs = [function.place.tensor(leaf, differentiated=True) for leaf in leaves]
        outputs = function(inputs)
        if function.keeps:
            function.graph = Graph(inputs, outputs)
        return tuple(np.array(array(y)) for y in outputs)


def _kept(function: Any, values: list) -> Graph | None:
    """The graph of a value, if its derivative at these values is the last one to be taken."""
    return None if any(map(isbox, values)) or not function.keeps else function.graph


def _pull(argnums, ans, args, kwargs):
    function, *leaves = args
    count, dtypes = len(ans), [np.asarray(getval(leaf)).dtype for leaf in leaves]

    def pull(outgrad):
        cotangents = [outgrad[i] for i in range(count)]
        graph = _kept(function, [*leaves, *cotangents])
        if graph is None:
            bars = _values(Pullback(function, count), *cotangents, *leaves)
        else:
            function.graph = None  # it may be large, and the training before it is still to be gone back through
            with recorded():
                tensors = pullback_of(graph, [function.place.tensor(c) for c in cotangents], again=False)
            bars = [np.array(array(bar)) for bar in tensors]  # PyTorch's may share memory, or be one number spread out
        return tuple(_as(bars[i - 1], dtypes[i - 1]) for i in argnums)

    return pull


def _push(argnums, dots, ans, args, kwargs):
    function, *leaves = args
    given = dict(zip(argnums, dots))
    filled = [given[i] if i in given else np.zeros(np.shape(getval(x))) for i, x in enumerate(leaves, start=1)]
    graph = _kept(function, [*leaves, *filled])
    if graph is None:
        return _values(Pushforward(function), *leaves, *filled)
    with recorded():
        tensors = pushforward_of(graph, [function.place.tensor(dot) for dot in filled])
    return tuple(np.array(array(dot)) for dot in tensors)


def _as(bar, dtype):
    """A cotangent in the precision of what it belongs to."""
    return bar if getval(bar).dtype == dtype else bar.astype(dtype)


defvjp_argnums(_values, _pull)
defjvp_argnums(_values, _push)
