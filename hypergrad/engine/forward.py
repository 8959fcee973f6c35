"""Runs that go forwards only: plain training, and training together with directional derivatives."""

from __future__ import annotations

import math
import warnings

import numpy as np

from ..bridge import Probe
from ..errors import DivergedError, FixedPointOverflowError, NonFiniteGradientWarning, NonFiniteLossGradientError
from ..losses.base import Linearized
from ..workspace import Arena, Vector
from .dynamics import Directions, Dynamics, State, Transition, reported
from .snapshots import Snapshots

FAILURES = (DivergedError, FixedPointOverflowError, NonFiniteLossGradientError)


class Saved:
    """Copies of the parameters at the step counts asked for; NaN for those that a run did not reach."""

    def __init__(self, counts: list[int]):
        self.counts = counts
        self.at: dict[int, list] = {}

    def take(self, params: Vector, count: int) -> None:
        """Copy the parameters if they are asked for at this count."""
        if count in self.counts:
            self.at[count] = [w.copy() for w in params.arrays]

    def all(self, like: list) -> list[list]:
        """One list of arrays for each count."""
        return [self.at[count] if count in self.at else not_reached(like) for count in self.counts]


def not_reached(like: list) -> list:
    """NaN in the shapes of the parameters."""
    return [np.full_like(w, np.nan) for w in like]


def train(
    dynamics: Dynamics, counts: list[int], failures: list | None = None, snapshots: Snapshots | None = None
) -> list[list]:
    """Plain training: the parameters at the step counts asked for. 2 products a step and layer.

    Args:
      failures: None, or a list to which an error of a run that ends early is added, instead of being raised.
      snapshots: None, or those that it goes on from and leaves.
    """
    state, saved, first = dynamics.start(), Saved(counts), 0
    if snapshots is not None:
        state, first = snapshots.go_on(state, saved)
    try:
        for step in range(first, dynamics.steps):
            if snapshots is not None:
                snapshots.look(state, step, saved)
            saved.take(state.params, step)
            state = dynamics.step(state, step)
        if snapshots is not None:
            snapshots.finish(state, saved)
        saved.take(state.params, dynamics.steps)
    except FAILURES as error:
        _tolerate(error, failures)
    return saved.all(dynamics.params)


def _tolerate(error: Exception, failures: list | None) -> None:
    if failures is None:
        raise error
    failures.append(error)


class Tangents:
    """Tangents of a run, moved forwards step by step together with it.

    Args:
      params_dots: those of the initial parameters, stacked over the directions along a first axis of every array.
    """

    def __init__(self, dynamics: Dynamics, state: State, params_dots: list):
        self.dynamics, count = dynamics, len(params_dots[0])
        layout = dynamics.layout.stacked(count)
        self.params, self.gradient = layout.of(params_dots), layout.vector()
        self.slots = dynamics.updates.zero_tangents(state.slots, count)

    @reported
    def move(self, transition: Transition, schedule_dots: list, step: int) -> None:
        """The optimizer's part of one step, from the tangents of the gradient, which are used up."""
        self.slots = self.dynamics.updates.push_forward(
            self.params, self.slots, self.gradient, transition, schedule_dots, step
        )


def train_with_tangents(
    dynamics: Dynamics, dots: Directions, counts: list[int], failures: list | None = None, probe: Probe | None = None
) -> tuple[list[list], list[list]]:
    """Training and the tangents of the parameters at the step counts asked for.

    Cost: 2 + 2 K products a step and layer for K directions, whatever the number of counts. Memory: O(K P).

    Args:
      dots: tangents of everything, stacked over the directions along a first axis of every array.
      failures: as for :func:`train`.
      probe: gets the norms of tangents and gradients; then nothing is warned of.

    Returns:
      For each count the parameters, and their tangents, stacked in the same way.
    """
    state, gradient = dynamics.start(), dynamics.layout.vector()
    other = dynamics.room(state)  # what the step before leaves is read while the next one is written
    tangents = Tangents(dynamics, state, dots.params)
    saved, saved_dots, overflowed = Saved(counts), Saved(counts), False
    norms: list[float] = []
    gradient_norms: list[float] = []
    if probe is not None:
        probe.tangent_norms.append(norms)
        probe.gradient_norms.append(gradient_norms)
    try:
        for step in range(dynamics.steps):
            saved.take(state.params, step)
            saved_dots.take(tangents.params, step)
            value = dynamics.tangents(state, step, gradient, tangents.params, dots.hyper, tangents.gradient)
            dynamics.report(state, gradient, step, value)
            if probe is not None:
                gradient_norms.append(gradient.norm())
            after = dynamics.advance(state, gradient, step, other, value)
            tangents.move(Transition(state, gradient, None, after), dots.schedules, step)
            norms.append(tangents.params.norm())
            if not overflowed and not math.isfinite(norms[-1]) and tangents.params.first_non_finite() is not None:
                overflowed = True
                if probe is None:
                    before = norms[-2] if step else 0.0
                    linear = dynamics.loss.linearize(state.params.arrays, step, gradient.arrays, Arena())
                    warn_of_overflow(dynamics, "the tangent overflowed", step, before, linear)
            state, other = after, state
        saved.take(state.params, dynamics.steps)
        saved_dots.take(tangents.params, dynamics.steps)
    except FAILURES as error:
        _tolerate(error, failures)
    return saved.all(dynamics.params), saved_dots.all(dots.params)


def warn_of_overflow(dynamics: Dynamics, what: str, step: int, before: float, linear: Linearized) -> None:
    """Warn that a derivative is not finite, and say what made it so: the loss, the optimizer, or growth.

    Args:
      before: the norm of the derivative one step earlier.
      linear: of the step.
    """
    ones, product = dynamics.layout.vector(), dynamics.layout.vector()
    ones.fill(1.0)
    with np.errstate(all="ignore"):
        linear.product(ones.arrays, product.arrays)
    if product.first_non_finite() is not None:
        why = "the loss's second derivatives are not finite there (a norm or square root at 0?)"
    elif before < _LARGE:
        name = type(dynamics.updates.innermost.optimizer).__name__
        why = (
            f"the derivative of {name}'s own update is not finite there: the slope of a square root at 0 is infinite, "
            "as in sqrt(v) + ε for a parameter that got no gradient yet; hypergrad.optimizers.root has none there"
        )
    else:
        why = "it grew from step to step, the run is far into chaos"
    warnings.warn(f"{what} at step {step} of {dynamics.steps}: {why}", NonFiniteGradientWarning, stacklevel=2)


_LARGE = 1e100  # a derivative above this has grown until it overflowed
