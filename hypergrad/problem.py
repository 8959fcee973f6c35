"""The arguments of a run, checked before any training and taken apart into what is differentiated."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np

from .bridge import check_one_trace, defjvp, defvjp, getval, isbox, primitive
from .checks import check_integer
from .engine.dynamics import Directions, Dynamics, Wanted
from .engine.own_updates import OwnUpdates
from .engine.purity import Replay
from .engine.updates import Updates, hyperparameter_type
from .engine.vector_updates import VectorUpdates
from .errors import ArgumentError, NestError, PrecisionWarning, ScheduleError
from .fixed.arithmetic import DENOMINATOR, SMALLEST_FACTOR
from .fixed.dynamics import ExactDynamics
from .losses import loss_of
from .losses.base import Inputs
from .nests import Structure, check_leaves, check_params, flatten, leaf_places
from .optimizers.base import Decaying, Optimizer
from .optimizers.hyperparameters import Schedule, expand
from .ranges import Range
from .workspace import Layout


def updates_of(optimizer: Optimizer, layout: Layout, schedules: list[Schedule]) -> Updates:
    """The updates of a run with this optimizer."""
    decaying = isinstance(optimizer, Decaying) and type(optimizer).step is Decaying.step
    kind: Any = VectorUpdates if decaying else OwnUpdates
    return kind(optimizer, layout, schedules)


@dataclass(frozen=True)
class Problem:
    """A checked run, with its inputs as autograd gave them.

    Attributes:
      structure: of the parameters.
      inputs: every leaf of params, hyper and schedules, in this order; boxes where differentiated.
      sizes: how many leaves params, hyper and each schedule have.
      loss, optimizer, hyper_structure, schedules, steps, callback: as given.
    """

    structure: Structure
    inputs: list
    sizes: list[int]
    loss: Callable
    optimizer: Optimizer
    hyper_structure: Structure | None
    schedules: list[Schedule]
    steps: int
    callback: Callable | None

    def group(self, flat: list) -> Directions:
        """A flat list of all inputs, or of anything that goes with them, cut into its parts."""
        leaves = iter(flat)
        params, hyper, *schedules = [[next(leaves) for _ in range(size)] for size in self.sizes]
        return Directions(params, hyper, schedules)

    def values(self) -> list:
        """The plain inputs; the run is differentiated once."""
        return check_one_trace(self.inputs)

    def dynamics(self, everything: bool = False, check_purity: bool = False) -> Dynamics:
        """The run as a dynamical system that knows what is differentiated (or as if everything were)."""
        arrays, boxed = self.group(self.values()), self.group([everything or isbox(x) for x in self.inputs])
        wanted_schedules = hyperparameter_type(self.optimizer.names)(*(any(leaves) for leaves in boxed.schedules))
        wanted = Wanted(any(boxed.params), any(boxed.hyper), wanted_schedules)
        layout = Layout(arrays.params)
        schedules = [s.with_leaves(leaves) for s, leaves in zip(self.schedules, arrays.schedules)]
        kind: Any = ExactDynamics if self.optimizer.exact else Dynamics
        return kind(
            loss=loss_of(self.loss, Inputs(self.structure, self.hyper_structure, arrays.hyper, wanted.hyper)),
            updates=updates_of(self.optimizer, layout, schedules),
            structure=self.structure,
            params=arrays.params,
            steps=self.steps,
            wanted=wanted,
            callback=self.callback,
            replay=Replay(self.steps, layout) if check_purity and self.steps else None,
        )


def check_problem(loss, params, optimizer, hyper, steps, callback=None) -> Problem:
    """Check everything that can be known before training; see :func:`hypergrad.train` for what is allowed."""
    steps = check_integer(steps, "steps", 0)
    if not callable(loss):
        raise ArgumentError(f"loss must be a function loss(params, hyper, step), got {loss!r}")
    _check_optimizer(optimizer)
    if params is None:
        raise NestError("params is a builtins.NoneType: give a dict, list or tuple of float arrays, or one array")
    param_leaves, structure = flatten(params)
    param_leaves = check_params(param_leaves, leaf_places(structure, "params"), single=not optimizer.exact)
    hyper_leaves, hyper_structure = ([], None) if hyper is None else flatten(hyper)
    if hyper_structure is not None:
        hyper_leaves = _check_hyper(hyper_leaves, leaf_places(hyper_structure, "hyper"))
    schedules = _expand_schedules(optimizer, structure, steps)
    groups = [param_leaves, hyper_leaves, *(schedule.leaves for schedule in schedules)]
    return Problem(
        structure,
        [leaf for group in groups for leaf in group],
        [len(group) for group in groups],
        loss,
        optimizer,
        hyper_structure,
        schedules,
        steps,
        _with_value(callback),
    )


def _with_value(callback) -> Callable | None:
    """The callback as a function of five arguments; one that takes only four does not get the loss's value."""
    if callback is None:
        return None
    if not callable(callback):
        raise ArgumentError(
            f"callback must be a function callback(step, params, state, gradient, value), got {callback!r}"
        )
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError):  # some callables have none
        return callback
    for count in (5, 4):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return (
            callback
            if count == 5
            else lambda step, params, state, gradient, value: callback(step, params, state, gradient)
        )
    raise ArgumentError(
        f"callback must take (step, params, state, gradient) or (step, params, state, gradient, value), got {signature}"
    )


def _check_optimizer(optimizer: Any) -> None:
    if isinstance(optimizer, type) or not isinstance(optimizer, Optimizer) or not is_dataclass(optimizer):
        raise ArgumentError(
            f"optimizer must be an optimizer such as hypergrad.SGD(lr), or a dataclass derived from "
            f"hypergrad.Optimizer, got {optimizer!r}"
        )
    kind = type(optimizer)
    if optimizer.exact and not (
        isinstance(optimizer, Decaying) and kind.step is Decaying.step and kind.state_after is Decaying.state_after  # type: ignore[attr-defined]
    ):
        raise ArgumentError(
            f"exact=True is for SGD and Adam, whose updates can be undone; {kind.__name__} has its own step"
        )
    hidden = [name for name in optimizer.names if name.startswith("_")]
    if hidden:
        raise ArgumentError(
            f"{kind.__name__}.{hidden[0]} cannot be read as h.{hidden[0]}: name it without the underscore"
        )


def _expand_schedules(optimizer: Optimizer, structure, steps: int) -> list:
    """One schedule for each hyperparameter; exact arithmetic rounds the decays, and wants them in its range."""
    kind, schedules = type(optimizer).__name__, []
    for name in optimizer.names:
        allowed, where = optimizer.ranges.get(name, Range()), f"{kind}.{name}"
        schedule = expand(getattr(optimizer, name), structure, steps, name=where, allowed=allowed)
        if optimizer.exact and name in optimizer.decays:  # type: ignore[attr-defined]
            for leaf in schedule.leaves:
                _check_decay(getval(leaf), where)
            schedule = schedule.with_leaves([_rounded(leaf) for leaf in schedule.leaves])
        schedules.append(schedule)
    return schedules


_LARGEST_ROUNDING, _NOTED_ROUNDING = 1e-2, 1e-6  # of 1 − β, relative: more is refused, or warned of


def _check_decay(values: np.ndarray, where: str) -> None:
    """Whether exact arithmetic can work with a decay β, and how far its rounding to n/2³² moves 1 − β.

    A step depends on 1 − β, of which few digits are left where β is close to 1.
    """
    outside = ~((values >= SMALLEST_FACTOR) & (values < 1.0))
    rounding = np.abs(np.rint(values * DENOMINATOR) / DENOMINATOR - values) / np.maximum(1.0 - values, 1e-300)
    outside |= np.rint(values * DENOMINATOR) >= DENOMINATOR
    if outside.any():
        raise ScheduleError(
            f"{where} must lie in [2^-16, 1 - 2^-33) for exact arithmetic, got "
            f"{float(values[outside][0])!r} at step {int(np.argmax(outside))}; "
            f"use exact=False with Checkpointed() or Stored()"
        )
    worst = int(np.argmax(rounding))
    said = (
        f"exact arithmetic rounds {where} to a multiple of 2^-32: {float(values[worst])!r} at step {worst} by "
        f"{rounding[worst]:.1e} of its distance to 1"
    )
    if rounding[worst] >= _LARGEST_ROUNDING:
        raise ScheduleError(f"{said}, and the derivative with it; use exact=False with Checkpointed() or Stored()")
    if rounding[worst] >= _NOTED_ROUNDING:
        warnings.warn(
            f"{said}; run and derivative are those of the rounded one. With exact=False they are not rounded",
            PrecisionWarning,
            stacklevel=5,
        )


@primitive
def _rounded(decay):
    """The multiple of 2⁻³² that exact arithmetic works with; for the derivative, the identity."""
    return np.rint(decay * DENOMINATOR) / DENOMINATOR


defvjp(_rounded, lambda ans, decay: lambda g: g)
defjvp(_rounded, lambda g, ans, decay: g)


def _check_hyper(leaves: list, places: list[str]) -> list:
    leaves = check_leaves(leaves, places)
    for leaf, place in zip(leaves, places):
        if np.isnan(getval(leaf)).any():
            raise NestError(f"{place} holds NaN")
    return leaves
