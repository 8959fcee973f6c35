"""What is done to the gradients of all arrays before an optimizer sees them: clipping by their norm, accumulation."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ..checks import check_integer
from ..errors import ArgumentError
from ..ranges import Range
from .base import Optimizer, Setting


class Wrapper(Optimizer):
    """Base of the wrappers: the hyperparameters of the optimizer inside come first, then its own."""

    optimizer: Any

    def __post_init__(self):
        kind, inside = type(self).__name__, self.optimizer
        if isinstance(inside, type) or not isinstance(inside, Optimizer):
            raise ArgumentError(f"{kind} wraps an optimizer, such as hypergrad.SGD(0.1), got {inside!r}")
        while isinstance(inside, Wrapper):
            if type(inside) is type(self):
                raise ArgumentError(f"{kind} twice, one inside the other: give one")
            inside = inside.optimizer

    @property
    def own_names(self) -> tuple[str, ...]:
        """The names of the wrapper's own hyperparameters."""
        return tuple(field.name for field in fields(self) if field.name in self.ranges)  # type: ignore[arg-type]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.optimizer.names, *self.own_names)

    @property
    def settings(self) -> list[Setting]:
        kind = type(self).__name__
        own = [Setting(getattr(self, name), f"{kind}.{name}", self.ranges[name]) for name in self.own_names]
        return [*self.optimizer.settings, *own]

    @property
    def rule(self) -> Optimizer:
        return self.optimizer.rule

    @property
    def exact(self) -> bool:  # type: ignore[override]
        return self.optimizer.exact

    def init(self, w):
        raise ArgumentError(f"{type(self).__name__} works on the gradients of a whole run: hand it to hypergrad.train")

    def step(self, w, s, g, h, step: int):
        return self.init(w)


@dataclass(frozen=True)
class Clipped(Wrapper):
    """Gradients clipped by their norm over all arrays, before the optimizer sees them.

        g ← g · min(1, c / ‖g‖)

    Args:
      optimizer: what steps with them, for example ``hg.SGD(0.1)``, also in exact arithmetic.
      max_norm: c > 0, a scalar or an array ``(steps,)``; a hyperparameter like any other.

    Where the norm is above c, the derivative goes through it: dg ← c/‖g‖ (dg − ĝ ⟨ĝ, dg⟩) + ĝ dc with ĝ = g/‖g‖. At the
    kink, ‖g‖ = c, nothing is clipped, and the derivative is that of the side below. A norm that is not finite clips
    nothing, so that divergence is seen.

    Source: Pascanu, Mikolov & Bengio (2013).
    """

    optimizer: Any
    max_norm: Any = 1.0

    ranges: ClassVar = {"max_norm": Range(0.0, low_included=False)}


@dataclass(frozen=True)
class Accumulated(Wrapper):
    """Gradients averaged over ``every`` steps, at the last of which the optimizer makes its update.

        a ← a + g / k;   at steps k − 1, 2k − 1, …:  (w, s) ← step(w, s, a),  a ← 0

    Between updates the parameters stay as they are. A schedule counts the steps of the run, and its values at those of
    the updates are used; what counts inside the optimizer, as in Adam's bias correction, counts updates. Steps after
    the last multiple of k change nothing. In ``Accumulated(Clipped(…))`` the mean is clipped, in
    ``Clipped(Accumulated(…))`` each gradient.

    Args:
      optimizer: what makes the updates. Not in exact arithmetic, which could not undo setting the sum to 0.
      every: k ≥ 1.

    Raises:
      ArgumentError: ``every`` is no integer ≥ 1.
    """

    optimizer: Any
    every: int = 2

    def __post_init__(self):
        super().__post_init__()
        check_integer(self.every, "Accumulated.every", 1)
