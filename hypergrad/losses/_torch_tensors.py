"""Between NumPy and PyTorch: arrays to tensors and back, and PyTorch's errors in our words."""

from __future__ import annotations

import contextlib
import functools
import re
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..errors import DifferentiationError, HypergradError, LossError
from ._torch_modes import NO_HOOKS, recorded
from .autograd import CAPTURED

_ALIGNMENT = 64  # bytes: what PyTorch allocates; kernels round differently for arrays that begin elsewhere


class Place(NamedTuple):
    """Where tensors are computed with, and in what precision."""

    device: Any
    dtype: Any

    def tensor(self, array, differentiated: bool = False):
        """A copy of an array, in PyTorch's own memory."""
        import torch

        array = np.asarray(array)
        if not array.flags.writeable or any(stride < 0 for stride in array.strides) or not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))  # PyTorch takes no others
        tensor = torch.from_numpy(array)
        tensor = tensor.to(self.device, self.dtype, copy=True, memory_format=torch.contiguous_format)
        return tensor.requires_grad_(differentiated)

    def cast(self, value):
        """Data given to a function: arrays and tensors, in tuples, lists and dicts, as tensors here.

        Floats get this precision; what is right already is not copied.
        """
        import torch

        if isinstance(value, tuple | list):
            parts = [self.cast(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        if isinstance(value, dict):
            return {key: self.cast(part) for key, part in value.items()}
        if isinstance(value, np.ndarray | np.generic):
            value = np.asarray(value)
            aligned = value.ctypes.data % _ALIGNMENT == 0 and value.flags.writeable and value.flags.c_contiguous
            value = torch.from_numpy(value) if aligned else torch.from_numpy(np.array(value)).clone()
        if not isinstance(value, torch.Tensor):
            return value
        value = value.clone() if value.is_inference() else value
        if value.is_complex():
            return value.to(self.device, self.dtype.to_complex())
        return value.to(self.device, self.dtype if value.is_floating_point() else value.dtype)


def array(tensor) -> np.ndarray:
    """The numbers of a tensor, in its memory if that is the CPU's."""
    return tensor.numpy(force=True)


def common_dtype(arrays: list) -> np.dtype:
    """The precision that arrays are computed with: of single numbers, such as Python's, only if there are no others."""
    dtypes = [np.asarray(a).dtype for a in arrays if np.ndim(a)] or [np.asarray(a).dtype for a in arrays]
    return np.result_type(*dtypes) if dtypes else np.dtype(np.float64)


def edges(outputs: list) -> list:
    """Where tensors are in their graph, None for constants: enough to pull back from, without their numbers.

    Before PyTorch 2.6 the tensors themselves.
    """
    import torch

    outputs = [y if y is not None and y.requires_grad else None for y in outputs]
    if not _takes_edges():
        return outputs
    return [None if y is None else torch.autograd.graph.get_gradient_edge(y) for y in outputs]


@functools.cache
def _takes_edges() -> bool:
    import torch

    x = torch.zeros((), requires_grad=True)
    try:
        torch.autograd.grad((torch.autograd.graph.get_gradient_edge(x * x),), (x,), (torch.ones(()),))
    except (AttributeError, TypeError):
        return False
    return True


def pulled_back(outputs: list, inputs: list, cotangents: list, create_graph=False, retain_graph=True) -> list:
    """Cotangents of the inputs, None where there is no dependence.

    ``outputs`` are tensors, or :func:`edges` of such.
    """
    import torch

    pairs = [(y, c) for y, c in zip(outputs, cotangents) if y is not None and getattr(y, "requires_grad", True)]
    if not pairs:
        return [None] * len(inputs)
    ys, bars = zip(*pairs)
    with in_words(), recorded():
        found = torch.autograd.grad(ys, inputs, bars, retain_graph, create_graph, allow_unused=True)
    if any(bar is not None and bar.layout is not torch.strided for bar in found):
        raise LossError(_SPARSE)
    return list(found)


def check_differentiable(outputs: list) -> None:
    """Whether nothing in the graph of a derivative is marked ``once_differentiable``.

    PyTorch would take it for a constant, and says so only in ``backward()``.

    Raises:
      LossError: something is.
    """
    if any(node.name() == _MARK for node in _nodes(outputs)):
        raise LossError(f"a torch.autograd.Function is marked once_differentiable: {_ONCE}")


def may_be_marked(outputs: list) -> bool:
    """Whether the derivative of these may be marked so: only what is written in Python is, or was marked before."""
    import torch

    own = torch.autograd.function.BackwardCFunction
    return any(isinstance(node, own) or node.name() == _MARK for node in _nodes(outputs))


_MARK = "torch::autograd::Error"


def _nodes(outputs: list) -> Iterator:
    """The nodes of a graph."""
    waiting, seen = [y.grad_fn for y in outputs if y is not None], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        waiting += [below for below, _ in node.next_functions]


_ONCE = (
    "it has no second derivative in PyTorch, which the derivative through training needs; write that part of the loss "
    "with other operations"
)
_SPARSE = "the loss has a sparse gradient: make its torch.nn.Embedding without sparse=True"
_NOT_TORCH = (
    "the loss must be written with torch, not with NumPy or autograd.numpy, whose functions lose the derivative"
)
_REASONS = (  # what PyTorch's messages have in them, and what to say
    (r"derivative for '?(?P<name>[\w:]+)'? is not implemented", _ONCE),
    (r"torch.compile .*double backward", f"{_ONCE}: give the module as it was before torch.compile"),
    (
        r"leaf Variable that requires grad .* in-place",
        "the parameters and hyper that a loss is given cannot be changed in place: make new tensors",
    ),
    (
        r"modified by an inplace operation",
        "a tensor that the derivative needs was changed in place: make a new one (modules take inplace=False)",
    ),
    (r"hooks on saved tensors|torch\.utils\.checkpoint is incompatible", NO_HOOKS),
    (r"from the 'Sparse", _SPARSE),
    (r"[Cc]an't call numpy\(\) on Tensor that requires grad", _NOT_TORCH),
    (
        r"same dtype|expected scalar type",
        "float32 and float64 meet: what a loss gets by its arguments, and a module's parameters, buffers and batches, "
        "all have the precision of the run; give it to the tensors that the loss makes or closes over too, or choose "
        "another by dtype=",
    ),
    (
        r"same device",
        "tensors of two devices meet: choose one by device=, and put what the loss closes over there",
    ),
)


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    """Errors of PyTorch that have to do with how a loss is written in our words; others are left alone.

    Raises:
      DifferentiationError: one of autograd's boxes came in other than by the arguments, which are tensors here.
      LossError: for another known reason.
    """
    try:
        yield
    except HypergradError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        frames = _frames_of_the_loss(error)
        if "ArrayBox" in str(error) or any(_is_of(frame, ("/numpy_boxes.py",)) for frame in frames):
            raise DifferentiationError(f"{_place(frames)}{CAPTURED}") from error
        found = ((re.search(pattern, str(error)), reason) for pattern, reason in _REASONS)
        match, reason = next(((match, reason) for match, reason in found if match), (None, None))
        if match and match.groupdict():
            reason = f"{match['name']}: {reason}"
        if reason is None and any(_is_of(frame, _ARRAYS) and not _is_of(frame, _TORCH) for frame in frames):
            first = str(error).partition("\n")[0]
            reason = f"{_NOT_TORCH}: it raised {type(error).__name__}: {first}"
        if reason is None:
            raise
        raise LossError(f"{_place(frames)}{reason}") from error


_ARRAYS, _TORCH, _OURS = ("/autograd/", "/numpy/"), ("/torch/",), ("/hypergrad/losses/",)


def _is_of(frame, folders: tuple) -> bool:
    return any(folder in frame.filename for folder in folders)


def _frames_of_the_loss(error: Exception) -> list:
    """The frames of an error from the call of the loss on."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in frames:
        frame.filename = frame.filename.replace("\\", "/")
    ours = [_is_of(frame, _OURS) and not frame.filename.endswith("_torch_modes.py") for frame in frames]
    last = max((i for i, is_ours in enumerate(ours) if is_ours), default=-1)
    return list(frames)[last + 1 :]


def _place(frames: list) -> str:
    """The innermost line of the user's code, if there is one."""
    theirs = [frame for frame in frames if not _is_of(frame, _ARRAYS + _TORCH + _OURS)]
    return f"{theirs[-1].filename}:{theirs[-1].lineno}: `{(theirs[-1].line or '').strip()}`: " if theirs else ""
