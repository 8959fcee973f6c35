"""Adjoints: how the reverse pass gets the trajectory back.

Each has ``linearize(dynamics, save_at) -> (saved, pullback)``: it runs the training, returns the
parameters at the step counts asked for, and a function from their cotangents to the cotangents of
everything the run depends on.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from .dynamics import Dynamics, Inputs, State, first_non_finite
from .errors import NonFiniteGradientWarning


@dataclass(frozen=True)
class Stored:
    """Keep every step of the run, with the intermediates of its Hessian-vector product.

    Memory: T · (2P + activations) floats for T steps of P parameters (on a loss without its own
    ``gradient_with_hvp``, what autograd records in place of the activations).
    Cost: 4 matrix products a step and layer, where training alone is 2: nothing is computed twice.
    """

    def linearize(self, dynamics: Dynamics, save_at: list[int]):
        """Run the training; return the parameters at ``save_at`` and the pullback to the inputs."""
        states, hvps = [dynamics.start()], []
        for step in range(dynamics.steps):
            state = states[-1]
            gradient, hvp = dynamics.oracle.gradient_with_hvp(state.params, step)
            states.append(dynamics.advance(state, gradient, step, out=state.empty_like()))
            hvps.append(hvp)

        def pullback(cotangents: list[list]) -> Inputs:
            return _pull_back(dynamics, states, hvps, dict(zip(save_at, cotangents)))

        return [[w.copy() for w in states[count].params] for count in save_at], pullback


def _pull_back(dynamics: Dynamics, states: list[State], hvps: list, cotangents: dict[int, list]) -> Inputs:
    """Reverse accumulation over the steps; ``cotangents`` maps step counts to those of the parameters."""
    bar = states[0].zeros_like()
    result = Inputs(
        bar.params,
        [np.zeros_like(leaf) for leaf in dynamics.oracle.hyper_leaves],
        [[np.zeros_like(leaf) for leaf in schedule.leaves] for schedule in dynamics.schedules],
    )
    last = max(cotangents)
    for count in range(last, 0, -1):
        if count in cotangents:
            _add_to(bar.params, cotangents[count])
        step = count - 1
        g_bar = pull_back_step(dynamics, states[step], states[count], bar, step, result.schedules)
        if step > 0 or dynamics.wanted.params or dynamics.wanted.hyper:
            params_product, hyper_product = hvps[step](g_bar)
            _add_to(bar.params, params_product)
            _add_to(result.hyper, hyper_product)
        if first_non_finite(bar.params) is not None:
            warnings.warn(
                f"the hypergradient overflowed on its way back at step {step} of {dynamics.steps}: "
                "the run is far into chaos, or the loss's second derivatives are not finite there",
                NonFiniteGradientWarning,
                stacklevel=2,
            )
            break
    if 0 in cotangents:
        _add_to(bar.params, cotangents[0])
    return result


def pull_back_step(dynamics: Dynamics, before: State, after: State, bar: State, step: int, schedule_bars) -> list:
    """The optimizer's part of one step backwards, in place in ``bar`` and ``schedule_bars``; returns ḡ."""
    g_bars = []
    for i, h in enumerate(dynamics.hyperparameters(step)):
        g_bar, h_bar = dynamics.optimizer.pull_back(
            bar.params[i], bar.slots[i], before.slots[i], after.slots[i], h, dynamics.wanted.schedules
        )
        g_bars.append(g_bar)
        for schedule, leaf_bars, value in zip(dynamics.schedules, schedule_bars, h_bar):
            leaf_bars[schedule.cover[i]][step] += value
    return g_bars


def _add_to(totals: list, terms: list) -> None:
    for total, term in zip(totals, terms):
        total += term
