"""Chaos in training: how fast perturbations grow, and how large a learning rate the curvature allows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from autograd.tracer import isbox

from .arrays import own
from .dynamics import Dynamics, State, reported
from .errors import ArgumentError, DifferentiationError, NonFiniteGradientWarning, ScheduleError, check_integer
from .nests import check_leaf, check_params, flatten, leaf_places
from .oracles import Oracle
from .problem import check_problem
from .trust import Trust, trust

__all__ = ["Lyapunov", "Trust", "lyapunov", "max_lr", "sharpness", "trust"]

_DIRECTIONS, _SHARPNESS = 1, 2  # the purposes of these random numbers, in seeds (seed, purpose)


class Lyapunov(NamedTuple):
    """How fast perturbations of a run grow, in nats a step.

    Attributes:
      exponents: λ over the whole run, shape (directions,), the largest first; the mean of ``growth``.
      running: the same over the steps so far, shape (steps, directions).
      growth: the logarithm of the growth during each step, shape (steps, directions).
    """

    exponents: np.ndarray
    running: np.ndarray
    growth: np.ndarray


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
      A :class:`Lyapunov`. −inf where a direction is lost altogether (by a momentum of 0, say).

    Raises:
      DivergedError: a parameter became non-finite; it carries the step.
      ArgumentError and what :func:`hypergrad.train` raises for bad input, before any training.

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
    size = sum(a.size for a in _arrays(state))
    if directions > size:
        raise ArgumentError(f"directions is {directions}, but the state has only {size} numbers")
    rng = np.random.default_rng([check_integer(seed, "seed", 0), _DIRECTIONS])
    basis, _ = np.linalg.qr(rng.standard_normal((size, directions)))
    growth = np.full((steps, directions), np.nan)
    still = [[np.zeros_like(leaf) for leaf in schedule.leaves] for schedule in dynamics.schedules]
    for step in range(steps):
        state, basis = _push(dynamics, state, basis, still, step)
        if not np.isfinite(basis).all():
            warnings.warn(
                f"the second derivatives of the loss are not finite at step {step}: no exponents from there on",
                NonFiniteGradientWarning,
                stacklevel=2,
            )
            break
        basis, triangle = np.linalg.qr(basis)
        with np.errstate(divide="ignore"):
            growth[step] = np.log(np.abs(np.diagonal(triangle)))
    running = np.cumsum(growth, axis=0) / np.arange(1, steps + 1)[:, None]
    return Lyapunov(running[-1], running, growth)


@reported
def _push(dynamics: Dynamics, state: State, basis: np.ndarray, still: list, step: int) -> tuple[State, np.ndarray]:
    """One step of training, and the columns of ``basis`` pushed through its linearisation, the schedules held still."""
    gradient, hvp = dynamics.oracle.gradient_with_hvp(state.params, step)
    gradient = own(gradient)  # the products may use its buffer
    before = State(state.params, state.slots)
    after = dynamics.advance(state, gradient, step)
    pushed = np.empty_like(basis)
    for k in range(basis.shape[1]):
        dot = _state(basis[:, k], before)
        g_dot, _ = hvp(dot.params)
        dot = dynamics.push_forward(before, gradient, after, dot, g_dot, still, step)
        pushed[:, k] = np.concatenate([np.ravel(a) for a in _arrays(dot)])
    return after, pushed


def _arrays(state: State) -> list:
    """Every array of a state: the parameters, then what the optimizer keeps of each."""
    return [*state.params, *(a for slots in state.slots for a in slots)]


def _state(column: np.ndarray, like: State) -> State:
    """A column cut into arrays in the shapes and dtypes of a state."""
    shapes = _arrays(like)
    parts = np.split(column, np.cumsum([a.size for a in shapes])[:-1])
    arrays = iter([part.reshape(a.shape).astype(a.dtype, copy=False) for part, a in zip(parts, shapes)])
    params = [next(arrays) for _ in like.params]
    return State(params, [tuple(next(arrays) for _ in slots) for slots in like.slots])


def sharpness(loss: Callable, params: Any, hyper: Any = None, step: int = 0) -> float:
    """The largest eigenvalue of the Hessian of ``loss(params, hyper, step)`` in ``params``.

    Args:
      loss, params, hyper: as for :func:`hypergrad.train`.
      step: picks the minibatch; for all data give a loss over all of them.

    Returns:
      λ_max, negative where the loss curves down everywhere.

    Raises:
      NestError, LossError: bad input.

    Cost: some tens of Hessian-vector products, 4 matrix products a layer each, by Lanczos iteration
    (scipy's ``eigsh``). Memory: 20 vectors.

    >>> import autograd.numpy as np
    >>> float(round(sharpness(lambda w, hyper, step: w[0] ** 2 + 3.0 * w[1] ** 2, np.ones(2)), 6))
    6.0
    """
    leaves, structure = flatten(params)
    check_params(leaves, leaf_places(structure, "params"))
    hyper_leaves, hyper_structure = ([], None) if hyper is None else flatten(hyper)
    if any(isbox(x) for x in leaves + hyper_leaves):
        raise DifferentiationError("sharpness cannot be differentiated: give it plain numbers")
    if hyper is not None:
        for leaf, place in zip(hyper_leaves, leaf_places(hyper_structure, "hyper")):
            check_leaf(leaf, place)
    arrays = [np.asarray(w) for w in leaves]
    oracle = Oracle(loss, structure, hyper_structure, [np.asarray(h) for h in hyper_leaves], False)
    _, hvp = oracle.gradient_with_hvp(arrays, check_integer(step, "step", 0))
    like, size = State(arrays, []), sum(w.size for w in arrays)

    def product(vector):
        return np.concatenate([np.ravel(a) for a in hvp(_state(vector.ravel(), like).params)[0]])

    if size == 1:  # too small for Lanczos
        return float(product(np.ones(1))[0])
    from scipy.sparse.linalg import LinearOperator, eigsh

    dtype = np.result_type(*arrays)
    start = np.random.default_rng([0, _SHARPNESS]).standard_normal(size).astype(dtype)
    hessian = LinearOperator((size, size), matvec=product, dtype=dtype)
    return float(eigsh(hessian, k=1, which="LA", v0=start, return_eigenvectors=False)[0])


def max_lr(sharpness: float, momentum: float = 0.9) -> float:
    """The learning rate above which :class:`hypergrad.SGD` is unstable on a quadratic of that sharpness.

        α_max = 2 (1 + β) / ((1 − β) λ_max)

    in the form v ← βv − (1−β)g, w ← w + αv. Training settles near it or passes over it for a while
    without diverging, since a net is not a quadratic.

    Args:
      sharpness: λ_max, the largest eigenvalue of the Hessian.
      momentum: β in [0, 1).

    Returns:
      α_max; inf where λ_max ≤ 0.

    Source: Polyak (1964) for the heavy ball, with the learning rate α(1−β); Cohen et al. (2021) for nets.

    >>> max_lr(4.0, momentum=0.0), round(max_lr(4.0, momentum=0.9), 6)
    (0.5, 9.5)
    """
    if not 0.0 <= momentum < 1.0:
        raise ScheduleError(f"momentum must lie in [0, 1), got {momentum!r}")
    if math.isnan(sharpness):
        raise ArgumentError("sharpness is nan")
    return 2.0 * (1.0 + momentum) / ((1.0 - momentum) * sharpness) if sharpness > 0.0 else math.inf
