"""Losses written with PyTorch: functions of tensors, and modules as they are."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..bridge import getval, isbox
from ..checks import check_dtype, check_integer, import_extra
from ..errors import ArgumentError, BufferWarning
from ..nests import check_params, flatten, unflatten
from . import _torch_modules as modules
from ._torch_boxes import applied
from ._torch_modes import TURN
from ._torch_run import LossOfTorch, checked_scalar
from ._torch_tensors import Place, array, common_dtype
from .base import Frozen, register

__all__ = ["from_torch", "from_torch_function", "torch_function"]


def __dir__():
    return __all__


def from_torch(module, criterion: Callable, batches, *, seed: int = 0, device=None, dtype=None) -> ModuleLoss:
    """The training loss of a ``torch.nn.Module`` as it is, for :func:`hypergrad.train`.

        loss = hg.losses.from_torch(module, torch.nn.functional.cross_entropy, list(loader))
        trained = hg.train(loss, loss.params(), hg.SGD(0.1), steps=100)
        loss.to_module(trained, calibrate=list(loader))

    The parameters are a dict by the names of ``module.named_parameters()``: tied ones once, frozen ones
    (``requires_grad=False``) left out and left alone. The module runs as it stands, with the layers in training or
    evaluation mode that are so; nothing is written into it but by ``to_module``. Batch normalisation in training mode
    uses the statistics of the batch; what it would write into its buffers is dropped.

    Args:
      module: its parameters in float32 or float64.
      criterion: ``criterion(output, target)``, a scalar tensor, such as ``torch.nn.functional.cross_entropy``; where
        ``train`` is given ``hyper``, ``criterion(output, target, hyper)``.
      batches: a function ``step -> (input, target)``, or a list of such pairs, of which step t sees the one with number
        t % len(batches). Tensors or arrays; floats are given the precision of the run. An input that is a tuple
        becomes several arguments of the module, a dict its keyword arguments.
      seed: dropout is a function of ``(seed, step)``; see :func:`from_torch_function`.
      device: where it computes; where the module's parameters lie if None.
      dtype: float64 or float32; if None that of the parameters given to ``train``.

    Returns:
      A function ``loss(params, hyper, step)`` as from :func:`from_torch_function`, with ``params(dtype=None)``, the
      module's parameters as arrays to start from, and ``to_module(trained, calibrate=None)``.

    Raises:
      MissingExtraError: PyTorch is not installed.
      ArgumentError: no module, no parameters to train, or batches that cannot be gone through again.

    Warns:
      BufferWarning: the module changes buffers when it is called, as batch normalisation does.

    Cost: as of :func:`from_torch_function`. Threads may train on one module at a time, but nobody else may use it then.
    """
    import_extra("torch", "hg.losses.from_torch")
    return ModuleLoss(module, criterion, batches, seed=seed, device=device, dtype=dtype)


def from_torch_function(f: Callable, *, seed: int = 0, device=None, dtype=None) -> TorchLoss:
    """A training loss written with PyTorch, for :func:`hypergrad.train`: its derivatives are PyTorch's.

        loss = hg.losses.from_torch_function(lambda params, hyper, step: ((X @ params["w"] - y) ** 2).mean())

    Args:
      f: ``f(params, hyper, step)``, a scalar tensor. It is given nests of tensors like the nests of arrays that
        ``train`` is given, all of one precision, and must be a pure function of them.
      seed: dropout and whatever else ``f`` draws with PyTorch is a function of ``(seed, step)``, so that a step
        computed again draws the same. Neither the global generator nor ``torch.manual_seed`` has to do with it.
      device: where it computes, such as ``"cuda"``; the CPU if None. Arrays move there, and gradients back, every step.
      dtype: float64 or float32, what it computes in; if None that of the parameters. With float32 the parameters may
        still be float64, as exact arithmetic has them.

    Returns:
      A function ``loss(params, hyper, step)`` of arrays, which autograd differentiates too, in both modes. ``train``
      is fastest with it as it is; with a function that calls it a step runs ``f`` several times.

    Raises:
      MissingExtraError: PyTorch is not installed.
      ArgumentError: bad ``seed`` or ``dtype``, or ``f`` is no function.

    Cost: a step keeps what PyTorch's graph holds. What ``.detach()``, ``.item()`` or ``torch.no_grad()`` cut off in
    ``f`` counts as a constant; :func:`hypergrad.testing.check_loss` shows where that makes a derivative wrong.
    """
    import_extra("torch", "hg.losses.from_torch_function")
    return TorchLoss(f, seed=seed, device=device, dtype=dtype)


def torch_function(f: Callable, *, seed: int = 0, device=None, dtype=None) -> Callable:
    """A function written with PyTorch as one that autograd differentiates, such as the loss on validation data.

    Args:
      f: takes nests of tensors and returns a tensor. Of its arguments float arrays and numbers come as tensors, of one
        precision; whatever else (None, integers, texts, arrays of integers, tensors) as it is given.
      seed, device: as for :func:`from_torch_function`; what ``f`` draws is the same at every call.
      dtype: float64 or float32; if None that of the arrays given.

    Returns:
      A function of the same arguments in NumPy, which returns an array; autograd differentiates it in reverse and
      forward mode, more than once too, together with functions written with ``autograd.numpy``.

    Raises:
      MissingExtraError, ArgumentError: as for :func:`from_torch_function`.

    Cost: a first derivative works from what the value recorded; each further one runs ``f`` once more.
    """
    import_extra("torch", "hg.losses.torch_function")
    inner = TorchLoss(f, seed=seed, device=device, dtype=dtype)
    return lambda *given: _applied(inner, f, given, 0)


class TorchLoss(Frozen):
    """What :func:`from_torch_function` returns."""

    def __init__(self, function: Callable, *, seed: int, device, dtype):
        import torch

        if not callable(function):
            raise ArgumentError(f"a loss from PyTorch needs a function, got {function!r}")
        self.function, self.seed = function, check_integer(seed, "seed", 0)
        self.device, self.dtype = torch.device("cpu" if device is None else device), check_dtype(dtype, "dtype")

    def __call__(self, params, hyper, step):
        """The loss, differentiable by autograd."""
        place = self.place([getval(w) for w in flatten(params)[0]])
        opened = self.opened(place)
        scalar = lambda params, hyper: checked_scalar(opened(params, hyper, step), step, place)
        return _applied(self, scalar, (params, hyper), step, place)

    def place(self, arrays: list) -> Place:
        """Where and in what precision it computes with these parameters."""
        import torch

        dtype = common_dtype(arrays) if self.dtype is None else self.dtype
        return Place(self.device, torch.float32 if dtype == np.float32 else torch.float64)

    def opened(self, place: Place) -> Any:
        """The function of nests of tensors, as one run calls it."""
        return self.function


class ModuleLoss(TorchLoss):
    """What :func:`from_torch` returns."""

    def __init__(self, module, criterion: Callable, batches, *, seed: int, device, dtype):
        import torch

        if not isinstance(module, torch.nn.Module):
            raise ArgumentError(f"from_torch needs a torch.nn.Module, got {module!r}; a function: from_torch_function")
        with TURN:
            parameters = modules.trainable(module)
            device = next(p.device for p in parameters.values()) if device is None else device
            super().__init__(criterion, seed=seed, device=device, dtype=dtype)
            self.module, self.batches = module, modules.checked_batches(batches)
            place = self.place([array(p) for p in parameters.values()])
            changed = modules.changed_buffers(self.opened(place), self.seed)
        if changed:
            warnings.warn(
                f"the module changes buffers when it is called ({_some(changed)}): training uses the statistics of "
                "each batch and leaves the buffers as they are; loss.to_module(trained, calibrate=batches) sets them",
                BufferWarning,
                stacklevel=3,
            )
        self.changed = changed

    def opened(self, place: Place) -> Any:
        return modules.Opened(self.module, self.function, self.batches, place)

    def params(self, dtype=None) -> dict:
        """The module's parameters as arrays, by name.

        Args:
          dtype: float64 or float32; if None that of the loss, or else of the module.
        """
        dtype = check_dtype(dtype, "dtype") or self.dtype
        with TURN:
            return {name: np.array(array(p), dtype=dtype) for name, p in modules.trainable(self.module).items()}

    def to_module(self, trained: dict, calibrate: list | None = None) -> Any:
        """Write trained parameters into the module, and estimate its running statistics anew.

        Args:
          trained: as :func:`hypergrad.train` returned them.
          calibrate: a list of batches, (input, target); running statistics become their averages over these, for
            layers in training mode. None leaves all buffers as they are.

        Returns:
          The module.

        Raises:
          NestError: parameters that are not the module's.
          ArgumentError: ``calibrate`` is no list.

        Warns:
          BufferWarning: some buffers that training changes are left as they were.
        """
        leaves, structure = flatten(trained)
        check_params(leaves, [f"trained[{key!r}]" for key in structure.keys])
        if calibrate is not None and (callable(calibrate) or not isinstance(calibrate, list | tuple) or not calibrate):
            raise ArgumentError(
                "calibrate must be a list of batches: [batches(step) for step in range(n)], list(loader)"
            )
        if any(map(isbox, leaves)):
            raise ArgumentError("to_module writes numbers, but trained is being differentiated; call it outside")
        with TURN:
            place = self.place([array(p) for p in modules.trainable(self.module).values()])
            self.opened(place).check(trained)
            modules.write(self.module, trained)
            done = [] if calibrate is None else modules.calibrate(self.module, list(calibrate), self.seed, place)
        left = [name for name in self.changed if name not in done]
        if left:
            way = "give calibrate=batches" if calibrate is None else "they are no running statistics: set them yourself"
            warnings.warn(
                f"buffers of the module are left as they were before training ({_some(left)}); {way}",
                BufferWarning,
                stacklevel=2,
            )
        return self.module


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _applied(loss: TorchLoss, call: Callable, given: tuple, step: int, place: Place | None = None):
    """A function of tensors at nests of arrays, some of them boxes."""
    leaves, structure = flatten(given)
    floats = [i for i, leaf in enumerate(leaves) if _is_float(getval(leaf))]
    place = loss.place([getval(leaves[i]) for i in floats]) if place is None else place

    def of_tensors(tensors: list):
        filled = list(leaves)
        for i, tensor in zip(floats, tensors):
            filled[i] = tensor
        return call(*unflatten(structure, filled))

    return applied(of_tensors, place, [loss.seed, step], [leaves[i] for i in floats])


def _is_float(value) -> bool:
    return isinstance(value, float | np.floating | np.ndarray) and np.asarray(value).dtype.kind == "f"


register(TorchLoss, LossOfTorch)
register(ModuleLoss, LossOfTorch)
