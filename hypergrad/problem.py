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
from .engine.wrapped_updates import AccumulatedUpdates, ClippedUpdates
from .errors import ArgumentError, NestError, PrecisionWarning, ScheduleError
from .fixed.arithmetic import DENOMINATOR, SMALLEST_FACTOR
from .fixed.dynamics import ExactDynamics, with_rounded_share
from .losses import loss_of
from .losses.base import Inputs
from .nests import Structure, check_leaves, check_params, flatten, leaf_places
from .optimizers.base import Decaying, Optimizer, written_code
from .optimizers.hyperparameters import Constant, Schedule, expand
from .optimizers.wrappers import Accumulated, Clipped, Wrapper
from .workspace import Layout


def updates_of(
    optimizer: Optimizer, layout: Layout, schedules: list[Schedule], structure: Structure, wanted: tuple
) -> Updates:
    """The updates of a run with this optimizer; ``wanted`` tells which hyperparameters are being differentiated."""
    if isinstance(optimizer, Wrapper):
        count = len(schedules) - len(optimizer.own_names)
        inside = updates_of(optimizer.optimizer, layout, schedules[:count], structure, wanted[:count])
        return _WRAPPED[type(optimizer)](optimizer, inside, schedules[count:])
    if isinstance(optimizer, Decaying) and type(optimizer).step is Decaying.step:
        return VectorUpdates(optimizer, layout, schedules, wanted, with_rounded_share if optimizer.exact else None)
    return OwnUpdates(optimizer, layout, schedules, structure)


_WRAPPED: dict[type, Any] = {Clipped: ClippedUpdates, Accumulated: AccumulatedUpdates}


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

    @property
    def _entries_apart(self) -> bool:
        """Whether the rule updates every entry apart from the others, so that their order in memory is free."""
        return written_code(self.optimizer.rule) is not None and not any(any(s.timeless) for s in self.schedules)

    def dynamics(self, everything: bool = False, check_purity: bool = False) -> Dynamics:
        """The run as a dynamical system that knows what is differentiated (or as if everything were)."""
        arrays, boxed = self.group(self.values()), self.group([everything or isbox(x) for x in self.inputs])
        kind_of_wanted = hyperparameter_type(self.optimizer.names)
        wanted_schedules = kind_of_wanted(*(any(leaves) for leaves in boxed.schedules))
        wanted = Wanted(any(boxed.params), any(boxed.hyper), wanted_schedules)
        differentiated = tuple(any(map(isbox, leaves)) for leaves in self.group(self.inputs).schedules)
        loss = loss_of(self.loss, Inputs(self.structure, self.hyper_structure, arrays.hyper, wanted.hyper))
        layout = Layout(arrays.params, transposed=loss.transposed if self._entries_apart else ())
        schedules = [s.with_leaves(leaves) for s, leaves in zip(self.schedules, arrays.schedules)]
        kind: Any = ExactDynamics if self.optimizer.exact else Dynamics
        return kind(
            loss=loss,
            updates=updates_of(self.optimizer, layout, schedules, self.structure, differentiated),
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
    shapes = [np.shape(getval(leaf)) for leaf in param_leaves]
    schedules = _expand_schedules(optimizer, structure, shapes, steps)
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
    rule, kind = optimizer.rule, type(optimizer.rule)
    if optimizer.exact:
        _check_exact(optimizer, rule)
    hidden = [name for name in optimizer.names if name.startswith("_")]
    if hidden:
        raise ArgumentError(
            f"{kind.__name__}.{hidden[0]} cannot be read as h.{hidden[0]}: name it without the underscore"
        )


def _check_exact(optimizer: Any, rule: Any) -> None:
    """Whether the update can be undone."""
    kind = type(rule)
    if not (
        isinstance(rule, Decaying) and kind.step is Decaying.step and kind.state_after is Decaying.state_after  # type: ignore[attr-defined]
    ):
        raise ArgumentError(
            f"exact=True is for SGD and Adam, whose updates can be undone; {kind.__name__} has its own step"
        )
    if getattr(rule, "nesterov", False):
        raise ArgumentError(
            f"{kind.__name__}(nesterov=True) cannot be computed with exact=True: its step depends on the gradient "
            "at the w before, which is what undoing it looks for; use exact=False with Checkpointed() or Stored()"
        )
    while isinstance(optimizer, Wrapper):
        if isinstance(optimizer, Accumulated):
            raise ArgumentError(
                "Accumulated cannot be computed with exact=True: the sum that an update sets to 0 could not be had "
                "back; average over the minibatches in the loss, or use exact=False with Checkpointed() or Stored()"
            )
        optimizer = optimizer.optimizer


def _expand_schedules(optimizer: Optimizer, structure, shapes: list, steps: int) -> list:
    """One schedule for each hyperparameter; exact arithmetic rounds the decays, and wants them in its range."""
    schedules = {}
    for name, (value, place, allowed) in zip(optimizer.names, optimizer.settings):
        schedule = expand(value, structure, shapes, steps, name=place, allowed=allowed)
        if isinstance(optimizer.rule, Decaying) and any(isinstance(leaf, Constant) for leaf in flatten(value)[0]):
            raise ScheduleError(
                f"{place} is a Constant, an array for optimizers of one's own; here give a number, an array (steps,), "
                "a PerWeight or a nest of those"
            )
        if optimizer.exact and name in optimizer.rule.decays:  # type: ignore[attr-defined]
            _check_no_values_per_weight(schedule, place)
            for leaf in schedule.leaves:
                _check_decay(getval(leaf), place)
            schedule = schedule.with_leaves([_rounded(leaf) for leaf in schedule.leaves])
        schedules[name] = schedule
    if optimizer.exact and "weight_decay" in schedules:
        _check_kept_share(schedules["lr"], schedules["weight_decay"], f"{type(optimizer.rule).__name__}.weight_decay")
    return list(schedules.values())


def _check_no_values_per_weight(schedule: Schedule, place: str) -> None:
    if any(schedule.timeless):
        raise ScheduleError(
            f"{place} is a PerWeight, but exact arithmetic multiplies a whole array by one number; use "
            "exact=False with Checkpointed() or Stored()"
        )


def _check_kept_share(lr: Schedule, weight_decay: Schedule, place: str) -> None:
    """Whether exact arithmetic can take the decay of the weights off, and how far its rounding of 1 − αλ moves αλ."""
    if not any(np.any(getval(leaf)) for leaf in weight_decay.leaves):
        return
    _check_no_values_per_weight(weight_decay, place)
    _check_no_values_per_weight(lr, f"{place} is above 0, and lr")
    for rate, decay in {(rate, decay) for rate, decay in zip(lr.cover, weight_decay.cover)}:
        off = np.asarray(getval(lr.leaves[rate]) * getval(weight_decay.leaves[decay]))
        share = 1.0 - off
        lost = np.rint(share * DENOMINATOR) >= DENOMINATOR
        outside = (off > 0.0) & ((share < SMALLEST_FACTOR) | lost)
        if outside.any():
            step = int(np.argmax(outside))
            raise ScheduleError(
                f"lr · weight_decay must lie in [2^-33, 1 - 2^-16] for exact arithmetic, or be 0, got "
                f"{float(off[step])!r} at step {step}, for {place}; use exact=False with Checkpointed() or Stored()"
            )
        _check_rounding(share, off, f"1 - lr · weight_decay, for {place},", "lr · weight_decay", noted=1e-3)


_LARGEST_ROUNDING, _NOTED_ROUNDING = 1e-2, 1e-6  # of 1 − β, relative: more is refused, or warned of


def _check_decay(values: np.ndarray, where: str) -> None:
    """Whether exact arithmetic can work with a decay β, and how far its rounding to n/2³² moves 1 − β.

    A step depends on 1 − β, of which few digits are left where β is close to 1.
    """
    outside = ~((values >= SMALLEST_FACTOR) & (values < 1.0))
    outside |= np.rint(values * DENOMINATOR) >= DENOMINATOR
    if outside.any():
        raise ScheduleError(
            f"{where} must lie in [2^-16, 1 - 2^-33) for exact arithmetic, got "
            f"{float(values[outside][0])!r} at step {int(np.argmax(outside))}; "
            f"use exact=False with Checkpointed() or Stored()"
        )
    _check_rounding(values, 1.0 - values, where, "its distance to 1", _NOTED_ROUNDING)


def _check_rounding(values: np.ndarray, of: np.ndarray, where: str, what: str, noted: float) -> None:
    """Refuse or warn where rounding to n/2³² moves values by a large part of something; not where that is 0."""
    moved = np.abs(np.rint(values * DENOMINATOR) / DENOMINATOR - values)
    rounding = np.where(of > 0.0, moved / np.where(of > 0.0, of, 1.0), 0.0)
    worst = int(np.argmax(rounding))
    said = (
        f"exact arithmetic rounds {where} to a multiple of 2^-32: {float(values[worst])!r} at step {worst} by "
        f"{rounding[worst]:.1e} of {what}"
    )
    if rounding[worst] >= _LARGEST_ROUNDING:
        raise ScheduleError(f"{said}, and the derivative with it; use exact=False with Checkpointed() or Stored()")
    if rounding[worst] >= noted:
        warnings.warn(
            f"{said}; run and derivative are those of the rounded one. With exact=False they are not rounded",
            PrecisionWarning,
            stacklevel=6,
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
