"""How fast perturbations of a training run grow."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..bridge import isbox
from ..checks import check_integer
from ..engine.dynamics import Dynamics, State, Transition, reported, zeros_like_schedules
from ..engine.forward import Tangents
from ..errors import ArgumentError, DifferentiationError, NonFiniteGradientWarning
from ..problem import check_problem
from ..workspace import Arena

_DIRECTIONS = 1  # the purpose of these random numbers, in seeds (seed, purpose)


class Lyapunov(NamedTuple):
    """How fast perturbations of a run grow, in nats a step.

    Attributes:
      exponents: λ over the whole run, shape (directions,), the largest first; the mean of ``growth``.
      running: the same over the steps so far, shape (steps, directions).
      growth: the logarithm of the growth during each step, shape (steps, directions).
      reason: why not all of that is finite, in a sentence; empty if it is.
    """

    exponents: np.ndarray
    running: np.ndarray
    growth: np.ndarray
    reason: str = ""


def lyapunov(
    loss: Callable,
    params: Any,
    optimizer: Any,
    hyper: Any = None,
    *,
    steps: int,
    directions: int = 1,
    seed: int = 0,
) -> Lyapunov:
    """The growth rate λ of small perturbations of a training run, per step.

        λ = log(|d_T| / |d_0|) / T,    d_{t+1} = (∂ state_{t+1} / ∂ state_t) d_t

    over the whole state, parameters and what the optimizer keeps, in the Euclidean norm. Above 0,
    two runs that begin close together move apart, and derivatives through training grow by a factor
    e^λ a step. Directions are made orthonormal after every step (QR), so nothing overflows, and
    several of them give the largest exponents in order. For a finite run λ depends a little on the
    random directions it begins with: see the running estimate.

    Args:
      loss, params, optimizer, hyper, steps: as for :func:`hypergrad.train`; ``steps`` ≥ 1.
      directions: how many exponents K, from 1 to the number of numbers in the state.
      seed: of the first directions.

    Returns:
      A :class:`Lyapunov`. −inf where a direction is lost altogether (by a momentum of 0, say), NaN from where the
      second derivatives of the loss are not finite; its ``reason`` says so.

    Raises:
      DivergedError: a parameter became non-finite; it carries the step.
      DifferentiationError: something that is being differentiated.
      ArgumentError: bad ``directions``; and what :func:`hypergrad.train` raises for bad input, before any training.

    Cost: training, and 2 matrix products more a step, layer and direction. Memory: O(K P).

    Source: Benettin, Galgani, Giorgilli & Strelcyn (1980), Meccanica 15.

    >>> import autograd.numpy as np
    >>> import hypergrad as hg
    >>> bowl = lambda w, hyper, step: 0.5 * np.sum(w**2)
    >>> result = lyapunov(bowl, np.zeros(1), hg.SGD(3.0, momentum=0.0), steps=500)
    >>> round(float(result.exponents[0]), 2)  # every step multiplies by 1 - 3
    0.69
    """
    problem = check_problem(loss, params, optimizer, hyper, steps)
    steps = check_integer(steps, "steps", 1)
    directions = check_integer(directions, "directions", 1)
    if any(isbox(x) for x in problem.inputs):
        raise DifferentiationError("lyapunov cannot be differentiated: give it plain numbers")
    dynamics = problem.dynamics()
    state = dynamics.start()
    tangents = Tangents(dynamics, state, [np.broadcast_to(w, (directions, *w.shape)) for w in dynamics.params])
    size = sum(a[0].size for a in _arrays(tangents))
    if directions > size:
        raise ArgumentError(f"directions is {directions}, but the state has only {size} numbers")
    rng = np.random.default_rng([check_integer(seed, "seed", 0), _DIRECTIONS])
    basis, _ = np.linalg.qr(rng.standard_normal((size, directions)))
    growth, reason = np.full((steps, directions), np.nan), ""
    arena, room = Arena(), dynamics.room(state)
    for step in range(steps):
        after, basis = _push(dynamics, state, room, tangents, basis, step, arena)
        state, room = after, state
        arena.release((0, 0))
        if not np.isfinite(basis).all():
            reason = _not_finite(step, growth)
            warnings.warn(reason, NonFiniteGradientWarning, stacklevel=2)
            break
        basis, triangle = np.linalg.qr(basis)
        with np.errstate(divide="ignore"):
            growth[step] = np.log(np.abs(np.diagonal(triangle)))
        if not reason and np.isneginf(growth[step]).any():
            lost = np.count_nonzero(np.isneginf(growth[step]))
            reason = (
                f"step {step} takes {lost} of {directions} direction{'s' if directions > 1 else ''} to 0, so nothing "
                "of what was perturbed is left there: λ is −inf (a momentum of 0, or units that are off, do that)"
            )
    running = np.cumsum(growth, axis=0) / np.arange(1, steps + 1)[:, None]
    return Lyapunov(running[-1], running, growth, reason)


def _not_finite(step: int, growth: np.ndarray) -> str:
    """Why there are no exponents from a step on, and what they were before."""
    before = f"; over the {step} steps before λ is {growth[:step, 0].mean():.3g}" if step else ""
    return (
        f"the second derivatives of the loss are not finite at step {step}: no exponents from there on{before}. If "
        "training saturates there, as a softmax with a logarithm after it does, write the loss so that it can "
        "(hypergrad.nn.softmax_cross_entropy)"
    )


@reported
def _push(
    dynamics: Dynamics, state: State, room: State, tangents: Tangents, basis: np.ndarray, step: int, arena: Arena
) -> tuple[State, np.ndarray]:
    """One step of training, and the columns of ``basis`` pushed through its linearisation, the schedules held still."""
    gradient, still = dynamics.layout.vector(arena), zeros_like_schedules(dynamics, basis.shape[1])
    _set(tangents, basis)
    value = dynamics.tangents(state, step, gradient, tangents.params, [], tangents.gradient)
    after = dynamics.advance(state, gradient, step, room, value)
    tangents.move(Transition(state, gradient, None, after), still, step)
    return after, np.concatenate([a.reshape(len(a), -1) for a in _arrays(tangents)], axis=1).T


def _arrays(tangents: Tangents) -> list:
    """Every array of the tangents: of the parameters, then of what the optimizer keeps of each."""
    return [*tangents.params.arrays, *tangents.dynamics.updates.arrays(tangents.slots)]


def _set(tangents: Tangents, basis: np.ndarray) -> None:
    """Write columns over the tangents."""
    shapes = _arrays(tangents)
    parts = np.split(basis.T, np.cumsum([a[0].size for a in shapes])[:-1], axis=1)
    arrays = [part.reshape(a.shape).astype(a.dtype) for part, a in zip(parts, shapes)]
    count = len(tangents.params.arrays)
    tangents.params.write(arrays[:count])
    tangents.slots = tangents.dynamics.updates.write(arrays[count:], tangents.slots)
