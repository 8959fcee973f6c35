"""The arguments of a run, checked before any training and taken apart into what is differentiated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, is_dataclass

import numpy as np
from autograd.extend import defjvp, defvjp, primitive
from autograd.tracer import getval, isbox

from .dynamics import Dynamics, Inputs, Wanted, hyperparameter_type
from .errors import ArgumentError, DifferentiationError, NestError, ScheduleError, check_integer
from .exact import DENOMINATOR, SMALLEST_FACTOR
from .exact_dynamics import ExactDynamics
from .hyperparameters import Range, Schedule, expand
from .nests import Structure, check_leaf, check_params, flatten, leaf_places
from .optimizers import Decaying, Optimizer
from .oracles import Oracle

NESTED = (
    "derivatives of derivatives through train (a Hessian, or grad inside grad or make_jvp) are not available: "
    "differentiate once, and take differences of the hypergradient for second derivatives"
)


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

    def group(self, flat: list) -> Inputs:
        """A flat list of all inputs, or of anything that goes with them, cut into its parts."""
        leaves = iter(flat)
        params, hyper, *schedules = [[next(leaves) for _ in range(size)] for size in self.sizes]
        return Inputs(params, hyper, schedules)

    def values(self) -> list:
        """The plain inputs; one trace only, since the run is differentiated once."""
        values = [x._value if isbox(x) else x for x in self.inputs]
        if any(isbox(value) for value in values) or len({x._trace for x in self.inputs if isbox(x)}) > 1:
            raise DifferentiationError(NESTED)
        return [np.asarray(value) for value in values]

    def dynamics(self, everything: bool = False) -> Dynamics:
        """The run as a dynamical system that knows what is differentiated (or as if everything were)."""
        arrays, boxed = self.group(self.values()), self.group([everything or isbox(x) for x in self.inputs])
        wanted_schedules = hyperparameter_type(self.optimizer.names)(*(any(leaves) for leaves in boxed.schedules))
        wanted = Wanted(any(boxed.params), any(boxed.hyper), wanted_schedules)
        return (ExactDynamics if self.optimizer.exact else Dynamics)(
            oracle=Oracle(self.loss, self.structure, self.hyper_structure, arrays.hyper, wanted.hyper),
            optimizer=self.optimizer,
            params=arrays.params,
            schedules=[s.with_leaves(leaves) for s, leaves in zip(self.schedules, arrays.schedules)],
            steps=self.steps,
            wanted=wanted,
            callback=self.callback,
        )


def check_problem(loss, params, optimizer, hyper, steps, callback=None) -> Problem:
    """Check everything that can be known before training; see :func:`hypergrad.train` for what is allowed."""
    steps = check_integer(steps, "steps", 0)
    if not callable(loss):
        raise ArgumentError(f"loss must be a function loss(params, hyper, step), got {loss!r}")
    param_leaves, structure = flatten(params)
    check_params(param_leaves, leaf_places(structure, "params"), single=not getattr(optimizer, "exact", False))
    hyper_leaves, hyper_structure = ([], None) if hyper is None else flatten(hyper)
    if hyper is not None:
        _check_hyper(hyper_leaves, leaf_places(hyper_structure, "hyper"))
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
        callback,
    )


def _expand_schedules(optimizer, structure, steps: int) -> list:
    """One schedule for each hyperparameter; exact arithmetic rounds the decays, and wants them in its range."""
    if not isinstance(optimizer, Optimizer) or not is_dataclass(optimizer):
        raise ArgumentError(
            f"optimizer must be an optimizer such as hypergrad.SGD(lr), or a dataclass derived from "
            f"hypergrad.Optimizer, got {optimizer!r}"
        )
    kind, schedules = type(optimizer).__name__, []
    if optimizer.exact and (not isinstance(optimizer, Decaying) or type(optimizer).step is not Decaying.step):
        raise ArgumentError(f"exact=True is for SGD and Adam, whose updates can be undone; {kind} has its own step")
    for name in optimizer.names:
        allowed, where = optimizer.ranges.get(name, Range()), f"{kind}.{name}"
        schedule = expand(getattr(optimizer, name), structure, steps, name=where, allowed=allowed)
        if optimizer.exact and name in optimizer.decays:
            largest = 1.0 - 0.5 / DENOMINATOR
            for leaf in schedule.leaves:
                values = getval(leaf)
                outside = ~((values >= SMALLEST_FACTOR) & (values < largest))
                if outside.any():
                    raise ScheduleError(
                        f"{where} must lie in [2^-16, 1 - 2^-33) for exact arithmetic, got "
                        f"{float(values[outside][0])!r} at step {int(np.argmax(outside))}; "
                        f"use exact=False with Checkpointed() or Stored()"
                    )
            schedule = schedule.with_leaves([_rounded(leaf) for leaf in schedule.leaves])
        schedules.append(schedule)
    return schedules


@primitive
def _rounded(decay):
    """The multiple of 2⁻³² that exact arithmetic works with; for the derivative, the identity."""
    return np.rint(decay * DENOMINATOR) / DENOMINATOR


defvjp(_rounded, lambda ans, decay: lambda g: g)
defjvp(_rounded, lambda g, ans, decay: g)


def _check_hyper(leaves: list, places: list[str]) -> None:
    for leaf, place in zip(leaves, places):
        check_leaf(leaf, place)
        if np.isnan(getval(leaf)).any():
            raise NestError(f"{place} holds NaN")
