"""A training for some hyperparameters, step by step in the engine's dynamics, from any state on, and back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..adjoints.base import Backward
from ..bridge import vjp
from ..engine.dynamics import Dynamics, Transition
from ..errors import ArgumentError
from ..nests import flatten, unflatten
from ..problem import check_problem
from ..workspace import Arena
from .problem import Problem


class Unroll:
    """A training that stands at a step.

    Args:
      problem: whose.
      hypers: a nest of plain numbers and arrays.
      seed: of the initial parameters.
      keep: how many of the last steps can be taken back.
      what: needs this, for errors.

    Attributes:
      step: how many steps were made.
    """

    def __init__(self, problem: Problem, hypers: Any, seed: int, *, keep: int = 0, what: str = "this estimator"):
        leaves, structure = flatten(hypers)

        def inputs(leaves: list) -> list:
            nest = unflatten(structure, leaves)
            hyper = None if problem.hyper is None else problem.hyper(nest)
            self._checked = check_problem(
                problem.loss, problem.init(nest, seed), problem.optimizer(nest), hyper, problem.steps
            )
            self.dynamics: Dynamics = self._checked.dynamics(everything=True)
            return self._checked.inputs

        _, self._pull = vjp(inputs, leaves)
        if self._checked.optimizer.exact:
            raise ArgumentError(f"{what} unrolls in floats: leave out exact=True")
        self.problem, self._shapes = problem, [np.shape(leaf) for leaf in leaves]
        self.state, self.step = self.dynamics.start(), 0
        self._transitions: deque[Transition] = deque(maxlen=keep)

    def advance(self, count: int) -> None:
        """Go on to a step count."""
        for step in range(self.step, count):
            if self._transitions.maxlen:
                transition, self.state = self.dynamics.record(self.state, step, Arena())
                self._transitions.append(transition)
            else:
                self.state = self.dynamics.step(self.state, step)
        self.step = count

    def outer(self, differentiated: bool = True) -> tuple[float, list]:
        """The outer loss here, and its gradient by the parameters."""
        outer = lambda leaves: [self.problem.outer_loss(unflatten(self.dynamics.structure, leaves))]
        arrays = [w.copy() for w in self.state.params.arrays]
        if not differentiated:
            return float(outer(arrays)[0]), []
        (value,), pull = vjp(outer, arrays)
        found = [np.zeros_like(w) if g is None else g for g, w in zip(pull([1.0]), arrays)]
        return float(value), found

    def pulled_back(self, cotangent: list) -> list:
        """A cotangent of the parameters here, taken back over the steps that are kept, as one of the
        hyperparameters."""
        backward = Backward(self.dynamics, [self.step], [cotangent])
        first = self.step - len(self._transitions)
        for step, transition in zip(reversed(range(first, self.step)), reversed(self._transitions)):
            backward.step(step, transition)
        found = backward.finish(reached_start=first == 0)
        return self.to_hypers([*found.params, *found.hyper, *(leaf for leaves in found.schedules for leaf in leaves)])

    def to_hypers(self, cotangents: Iterable) -> list:
        """Cotangents of everything the training depends on, as those of the hyperparameters."""
        bars = self._pull(list(cotangents))
        return [np.zeros(shape) if bar is None else np.asarray(bar, float) for bar, shape in zip(bars, self._shapes)]

    def arrays(self) -> list[np.ndarray]:
        """The state, in copies: parameters and optimizer state."""
        return [a.copy() for a in (*self.state.params.arrays, *self.dynamics.updates.arrays(self.state.slots))]

    def resume(self, arrays: list[np.ndarray], step: int) -> None:
        """Stand where another training stood, whose :meth:`arrays` these are, after so many steps."""
        count = len(self.state.params.arrays)
        self.state.params.write(arrays[:count])
        slots = self.dynamics.updates.write(arrays[count:], self.state.slots)
        self.state = self.state._replace(slots=slots, norm=self.state.params.norm())
        self.step = step
