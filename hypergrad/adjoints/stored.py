"""Keep every step of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..engine.dynamics import Directions, Dynamics
from ..engine.forward import Saved
from ..workspace import Arena
from .base import Adjoint, Backward, Cost, Sizes


@dataclass(frozen=True)
class Stored(Adjoint):
    """Keep every step of the run, with the intermediates of its Hessian-vector product.

    Memory: T · (P + state + gradient + activations) floats for T steps of P parameters. SGD needs only its
    velocity, and what the loss keeps: for an MLP its activations and the weights past the first layer, for other
    losses what autograd records, and the parameters.
    Cost: 4 matrix products a step and layer, where training alone is 2: nothing is computed twice.
    """

    def run(self, dynamics: Dynamics, save_at: list[int]) -> tuple[list[list], Callable]:
        """Run the training; return the parameters at ``save_at`` and the pullback to the inputs."""
        return run_and_keep(dynamics, save_at, dynamics.steps)

    def cost(self, sizes: Sizes) -> Cost:
        """All steps are kept."""
        return Cost(int(sizes.steps * sizes.record + sizes.working), 4.0)


def run_and_keep(dynamics: Dynamics, save_at: list[int], kept: int) -> tuple[list[list], Callable]:
    """Run all steps, keep the last ones, and differentiate through those."""
    first = max(dynamics.steps - kept, 0)  # a run that ended early is shorter than what was to be kept
    if dynamics.replay is not None:
        dynamics.replay.choose_among(range(first, save_at[-1]))
    saved, state = Saved(save_at), dynamics.start()
    for step in range(first):
        saved.take(state.params, step)
        state = dynamics.step(state, step)
    arena, transitions = Arena(), []
    for step in range(first, dynamics.steps):
        saved.take(state.params, step)
        transition, state = dynamics.record(state, step, arena)
        transitions.append(transition)
        if step in (first, first + 1):  # the first may have been made by the planner, in memory of its own
            arena.expect((dynamics.steps - 1 - step) * arena.given // len(transitions))
    saved.take(state.params, dynamics.steps)
    if dynamics.loss.is_closed(dynamics.steps):
        dynamics = replace(dynamics, replay=None)  # of what is computed once, there is nothing to compare

    def pullback(cotangents: list[list]) -> Directions:
        backward = Backward(dynamics, save_at, cotangents)
        for step in range(dynamics.steps - 1, first - 1, -1):
            backward.step(step, transitions[step - first])
        return backward.finish(reached_start=first == 0)

    return saved.all(dynamics.params), pullback
