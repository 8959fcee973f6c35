"""``train``: a whole training run as one differentiable function."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from autograd.core import JVPNode, VJPNode
from autograd.tracer import isbox, new_box

from . import tangents
from .errors import ArgumentError, DifferentiationError
from .nests import flatten, unflatten
from .planner import choose, parse_budget
from .problem import NESTED, check_problem


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
    memory_budget: int | str | None = None,
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
      adjoint: how reverse mode gets the trajectory back; if None, :func:`hypergrad.plan` chooses the
        fastest that fits the memory budget. The choice never changes the trajectory.
      save_at: step counts in 0..steps, increasing; then a list of parameters is returned, one for each.
      callback: ``callback(step, params, state, gradient)``, called once a step before its update, with
        copies; ``state`` is the optimizer's, as a named tuple of nests.
      memory_budget: bytes for ``adjoint=None``, or a text such as "500MB"; if None, the environment
        variable HYPERGRAD_MEMORY_BUDGET, or else a quarter of the free memory.

    Returns:
      The trained parameters in the shape of ``params``; with ``save_at`` a list of those.

    Raises:
      NestError, ScheduleError, ArgumentError, AdjointError: bad input, before any training.
      MemoryBudgetError: no adjoint fits the budget; says the least that would.
      LossError: the loss is not a scalar, or does not depend on ``params``.
      DifferentiationError: a derivative that would be silently wrong.
      DivergedError: a parameter became non-finite; it carries the step and the norm.
      FixedPointOverflowError: exact arithmetic cannot hold a number; it carries the step.

    Cost, in matrix products a step and layer: 2 for training alone, 4 in forward mode and in reverse
    mode with :class:`hypergrad.Stored`. Memory: O(P) without derivatives and in forward mode. Reverse
    mode with another adjoint: as that says.

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
    problem = check_problem(loss, params, optimizer, hyper, steps, callback)
    counts = _check_save_at(save_at, problem.steps)
    _check_adjoint(adjoint)
    dynamics, inputs = problem.dynamics(), problem.inputs
    if adjoint is not None:
        adjoint.check(dynamics)
    if memory_budget is not None:
        parse_budget(memory_budget)

    def in_shape(saved: list[list]):
        nests = [unflatten(problem.structure, leaves) for leaves in saved]
        return nests[0] if save_at is None else nests

    trace = max((x._trace for x in inputs if isbox(x)), default=None)
    if trace is None:
        return in_shape(tangents.run(dynamics, counts))
    if any(isinstance(x._node, JVPNode) for x in inputs if isbox(x)):
        given = problem.group([_tangent(x, value) for x, value in zip(inputs, problem.values())])
        saved, dots = tangents.run_with_tangent(dynamics, given, counts)
        return new_box(in_shape(saved), trace, JVPNode.new_root(in_shape(dots)))
    adjoint = adjoint or choose(dynamics, memory_budget, len(counts)).adjoint
    saved, pullback = adjoint.linearize(dynamics, counts)
    return new_box(in_shape(saved), trace, _reverse_node(inputs, pullback, len(counts)))


def _reverse_node(inputs: list, pullback: Callable, saves: int) -> VJPNode:
    """The node of the whole run in autograd's graph: its parents are the boxed inputs.

    Made by hand and not by a primitive, because the adjoint is prepared while the run goes forward.
    """

    def vjp(cotangent):
        leaves, _ = flatten(cotangent)
        if any(isbox(leaf) for leaf in leaves):
            raise DifferentiationError(NESTED)
        per_count = len(leaves) // saves
        bars = pullback([leaves[i : i + per_count] for i in range(0, len(leaves), per_count)])
        flat = [*bars.params, *bars.hyper, *(leaf for leaves in bars.schedules for leaf in leaves)]
        return [bar for x, bar in zip(inputs, flat) if isbox(x)]

    node = VJPNode.new_root()
    node.parents = [x._node for x in inputs if isbox(x)]
    node.vjp = vjp
    return node


def _tangent(x, value) -> np.ndarray:
    """The tangent an input brings from a forward trace; zeros for a constant."""
    value = np.asarray(value)
    if not isbox(x):
        return np.zeros_like(value)
    leaf = x._node.g
    if isbox(leaf):
        raise DifferentiationError(NESTED)
    if np.shape(leaf) != value.shape:
        raise ArgumentError(
            f"the tangent given to make_jvp has shape {np.shape(leaf)} where the value has {value.shape}: "
            "both must have the same structure and shapes"
        )
    return np.array(leaf, dtype=value.dtype)


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


def _check_adjoint(adjoint) -> None:
    if adjoint is None:
        return
    if not hasattr(adjoint, "linearize") or isinstance(adjoint, type):
        raise ArgumentError(f"adjoint must be an adjoint such as hypergrad.Stored(), or None, got {adjoint!r}")
