"""What the experiments on character models have in common: how long they train, descend and search."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.shared import runner
from experiments.shared.search import COST


@dataclass(frozen=True)
class Trained(runner.PartConfig):
    """A quick run trains ``every`` times shorter, and compares fewer draws.

    Attributes:
      eps: ε of Adam.
      unseen: draws for the comparison.
    """

    steps: int = 100
    eps: float = 1e-5
    unseen: int = 10

    @property
    def trained_steps(self) -> int:
        return max(2, self.steps // self.every)

    @property
    def unseen_draws(self) -> int:
        return max(2, self.unseen // self.every)


@dataclass(frozen=True)
class Config(Trained):
    """A quick run descends and searches ``every`` times shorter, too.

    Attributes:
      draws: initial weights and minibatches that each point of a grid, meta-iteration or trial is the mean over.
      iterations: of the descents, by Adam.
    """

    draws: int = 2
    iterations: int = 7

    @property
    def evaluations(self) -> int:
        """Hypergradients of a descent."""
        return max(1, self.iterations // self.every) + 1

    @property
    def trials(self) -> int:
        """Of a search, which trains as often as a descent."""
        return COST * self.evaluations
