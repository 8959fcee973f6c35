"""What an adjoint is: how the reverse pass gets the trajectory back, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..engine.dynamics import Directions, Dynamics, Transition, zeros_like_schedules
from ..engine.forward import not_reached, warn_of_overflow
from ..workspace import Arena


class Cost(NamedTuple):
    """What a derivative takes.

    Attributes:
      memory: peak of what the run allocates, in bytes.
      products: matrix products a step and layer; training alone is 2.
    """

    memory: int
    products: float


class Sizes(NamedTuple):
    """Bytes of the parts of a run, from which an adjoint tells its cost.

    Attributes:
      steps: of the run.
      params: of the parameters.
      state: of parameters and optimizer state.
      fixed: of the fixed-point numbers of an exact run; 0 in floats.
      bits: bytes of what an exact run loses to its decays over all steps.
      tape: of what the loss keeps of a step for its products.
      record: of a step that is kept for the way back, the tape among it.
      reserved: of a record, what stays reserved when it is no longer needed.
      working: of what one step backwards works with, beside its own record.
      exact: whether the run can be undone.
    """

    steps: int
    params: int
    state: int
    fixed: int
    bits: int
    tape: int
    record: int
    reserved: int
    working: int
    exact: bool


class Adjoint:
    """How the reverse pass gets the trajectory back. Derive from it, with :meth:`run`, for one of your own.

    It decides which states are kept and when steps run again, and knows no loss and no optimizer: ``dynamics`` makes
    the steps (hypergrad/engine/dynamics.py), and ``Backward`` takes them back.
    """

    def check(self, dynamics: Dynamics) -> None:
        """Raise, before any training, if it cannot serve this run; any run will do unless it is overridden.

        Raises:
          AdjointError: names an adjoint that can.
        """

    def run(self, dynamics: Dynamics, save_at: list[int]) -> tuple[list[list], Callable[[list[list]], Directions]]:
        """Run the training.

        Args:
          dynamics: makes the steps.
          save_at: step counts, increasing.

        Returns:
          The parameters at these counts, a list of arrays for each; and the pullback, which takes their
          cotangents, a list of arrays for each count, and returns those of everything the run depends on.
        """
        raise NotImplementedError(f"{type(self).__name__} needs run(dynamics, save_at) -> (saved, pullback)")

    def cost(self, sizes: Sizes) -> Cost | None:
        """What it takes for a run of these sizes; None if it cannot tell or cannot serve."""
        return None

    def fitted(self, sizes: Sizes, memory: float) -> Adjoint | None:
        """The form of this adjoint, with other numbers perhaps, that takes at most so much memory; None if none
        does.
        """
        cost = self.cost(sizes)
        return self if cost is not None and cost.memory <= memory else None


class Backward:
    """Reverse accumulation: the cotangents of the state, moved back step by step."""

    def __init__(self, dynamics: Dynamics, save_at: list[int], cotangents: list[list]):
        self.dynamics, self.cotangents = dynamics, dict(zip(save_at, cotangents))
        self.last, self.overflowed = save_at[-1], False
        layout, self.arena = dynamics.layout, Arena()  # a run may be pulled back more than once
        self.arena.expect(2 * layout.nbytes + dynamics.updates.nbytes())
        self.params, self.gradient = layout.zeros(self.arena), layout.vector(self.arena)
        self.slots = None
        self.norm = 0.0
        self.hyper = [np.zeros_like(leaf) for leaf in dynamics.loss.inputs.hyper_leaves]
        self.schedules = zeros_like_schedules(dynamics)

    def step(self, step: int, transition: Transition) -> None:
        """Move back over one step. Steps after the last saved count have no influence.

        Raises:
          ImpureLossError: the loss is not a pure function, as far as one step tells.
        """
        if step >= self.last or self.overflowed:
            return
        dynamics = self.dynamics
        if self.slots is None:
            self.slots = dynamics.updates.zeros(transition.after.slots, self.arena)
        self._inject(step + 1)
        self.slots = dynamics.pull_back(transition, self.params, self.slots, self.gradient, self.schedules, step)
        if step > 0 or dynamics.wanted.params or dynamics.wanted.hyper:
            self._through_the_gradient(step, transition)
        elif dynamics.replay is not None and dynamics.replay.is_due(step):
            dynamics.replay.compared_product(dynamics.loss, step, self.gradient, transition.linear)
        norm = self.params.norm()
        if not math.isfinite(norm) and self.params.first_non_finite() is not None:
            self.overflowed = True
            for unknown in (*self.hyper, *(leaf[:step] for leaves in self.schedules for leaf in leaves)):
                unknown[...] = np.nan
            what = "the hypergradient overflowed on its way back"
            warn_of_overflow(dynamics, what, step, self.norm, transition.linear)
        self.norm = norm

    def _through_the_gradient(self, step: int, transition: Transition) -> None:
        """Add what the cotangent of the gradient makes of the parameters before the step and of ``hyper``."""
        replay = self.dynamics.replay
        if replay is not None:
            replay.check_kept(step, transition.linear)
        if replay is not None and replay.is_due(step):
            product, mixed = replay.compared_product(self.dynamics.loss, step, self.gradient, transition.linear)
            for total, term in zip(self.params.buffers, product.buffers):
                total += term
        else:
            mixed = transition.linear.product(self.gradient.arrays, self.params.arrays, add=True)
        for total, term in zip(self.hyper, mixed):
            total += term

    def _inject(self, count: int) -> None:
        for w_bar, cotangent in zip(self.params.arrays, self.cotangents.get(count, ())):
            w_bar += cotangent

    def finish(self, reached_start: bool = True) -> Directions:
        """All cotangents. Where the start was not reached, nothing is known of the initial parameters."""
        self._inject(0)
        params = [w.copy() for w in self.params.arrays]
        if not reached_start:
            params = [np.zeros_like(w) for w in params]
        if self.overflowed:
            params = not_reached(params)
        return Directions(params, self.hyper, self.schedules)
