"""The binomial checkpointing schedule: where to put snapshots so that the fewest steps are recomputed.

With s snapshots and no step computed forwards more than r times, up to C(s + r, s) steps can be
reversed. Source: Griewank & Walther (2000), *Algorithm 799: revolve*, ACM TOMS 26(1), 19–45.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb
from typing import NamedTuple


def repetitions(steps: int, snapshots: int) -> int:
    """The smallest r with C(s + r, s) ≥ steps: how often a step is advanced over, at the most."""
    r = 0
    while comb(snapshots + r, snapshots) < steps:
        r += 1
    return r


def advances(steps: int, snapshots: int) -> int:
    """The fewest steps advanced over to reverse ``steps`` steps, r · T − C(s + r, s + 1).

    ``snapshots`` counts the one at the start. The gradient that each step needs to be reversed is not
    counted, nor is the last step of the run that goes forwards.
    """
    r = repetitions(steps, snapshots)
    return r * steps - comb(snapshots + r, snapshots + 1)


def recomputed(steps: int, snapshots: int) -> int:
    """How many steps are computed again: the advances beyond those of the first run forwards."""
    return advances(steps, snapshots) - (steps - 1) if steps else 0


def first_snapshot(steps: int, free: int) -> int:
    """How far to advance from a snapshot before placing the next one, with ``free`` ≥ 1 more to place.

    The steps up to there are advanced over once more than those behind it, so they may be at most
    C(s + r − 1, s), with s = free + 1, and behind it there must be at least C(s + r − 2, s − 1).
    """
    if steps <= 1:
        return steps
    s = free + 1
    r = repetitions(steps, s)
    return max(1, min(comb(s + r - 1, s), steps - comb(s + r - 2, s - 1)))


class Restore(NamedTuple):
    """Go on from the snapshot of this step count."""

    at: int


class Advance(NamedTuple):
    """Run the steps ``start`` … ``stop`` − 1."""

    start: int
    stop: int


class Snapshot(NamedTuple):
    """Keep the state, at this step count."""

    at: int


class Record(NamedTuple):
    """Run this step, and keep what going back over it needs."""

    step: int


class Reverse(NamedTuple):
    """Go back over this step, which has been recorded."""

    step: int


class Drop(NamedTuple):
    """Give up the snapshot of this step count."""

    at: int


def actions(steps: int, snapshots: int) -> Iterator[tuple]:
    """All that is done to reverse so many steps, in order: the run forwards, to the first :class:`Reverse`, and back.

    The initial state counts as the first snapshot, from which everything begins. Where a step next to its snapshot is
    computed again and then reversed, it is recorded at once, so that one gradient serves for both.
    """
    stack, recorded = [0], set()
    for target in reversed(range(steps)):
        if target not in recorded:
            for action in _approach(stack, target, snapshots, again=target < steps - 1):
                recorded |= {action.step} if isinstance(action, Record) else set()
                yield action
            yield Record(target)
        yield Reverse(target)


def _approach(stack: list[int], target: int, snapshots: int, again: bool) -> Iterator[tuple]:
    """From the last snapshot to the step to be reversed next, leaving snapshots on the way."""
    while stack[-1] > target:
        yield Drop(stack.pop())
    at = stack[-1]
    if again:
        yield Restore(at)
    while at < target:
        free = snapshots - len(stack)
        stop = at + first_snapshot(target + 1 - at, free) if free else target
        beside = again and at == stack[-1] and at + 1 == stop == target
        yield Record(at) if beside else Advance(at, stop)
        at = stop
        if at < target:
            stack.append(at)
            yield Snapshot(at)


def waiting(steps: int, snapshots: int) -> list[int]:
    """The steps that are recorded, on the way back, before the one after them is."""
    before: tuple = ()
    found = []
    for action in actions(steps, snapshots):
        if isinstance(action, Record) and isinstance(before, Record) and before.step + 1 == action.step:
            found.append(before.step)
        before = action
    return found
