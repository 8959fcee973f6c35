"""Adjoints: how the reverse pass gets the trajectory back.

Each has ``linearize(dynamics, save_at) -> (saved, pullback)``: it runs the training, returns the
parameters at the step counts asked for, and a function from their cotangents (one list of arrays for
each count) to the cotangents of everything the run depends on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .arrays import own, reuse
from .binomial import first_snapshot
from .dynamics import Dynamics, Inputs, State, first_non_finite, forward_step, save
from .errors import AdjointError, NonFiniteGradientWarning, ReversalError, check_integer
from .exact_dynamics import ExactDynamics


@dataclass(frozen=True)
class Stored:
    """Keep every step of the run, with the intermediates of its Hessian-vector product.

    Memory: T · (P + state + gradient + activations) floats for T steps of P parameters. SGD needs only its
    velocity, and what the loss keeps: for an MLP its activations and the weights past the first layer, for a
    loss without its own ``gradient_with_hvp`` what autograd records, the parameters among it.
    Cost: 4 matrix products a step and layer, where training alone is 2: nothing is computed twice.
    """

    def linearize(self, dynamics: Dynamics, save_at: list[int]):
        """Run the training; return the parameters at ``save_at`` and the pullback to the inputs."""
        return _linearize_last(dynamics, save_at, dynamics.steps)

    def check(self, dynamics: Dynamics) -> None:
        """Any run will do."""


@dataclass(frozen=True)
class Truncated:
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

    def linearize(self, dynamics: Dynamics, save_at: list[int]):
        """Run the training; return the parameters at ``save_at`` and the biased pullback to the inputs."""
        return _linearize_last(dynamics, save_at, self.steps)

    def check(self, dynamics: Dynamics) -> None:
        """Raise unless 1 ≤ steps ≤ those of the run."""
        check_integer(self.steps, "Truncated(steps=…)", 1)
        if self.steps > dynamics.steps:
            raise AdjointError(
                f"Truncated(steps={self.steps}) asks for more than the run's {dynamics.steps} steps; use Stored()"
            )


def _linearize_last(dynamics: Dynamics, save_at: list[int], kept: int):
    """Run all steps, keep the last ones, and differentiate through those."""
    first = dynamics.steps - kept
    saved, state = dict.fromkeys(save_at), dynamics.start()
    for step in range(first):
        state = forward_step(dynamics, state, step, saved)
    records = []
    for step in range(first, dynamics.steps):
        save(state, step, saved)
        gradient, hvp = dynamics.oracle.gradient_with_hvp(state.params, step)
        dynamics.report(state, gradient, step)
        before = dynamics.kept(state)
        state = dynamics.advance(state, gradient, step, spent_params=not dynamics.optimizer.keeps_params)
        records.append((before, _kept(dynamics, gradient), hvp))
    save(state, dynamics.steps, saved)
    final = dynamics.kept(state)

    def pullback(cotangents: list[list]) -> Inputs:
        backward = Backward(dynamics, save_at, cotangents)
        after = final
        for step in range(dynamics.steps - 1, first - 1, -1):
            before, gradient, hvp = records[step - first]
            backward.step(step, before, gradient, hvp, after)
            after = before
        return backward.finish(reached_start=first == 0)

    return [saved[count] for count in save_at], pullback


@dataclass(frozen=True)
class Checkpointed:
    """Keep the state at a few steps, and run again from there for those between.

    The snapshots are placed by the binomial schedule of Griewank & Walther (2000, *Algorithm 799:
    revolve*), which needs the fewest recomputed steps for T steps and S snapshots. Works for every
    optimizer.

    Memory: S · state, and the intermediates of two steps. Cost: at most 6 matrix products a step and
    layer, and 2 more for each time that an average step is computed again; where a step next to its
    snapshot is computed again and then reversed, one gradient serves for both. The ``callback`` sees
    only the first run.

    Args:
      snapshots: S ≥ 1, with the initial state counted among them.
    """

    snapshots: int

    def linearize(self, dynamics: Dynamics, save_at: list[int]):
        """Run the training; return the parameters at ``save_at`` and the pullback to the inputs."""
        saved: dict[int, list | None] = dict.fromkeys(save_at)
        last = dynamics.steps - 1
        if last < 0:
            return _linearize_last(dynamics, save_at, 0)

        snapshots = [(0, dynamics.start())]  # a stack of (step count, state), the last one the latest
        records: dict[int, tuple] = {}  # what is already known for steps still to be reversed: at most one

        def record(state, step, advance):
            gradient, hvp = dynamics.oracle.gradient_with_hvp(state.params, step)
            before = dynamics.kept(state)
            after = advance(state, gradient, step)
            records[step] = before, _kept(dynamics, gradient), hvp, dynamics.kept(after)
            return after

        def forward(state, step, spent):
            return forward_step(dynamics, state, step, saved, spent)

        def forward_last(state, gradient, step):
            dynamics.report(state, gradient, step)
            return dynamics.advance(state, gradient, step)

        state = self._advance_to(dynamics, snapshots, last, forward)
        save(state, last, saved)
        save(record(state, last, forward_last), dynamics.steps, saved)
        del state

        def pullback(cotangents: list[list]) -> Inputs:
            # What the first pullback used up, a second one computes again from the first snapshot.
            backward = Backward(dynamics, save_at, cotangents)
            for target in range(last, -1, -1):

                def recompute(state, step, spent, target=target):
                    if step + 1 == target and step == snapshots[-1][0]:  # reversed next: its gradient serves twice
                        return record(state, step, dynamics.advance)
                    gradient = dynamics.oracle.gradient(state.params, step)
                    return dynamics.advance(state, gradient, step, spent_params=spent, spent_slots=spent)

                if target not in records:
                    before = self._advance_to(dynamics, snapshots, target, recompute)
                    record(before, target, dynamics.slots_after)
                backward.step(target, *records.pop(target))
            return backward.finish()

        return [saved[count] for count in save_at], pullback

    def _advance_to(self, dynamics: Dynamics, stack: list, count: int, step_function: Callable):
        """Run from the last snapshot to the step to be reversed next, leaving snapshots where the schedule says.

        Snapshots past it are dropped. ``step_function(state, step, spent)`` makes the steps; a state that is not
        a snapshot is spent by its step.
        """
        while stack[-1][0] > count:
            stack.pop()
        at, kept = stack[-1]
        state = dynamics.snapshot(kept)
        while at < count:
            free = self.snapshots - len(stack)
            target = at + first_snapshot(count + 1 - at, free) if free else count
            while at < target:
                state = step_function(state, at, at > stack[-1][0])
                at += 1
            if at < count:
                stack.append((at, dynamics.snapshot(state)))
        return state

    def check(self, dynamics: Dynamics) -> None:
        """Raise unless there is at least one snapshot."""
        check_integer(self.snapshots, "Checkpointed(snapshots=…)", 1)


@dataclass(frozen=True)
class Reversible:
    """Keep only the end, and run the training backwards, bit for bit.

    For optimizers in exact arithmetic whose update can be undone: ``SGD(…, exact=True)`` and
    ``Adam(…, exact=True)``. Every run asserts that it comes back to the start bit for bit. The pullback
    can be used once: it uses up the end state.

    Memory: P · (24 bytes + T · log2(1/β) bits) for SGD, with 16 bytes and T · log2(1/β₂) bits more for
    Adam; and what one step works with. Cost: 6 matrix products a step and layer, and the arithmetic.
    Source: Maclaurin, Duvenaud & Adams (2015), algorithm 2.
    """

    def linearize(self, dynamics: ExactDynamics, save_at: list[int]):
        """Run the training; return the parameters at ``save_at`` and the pullback, to be used once."""
        saved: dict[int, list | None] = dict.fromkeys(save_at)
        state = dynamics.start(record=True)
        for step in range(dynamics.steps):
            state = forward_step(dynamics, state, step, saved)
        save(state, dynamics.steps, saved)
        ends = [state]

        def pullback(cotangents: list[list]) -> Inputs:
            if not ends:
                raise ReversalError(
                    "this reversed run was used up by its first pullback (a jacobian needs one for each row); "
                    "call grad for each objective, or use Checkpointed()"
                )
            backward, after = Backward(dynamics, save_at, cotangents), ends.pop()
            for step in range(dynamics.steps - 1, -1, -1):
                try:
                    before, gradient, hvp = dynamics.retreat(after, step)
                except ReversalError as error:
                    raise ReversalError(_NOT_BACK) from error
                backward.step(step, before, gradient, hvp, after)
                after = before
                del gradient, hvp  # they need not wait for those of the next step
            if not dynamics.is_start(after):
                raise ReversalError(_NOT_BACK)
            return backward.finish()

        return [saved[count] for count in save_at], pullback

    def check(self, dynamics: Dynamics) -> None:
        """Raise unless the dynamics are exact."""
        if isinstance(dynamics, ExactDynamics):
            return
        kind = type(dynamics.optimizer).__name__
        if getattr(dynamics.optimizer, "reversible", False):
            raise AdjointError(f"Reversible() needs exact arithmetic: {kind}(…, exact=True); or use Checkpointed()")
        raise AdjointError(f"{kind} cannot be run backwards; use Checkpointed() in place of Reversible()")


_NOT_BACK = (
    "the reversed run did not come back to its start bit for bit: the gradient of the loss is not a fixed function of "
    "params, hyper and step (random numbers, or something that changes?), or the loss's own gradient and "
    "gradient_with_hvp round differently; use Checkpointed()"
)


def _kept(dynamics: Dynamics, gradient: list) -> list | None:
    """The gradient for the way back, if the optimizer needs it there."""
    return own(gradient) if dynamics.optimizer.keeps_gradient else None


class Backward:
    """Reverse accumulation: the cotangents of the state, moved back step by step."""

    def __init__(self, dynamics: Dynamics, save_at: list[int], cotangents: list[list]):
        self.dynamics, self.cotangents = dynamics, dict(zip(save_at, cotangents))
        self.last, self.overflowed = save_at[-1], False
        self.bar = None
        self.hyper = [np.zeros_like(leaf) for leaf in dynamics.oracle.hyper_leaves]
        self.schedules = [[np.zeros_like(leaf) for leaf in s.leaves] for s in dynamics.schedules]

    def step(self, step: int, before: State, gradient, hvp: Callable, after: State) -> None:
        """Move back over one step. Steps after the last saved count have no influence."""
        if step >= self.last or self.overflowed:
            return
        if self.bar is None:
            self.bar = State(self.dynamics.params, after.slots).zeros_like()
        self._inject(step + 1)
        self.bar, g_bar = self.dynamics.pull_back(before, gradient, after, self.bar, step, self.schedules)
        wanted = self.dynamics.wanted
        if step > 0 or wanted.params or wanted.hyper:
            params_product, hyper_product = hvp(g_bar)
            params = self.bar.params
            total = [np.add(params[i], p, out=reuse(params, i)) for i, p in enumerate(params_product)]
            self.bar = State(total, self.bar.slots)
            for total, term in zip(self.hyper, hyper_product):
                total += term
        if first_non_finite(self.bar.params) is not None:
            self.overflowed = True
            for unknown in (*self.hyper, *(leaf[:step] for leaves in self.schedules for leaf in leaves)):
                unknown[...] = np.nan
            warnings.warn(
                f"the hypergradient overflowed on its way back at step {step} of {self.dynamics.steps}: "
                "the run is far into chaos, or the loss's second derivatives are not finite there",
                NonFiniteGradientWarning,
                stacklevel=2,
            )

    def _inject(self, count: int) -> None:
        if count in self.cotangents:
            params = [w + c for w, c in zip(self.bar.params, self.cotangents[count])]
            self.bar = State(params, self.bar.slots)

    def finish(self, reached_start: bool = True) -> Inputs:
        """All cotangents. Where the start was not reached, nothing is known of the initial parameters."""
        if self.bar is None:
            self.bar = State([np.zeros_like(w) for w in self.dynamics.params], [])
        self._inject(0)
        params = self.bar.params if reached_start else [np.zeros_like(w) for w in self.bar.params]
        if self.overflowed:
            params = [np.full_like(w, np.nan) for w in params]
        return Inputs(params, self.hyper, self.schedules)
