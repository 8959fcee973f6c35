"""Forward mode: a run and its directional derivative together, in one pass and O(P) memory."""

from __future__ import annotations

import warnings

from .dynamics import Dynamics, Inputs, State, first_non_finite
from .errors import NonFiniteGradientWarning


def run(dynamics: Dynamics, save_at: list[int]) -> list[list]:
    """Plain training: the parameters at the step counts asked for. 2 products a step and layer."""
    state, saved = dynamics.start(), {}
    spare = state.empty_like()
    for step in range(dynamics.steps):
        if step in save_at:
            saved[step] = [w.copy() for w in state.params]
        gradient = dynamics.oracle.gradient(state.params, step)
        state, spare = dynamics.advance(state, gradient, step, out=spare), state
    saved[dynamics.steps] = state.params
    return [saved[count] for count in save_at]


def run_with_tangent(dynamics: Dynamics, tangents: Inputs, save_at: list[int]) -> tuple[list[list], list[list]]:
    """Training and the tangent of the parameters at the step counts asked for.

    Cost: 4 products a step and layer, whatever the number of counts.
    """
    state = dynamics.start()
    spare = state.empty_like()
    dot = State([t.copy() for t in tangents.params], state.zeros_like().slots)
    saved, overflowed = {}, False
    for step in range(dynamics.steps):
        if step in save_at:
            saved[step] = [w.copy() for w in state.params], [t.copy() for t in dot.params]
        gradient, gradient_dot = dynamics.oracle.gradient_with_tangent(state.params, dot.params, tangents.hyper, step)
        state, spare = dynamics.advance(state, gradient, step, out=spare), state
        push_forward_step(dynamics, spare, gradient, state, dot, gradient_dot, tangents, step)
        if not overflowed and first_non_finite(dot.params) is not None:
            overflowed = True
            warnings.warn(
                f"the tangent overflowed at step {step} of {dynamics.steps}: the run is far into chaos, "
                "or the loss's second derivatives are not finite there",
                NonFiniteGradientWarning,
                stacklevel=2,
            )
    saved[dynamics.steps] = state.params, dot.params
    return [saved[count][0] for count in save_at], [saved[count][1] for count in save_at]


def push_forward_step(dynamics, before: State, gradient, after: State, dot: State, gradient_dot, tangents, step):
    """The optimizer's part of one step for the tangent ``dot``, in place."""
    for i, h in enumerate(dynamics.hyperparameters(step)):
        h_dot = tuple(
            leaf_dots[schedule.cover[i]][step] for schedule, leaf_dots in zip(dynamics.schedules, tangents.schedules)
        )
        dynamics.optimizer.push_forward(
            dot.params[i], dot.slots[i], gradient_dot[i], h_dot, before.slots[i], gradient[i], after.slots[i], h
        )
