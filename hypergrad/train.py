"""``train``: a whole training run as one differentiable function."""

from __future__ import annotations

import itertools
import operator
from collections import namedtuple
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import numpy as np
from autograd.core import JVPNode, VJPNode
from autograd.extend import defjvp, defvjp, primitive
from autograd.tracer import getval, isbox, new_box

from . import tangents
from .adjoints import Stored
from .dynamics import Dynamics, Inputs, Wanted
from .errors import ArgumentError, DifferentiationError, NestError, ScheduleError
from .exact import DENOMINATOR, SMALLEST_FACTOR
from .exact_dynamics import ExactDynamics
from .nests import check_leaf, check_params, flatten, leaf_places, unflatten
from .optimizers import Optimizer
from .oracles import Oracle
from .schedules import Range, expand


def train(
    loss: Callable,
    params: Any,
    optimizer: Any,
    hyper: Any = None,
    *,
    steps: int,
    adjoint: Any = None,
    save_at: list[int] | None = None,
    callback: Callable | None = None,
):
    """Train for ``steps`` steps and return the parameters, differentiably.

    Differentiable in ``params``, ``hyper`` and every hyperparameter of ``optimizer`` by autograd's
    own ``grad``, ``value_and_grad``, ``jacobian`` (reverse mode) and ``make_jvp`` (forward mode, in
    one pass). Second derivatives through training are not available and raise.

    Args:
      loss: ``loss(params, hyper, step)``, the scalar training loss at ``step`` (int, from 0), written
        with autograd.numpy. ``step`` picks the minibatch, so that a step can be replayed. A loss may
        offer its own ``gradient`` and ``gradient_with_hvp`` (see :mod:`hypergrad.oracles`).
      params: any nest of dicts, lists and tuples of float64 arrays (or float32: computed in float32).
      optimizer: for example :class:`hypergrad.SGD`; its hyperparameters are scalars, arrays
        ``(steps,)``, or nests of those that are a prefix of ``params``.
      hyper: a nest like ``params``, passed on to ``loss``; None if the loss needs none.
      steps: number of steps T ≥ 0.
      adjoint: how reverse mode gets the trajectory back; :class:`hypergrad.Stored` if None.
      save_at: step counts in 0..steps, increasing; then a list of parameters is returned, one for each.
      callback: ``callback(step, params, state, gradient)``, called once a step before its update, with
        copies; ``state`` is the optimizer's, as a named tuple of nests.

    Returns:
      The trained parameters in the shape of ``params``; with ``save_at`` a list of those.

    Raises:
      NestError, ScheduleError, ArgumentError: bad input, before any training.
      LossError: the loss is not a scalar, or does not depend on ``params``.
      DifferentiationError: a derivative that would be silently wrong.
      DivergedError: a parameter became non-finite; it carries the step and the norm.

    Cost, in matrix products a step and layer: 2 for training alone, 4 with a derivative in either
    mode. Memory: O(P) without derivatives and in forward mode; reverse mode as the adjoint says.

    >>> import autograd.numpy as np
    >>> from autograd import grad
    >>> import hypergrad as hg
    >>> quadratic = lambda w, hyper, step: 0.5 * np.sum(w**2)
    >>> def final_loss(lr):
    ...     trained = hg.train(quadratic, np.ones(3), hg.SGD(lr, momentum=0.0), steps=2)
    ...     return quadratic(trained, None, 2)
    >>> float(grad(final_loss)(0.5))  # d/dlr of 3/2 (1 - lr)^4
    -0.75
    """
    steps = _check_steps(steps)
    counts = _check_save_at(save_at, steps)
    adjoint = _check_adjoint(adjoint)
    if not callable(loss):
        raise ArgumentError(f"loss must be a function loss(params, hyper, step), got {loss!r}")
    param_leaves, structure = flatten(params)
    check_params(param_leaves, leaf_places(structure, "params"), single=not getattr(optimizer, "exact", False))
    hyper_leaves, hyper_structure = ([], None) if hyper is None else flatten(hyper)
    if hyper is not None:
        _check_hyper(hyper_leaves, leaf_places(hyper_structure, "hyper"))
    schedules = _expand_schedules(optimizer, structure, steps)

    inputs = [*param_leaves, *hyper_leaves, *(leaf for schedule in schedules for leaf in schedule.leaves)]
    values = _unbox(inputs)
    regroup = _Grouping(len(param_leaves), len(hyper_leaves), [len(s.leaves) for s in schedules])
    arrays = regroup([np.asarray(value) for value in values])
    boxed = regroup([isbox(x) for x in inputs])
    wanted_schedules = namedtuple("Wanted", optimizer.names)(*(any(leaves) for leaves in boxed.schedules))
    wanted = Wanted(any(boxed.params), any(boxed.hyper), wanted_schedules)
    dynamics = (ExactDynamics if optimizer.exact else Dynamics)(
        oracle=Oracle(loss, structure, hyper_structure, arrays.hyper, wanted.hyper),
        optimizer=optimizer,
        params=arrays.params,
        schedules=[s.with_leaves(leaves) for s, leaves in zip(schedules, arrays.schedules)],
        steps=steps,
        wanted=wanted,
        callback=callback,
    )
    adjoint.check(dynamics)

    def in_shape(saved: list[list]):
        nests = [unflatten(structure, leaves) for leaves in saved]
        return nests[0] if save_at is None else nests

    # Overflow is looked for and reported with its step; NumPy's warnings would only come before that.
    with np.errstate(over="ignore", invalid="ignore"):
        trace = max((x._trace for x in inputs if isbox(x)), default=None)
        if trace is None:
            return in_shape(tangents.run(dynamics, counts))
        if any(isinstance(x._node, JVPNode) for x in inputs if isbox(x)):
            given = regroup([_tangent(x, value) for x, value in zip(inputs, values)])
            saved, dots = tangents.run_with_tangent(dynamics, given, counts)
            return new_box(in_shape(saved), trace, JVPNode.new_root(in_shape(dots)))
        saved, pullback = adjoint.linearize(dynamics, counts)
        node = _reverse_node(inputs, pullback, len(counts))
        return new_box(in_shape(saved), trace, node)


def _reverse_node(inputs: list, pullback: Callable, saves: int) -> VJPNode:
    """The node of the whole run in autograd's graph: its parents are the boxed inputs.

    Made by hand and not by a primitive, because the adjoint is prepared while the run goes forward.
    """

    def vjp(cotangent):
        leaves, _ = flatten(cotangent)
        if any(isbox(leaf) for leaf in leaves):
            raise DifferentiationError(_NESTED)
        per_count = len(leaves) // saves
        with np.errstate(over="ignore", invalid="ignore"):
            bars = pullback([leaves[i : i + per_count] for i in range(0, len(leaves), per_count)])
        flat = [*bars.params, *bars.hyper, *(leaf for leaves in bars.schedules for leaf in leaves)]
        return [bar for x, bar in zip(inputs, flat) if isbox(x)]

    node = VJPNode.new_root()
    node.parents = [x._node for x in inputs if isbox(x)]
    node.vjp = vjp
    return node


_NESTED = (
    "derivatives of derivatives through train (a Hessian, or grad inside grad or make_jvp) are not available: "
    "differentiate once, and take differences of the hypergradient for second derivatives"
)


def _unbox(inputs: list) -> list:
    """The plain values; one trace only, since the run is differentiated once."""
    values = [x._value if isbox(x) else x for x in inputs]
    if any(isbox(value) for value in values) or len({x._trace for x in inputs if isbox(x)}) > 1:
        raise DifferentiationError(_NESTED)
    return values


def _tangent(x, value) -> np.ndarray:
    """The tangent an input brings from a forward trace; zeros for a constant."""
    value = np.asarray(value)
    if not isbox(x):
        return np.zeros_like(value)
    leaf = x._node.g
    if isbox(leaf):
        raise DifferentiationError(_NESTED)
    return np.array(leaf, dtype=value.dtype)


class _Grouping:
    """Cuts the flat list of all inputs into parameters, hyper and schedules."""

    def __init__(self, params: int, hyper: int, schedules: list[int]):
        self.sizes = [params, hyper, *schedules]

    def __call__(self, flat: list) -> Inputs:
        leaves = iter(flat)
        params, hyper, *schedules = [[next(leaves) for _ in range(size)] for size in self.sizes]
        return Inputs(params, hyper, schedules)


def _expand_schedules(optimizer, structure, steps: int) -> list:
    """One schedule for each hyperparameter; exact arithmetic rounds the decays, and wants them in its range."""
    if not isinstance(optimizer, Optimizer) or not is_dataclass(optimizer):
        raise ArgumentError(
            f"optimizer must be an optimizer such as hypergrad.SGD(lr), or a dataclass derived from "
            f"hypergrad.Optimizer, got {optimizer!r}"
        )
    kind, schedules = type(optimizer).__name__, []
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


def _check_steps(steps) -> int:
    if isinstance(steps, bool):
        raise ArgumentError(f"steps must be an integer ≥ 0, got {steps!r}")
    try:
        count = operator.index(steps)
    except TypeError:
        raise ArgumentError(f"steps must be an integer ≥ 0, got {steps!r} ({type(steps).__name__})") from None
    if count < 0:
        raise ArgumentError(f"steps must be an integer ≥ 0, got {count}")
    return count


def _check_save_at(save_at, steps: int) -> list[int]:
    """The step counts to return; only the last one if none are asked for."""
    if save_at is None:
        return [steps]
    try:
        counts = [operator.index(count) for count in save_at]
    except TypeError:
        raise ArgumentError(f"save_at must be a list of integer step counts, got {save_at!r}") from None
    if not counts:
        raise ArgumentError("save_at is empty: give at least one step count, or None for the final parameters")
    for count in counts:
        if not 0 <= count <= steps:
            raise ArgumentError(f"save_at has the step count {count}, outside 0..{steps} (steps={steps})")
    for earlier, later in itertools.pairwise(counts):
        if later <= earlier:
            raise ArgumentError(f"save_at must increase without repeats, got {later} after {earlier}")
    return counts


def _check_adjoint(adjoint):
    if adjoint is None:
        return Stored()
    if not hasattr(adjoint, "linearize") or isinstance(adjoint, type):
        raise ArgumentError(f"adjoint must be an adjoint such as hypergrad.Stored(), or None, got {adjoint!r}")
    return adjoint


def _check_hyper(leaves: list, places: list[str]) -> None:
    for leaf, place in zip(leaves, places):
        check_leaf(leaf, place)
        if np.isnan(getval(leaf)).any():
            raise NestError(f"{place} holds NaN")
