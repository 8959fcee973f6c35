"""Keep the state at a few steps, and run again from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..checks import check_integer
from ..engine.dynamics import Directions, Dynamics, State, Transition
from ..engine.forward import Saved
from ..errors import ImpureLossError
from ..workspace import Arena
from . import binomial
from .base import Adjoint, Backward, Cost, Sizes


@dataclass(frozen=True)
class Checkpointed(Adjoint):
    """Keep the state at a few steps, and run again from there for those between.

    The snapshots are placed by the binomial schedule of Griewank & Walther (2000, *Algorithm 799:
    revolve*), which needs the fewest recomputed steps for T steps and S snapshots. Works for every
    optimizer. Steps that are computed again are compared, bit for bit, with the states they had led to.

    Memory: S · state, and the intermediates of two steps. Cost: at most 6 matrix products a step and
    layer, and 2 more for each time that an average step is computed again; where a step next to its
    snapshot is computed again and then reversed, one gradient serves for both. The ``callback`` sees
    only the first run.

    Args:
      snapshots: S ≥ 1, with the initial state counted among them.
    """

    snapshots: int = 1

    def run(self, dynamics: Dynamics, save_at: list[int]) -> tuple[list[list], Callable]:
        """Run the training; return the parameters at ``save_at`` and the pullback to the inputs."""
        saved, walk = Saved(save_at), _Walk(dynamics)
        walk.expect(min(self.snapshots, dynamics.steps))
        if dynamics.replay is not None:
            dynamics.replay.choose_among(range(save_at[-1]))
            waiting = binomial.waiting(dynamics.steps, self.snapshots)
            dynamics.replay.choose_waiting([step for step in waiting if step < save_at[-1]])
        actions = binomial.actions(dynamics.steps, self.snapshots)
        walk.go(actions, saved)
        saved.take(walk.state.params, dynamics.steps)
        unused = [actions]

        def pullback(cotangents: list[list]) -> Directions:
            backward = Backward(dynamics, save_at, cotangents)
            if dynamics.steps and not unused:  # what the first pullback used up is computed again from the start
                unused.append(binomial.actions(dynamics.steps, self.snapshots))
                walk.restart()
                walk.go(unused[0])
            if dynamics.steps:
                walk.go_back(unused.pop(), backward)
            return backward.finish()

        return saved.all(dynamics.params), pullback

    def check(self, dynamics: Dynamics) -> None:
        """Raise unless there is at least one snapshot."""
        check_integer(self.snapshots, "Checkpointed(snapshots=…)", 1)

    def cost(self, sizes: Sizes) -> Cost:
        """Snapshots, the running state, and the records of two steps at a time."""
        snapshots = min(self.snapshots, max(sizes.steps, 1))
        # Two running states beside the snapshots; the numbers of an exact run are copied with each state.
        held = (snapshots + 3) * sizes.state + (snapshots + 5) * sizes.fixed + 2 * (sizes.record + sizes.reserved)
        again = binomial.recomputed(sizes.steps, snapshots) / max(sizes.steps, 1)
        return Cost(int(held + sizes.working), 6.0 + 2.0 * again)

    def fitted(self, sizes: Sizes, memory: float) -> Adjoint | None:
        """With as many snapshots as fit."""
        one = Checkpointed(1).cost(sizes).memory
        if one > memory:
            return None
        more = int((memory - one) // (sizes.state + sizes.fixed))
        return Checkpointed(min(1 + more, max(sizes.steps, 1)))


class _Memory:
    """What the steps between two reversals work in; records refer to it until they are used.

    Attributes:
      arena: of the records.
      room: of the running state, or None until it is needed.
    """

    def __init__(self):
        self.arena, self.room = Arena(), None


class _Walk:
    """Does the actions of a schedule.

    Two memories take turns, so that the state that a step had led to is still there when the step is computed again.
    Snapshots are not copied: the memory of a running state becomes that of the snapshot, and the steps go on in
    another.
    """

    def __init__(self, dynamics: Dynamics):
        self.dynamics, self.state = dynamics, dynamics.start()
        self.snapshots = {0: dynamics.unshared(self.state)}
        self.is_snapshot = True  # the running state: then its memory is not to be written over
        self.transitions: dict[int, Transition] = {}
        self.memories = [_Memory(), _Memory()]
        self.spare: list[State] = []  # memory of snapshots that were dropped
        self.dropped: list[State] = []  # the same, while it may still be compared
        self.reached: tuple[int, State] | None = None  # the state before the step that was reversed last

    def expect(self, snapshots: int) -> None:
        """So many snapshots will be made, and two running states."""
        size = self.dynamics.layout.nbytes + self.dynamics.updates.nbytes()
        self.dynamics.layout.arena.expect((snapshots + 2) * size)

    def restart(self) -> None:
        """Go to the start again, as if nothing had been done."""
        self.snapshots = {0: self.snapshots[0]}
        self.do(binomial.Restore(0))
        self.reached = None

    def go(self, actions: Iterator[tuple], saved: Saved | None = None) -> None:
        """The run forwards, up to the record of its last step."""
        for action in actions:
            self.do(action, saved)
            if isinstance(action, binomial.Record):
                break

    def go_back(self, actions: Iterator[tuple], backward: Backward) -> None:
        """The way back."""
        for action in actions:
            if isinstance(action, binomial.Reverse):
                transition = self.transitions.pop(action.step)
                backward.step(action.step, transition)
                self.reached = action.step, transition.before
                self.spare, self.dropped = self.spare + self.dropped, []
            else:
                self.do(action)

    def do(self, action: tuple, saved: Saved | None = None) -> None:
        """One action; the first run is seen by the callback, and saves."""
        dynamics, memory = self.dynamics, self.memories[0]
        match action:
            case binomial.Restore(at):
                self.memories.reverse()
                self.memories[0].arena.release((0, 0))
                self.state, self.is_snapshot = dynamics.unshared(self.snapshots[at]), True
            case binomial.Advance(start, stop):
                for step in range(start, stop):
                    if saved is not None:
                        saved.take(self.state.params, step)
                    to = self._room() if self.is_snapshot else self.state
                    self.state = dynamics.step(self.state, step, to, report=saved is not None)
                    self.is_snapshot = False
            case binomial.Snapshot(at):
                self.snapshots[at] = dynamics.unshared(self.state)
                self.is_snapshot, memory.room = True, None
            case binomial.Drop(at):
                self.dropped.append(self.snapshots.pop(at))
            case binomial.Record(step):
                if saved is not None:
                    saved.take(self.state.params, step)
                params = (self._room() if self.is_snapshot else self.state).params
                transition, self.state = dynamics.record(
                    self.state, step, memory.arena, params, report=saved is not None
                )
                if saved is not None:  # the first record tells what others take: at most two at a time
                    for memory in self.memories:
                        memory.arena.expect(2 * self.memories[0].arena.given)
                self.is_snapshot, self.transitions[step] = False, transition
                self._compare(step, transition.after)

    def _room(self) -> State:
        """Memory for a running state that leaves a snapshot."""
        memory = self.memories[0]
        if memory.room is None:
            memory.room = self.spare.pop() if self.spare else self.dynamics.room(self.state)
        return memory.room

    def _compare(self, step: int, after: State) -> None:
        """Whether computing again led to the state that the step after it began with."""
        dynamics = self.dynamics
        if dynamics.replay is None or self.reached is None or self.reached[0] != step + 1:
            return
        before = self.reached[1]
        same = dynamics.updates.same_bits(before.slots, after.slots)
        if not same or (dynamics.keeps_params and not before.params.same_bits(after.params)):
            raise ImpureLossError(step, "the state after it")
