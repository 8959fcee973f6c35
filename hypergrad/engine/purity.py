"""Whether the loss is a pure function of (params, hyper, step): one step of a reverse run is computed again.

A loss that draws from a stateful generator, keeps running statistics, goes through a loader or fills one buffer
again at every step gives wrong derivatives without a word. So one step's value, gradient and product are
compared, bit for bit, with those that the run had. The product that was kept is taken before the step is
computed again, because that fills a reused buffer anew and would hide the fault.
"""

from __future__ import annotations

import numpy as np

from ..errors import ImpureLossError
from ..losses.base import Linearized, Loss
from ..workspace import Arena, Layout, Vector, same_bits

_REPLAY = 4  # the purpose of this random number, in seeds (seed, purpose)


def replayed_step(candidates: range, steps: int) -> int | None:
    """Which of the steps is computed again: never the last of the run, whose minibatch a reused buffer still holds.

    If possible it is one step before the last, or a prime number of steps from 11 on: then a cycle of a few minibatches
    does not bring the last one's back. None if there is no step but the last.
    """
    before = [step for step in candidates if step < steps - 1]
    distances = {1} | {n for n in range(11, steps) if all(n % k for k in range(2, int(n**0.5) + 1))}
    best = [step for step in before if steps - 1 - step in distances] or before
    if not best:
        return None
    return best[int(np.random.default_rng([len(best), _REPLAY]).integers(len(best)))]


class Replay:
    """What the run had at the step that is computed again.

    Args:
      steps: of the run. With one step only it is not computed again: it is compared whether what was kept for its
        product is the same on the way back.
    """

    def __init__(self, steps: int, layout: Layout):
        self.steps, self.layout = steps, layout
        self.params: Vector | None = None
        self.gradient: Vector | None = None
        self.product: Vector | None = None
        self.value: float | None = None
        self.done = False
        self.choose_among(range(steps))

    def choose_among(self, candidates: range) -> None:
        """Compute one of these steps again, those that the way back goes over; to be said before the run begins."""
        step = replayed_step(candidates, self.steps)
        self.alone = step is None  # then what was kept for the product is compared, of the last step
        self.step = self.steps - 1 if step is None else step

    def choose_waiting(self, steps: list[int]) -> None:
        """Compute one of these steps again, whose records wait while others are computed; if there are any."""
        if steps:
            self.step, self.alone = steps[int(np.random.default_rng([len(steps), _REPLAY]).integers(len(steps)))], False

    def see(self, step: int, params: Vector, gradient: Vector, value: float | None) -> None:
        """Keep what the run had, the first time that it comes to the step."""
        if step == self.step and self.params is None:
            self.params, self.gradient, self.value = self.layout.copy(params), self.layout.copy(gradient), value

    def keep_product(self, step: int, linear: Linearized) -> None:
        """If there is no other step: a product now, to be compared with the same on the way back."""
        if self.alone and step == self.step and self.product is None:
            self.product = self.layout.vector()
            linear.product(self.gradient.arrays, self.product.arrays)  # type: ignore[union-attr]

    def check_kept(self, step: int, linear: Linearized) -> None:
        """With one step only: whether its product is still the same."""
        if self.alone and step == self.step and self.product is not None and not self.done:
            again = self.layout.vector(Arena())
            linear.product(self.gradient.arrays, again.arrays)  # type: ignore[union-attr]
            self.done = True
            if not again.same_bits(self.product):
                raise ImpureLossError(step, "the Hessian-vector product")

    def is_due(self, step: int) -> bool:
        """Whether the step that is to be pulled back now is the one to be computed again."""
        return step == self.step and not self.alone and not self.done and self.params is not None

    def compared_product(self, loss: Loss, step: int, direction: Vector, kept: Linearized) -> tuple[Vector, list]:
        """The products that go on from this step, once the step is computed again and compared.

        Args:
          direction: of the products.
          kept: what the run kept of this step.

        Raises:
          ImpureLossError: says which step and what differs.
        """
        self.done = True
        gradient, product, again = (self.layout.vector(Arena()) for _ in range(3))
        with np.errstate(all="ignore"):
            mixed = kept.product(direction.arrays, product.arrays)  # first, or a reused buffer would be filled anew
            linear = loss.linearize(self.params.arrays, step, gradient.arrays, Arena())  # type: ignore[union-attr]
            mixed_again = linear.product(direction.arrays, again.arrays)
        known = linear.value is not None and self.value is not None
        if known and not same_bits(np.asarray(linear.value), np.asarray(self.value)):
            raise ImpureLossError(step, f"the loss ({self.value!r}, then {linear.value!r})")
        if not gradient.same_bits(self.gradient):  # type: ignore[arg-type]
            raise ImpureLossError(step, "the gradient")
        if not again.same_bits(product) or not all(map(same_bits, mixed, mixed_again)):
            raise ImpureLossError(step, "the Hessian-vector product")
        loss.confirm(self.steps)
        return product, mixed
