"""PyTorch's modules as functions of their parameters; nothing is written into them but by :func:`write`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import ArgumentError, LossError, NestError
from ._torch_modes import TURN, forwards
from ._torch_tensors import Place, in_words

_CALIBRATION = 2**31  # steps of the draws in calibration: no run has so many


def trainable(module) -> dict:
    """The parameters that are trained, by name: tied ones once, frozen ones not.

    Raises:
      ArgumentError: there are none, or of other kinds than float32 and float64.
    """
    import torch

    found = {name: p for name, p in module.named_parameters() if p.requires_grad}
    for name, p in found.items():
        if isinstance(p, torch.nn.parameter.UninitializedParameter):
            raise ArgumentError(f"the parameter {name!r} has no shape yet: run the module once on a batch")
        if p.dtype not in (torch.float32, torch.float64):
            raise ArgumentError(f"the parameter {name!r} is {p.dtype}: use module.float() or module.double()")
    if not found:
        raise ArgumentError(f"{type(module).__name__} has no parameters with requires_grad=True to be trained")
    return found


def checked_batches(batches: Any) -> Callable | list:
    """A function of the step, or a list of batches.

    Raises:
      ArgumentError: it is neither.
    """
    if callable(batches):
        return batches
    if not isinstance(batches, list | tuple):
        raise ArgumentError(
            "batches must be a function step -> (input, target), or a list of such pairs, got "
            f"{type(batches).__qualname__}: a loader goes on from step to step, so that none could be computed again; "
            "give list(loader)"
        )
    if not batches:
        raise ArgumentError("batches is empty")
    return list(batches)


def pair(batch, step: int) -> tuple:
    """Input and target of a batch.

    Raises:
      LossError: it is no pair.
    """
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        raise LossError(f"the batch of step {step} must be a pair (input, target), got {type(batch).__qualname__}")
    return batch[0], batch[1]


class Opened:
    """A module and its loss, as one run calls them: what is constant in a run is made once.

    Args:
      module, criterion, batches: as :func:`hypergrad.losses.from_torch` is given them.
      place: where the run computes.
    """

    def __init__(self, module, criterion: Callable, batches: Callable | list, place: Place):
        self.module, self.criterion, self.batches, self.place = module, criterion, batches, place
        with TURN:
            self.shapes = {name: tuple(p.shape) for name, p in trainable(module).items()}
            self.frozen = {name: place.cast(p.detach()) for name, p in module.named_parameters() if not p.requires_grad}
            self.buffers = dict(module.named_buffers())
        self.cast: dict[int, tuple] = {}

    def __call__(self, params: dict, hyper, step: int):
        self.check(params)
        x, target = self.batch(step)
        output = self.output(params, self.fresh_buffers(), x, step)
        return self.criterion(output, target) if hyper is None else self.criterion(output, target, hyper)

    def batch(self, step: int) -> tuple:
        """The batch that a step sees, as tensors."""
        if callable(self.batches):
            return self.place.cast(pair(self.batches(step), step))
        number = step % len(self.batches)
        if number not in self.cast:
            self.cast[number] = self.place.cast(pair(self.batches[number], step))
        return self.cast[number]

    def fresh_buffers(self) -> dict:
        """Copies of the buffers, for the module to change."""
        return {name: self.place.cast(buffer).clone() for name, buffer in self.buffers.items()}

    def output(self, params: dict, buffers: dict, x, step: int):
        """What the module makes of an input; it changes these buffers."""
        import torch

        given = x if isinstance(x, tuple) else () if isinstance(x, dict) else (x,)
        constants = [*given, *(x.values() if isinstance(x, dict) else ()), *self.frozen.values()]
        before = [(t, t._version) for t in constants if isinstance(t, torch.Tensor)]
        tensors = {**self.frozen, **buffers, **params}
        output = torch.func.functional_call(self.module, tensors, given, x if isinstance(x, dict) else None)
        buffers.update({name: tensors[name] for name in buffers})
        if any(tensor._version != version for tensor, version in before):
            raise LossError(
                f"the module changes its input, or a frozen parameter, in place at step {step}: make a new tensor "
                "(layers take inplace=False)"
            )
        return output

    def check(self, params) -> None:
        """Whether these are the module's parameters.

        Raises:
          NestError: says which are missing, too many, or of another shape.
        """
        if not isinstance(params, dict) or set(params) != set(self.shapes):
            names = sorted(params) if isinstance(params, dict) else type(params).__qualname__
            raise NestError(
                f"params must be a dict with the names of the module's parameters, {sorted(self.shapes)}, got {names}; "
                "loss.params() makes it"
            )
        for name, shape in self.shapes.items():
            if np.shape(params[name]) != shape:
                raise NestError(f"params[{name!r}] has shape {tuple(np.shape(params[name]))}, the module has {shape}")


def changed_buffers(opened: Opened, seed: int) -> list[str]:
    """Names of the buffers that the module changes when it is called on the first batch."""
    import torch

    if not opened.buffers:
        return []
    with in_words(), forwards([seed, 0]):
        params = {name: opened.place.cast(p.detach()) for name, p in trainable(opened.module).items()}
        before, after = opened.fresh_buffers(), opened.fresh_buffers()
        opened.output(params, after, opened.batch(0)[0], 0)
        return [name for name, buffer in before.items() if not torch.equal(buffer, after[name])]


def write(module, arrays: dict) -> None:
    """Write trained parameters into the module."""
    import torch

    with torch.inference_mode(False), torch.no_grad():
        for name, parameter in trainable(module).items():
            parameter.copy_(torch.from_numpy(np.array(arrays[name])))


def calibrate(module, batches: list, seed: int, place: Place) -> list[str]:
    """Set running statistics to their averages over the batches; the names of the buffers that were set.

    Every batch weighs the same, as in PyTorch's own with ``momentum=None``.
    """
    import torch

    layers = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.modules.batchnorm._NormBase)
        and layer.training
        and layer.track_running_stats
        and layer.running_mean is not None
    }
    prefixes = tuple(f"{name}." if name else "" for name in layers)
    names = [prefix + kind for prefix in prefixes for kind in ("running_mean", "running_var", "num_batches_tracked")]
    opened = Opened(module, lambda output, target: output, batches, place)
    params = {name: place.cast(p.detach()) for name, p in trainable(module).items()}
    statistics = {name: buffer for name, buffer in opened.fresh_buffers().items() if name in names}
    for name, buffer in statistics.items():
        if name.endswith("num_batches_tracked"):
            buffer.zero_()
    for number in range(len(batches)):
        buffers = {**opened.fresh_buffers(), **statistics}
        with (
            in_words(),
            forwards([seed, _CALIBRATION + number]),
            _momentum(list(layers.values()), 1.0 / (number + 1)),
            torch.no_grad(),
        ):
            opened.output(params, buffers, opened.batch(number)[0], number)
        statistics = {name: buffers[name] for name in statistics}
    with torch.inference_mode(False), torch.no_grad():
        for name, buffer in statistics.items():
            opened.buffers[name].copy_(buffer)
    return names


@contextlib.contextmanager
def _momentum(layers: list, momentum: float) -> Iterator[None]:
    """Within it these layers move their running statistics by this share; nobody else is in a module then."""
    before = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = momentum
        yield
    finally:
        for layer, own in zip(layers, before):
            layer.momentum = own
