"""Forward mode: a run and its directional derivative together, in one pass and O(P) memory."""

from __future__ import annotations

import contextlib
import warnings
from contextvars import ContextVar

import numpy as np

from .dynamics import Dynamics, Inputs, State, first_non_finite, forward_step, norm, save
from .errors import DivergedError, FixedPointOverflowError, NonFiniteGradientWarning

_tolerated: ContextVar[list | None] = ContextVar("tolerated", default=None)
_norms: ContextVar[list | None] = ContextVar("norms", default=None)


@contextlib.contextmanager
def _collected(variable: ContextVar):
    """A new list in the variable, for as long as the context lasts."""
    found: list = []
    token = variable.set(found)
    try:
        yield found
    finally:
        variable.reset(token)


def divergence_tolerated():
    """A context within which a run that diverges returns NaN for the step counts it did not reach.

    Yields the list to which the errors are added. For sweeps, which keep what a run did reach.
    """
    return _collected(_tolerated)


def tangent_norms_recorded():
    """A context within which every run in forward mode adds the norms of its tangent of the parameters, one a step.

    Yields the list to which the lists of the runs are added.
    """
    return _collected(_norms)


@contextlib.contextmanager
def _kept_if_tolerated(dynamics: Dynamics, *saved: dict[int, list | None]):
    """Fill what a diverged run did not reach with NaN, where that is tolerated."""
    try:
        yield
    except (DivergedError, FixedPointOverflowError) as error:
        if _tolerated.get() is None:
            raise
        _tolerated.get().append(error)
        for reached in saved:
            for count, params in reached.items():
                if params is None:
                    reached[count] = [np.full_like(w, np.nan) for w in dynamics.params]


def run(dynamics: Dynamics, save_at: list[int]) -> list[list]:
    """Plain training: the parameters at the step counts asked for. 2 products a step and layer."""
    state, saved = dynamics.start(), dict.fromkeys(save_at)
    with _kept_if_tolerated(dynamics, saved):
        for step in range(dynamics.steps):
            state = forward_step(dynamics, state, step, saved)
        save(state, dynamics.steps, saved)
    return [saved[count] for count in save_at]


def run_with_tangent(dynamics: Dynamics, tangents: Inputs, save_at: list[int]) -> tuple[list[list], list[list]]:
    """Training and the tangent of the parameters at the step counts asked for.

    Cost: 4 products a step and layer, whatever the number of counts.
    """
    state = dynamics.start()
    dot = State(tangents.params, State(state.params, state.slots).zeros_like().slots)
    saved, saved_dots, overflowed = dict.fromkeys(save_at), dict.fromkeys(save_at), False
    norms: list = []
    if _norms.get() is not None:
        _norms.get().append(norms)
    with _kept_if_tolerated(dynamics, saved, saved_dots):
        for step in range(dynamics.steps):
            save(state, step, saved)
            save(dot, step, saved_dots)
            gradient, g_dot = dynamics.oracle.gradient_with_tangent(state.params, dot.params, tangents.hyper, step)
            dynamics.report(state, gradient, step)
            before = State(state.params, state.slots)
            state = dynamics.advance(state, gradient, step)
            dot = dynamics.push_forward(before, gradient, state, dot, g_dot, tangents.schedules, step)
            if _norms.get() is not None:
                norms.append(norm(dot.params))
            if not overflowed and first_non_finite(dot.params) is not None:
                overflowed = True
                warnings.warn(
                    f"the tangent overflowed at step {step} of {dynamics.steps}: the run is far into chaos, "
                    "or the loss's second derivatives are not finite there",
                    NonFiniteGradientWarning,
                    stacklevel=2,
                )
        save(state, dynamics.steps, saved)
        save(dot, dynamics.steps, saved_dots)
    return [saved[count] for count in save_at], [saved_dots[count] for count in save_at]
