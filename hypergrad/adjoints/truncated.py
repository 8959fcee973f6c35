"""Differentiate through the last steps only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..checks import check_integer
from ..engine.dynamics import Dynamics
from ..errors import AdjointError
from .base import Adjoint, Cost, Sizes
from .stored import run_and_keep


@dataclass(frozen=True)
class Truncated(Adjoint):
    """Keep only the last ``steps`` steps, and take the state before them for a constant.

    The derivative is biased: hyperparameters of earlier steps and the initial parameters get 0, others
    only their direct effect in the last ``steps`` steps; step counts of ``save_at`` before them
    contribute nothing. It is right where the run forgets its past within ``steps`` steps (strongly
    convex losses), and finite where the full derivative is chaotic.

    Memory: that of :class:`Stored` for ``steps`` steps. Cost: 2 + 2 · steps / T products a step and layer.
    Source: Shaban et al. (2019), *Truncated back-propagation for bilevel optimization*.

    Args:
      steps: K, from 1 to the number of steps of the run.
    """

    steps: int

    def run(self, dynamics: Dynamics, save_at: list[int]) -> tuple[list[list], Callable]:
        """Run the training; return the parameters at ``save_at`` and the biased pullback to the inputs."""
        return run_and_keep(dynamics, save_at, self.steps)

    def check(self, dynamics: Dynamics) -> None:
        """Raise unless 1 ≤ steps ≤ those of the run."""
        check_integer(self.steps, "Truncated(steps=…)", 1)
        if self.steps > dynamics.steps:
            raise AdjointError(
                f"Truncated(steps={self.steps}) asks for more than the run's {dynamics.steps} steps; use Stored()"
            )

    def cost(self, sizes: Sizes) -> Cost:
        """Of the steps that are kept, and plain training before."""
        return Cost(int(self.steps * sizes.record + sizes.working), 2.0 + 2.0 * self.steps / max(sizes.steps, 1))
