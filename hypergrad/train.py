"""``train``: a whole training run as one differentiable function."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .adjoints import Adjoint
from .bridge import (
    NESTED,
    Outputs,
    count_of_tangents,
    getval,
    isbox,
    probe_of,
    result_of_forward_mode,
    result_of_reverse_mode,
    takes_forward_mode,
    tangents_of,
)
from .engine import forward
from .engine.dynamics import Directions, Dynamics
from .engine.purity import Replay
from .engine.snapshots import Snapshots, keeps_notes
from .errors import ArgumentError, DifferentiationError
from .nests import Structure, flatten, leaves_like, unflatten
from .planner import choose, parse_budget, vectors_of_reverse_mode
from .problem import check_problem
from .runs.snapshots import folder_of_this_piece
from .workspace import row


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
    on_divergence: str = "raise",
    check_purity: bool = True,
    snapshot: Any = None,
):
    """Train for ``steps`` steps and return the parameters, differentiably.

    Differentiable in ``params``, ``hyper`` and every hyperparameter of ``optimizer`` by autograd's
    own ``grad``, ``value_and_grad``, ``jacobian`` (reverse mode) and ``make_jvp`` (forward mode, in
    one pass; in several directions by :func:`hypergrad.forward_tangents`). Second derivatives through training are not
    available and raise.

    Args:
      loss: ``loss(params, hyper, step)``, the scalar training loss at ``step`` (int, from 0), written
        with autograd.numpy. It must be a pure function of these: ``step`` picks the minibatch, so that a step can be
        replayed. Derivatives written out come as a :class:`hypergrad.losses.WrittenLoss`.
      params: any nest of dicts, lists, tuples, named tuples and frozen dataclasses of float64 arrays (or float32:
        computed in float32); None is an absent leaf.
      optimizer: for example :class:`hypergrad.SGD`; its hyperparameters are scalars, arrays
        ``(steps,)``, or nests of those that are a prefix of ``params``.
      hyper: a nest like ``params``, passed on to ``loss``; None if the loss needs none.
      steps: number of steps T ≥ 0.
      adjoint: how reverse mode gets the trajectory back; if None, :func:`hypergrad.plan` chooses the
        fastest that fits the memory budget. The choice never changes the trajectory.
      save_at: step counts in 0..steps, increasing; then a list of parameters is returned, one for each.
      callback: ``callback(step, params, state, gradient, value)``, called once a step before its update, with
        copies; ``state`` is the optimizer's, as a named tuple of nests; ``value`` that of the loss. One that takes
        four arguments does not get the value.
      memory_budget: bytes for ``adjoint=None``, or a text such as "500MB"; if None, the environment
        variable HYPERGRAD_MEMORY_BUDGET, or else a quarter of the free memory.
      on_divergence: "raise", or "nan": then the parameters at step counts that a run did not reach are NaN, and so is
        every derivative of them; in reverse mode the training runs a second time, up to there.
      check_purity: whether a reverse run computes one of its steps again and compares, bit for bit, since a loss
        that is no pure function has wrong derivatives. It costs about one step.
      snapshot: a file, for a training that is not differentiated: its state is written there every half minute and at
        the end (``numpy.load`` reads it), and the same call goes on from it, bit for bit. It costs two steps and the
        writing; a callback is not called again for the steps before, but one that has ``state()``, a dict of arrays,
        and ``restore(arrays)`` is given back what it had noted.

    Returns:
      The trained parameters in the shape of ``params``; with ``save_at`` a list of those.

    Raises:
      NestError, ScheduleError, ArgumentError, AdjointError: bad input, before any training.
      MemoryBudgetError: no adjoint fits the budget; says the least that would.
      LossError: the loss is not a scalar, or does not depend on ``params``.
      DifferentiationError: a derivative that would be silently wrong.
      DivergedError: a parameter became non-finite; it carries the step and the norm.
      NonFiniteLossGradientError: it did because the loss has no gradient there; it carries the step and the leaf.
      ImpureLossError: a step computed again gave something else.
      FixedPointOverflowError: exact arithmetic cannot hold a number; it carries the step.
      OtherFunctionError: the snapshot is of another training.
      StoreError: the snapshot is damaged, or cannot be written.

    Cost, in matrix products a step and layer: 2 for training alone, 4 in forward mode and in reverse
    mode with :class:`hypergrad.Stored`. Memory: O(P) without derivatives and in forward mode. Reverse
    mode with another adjoint: as that says. Different threads may train at the same time.

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
    if on_divergence not in ("raise", "nan"):
        raise ArgumentError(f'on_divergence must be "raise" or "nan", got {on_divergence!r}')
    inputs, probe = problem.inputs, probe_of(problem.inputs)
    differentiated = any(map(isbox, inputs))
    reverse = differentiated and not takes_forward_mode(inputs)
    dynamics = problem.dynamics(check_purity=check_purity and reverse)
    if adjoint is not None:
        adjoint.check(dynamics)
    if memory_budget is not None:
        parse_budget(memory_budget)
    if probe is not None:
        probe.losses.append((loss, *(_plain(nest) for nest in (params, hyper))))
        probe.runs.append((problem, len(counts)))
    directions = count_of_tangents(inputs) if differentiated and not reverse else 1
    vectors = vectors_of_reverse_mode(dynamics) if reverse else 3 * directions * dynamics.layout.nbytes
    dynamics.layout.arena.expect(vectors)
    failures = [] if on_divergence == "nan" else probe.failures if probe is not None else None

    nest = _outputs(problem.structure, None if save_at is None else len(counts))
    if differentiated and snapshot is not None:
        raise ArgumentError(
            "snapshot is for a training that is not differentiated: what a derivative keeps of a run is not written; "
            "store= of hg.meta.minimize keeps the iterations of a descent"
        )
    if not differentiated:
        snapshots = _snapshots(snapshot, dynamics, counts, callback)
        return nest.build(_joined(forward.train(dynamics, counts, failures, snapshots)))
    if not reverse:
        dots = problem.group([_stacked_tangents(x, value, directions) for x, value in zip(inputs, problem.values())])
        saved, saved_dots = forward.train_with_tangents(dynamics, dots, counts, failures, probe)
        by_direction = [row(_joined(saved_dots), k) for k in range(directions)]
        return result_of_forward_mode(nest, _joined(saved), by_direction, inputs)
    run = _planned(memory_budget) if adjoint is None else adjoint.run
    saved, pullback = _run(run, dynamics, counts, tolerant=on_divergence == "nan")

    def pull_back(cotangents: list) -> list:
        per_count = len(cotangents) // len(counts)
        bars = pullback([cotangents[i : i + per_count] for i in range(0, len(cotangents), per_count)])
        return [*bars.params, *bars.hyper, *_joined(bars.schedules)]

    return result_of_reverse_mode(nest, _joined(saved), inputs, pull_back)


def _joined(lists: list[list]) -> list:
    return [leaf for leaves in lists for leaf in leaves]


def _plain(nest):
    """A nest without boxes."""
    leaves, structure = flatten(nest)
    return unflatten(structure, [getval(leaf) for leaf in leaves])


def _snapshots(file, dynamics: Dynamics, counts: list[int], callback) -> Snapshots | None:
    """Those asked for; or those of the piece of work that this training belongs to, if no callback would miss steps."""
    if file is not None:
        return Snapshots(dynamics, counts, Path(file), None, callback)
    folder = folder_of_this_piece() if callback is None or keeps_notes(callback) else None
    return None if folder is None else Snapshots(dynamics, counts, None, folder, callback)


def _planned(memory_budget) -> Callable:
    """The run under the adjoint that the planner chooses once the first step has been made."""

    def run(dynamics: Dynamics, counts: list[int]):
        return choose(dynamics, memory_budget, len(counts)).adjoint.run(dynamics, counts)

    return run


def _run(run: Callable, dynamics: Dynamics, counts: list[int], tolerant: bool) -> tuple[list[list], Callable]:
    """A run in reverse mode; where divergence is tolerated, NaN for what it did not reach, and for its derivatives."""
    try:
        return run(dynamics, counts)
    except forward.FAILURES as error:
        if not tolerant:
            raise
        reached = error.step
    # Only as many steps as succeed: whatever the adjoint, it can be taken back over those.
    replay = Replay(reached, dynamics.layout) if dynamics.replay is not None and reached else None
    shorter = replace(dynamics, steps=reached, callback=None, replay=replay, first=[])
    within = [count for count in counts if count <= reached]
    saved, pullback = run(shorter, within or [reached])
    lost = [forward.not_reached(dynamics.params) for _ in counts[len(within) :]]

    def pull_back(cotangents: list[list]) -> Directions:
        known, unknown = cotangents[: len(within)], _joined(cotangents[len(within) :])
        bars = pullback(known or [[np.zeros_like(w) for w in dynamics.params]])
        if any(np.any(cotangent) for cotangent in unknown):
            for bar in (*bars.params, *bars.hyper, *_joined(bars.schedules)):
                bar[...] = np.nan
        return bars

    return [*saved[: len(within)], *lost], pull_back


def _outputs(structure: Structure, saves: int | None) -> Outputs:
    """How the results of a run are put together: one nest, or a list of them."""

    def build(leaves: list) -> Any:
        if saves is None:
            return unflatten(structure, leaves)
        per_count = len(leaves) // saves
        return [unflatten(structure, leaves[i : i + per_count]) for i in range(0, len(leaves), per_count)]

    def take_apart(cotangent: Any) -> list:
        nests = [cotangent] if saves is None else list(cotangent)
        found = [leaves_like(nest, structure) for nest in nests]
        if len(found) != (saves or 1) or any(leaves is None for leaves in found):
            raise ArgumentError(
                "the cotangent of a run must be a nest like what train returned, with the same keys and lengths, got "
                f"{cotangent!r:.200}"
            )
        return [leaf for leaves in found if leaves is not None for leaf in leaves]

    return Outputs(build, take_apart, structure.known_to_autograd)


def _stacked_tangents(x, value, count: int) -> np.ndarray:
    """The tangents an input brings from a forward trace, stacked along a first axis; zeros for a constant."""
    value, tangents = np.asarray(value), tangents_of(x)
    if tangents is None:
        return np.broadcast_to(np.zeros((), value.dtype), (count, *value.shape))
    for tangent in tangents:
        if isbox(tangent):
            raise DifferentiationError(NESTED)
        if np.shape(tangent) != value.shape:
            raise ArgumentError(
                f"the tangent given to make_jvp has shape {np.shape(tangent)} where the value has {value.shape}: "
                "both must have the same structure and shapes"
            )
    return np.array(tangents, dtype=value.dtype)


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
    if isinstance(adjoint, type) or not isinstance(adjoint, Adjoint):
        raise ArgumentError(
            f"adjoint must be an adjoint such as hypergrad.Stored(), or None, got {adjoint!r}; one of your own is "
            "derived from hypergrad.Adjoint"
        )
