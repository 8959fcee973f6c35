"""A training and an outer loss of what it leads to: what an estimator of the hypergradient is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..adjoints import Adjoint
from ..checks import check_integer
from ..errors import ArgumentError
from ..train import train


@dataclass(frozen=True)
class Problem:
    """An unrolled training, of which an outer loss is to be minimized by hyperparameters.

        problem = hg.meta.Problem(
            loss,
            init=lambda hypers, seed: hg.init.scaled_normal(model.shapes, np.exp(hypers["log_scale"]), seed),
            optimizer=lambda hypers: hg.SGD(np.exp(hypers["log_lr"])),
            outer_loss=lambda params: model.loss(params, X_valid, T_valid),
            steps=100,
        )

    Attributes:
      loss: ``loss(params, hyper, step)``, that of training.
      init: ``init(hypers, seed)``, the initial parameters.
      optimizer: ``optimizer(hypers)``.
      outer_loss: ``outer_loss(params)``, a scalar.
      steps: of the training, T ≥ 1.
      hyper: ``hyper(hypers)``, what the loss is given beside the parameters; None if it needs nothing.
      objective: "final", the outer loss after T steps; or "sum", of those after every ``every`` steps.
      every: for "sum"; it divides T.
      adjoint: of ``f``; as in :func:`hypergrad.train`.

    Raises:
      ArgumentError: something that is no function, another objective, or an ``every`` that does not divide T.
    """

    loss: Callable
    init: Callable
    optimizer: Callable
    outer_loss: Callable
    steps: int
    hyper: Callable | None = None
    objective: str = "final"
    every: int = 1
    adjoint: Adjoint | None = None

    def __post_init__(self):
        for name in ("loss", "init", "optimizer", "outer_loss"):
            if not callable(getattr(self, name)):
                raise ArgumentError(f"Problem.{name} must be a function, got {getattr(self, name)!r:.100}")
        check_integer(self.steps, "Problem.steps", 1)
        if self.objective not in ("final", "sum"):
            raise ArgumentError(f'Problem.objective must be "final" or "sum", got {self.objective!r}')
        if self.steps % check_integer(self.every, "Problem.every", 1):
            raise ArgumentError(f"Problem.every must divide the number of steps, {self.steps}, got {self.every}")

    @property
    def counts(self) -> list[int]:
        """The step counts after which the outer loss is taken."""
        return [self.steps] if self.objective == "final" else list(range(self.every, self.steps + 1, self.every))

    def f(self, hypers: Any, seed: int = 0) -> Any:
        """The objective, a function that autograd differentiates through the whole training."""
        hyper = None if self.hyper is None else self.hyper(hypers)
        saved = train(
            self.loss,
            self.init(hypers, seed),
            self.optimizer(hypers),
            hyper,
            steps=self.steps,
            adjoint=self.adjoint,
            save_at=self.counts,
        )
        return sum(self.outer_loss(params) for params in saved)
