"""Keep only the end, and run the training backwards, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..engine.dynamics import Directions, Dynamics
from ..engine.forward import Saved
from ..errors import AdjointError, ReversalError
from ..fixed.dynamics import ExactDynamics
from .base import Adjoint, Backward, Cost, Sizes


@dataclass(frozen=True)
class Reversible(Adjoint):
    """Keep only the end, and run the training backwards, bit for bit.

    For optimizers in exact arithmetic whose update can be undone: ``SGD(…, exact=True)`` and
    ``Adam(…, exact=True)``. Every run asserts that it comes back to the start bit for bit. The pullback
    can be used once: it uses up the end state.

    Memory: P · (24 bytes + T · log2(1/β) bits) for SGD, with 16 bytes and T · log2(1/β₂) bits more for
    Adam; and what one step works with. Cost: 6 matrix products a step and layer, and the arithmetic.
    Source: Maclaurin, Duvenaud & Adams (2015), algorithm 2.
    """

    def run(self, dynamics: Dynamics, save_at: list[int]) -> tuple[list[list], Callable]:
        """Run the training; return the parameters at ``save_at`` and the pullback, to be used once."""
        assert isinstance(dynamics, ExactDynamics)
        if dynamics.replay is not None:
            dynamics.replay.choose_among(range(save_at[-1]))
        saved, state = Saved(save_at), dynamics.start(record=True)
        for step in range(dynamics.steps):
            saved.take(state.params, step)
            state = dynamics.step(state, step)
        saved.take(state.params, dynamics.steps)
        ends = [state]

        def pullback(cotangents: list[list]) -> Directions:
            if not ends:
                raise ReversalError(
                    "this reversed run was used up by its first pullback (a jacobian needs one for each row); "
                    "call grad for each objective, or use Checkpointed()"
                )
            backward, after = Backward(dynamics, save_at, cotangents), ends.pop()
            retreat = dynamics.retreat_from(after)
            for step in range(dynamics.steps - 1, -1, -1):
                try:
                    transition = retreat(after, step)
                except ReversalError as error:
                    raise ReversalError(_NOT_BACK) from error
                backward.step(step, transition)
                after = transition.before
                del transition  # what it keeps need not wait for that of the next step
            if not dynamics.is_start(after):
                raise ReversalError(_NOT_BACK)
            return backward.finish()

        return saved.all(dynamics.params), pullback

    def check(self, dynamics: Dynamics) -> None:
        """Raise unless the dynamics are exact."""
        if isinstance(dynamics, ExactDynamics):
            return
        optimizer = dynamics.updates.innermost.optimizer
        kind = type(optimizer).__name__
        if getattr(optimizer, "reversible", False):
            raise AdjointError(f"Reversible() needs exact arithmetic: {kind}(…, exact=True); or use Checkpointed()")
        raise AdjointError(f"{kind} cannot be run backwards; use Checkpointed() in place of Reversible()")

    def cost(self, sizes: Sizes) -> Cost | None:
        """The numbers of an exact run, the digits that its decays lose, and two steps."""
        if not sizes.exact:
            return None
        replayed = sizes.record - sizes.reserved  # the tape once more, if it has no memory of its own
        return Cost(int(sizes.fixed + sizes.bits + sizes.state + sizes.tape + replayed + sizes.working), 6.0)


_NOT_BACK = (
    "the reversed run did not come back to its start bit for bit: the gradient of the loss is not a fixed function of "
    "params, hyper and step (random numbers, or something that changes?), or the loss's own gradient and "
    "gradient_with_hvp round differently; use Checkpointed()"
)
